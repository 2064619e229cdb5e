"""What systemd is told and what it hands over: real sockets of its kinds, and a process with an inherited one."""

import os
import socket
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from agi_bridge.systemd import Notifier, listening_sockets, watchdog_seconds

# sd_listen_fds(3) begins at 3.
AS_SYSTEMD_DOES = """
import os, sys
from agi_bridge.errors import CannotListen
from agi_bridge.systemd import listening_sockets
if sys.argv[1:]:
    os.dup2(int(sys.argv[1]), 3)
environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
try:
    for sock in listening_sockets(environ, os.getpid()):
        print(sock.getsockname()[1], sock.fileno(), os.get_inheritable(sock.fileno()))
except CannotListen as error:
    print(error)
"""


def handed_over(*sockets):
    """Return what a process says that was started with a socket, or promised one."""
    numbers = [sock.fileno() for sock in sockets]
    ran = subprocess.run(
        [sys.executable, "-c", AS_SYSTEMD_DOES, *map(str, numbers)],
        pass_fds=numbers,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_every_message_reaches_systemd(tmp_path, kind):
    """Both kinds of address are spoken to, one datagram a message."""
    address = str(tmp_path / "notify") if kind == "path" else f"@agi-bridge-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address.replace("@", "\0", 1))
        notifier = Notifier.from_environ({"NOTIFY_SOCKET": address})
        notifier.ready("takes calls")
        notifier.reloading()
        notifier.alive()
        notifier.stopping()
        notifier.close()
        notifier.alive()
        heard = [systemd.recv(4096).decode() for _ in range(4)]

    assert heard[0] == "READY=1\nSTATUS=takes calls\n"
    reloading, moment, _ = heard[1].split("\n")
    assert (reloading, moment.partition("=")[0]) == ("RELOADING=1", "MONOTONIC_USEC")
    assert heard[2:] == ["WATCHDOG=1\n", "STOPPING=1\nSTATUS=draining\n"]


def test_without_systemd_nothing_is_said():
    """A bridge that was started by hand keeps silent."""
    notifier = Notifier.from_environ({})
    notifier.ready("takes calls")
    notifier.close()


def test_systemd_that_is_not_there_is_told_once(tmp_path):
    """An address where nobody listens costs a line in the log, and nothing else."""
    with capture_logs() as logs:
        notifier = Notifier.from_environ({"NOTIFY_SOCKET": str(tmp_path / "gone")})
        notifier.ready("takes calls")
    assert [line["event"] for line in logs] == ["systemd cannot be told anything"]


def test_systemd_that_does_not_read_stops_nothing(tmp_path):
    """A full socket loses messages, with a line in the log, rather than wait."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, capture_logs() as logs:
        systemd.bind(str(tmp_path / "notify"))
        notifier = Notifier.from_environ({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for _ in range(10_000):
            notifier.alive()
            if logs:
                break
        notifier.close()
    assert logs[0]["event"] == "not told to whoever started us"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "7"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_is_for_the_process_that_it_names(environ, seconds):
    """The limit is read in microseconds, and only by the process that is watched."""
    assert watchdog_seconds(environ, 7) == seconds


def test_listening_socket_is_taken_over():
    """A socket that was listening before the process began is found, and not handed on to its children."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert handed_over(sock) == f"{sock.getsockname()[1]} 3 False"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_socket_that_nobody_can_listen_on_is_refused(kind):
    """A .socket unit with the wrong kind of socket is told in words."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        assert handed_over(sock) == (
            "file descriptor 3 was handed over to be listened on, but is no listening TCP socket; "
            "the .socket unit needs ListenStream= with a port"
        )


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": "1"}, {"LISTEN_FDS": "1", "LISTEN_PID": "8"}])
def test_sockets_of_another_process_are_left_alone(environ):
    """What was handed to somebody else, and reached us by inheritance, is not ours."""
    assert listening_sockets(environ, 7) == []


def test_descriptor_that_is_not_there():
    """A count that promises more than there is is told in words."""
    assert handed_over() == "LISTEN_FDS names a socket that is not there: Bad file descriptor"
