"""The command line of `scripts/fuzz`.

Exit status: 0 nothing found, 1 something found or the fuzzer failed, 2 bad arguments, 130 interrupted.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

from fuzzing.target import Target
from fuzzing.targets import TARGETS

# One input takes less than a millisecond; one that takes this long hangs.
_HANG_SECONDS = 10
# A worker needs some 100 MB; one that needs this much grows.
_GROWTH_MEGABYTES = 600
# Beyond its time, for start and end.
_GRACE_SECONDS = 60


@dataclass(frozen=True)
class Fuzzed:
    """What one worker did: *found* names the file with the input that broke a promise."""

    target: str
    executions: int
    seconds: float
    covered: int
    found: Path | None
    said: str
    failed: bool

    def __str__(self) -> str:
        rate = self.executions / self.seconds
        ending = "BROKEN" if self.failed else "nothing found"
        return f"{self.target:15} {self.executions:12,} executions {rate:10,.0f} /s  {self.covered:5} edges  {ending}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/fuzz", description="Throw bytes at every place that takes them from somebody else."
    )
    parser.add_argument("target", nargs="*", help=f"any of {', '.join(TARGETS)}; all without")
    parser.add_argument("--seconds", type=int, default=10, help="for each target (default 10)")
    parser.add_argument("--executions", type=int, default=-1, help="stop each target after so many, if that is earlier")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time (default 1)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the fuzzer's chance; 0 takes another each time (default)"
    )
    parser.add_argument("--replay", type=Path, metavar="FILE", help="only try the bytes of FILE on the target")
    given = parser.parse_args()
    for name in given.target:
        if name not in TARGETS:
            parser.error(f"no target {name!r}; there are {', '.join(TARGETS)}")
    if given.replay and len(given.target) != 1:
        parser.error("--replay needs the one target to try the bytes on")
    return given


def main() -> int:
    """Fuzz what was asked for."""
    given = _arguments()
    names = given.target or list(TARGETS)
    if given.replay:
        TARGETS[names[0]].broken_by(given.replay.read_bytes())
        print(f"{names[0]}: the promise holds for {given.replay}")
        return 0
    try:
        with ThreadPoolExecutor(given.jobs) as workers:
            ended = [_shown(fuzzed) for fuzzed in workers.map(lambda name: _fuzz(TARGETS[name], given), names)]
    except KeyboardInterrupt:
        return 130
    print(f"total           {sum(fuzzed.executions for fuzzed in ended):12,} executions")
    return 1 if any(fuzzed.failed for fuzzed in ended) else 0


def _shown(fuzzed: Fuzzed) -> Fuzzed:
    print(fuzzed, flush=True)
    if fuzzed.failed:
        print("\n".join(f"    {line}" for line in fuzzed.said.splitlines()[-40:]))
    if fuzzed.found:
        print(f"    once more: scripts/fuzz {fuzzed.target} --replay {fuzzed.found}")
    return fuzzed


def _fuzz(target: Target, given: argparse.Namespace) -> Fuzzed:
    """Run a worker on *target*, from its seeds and from whatever earlier runs found worth keeping."""
    corpus = _cache(target.name)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="agi-bridge-fuzz-") as name:
        folder = Path(name)
        seeds = folder / "seeds"
        seeds.mkdir()
        for seed in target.seeds:
            (seeds / sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
        (folder / "words").write_text("".join(map(_dictionary_line, target.words)))
        worker = subprocess.run(
            [
                *(sys.executable, "-m", "fuzzing.worker", target.name),
                *(f"-max_total_time={given.seconds}", f"-runs={given.executions}", f"-seed={given.seed}"),
                *(f"-max_len={target.longest_bytes}", f"-dict={folder / 'words'}"),
                *(f"-timeout={_HANG_SECONDS}", f"-rss_limit_mb={_GROWTH_MEGABYTES}"),
                *(f"-artifact_prefix={_cache('found')}/{target.name}-", "-print_final_stats=1"),
                *(str(corpus), str(seeds)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=given.seconds + _GRACE_SECONDS,
            text=True,
            errors="replace",
            check=False,
        )
    return _read(target.name, time.monotonic() - began, worker.stdout, worker.returncode)


def _read(name: str, seconds: float, said: str, code: int) -> Fuzzed:
    """Make sense of what libFuzzer said."""
    executions = _last_number(r"stat::number_of_executed_units: *(\d+)|^#(\d+)\t", said)
    covered = _last_number(r" cov: (\d+)", said)
    found = re.findall(r"Test unit written to (\S+)", said)
    return Fuzzed(name, executions, seconds, covered, Path(found[-1]) if found else None, said, bool(found or code))


def _last_number(pattern: str, said: str) -> int:
    numbers: Iterator[re.Match[str]] = re.finditer(pattern, said, re.MULTILINE)
    return max((int(next(filter(None, match.groups()))) for match in numbers), default=0)


def _cache(name: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "agi-bridge/fuzz" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _dictionary_line(word: str) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in word.encode()) + '"\n'


if __name__ == "__main__":
    sys.exit(main())
