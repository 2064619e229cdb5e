"""The command `agi-bridge`: its help, its version, and command lines that are wrong."""

import pytest

from agi_bridge import __version__
from agi_bridge.cli.exit_code import DONE, MISUSED


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "",
            ["Take calls until stopped.", "Name all that is wrong", "Exit codes: 0 done, 1 it did"],
        ),
        ("init", ["Write a first configuration.", "--key-from FILE", "--did NUMBER", "--force"]),
        ("serve", ["Take calls until stopped.", "-c, --config FILE", "[env var: AGI_BRIDGE_CONFIG]"]),
        ("health", ["Ask a running bridge whether it is ready.", "--url URL", "--json"]),
        ("reload", ["Make the running bridge read its configuration anew.", "--url URL", "--json"]),
        ("live", ["Show the calls that are up.", "--token-file FILE", "--url URL", "--json"]),
        ("hangup", ["End a call.", "ID", "--token-file FILE"]),
        ("transfer", ["Send the caller on.", "The name of a [[transfer]].", "--reason TEXT", "--summary TEXT"]),
        ("check", ["Name all that is wrong with the configuration.", "--json"]),
        (
            "doctor",
            [
                "Look at both ends, and say what to do.",
                "millis, bridge, pbx",
                "--quiet",
                "--console SOCKET",
            ],
        ),
        ("calls", ["Show the latest calls.", "--since TIME", "-f, --follow", "--limit NUMBER"]),
        ("export", ["Print the records of calls.", "--format", "csv", "jsonl", "--until TIME"]),
        ("migrate", ["Bring the database of records up to date."]),
        ("route", ["--did NUMBER", "[required]", "--arg NAME=VALUE", "[default: from-trunk]"]),
        ("register", ["Register one call with Millis, and dial nothing.", "--caller NUMBER"]),
        ("asterisk-config", ["--flavor NAME", "plain, freepbx, issabel, vitalpbx", "--write", "--remove"]),
        ("standby", ["create  Have Millis keep a SIP URI for a rule's agent.", "list    Show the standby URI of each"]),
        ("standby create", ["--rule NAME", "[required]", "--region REGION", "us-west or eu-west."]),
        ("standby list", ["Millis cannot be asked"]),
        ("standby delete", ["--id ID", "--account NAME"]),
        ("simulate", ["millis  Play the Millis API", "call    Play Asterisk: one call to a running bridge."]),
        ("simulate millis", ["--sip-host HOST:PORT", "--fault FAULT", "body=json|html|empty|huge", "--agent"]),
        (
            "simulate caller",
            ["--pbx HOST:PORT", "127.0.0.1:5060]", "Proves audio both ways", "--seconds SECONDS"],
        ),
        ("simulate call", ["--bridge HOST:PORT", "[default: 127.0.0.1:4573]", "route, dial, ended or ping."]),
    ],
)
def test_help_says_what_a_command_does(run, command, words):
    """Each command explains itself within the width of a terminal, no sentence cut short."""
    code, out, err = run(*command.split(), "--help")

    assert (code, err) == (DONE, "")
    assert [word for word in words if word not in out] == []
    assert max(map(len, out.splitlines())) <= 80
    assert "..." not in out.replace("[ARGS]...", "")


def test_version(run):
    """The version is printed by itself."""
    assert run("--version") == (DONE, f"agi-bridge {__version__}\n", "")


@pytest.mark.parametrize("command", ["", "simulate", "standby"])
def test_no_command_shows_the_help(run, command):
    """Without a subcommand the help is shown, and the command line is wrong."""
    code, out, err = run(*command.split())

    assert code == MISUSED
    assert "Commands:" in out + err


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("nosuch", "Error: No such command 'nosuch'."),
        ("serve --nosuch", "Error: No such option: --nosuch"),
        ("route", "Error: Missing option '--did'."),
        ("register --caller 1", "Error: Missing option '--did'."),
        ("simulate call", "Error: Missing option '--did'."),
        ("route --did 1 --arg a=1 --arg a=2", "Error: Invalid value for --arg: an AGI argument is given twice"),
        (
            "standby create --rule nosuch",
            'Error: Invalid value for --rule: there is no [[route]] with the name "nosuch"',
        ),
        (
            "standby delete --id=a --rule blocked",
            'Error: Invalid value for --rule: "blocked" refuses its callers and has no agent',
        ),
        (
            "standby create --rule sales --region mars",
            "Error: Invalid value for --region: must be us-west or eu-west",
        ),
        (
            "standby delete --id=a --account nosuch",
            'Error: Invalid value for --account: there is no Millis key for the account "nosuch"',
        ),
        (
            "simulate call --did 1 --bridge 4573",
            "Error: Invalid value for --bridge: must be an address and a port, such as 127.0.0.1:4573 or [::1]:4573",
        ),
        (
            "serve --workers two",
            "Error: Invalid value for '--workers': must be a valid integer, unable to parse string as an integer",
        ),
        (
            "token crm --scope all",
            "Error: Invalid value for '--scope': 'all' is not one of 'read', 'control', 'millis'.",
        ),
        (
            "calls --result foo",
            "Error: Invalid value for '--result': 'foo' is not one of "
            "'completed', 'caller', 'operator', 'pbx', 'bridge', 'millis', 'unknown'.",
        ),
        (
            "asterisk-config --flavor elastix",
            "Error: Invalid value for '--flavor': 'elastix' is not one of 'plain', 'freepbx', 'issabel', 'vitalpbx'.",
        ),
        (
            "asterisk-config --flavor plain --bridge bridge",
            "Error: Invalid value for --bridge: must be an address and a port, such as 127.0.0.1:4573 or [::1]:4573",
        ),
        (
            "simulate millis --port 65536",
            "Error: Invalid value for '--port': must be less than or equal to 65535",
        ),
    ],
)
def test_wrong_command_line(run, configured, command, complaint):
    """A command line that makes no sense is told in a line on standard error, with exit code 2."""
    code, out, err = run(*command.split())

    assert (code, out) == (MISUSED, "")
    assert err.splitlines()[-1] == complaint
