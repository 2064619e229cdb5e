"""The console where it is not to be had; where it is, tests/asterisk asks it."""

import socket
import threading
import time

import pytest
from pydantic import SecretStr

from agi_bridge.config import PbxSettings
from agi_bridge.doctor.console import NoConsole, ami_console, socket_console
from tests.asterisk.stage import closed_port


def soon():
    return time.monotonic() + 0.3


def test_no_asterisk_here(tmp_path):
    """A socket that is not there is told with its path and what to do."""
    with pytest.raises(NoConsole, match=r"no Asterisk answers at .*asterisk\.ctl: No such file") as raised:
        socket_console(tmp_path / "asterisk.ctl", soon())("core show version")

    assert "--console" in raised.value.remedy


def test_console_that_says_nothing(tmp_path):
    """An Asterisk that hangs is not waited for."""
    path = tmp_path / "c"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        with pytest.raises(NoConsole, match="did not answer `core show version` in time"):
            socket_console(path, soon())("core show version")


def test_what_the_console_prints(tmp_path):
    """The greeting is left out, and what is no UTF-8 does no harm."""
    path = tmp_path / "c"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def answer():
            connection, _ = server.accept()
            with connection:
                assert connection.recv(1000) == b"cli quit after module show\0"
                connection.sendall(b"host/1/Asterisk 22\nJos\xe9\n")

        answering = threading.Thread(target=answer)
        answering.start()
        said = socket_console(path, soon())("module show")
        answering.join()

    assert said == "Jos�\n"


def settings(host="127.0.0.1", port=1, secret="secret"):
    return PbxSettings(name="hq", ami_host=host, ami_port=port).with_secret(SecretStr(secret), "")


def test_manager_whose_secret_is_not_known():
    """Without a secret nobody is asked."""
    unknown = pytest.raises(NoConsole, match="the secret of agi-bridge at hq is not known")
    with unknown, ami_console(settings(secret=""), soon()):
        pass


def test_manager_that_is_not_there():
    """A refused connection to the manager interface is one line with what to do."""
    refused = pytest.raises(NoConsole, match="refused")
    with closed_port() as (host, port), refused as raised, ami_console(settings(host, port), soon()):
        pass

    assert "manager.conf" in raised.value.remedy


def test_manager_that_says_nothing():
    """A port that accepts and keeps silent is not waited for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(NoConsole, match="in time"), ami_console(settings(port=port), soon()):
            pass
