"""What a command imports, and what the help says without importing anything."""

import subprocess
import sys
from typing import Any

import pytest
import typer

from agi_bridge.cli.command import commands
from agi_bridge.cli.exit_code import DONE, FAILED
from agi_bridge.cli.group import LazyGroup
from tests.cli.program import CONFIG

# Runs a command as a program does, then tells on standard error what was imported for it.
TELLING = """
import sys
from agi_bridge.cli.command import main
code = main(sys.argv[1:])
sys.stderr.write(" ".join(sys.modules))
sys.exit(code)
"""

HEAVY = {"aiohttp", "alembic", "asyncio", "panoramisk", "phonenumbers", "prometheus_client", "pydantic", "rich"}
HEAVY |= {"sqlalchemy", "structlog", "uvloop"}
OURS = {f"agi_bridge.{name}" for name in ("app", "bridge", "config", "conversation", "doctor", "records", "simulator")}

# typer itself checks options with it.
BY_TYPER = {"pydantic"}
# To ask a running bridge takes no more than to read where it listens.
CONFIGURED = {"phonenumbers", "agi_bridge.config"}
FOR_RECORDS = {"agi_bridge.records", "sqlalchemy", "alembic", "asyncio"}
FOR_MILLIS = {"aiohttp", "asyncio", "structlog", "rich", "uvloop"}


def imported(folder, *arguments: str) -> tuple[int, set[str]]:
    """Run a command in a process of its own; return its exit code, and all that it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", TELLING, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("arguments", "code", "allowed"),
    [
        ("--version", DONE, set()),
        ("--help", DONE, set()),
        ("token crm --scope read", DONE, set()),
        ("health --url 127.0.0.1:1", FAILED, CONFIGURED),
        ("live --url 127.0.0.1:1", FAILED, CONFIGURED),
        ("hangup abcd --url 127.0.0.1:1", FAILED, CONFIGURED),
        ("reload --url 127.0.0.1:1", FAILED, CONFIGURED),
        ("check", DONE, CONFIGURED),
        ("route --did 5551230001 --caller 2125550100", DONE, CONFIGURED),
        ("asterisk-config --flavor plain --bridge 127.0.0.1:4573", DONE, CONFIGURED),
        ("calls", FAILED, CONFIGURED | FOR_RECORDS),
        ("register --did 5551230001 --caller 2125550100", FAILED, CONFIGURED | FOR_MILLIS),
    ],
)
def test_command_imports_what_it_needs(tmp_path, monkeypatch, arguments, code, allowed):
    """No command loads what only another one needs."""
    monkeypatch.setenv("AGI_BRIDGE_TOKEN", "a-token")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    (tmp_path / "bridge.toml").write_text(CONFIG.format(url="http://127.0.0.1:1"))

    given, modules = imported(tmp_path, *arguments.split())

    assert (given, modules & (HEAVY | OURS) - BY_TYPER - allowed) == (code, set())


def test_serving_imports_nothing_of_the_other_commands(tmp_path):
    """The bridge loads no doctor, no simulator and no first questions; here it ends at an address that is nobody's."""
    (tmp_path / "bridge.toml").write_text(CONFIG.format(url="http://127.0.0.1:1").replace("127.0.0.1:0", "192.0.2.1:1"))

    code, modules = imported(tmp_path, "serve")

    assert (code, "agi_bridge.agi.server" in modules) == (FAILED, True)
    others = ("asterisk_conf", "conversation", "doctor", "first_config", "flavor", "simulator", "tool_definition")
    assert modules & {f"agi_bridge.{name}" for name in others} == set()
    assert {name for name in modules if name.startswith("agi_bridge.cli.")} == {
        f"agi_bridge.cli.{name}"
        for name in ("command", "configuration", "event_loop", "exit_code", "group", "option", "output", "serve")
    }


def test_listed_summary_is_the_first_sentence_of_the_help():
    """What a group says of a command is what the command says of itself, down to the last group."""
    pending: list[Any] = [typer.main.get_command(commands)]
    for group in pending:
        for name, command in group.commands.items():
            if isinstance(group, LazyGroup):
                summary = group.listed[name].summary
                assert f"{command.help} ".replace("\n", " ").startswith(f"{summary} ")
            if isinstance(command, LazyGroup):
                pending.append(command)

    assert len(pending) == 2
