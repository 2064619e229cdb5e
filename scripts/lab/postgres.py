"""A real PostgreSQL for the tests and the bench: the installed one, else Debian's packages unpacked beside us.

    with find_postgres().start() as server:
        print(server.url("postgres"))

Nothing is installed on the machine, and no server of its own is touched: each is a cluster in a folder of its own, on a Unix
socket, run by an unprivileged user, and killed with whoever started it.
"""

import os
import platform
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from .debian_root import locked
from .errors import AsteriskFailed, PostgresUnavailable
from .place import Guest, Host
from .steps import Say, cache_folder, run, step

# Written into a finished tree. Change it, and older trees are made anew.
_STAMP = "1"
_UNPACK_SECONDS = 600
_INIT_SECONDS = 60
_START_SECONDS = 30
_STOP_SECONDS = 10
_POLL_SECONDS = 0.01

# PostgreSQL refuses to run as root; this is nobody, on every Linux.
_NOBODY = 65534

# What a test cluster need not do: survive a power cut.
_SETTINGS = {"fsync": "off", "listen_addresses": "", "max_connections": "50", "shared_buffers": "128MB"}


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL that can be started any number of times."""

    kind: str  # "installed" or "unpacked"
    programs: Path
    libraries: Path | None = None

    @contextmanager
    def start(self) -> Iterator["PostgresServer"]:
        """Run a cluster of its own for the length of a `with` block."""
        # Short, for a socket's path may have no more than 107 signs.
        with tempfile.TemporaryDirectory(prefix="agi-bridge-pg-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            if os.geteuid() == 0:
                os.chown(folder, _NOBODY, _NOBODY)
            run(self.command("initdb", "-D", str(folder / "data"), "-U", "agi", "-A", "trust", "-N", "--locale=C", "-E", "UTF8"), _INIT_SECONDS)  # fmt: skip
            server = PostgresServer(self, folder)
            server.start()
            try:
                yield server
            finally:
                server.stop()

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command line that runs one of the programs as somebody without privileges."""
        argv = [str(self.programs / program), *arguments]
        if self.libraries is not None:
            argv = ["env", f"LD_LIBRARY_PATH={self.libraries}", *argv]
        if os.geteuid() == 0:
            argv = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", *argv]
        return argv


class PostgresServer:
    """A cluster, running from `start` to `stop` or `kill`, as often as wanted."""

    def __init__(self, postgres: Postgres, folder: Path) -> None:
        self.folder = folder
        self._postgres = postgres
        self._guest: Guest | None = None

    def url(self, database: str) -> str:
        """Return the address of a database, as libpq and SQLAlchemy read it."""
        return f"postgresql://agi@/{database}?host={quote(str(self.folder), safe='/')}"

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        argv = self._postgres.command(
            "postgres", "-D", str(self.folder / "data"), "-c", f"unix_socket_directories={self.folder}", *settings
        )
        self._guest = Guest(Host(), argv, self.folder, self.folder / "log")
        deadline = time.monotonic() + _START_SECONDS
        while self._state() != "ready":
            if time.monotonic() > deadline or not self._guest.running:
                raise AsteriskFailed(f"PostgreSQL did not start; it said:\n{self._guest.text()}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Stop the server, if it runs, and cut off who is connected."""
        if self._guest is not None:
            if self._guest.running:
                os.kill(self._pid(), signal.SIGINT)
            self._guest.wait(_STOP_SECONDS)
            self._guest = None

    def _pid(self) -> int:
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])

    def _state(self) -> str:
        """Return what the server writes into the last line of its own note."""
        try:
            return (self.folder / "data/postmaster.pid").read_text().splitlines()[7].strip()
        except (OSError, IndexError):
            return ""


def find_postgres(say: Say = print) -> Postgres:
    """Return a PostgreSQL, unpacked now if need be; raise PostgresUnavailable."""
    if (programs := _newest(Path("/usr/lib/postgresql"))) is not None:
        return Postgres("installed", programs)
    if (postgres := shutil.which("postgres")) and shutil.which("initdb"):
        return Postgres("installed", Path(postgres).resolve().parent)
    return unpacked_postgres(_cache(), say)


def unpacked_postgres(cache: Path, say: Say = print) -> Postgres:
    """Return Debian's PostgreSQL, unpacked in the folder *cache* without being installed; raise PostgresUnavailable."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise PostgresUnavailable("no PostgreSQL is installed, and there is no apt-get to fetch it with")
    tree = cache / "postgres"
    with locked(cache / "postgres.lock", say):
        if not _is_finished(tree):
            try:
                _unpack(tree, say)
            except (AsteriskFailed, OSError) as failure:
                raise PostgresUnavailable(f"PostgreSQL could not be fetched: {failure}") from failure
    programs = _newest(tree / "usr/lib/postgresql")
    assert programs is not None
    libraries = next((tree / "usr/lib").glob(f"{platform.machine()}-linux-gnu*"), tree / "usr/lib")
    return Postgres("unpacked", programs, libraries)


def _cache() -> Path:
    """Return where to unpack: nobody, who is to run it, cannot look into root's home."""
    if os.geteuid() != 0:
        return cache_folder()
    folder = Path("/var/cache/agi-bridge")
    folder.mkdir(exist_ok=True)
    return folder


def _newest(folder: Path) -> Path | None:
    """Return the programs of the newest version in *folder*, which has one subfolder each."""
    versions = [path.parents[1] for path in folder.glob("*/bin/postgres") if path.parents[1].name.isdecimal()]
    return max(versions, key=lambda path: int(path.name)) / "bin" if versions else None


def _is_finished(tree: Path) -> bool:
    try:
        return (tree / "stamp").read_text() == _STAMP
    except OSError:
        return False


def _unpack(tree: Path, say: Say) -> None:
    """Have apt fetch the server and what it needs, with an index of our own, and unpack it."""
    new = tree.with_name(f"{tree.name}.new")
    for leftover in (new, tree):
        if leftover.exists():
            shutil.rmtree(leftover)
    for folder in ("lists/partial", "archives/partial"):
        (new / "apt" / folder).mkdir(parents=True)
    apt = [
        *("apt-get", "-qq", "-o", "Debug::NoLocking=true", "-o", "Acquire::Check-Valid-Until=false"),
        *("-o", f"Dir::State::Lists={new}/apt/lists", "-o", f"Dir::Cache={new}/apt"),
        *("-o", f"Dir::Cache::Archives={new}/apt/archives", "-o", f"APT::Sandbox::User={_name()}"),
    ]
    with step(say, "fetched Debian's PostgreSQL"):
        run([*apt, "update"], _UNPACK_SECONDS)
        depends = run(["apt-cache", *apt[2:], "depends", "postgresql"], _UNPACK_SECONDS)
        package = re.search(r"postgresql-\d+", depends)
        if package is None:
            raise AsteriskFailed("Debian's index names no version of PostgreSQL")
        run([*apt, "--yes", "--no-install-recommends", "--download-only", "install", package[0]], _UNPACK_SECONDS)
    for archive in sorted((new / "apt/archives").glob("*.deb")):
        run(["dpkg-deb", "-x", archive, new], _UNPACK_SECONDS)
    shutil.rmtree(new / "apt")
    (new / "stamp").write_text(_STAMP)
    new.rename(tree)


def _name() -> str:
    return "root" if os.geteuid() == 0 else str(os.geteuid())
