"""A Debian tree with Asterisk and SIPp in it, made once with debootstrap and kept in the user's cache.

The tree is built beside its place and renamed when it is complete, under a lock, so a half-made one is never used
and two processes never build at once. The machine itself gets nothing but debootstrap.
"""

import fcntl
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import AsteriskFailed, AsteriskUnavailable
from .place import DebianRoot
from .steps import Say, cache_folder, run, step, works

# The first Debian release after buster whose archive carries an Asterisk LTS: 22.
SUITE = "forky"
PACKAGES = ("asterisk", "asterisk-core-sounds-en-gsm", "sip-tester", "ca-certificates")
# Written into a finished tree. Change it, and older trees are made anew.
STAMP = f"{SUITE} 1: {' '.join(PACKAGES)}\n"

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_TOOLS = ("debootstrap", "debian-archive-keyring", "gpgv")
_BUILD_SECONDS = 900
# A mirror that has not been refreshed for a week refuses its own index; a test tree may use it all the same.
_STALE_INDEX = "Acquire::Check-Valid-Until=false"


def obstacle() -> str | None:
    """Return why no tree can be made or entered here, in one sentence, or None."""
    if os.geteuid() != 0:
        return "a Debian tree needs root, and this is an ordinary user"
    if not works(["unshare", "--mount", "true"]):
        return "a Debian tree needs mounts, and this machine allows none (a container without CAP_SYS_ADMIN?)"
    if not finished(_tree()) and not _is_debian():
        return "a Debian tree can be made on Debian and Ubuntu only"
    return None


def prepare(say: Say) -> DebianRoot:
    """Return the tree, made now if it is not in the cache; raise AsteriskUnavailable if it cannot be made."""
    tree = _tree()
    with locked(tree.with_name(f"{tree.name}.lock"), say):
        if not finished(tree):
            try:
                _build(tree, say)
            except (AsteriskFailed, OSError) as failure:
                raise AsteriskUnavailable([f"the Debian tree could not be made: {failure}"]) from failure
    return DebianRoot(tree)


def finished(tree: Path) -> bool:
    """Tell whether *tree* is complete and made by this recipe."""
    try:
        return (tree / "lab.stamp").read_text() == STAMP
    except OSError:
        return False


def _tree() -> Path:
    return cache_folder() / f"asterisk-{SUITE}"


def _build(tree: Path, say: Say) -> None:
    new = tree.with_name(f"{tree.name}.new")
    for leftover in (new, tree):
        if leftover.exists():
            shutil.rmtree(leftover)
    if not (works(["debootstrap", "--version"]) and works(["gpgv", "--version"]) and Path(_KEYRING).exists()):
        with step(say, "installed debootstrap"):
            _apt([], *_TOOLS)
    with step(say, f"made a Debian {SUITE} tree in {tree.parent}"):
        # In a mount namespace, so that whatever debootstrap mounts goes with it. All releases share sid's script,
        # and an older debootstrap has not heard of this one; the empty word stands for the usual mirror.
        run(
            [
                *("unshare", "--mount", "debootstrap", "--variant=minbase", "--force-check-gpg"),
                *(f"--keyring={_KEYRING}", SUITE, new, "", "sid"),
            ],
            _BUILD_SECONDS,
        )
    with step(say, "installed Asterisk and SIPp in it"):
        (new / "lab").mkdir()
        (new / "etc/hosts").touch()
        start_nothing = new / "usr/sbin/policy-rc.d"
        start_nothing.write_text("#!/bin/sh\nexit 101\n")
        start_nothing.chmod(0o755)
        _apt(DebianRoot(new).command([], new / "lab"), *PACKAGES)
        for unneeded in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(new / unneeded)
    (new / "lab.stamp").write_text(STAMP)
    new.rename(tree)


def _apt(inside: list[str], *packages: str) -> None:
    """Install packages with apt, here or *inside* a tree."""
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    apt = [*inside, "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    try:
        run([*apt, "update"], _BUILD_SECONDS, **quiet)
    except AsteriskFailed:
        run([*apt, "-o", _STALE_INDEX, "update"], _BUILD_SECONDS, **quiet)
    run([*apt, "install", "--yes", "--no-install-recommends", *packages], _BUILD_SECONDS, **quiet)


def _is_debian() -> bool:
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        return False
    return bool({"debian", "ubuntu"} & {system["ID"], *system.get("ID_LIKE", "").split()})


@contextmanager
def locked(path: Path, say: Say) -> Iterator[None]:
    """Hold the lock file *path*; wait for another holder as long as a build may take."""
    deadline = time.monotonic() + _BUILD_SECONDS
    told = False
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise AsteriskUnavailable([f"another process holds {path} for too long"]) from None
                if not told:
                    say(f"another process holds {path}; waiting for it")
                    told = True
                time.sleep(0.2)
        yield
