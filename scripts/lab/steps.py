"""One bounded command at a time, and one line on the terminal for each that takes a while."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import AsteriskFailed

Say = Callable[[str], None]


def cache_folder() -> Path:
    """Return the folder in the user's cache that everything of the lab lives in, made if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "agi-bridge"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def step(say: Say, what: str) -> Iterator[None]:
    """Say *what* was done and how long it took, once it is done."""
    began = time.monotonic()
    yield
    say(f"{what} ({time.monotonic() - began:.1f} s)")


def run(argv: Sequence[str | Path], seconds: float, **environment: str) -> str:
    """Run a command to its end and return what it printed, errors included; raise AsteriskFailed if it fails."""
    words = [str(word) for word in argv]
    name = " ".join(words[:3])
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            env=os.environ | environment,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise AsteriskFailed(f"{name} … could not be run: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise AsteriskFailed(f"{name} … took longer than {seconds:g} s") from None
    if done.returncode != 0:
        raise AsteriskFailed(f"{name} … failed:\n{tail(done.stdout)}")
    return done.stdout


def works(argv: Sequence[str], seconds: float = 10) -> bool:
    """Tell whether a command can be run and ends well."""
    try:
        run(argv, seconds)
    except AsteriskFailed:
        return False
    return True


def tail(text: str, lines: int = 15) -> str:
    """Return the last lines of a log, indented so that they stand apart from the message they explain."""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
