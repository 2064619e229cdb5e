"""What a target is. It knows no fuzzer: whoever has bytes can try one."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A promise about bytes: *broken_by* raises where some break it, be it by an assertion or by a foreign exception.

    *seeds* are honest examples from which a fuzzer sets out; *words* are what it may put anywhere.
    """

    name: str
    broken_by: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[str, ...] = ()
    longest_bytes: int = 2048
