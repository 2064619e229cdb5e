"""Where an Asterisk lives, and how a program is run there: on this machine, in a Debian tree, in a Docker image.

Every program runs in a folder of ours, on this machine's own network, and holds one end of a pipe as its lifeline:
when we end, by whatever cause, the pipe closes and the program is killed. Mounts are made in a private mount
namespace that goes with it. So nothing is ever left behind, SIGKILL included.
"""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from .errors import AsteriskFailed

# The mount point of our folder, where the place has a file system of its own.
MOUNT_POINT = Path("/lab")

# Runs "$@"; when standard input ends before it does, kills it.
_LIFELINE = """
exec 3<&0
"$@" </dev/null 3<&- &
guest=$!
{ read -r _ <&3; kill -KILL "$guest"; } 2>/dev/null &
wait "$guest"
ended=$?
kill "$!" 2>/dev/null
exit "$ended"
"""

# Runs "$@" in the tree $1 with folder $2 at /lab; call it in a mount namespace of its own.
_ENTER_ROOT = """
set -e
root=$1 folder=$2
shift 2
mount --bind "$folder" "$root/lab"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount --bind /etc/hosts "$root/etc/hosts"
exec chroot "$root" sh -c 'cd /lab && exec "$@"' sh "$@"
"""


class Place(Protocol):
    """A way to run a program beside Asterisk."""

    def command(self, argv: Sequence[str], folder: Path) -> list[str]:
        """Return the command line that runs *argv* there, with *folder* as its working directory."""

    def seen(self, folder: Path) -> Path:
        """Return the path by which programs there know *folder*."""


@dataclass(frozen=True)
class Host:
    """This machine, with its installed Asterisk."""

    def command(self, argv: Sequence[str], folder: Path) -> list[str]:
        return ["env", f"--chdir={folder}", *argv]

    def seen(self, folder: Path) -> Path:
        return folder


@dataclass(frozen=True)
class DebianRoot:
    """A Debian tree with Asterisk in it, entered with chroot. Needs root."""

    root: Path

    def command(self, argv: Sequence[str], folder: Path) -> list[str]:
        return ["unshare", "--mount", "sh", "-c", _ENTER_ROOT, "lab", str(self.root), str(folder), *argv]

    def seen(self, folder: Path) -> Path:
        return MOUNT_POINT


@dataclass(frozen=True)
class DockerImage:
    """An image with Asterisk in it; containers share this machine's network and run as this user."""

    tag: str

    def command(self, argv: Sequence[str], folder: Path) -> list[str]:
        return [
            *("docker", "run", "--rm", "--interactive", "--network=host", f"--user={os.getuid()}:{os.getgid()}"),
            *(f"--volume={folder}:{MOUNT_POINT}", f"--workdir={MOUNT_POINT}", self.tag),
            *argv,
        ]

    def seen(self, folder: Path) -> Path:
        return MOUNT_POINT


class Guest:
    """A program running in a place, from its start until `wait` or the end of a `with` block."""

    def __init__(self, place: Place, argv: Sequence[str], folder: Path, output: Path) -> None:
        self.name = argv[0]
        self.output = output
        command = place.command(["sh", "-c", _LIFELINE, "lab", *argv], folder)
        with output.open("wb") as log:
            # A session of its own: Ctrl-C at the terminal reaches us, and we end the program in good order.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Return the process that we started; the program itself may be a child of it."""
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, seconds: float) -> int:
        """Wait for the program to end and return its exit code; kill it and raise AsteriskFailed if it does not."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AsteriskFailed(f"{self.name} did not end within {seconds:g} s") from None
        self.kill()
        return code

    def kill(self) -> None:
        """Cut the lifeline, and wait until the program is gone."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def text(self) -> str:
        """Return what the program has printed so far."""
        return self.output.read_text(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
