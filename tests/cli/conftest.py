"""A command run in an empty folder, a configuration, a simulated Millis, a bridge to ask."""

import os
import sys

import pytest
import structlog

from agi_bridge import app, config
from agi_bridge.cli.command import main
from agi_bridge.simulator.millis import SimulatedMillis
from tests.cli.program import CONFIG, KEY
from tests.served import serving, write_config


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Run in an empty folder with a key, a terminal of usual width, and nothing else from the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("AGI_BRIDGE_CONFIG", "AGI_BRIDGE_SECRET", "MILLIS_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MILLIS_API_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


@pytest.fixture
def run(capsys):
    """Run a command in this process; it gives its exit code, what it printed, and what it complained of."""

    def run(*arguments):
        code = main(arguments)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert KEY not in out + err
        return code, out, err

    return run


@pytest.fixture
def configured(tmp_path):
    """Write the configuration that is found without being named; its Millis is not there unless a URL is given."""

    def write(url="http://127.0.0.1:1"):
        (tmp_path / "bridge.toml").write_text(CONFIG.format(url=url))

    write()
    return write


@pytest.fixture
async def millis(configured):
    async with SimulatedMillis(key=KEY) as millis:
        configured(millis.url)
        yield millis


@pytest.fixture
async def bridge(millis, tmp_path):
    """Serve in this process, and give the address."""
    text = (tmp_path / "bridge.toml").read_text()
    loaded = config.load(text, os.environ, lambda name: b"")
    with structlog.testing.capture_logs():
        async with app.running(loaded) as server:
            yield "{}:{}".format(*server.addresses[0])


@pytest.fixture
async def served(tmp_path, monkeypatch):
    """Serve as a program; the commands find it where its configuration says, though that asked for any port."""
    async with SimulatedMillis() as millis, serving(write_config(tmp_path, millis)) as served:
        await served.started()
        write_config(tmp_path, millis, web_port=served.web_address[1])
        monkeypatch.delenv("MILLIS_API_KEY")
        yield served
