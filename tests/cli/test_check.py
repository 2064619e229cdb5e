"""All that is wrong with a configuration, told by `check` and by whoever else needs it."""

import json

import pytest

from agi_bridge.cli.exit_code import DONE, MISUSED


def test_check_of_a_good_configuration(run, configured):
    """A good configuration is called so."""
    assert run("check") == (DONE, "the configuration is good: 3 rules\n", "")
    code, out, err = run("check", "--json")

    assert (code, json.loads(out), err) == (DONE, {"problems": [], "warnings": []}, "")


WRONG = """
[[route]]
name = "sales"
did = 15551230001
agentid = "-Nabc"
fallback = "millis-fallback,s,1"
agent_config_file = "gone.json"
"""


PROBLEMS = [
    {
        "path": 'route "sales": did',
        "message": "the number 15551230001 has no quotes",
        "suggestion": 'write "15551230001" with its "+" and leading zeros',
    },
    {
        "path": 'route "sales": agentid',
        "message": "there is no such key",
        "suggestion": 'did you mean "agent_id"?',
    },
    {
        "path": 'route "sales": agent_config_file',
        "message": "cannot read gone.json: No such file or directory",
        "suggestion": "write it beside the configuration, or name another",
    },
]


PROBLEM_LINES = """\
route "sales": did: the number 15551230001 has no quotes (write "15551230001" with its "+" and leading zeros)
route "sales": agentid: there is no such key (did you mean "agent_id"?)
route "sales": agent_config_file: cannot read gone.json: No such file or directory (write it beside the configuration, or name another)
"""


@pytest.mark.parametrize(
    "command", ["check", "serve", "route --did 1", "register --did 1", "standby list", "asterisk-config --flavor plain"]
)
def test_every_command_tells_all_problems_of_the_configuration(run, tmp_path, command):
    """With a configuration that is wrong nothing starts: every problem is a line on standard error, exit code 2."""
    (tmp_path / "bridge.toml").write_text(WRONG)

    assert run(*command.split()) == (MISUSED, "", PROBLEM_LINES)


def test_problems_as_json(run, tmp_path):
    """A script gets path, message and suggestion of each problem."""
    (tmp_path / "bridge.toml").write_text(WRONG)
    code, out, err = run("check", "--json")

    assert (code, json.loads(out), err) == (MISUSED, {"problems": PROBLEMS, "warnings": []}, "")


def test_warnings_stop_nothing(run, tmp_path, configured):
    """A warning goes to standard error, and the configuration is good all the same."""
    text = (tmp_path / "bridge.toml").read_text()
    (tmp_path / "bridge.toml").write_text(text.replace("127.0.0.1:0", "0.0.0.0:4573"))
    message = "0.0.0.0:4573 can be reached from other networks, and FastAGI has no password"
    suggestion = "listen on 127.0.0.1 or a private address, and let a firewall admit only the PBX"

    assert run("check") == (
        DONE,
        "the configuration is good: 3 rules\n",
        f"warning: agi.listen: {message} ({suggestion})\n",
    )
    code, out, err = run("check", "--json")
    warning = {"path": "agi.listen", "message": message, "suggestion": suggestion}
    assert (code, json.loads(out), err) == (DONE, {"problems": [], "warnings": [warning]}, "")
