"""Asterisk's console: the control socket on this machine, or the manager interface of a PBX elsewhere.

A shell. Each way ends in a `Console`, a function that runs a command and returns what it printed, within the time given; what
goes wrong is a `NoConsole`, whose message says what to do.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from agi_bridge.errors import AmiError, AmiRefused, NotPermitted
from agi_bridge.pbx.ami import open_ami

if TYPE_CHECKING:
    from pathlib import Path

    from agi_bridge.config import PbxSettings

T = TypeVar("T")

Console = Callable[[str], str]

USUAL_SOCKETS = ("/var/run/asterisk/asterisk.ctl", "/run/asterisk/asterisk.ctl")

# The whole dialplan of a large PBX is some megabytes.
_LARGEST_OUTPUT_BYTES = 32 * 2**20


class NoConsole(Exception):
    """The console cannot be used; *remedy* says what would help."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.remedy = remedy


def socket_console(path: Path, deadline: float) -> Console:
    """Return the console of the Asterisk whose control socket is at *path*, as `asterisk -rx` reaches it.

    *deadline* is a time of time.monotonic().
    """

    def run(command: str) -> str:
        said = bytearray()
        try:
            with socket.socket(socket.AF_UNIX) as control:
                control.settimeout(_left(deadline))
                control.connect(str(path))
                # Asterisk greets with a line "host/pid/version", prints and closes.
                control.sendall(f"cli quit after {command}\0".encode())
                while len(said) < _LARGEST_OUTPUT_BYTES and (chunk := control.recv(65536)):
                    said += chunk
                    control.settimeout(_left(deadline))
        except PermissionError:
            raise NoConsole(
                f"{path} may not be opened by this user", "run doctor as root, or as the user asterisk"
            ) from None
        except TimeoutError:
            raise NoConsole(
                f"Asterisk's console did not answer `{command}` in time", "is the PBX overloaded?"
            ) from None
        except OSError as error:
            raise NoConsole(
                f"no Asterisk answers at {path}: {error.strerror or error}",
                "is Asterisk running? systemctl status asterisk. Name another socket with --console",
            ) from None
        return said.partition(b"\n")[2].decode(errors="replace")

    return run


@contextmanager
def ami_console(pbx: PbxSettings, deadline: float) -> Iterator[Console]:
    """Log in to the manager interface of *pbx* and yield its console; raise NoConsole."""
    if not pbx.secret.get_secret_value():
        raise NoConsole(
            f"the secret of {pbx.ami_user} at {pbx.name} is not known here", "agi-bridge check says what is missing"
        )
    # What is asked for here may be larger than anything that the service wants to hear.
    pbx = pbx.model_copy(update={"ami_message_limit_bytes": _LARGEST_OUTPUT_BYTES})
    with asyncio.Runner() as runner:
        ami = open_ami(pbx)
        try:
            opened = runner.run(_within(ami.__aenter__(), deadline))
        except AmiRefused as error:
            # The rest of the message is advice, which has a place of its own here.
            found = str(error).partition(";")[0]
            remedy = (
                f"compare ami_user and the secret with [{pbx.ami_user}] in the PBX's manager.conf, and its permit with "
            )
            raise NoConsole(
                found, remedy + "the address of this machine; then: asterisk -rx 'manager reload'"
            ) from None
        except (AmiError, TimeoutError) as error:
            remedy = "is enabled = yes and bindaddr right in manager.conf, is the port open in the firewall?"
            raise NoConsole(str(error) or "no login in time", remedy) from None

        def run(command: str) -> str:
            try:
                return runner.run(_within(opened.command(command), deadline))
            except NotPermitted:
                remedy = (
                    f"doctor needs write = command for [{pbx.ami_user}] in manager.conf; or run it on the PBX itself"
                )
                raise NoConsole("the manager user may not use the console", remedy) from None
            except AmiError as error:
                # `dialplan show x@y` of a place that does not exist counts as a failed command.
                if str(error).startswith("Asterisk rejects Command"):
                    return ""
                raise NoConsole(str(error), "run doctor on the PBX itself") from None
            except TimeoutError:
                raise NoConsole(f"no answer to `{command}` in time", "run doctor on the PBX itself") from None

        try:
            yield run
        finally:
            runner.run(ami.__aexit__(None, None, None))


def _left(deadline: float) -> float:
    """Return the seconds until *deadline*, never none at all: a socket would take that for no limit."""
    return max(0.001, deadline - time.monotonic())


async def _within(work: Awaitable[T], deadline: float) -> T:
    async with asyncio.timeout(_left(deadline)):
        return await work
