"""The command `agi-bridge`: what each subcommand prints, where, and with which exit code."""

import asyncio
import errno
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from agi_bridge import __version__, app, config
from agi_bridge.access import digest
from agi_bridge.call import Report
from agi_bridge.cli import DONE, FAILED, INTERRUPTED, MISUSED, WARNED, main
from agi_bridge.records.schema import VERSIONS
from agi_bridge.records.selection import Selection
from agi_bridge.records.store import Store, database_url
from agi_bridge.simulator.asterisk import AsteriskSide
from agi_bridge.simulator.fault import Fault
from agi_bridge.simulator.millis import SimulatedMillis
from agi_bridge.workers import WORKER_VARIABLE
from tests.records.reports import ended, routed
from tests.served import serving, two_free_ports, write_config

KEY = "0123456789abcdefSECRET"

CONFIG = """
[agi]
listen = "127.0.0.1:0"

[web]
listen = []

[millis]
base_url = "{url}"
allowed_hosts = ["127.0.0.1"]

[numbers]
default_country = "US"

[defaults]
fallback = "millis-fallback,s,1"

[[route]]
name = "sales"
did = "+15551230001"
agent_id = "-Nabc"
metadata = {{ team = "a:100:b [sales]", tier = "${{DB(crm/${{CALLERID(num)}})}}" }}

[[route]]
name = "queue"
context = "from-office"
channel = "PJSIP/office"
arguments = {{ queue = "_[0-9]+" }}
agent_id = "-Nqueue"

[[route]]
name = "blocked"
caller = "withheld"
reject = true
"""


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


def table(out):
    """Read a table of names and values; a line that goes on, or is of the conversation, is left out."""
    return dict(line.split(None, 1) for line in out.splitlines() if line[0] not in "<> }")


# Help, and a command line that is wrong.


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
        ("asterisk-config", "Error: Missing option '--flavor'."),
        (
            "asterisk-config --flavor elastix",
            'Error: Invalid value for --flavor: there is no flavor "elastix"; '
            "there are: plain, freepbx, issabel, vitalpbx",
        ),
        (
            "asterisk-config --flavor plain --bridge bridge",
            "Error: Invalid value for --bridge: must be an address and a port, such as 127.0.0.1:4573 or [::1]:4573",
        ),
        (
            "simulate millis --port 65536",
            "Error: Invalid value for '--port': Input should be less than or equal to 65535",
        ),
    ],
)
def test_wrong_command_line(run, configured, command, complaint):
    """A command line that makes no sense is told in a line on standard error, with exit code 2."""
    code, out, err = run(*command.split())

    assert (code, out) == (MISUSED, "")
    assert err.splitlines()[-1] == complaint


def test_fault_that_does_not_exist(run):
    """A fault that the simulator does not know is told with those that it does."""
    code, out, err = run("simulate", "millis", "--fault", "smoke")

    assert (code, out) == (MISUSED, "")
    assert "Error: Invalid value for --fault: no fault 'smoke'; allowed, separated by commas: delay=SECONDS," in err


# The configuration.


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


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        (
            "gone.toml",
            "gone.toml: cannot be read: No such file or directory (name the file with --config, or write one with agi-bridge init)\n",
        ),
        (".", ".: cannot be read: Is a directory (name the file with --config, or write one with agi-bridge init)\n"),
        ("latin.toml", "latin.toml: is not UTF-8 text (save it as UTF-8)\n"),
        (
            "words.toml",
            "file: is not TOML: Expected '=' after a key in a key/value pair (at line 1, column 6) "
            '(texts and phone numbers stand in quotes, such as did = "+15551230001")\n',
        ),
    ],
)
def test_configuration_that_cannot_be_read(run, tmp_path, name, complaint):
    """A file that is not there, or no text, is told like any other problem."""
    (tmp_path / "latin.toml").write_bytes(b'name = "Jos\xe9"')
    (tmp_path / "words.toml").write_text("once upon a time")

    assert run("check", "--config", name) == (MISUSED, "", complaint)


def test_configuration_that_a_container_lacks(run, monkeypatch):
    """In a container the message names the folder outside that the file belongs into."""
    monkeypatch.setenv("AGI_BRIDGE_SITE", "./site")

    _, _, err = run("check")
    assert (
        err
        == "bridge.toml: cannot be read: No such file or directory (it belongs in the folder AGI_BRIDGE_SITE: ./site)\n"
    )


def test_configuration_that_this_user_may_not_read(run, configured, monkeypatch):
    """A file that another user owns is told with the number of the user who must be let in."""

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    # Root, as whom the tests may run, is let in everywhere.
    monkeypatch.setattr(Path, "read_bytes", refuse)
    _, _, err = run("check", "--config", "bridge.toml")

    assert err.startswith(f"bridge.toml: cannot be read: Permission denied; let uid {os.geteuid()} read it (")


def test_configuration_that_is_nowhere(run):
    """Without a file at the usual places the first of them is named."""
    code, _, err = run("check")

    assert code == MISUSED
    assert (
        err
        == "bridge.toml: cannot be read: No such file or directory (name the file with --config, or write one with agi-bridge init)\n"
    )


@pytest.mark.parametrize("way", ["--config", "-c", "environment"])
def test_configuration_can_be_named(run, tmp_path, monkeypatch, configured, way):
    """The file is named by an option or the environment; files that it names are looked for beside it."""
    folder = tmp_path / "etc"
    folder.mkdir()
    text = (tmp_path / "bridge.toml").read_text().replace('agent_id = "-Nabc"', 'agent_config_file = "sales.json"')
    (folder / "other.toml").write_text(text)
    (folder / "sales.json").write_text('{"language": "de"}')
    if way == "environment":
        monkeypatch.setenv("AGI_BRIDGE_CONFIG", "etc/other.toml")
        code, out, _ = run("route", "--did", "5551230001", "--json")
    else:
        code, out, _ = run("route", "--did", "5551230001", "--json", way, "etc/other.toml")

    assert (code, json.loads(out)["body"]["agent_config"]) == (DONE, {"language": "de"})


def test_configuration_may_begin_with_a_mark(run, tmp_path, configured):
    """The byte order mark that editors on Windows write does not count."""
    text = (tmp_path / "bridge.toml").read_bytes()
    (tmp_path / "bridge.toml").write_bytes(b"\xef\xbb\xbf" + text)

    assert run("check")[0] == DONE


# The doctor.


def findings(out):
    """Read what the doctor printed as JSON, by check; two of one check, and the latter stays."""
    return {each["check"]: each for each in json.loads(out)["findings"]}


async def run_beside(run, *arguments):
    """Run a command while this process plays everybody else."""
    return await asyncio.to_thread(run, *arguments)


async def test_doctor_exits_by_severity(run, millis):
    """With a refused key there is an error, with little credit a warning, and with neither all is well."""
    only_millis = ("doctor", "--only", "millis")

    assert (await run_beside(run, *only_millis))[0] == DONE
    millis.fault = Fault.parse("credit=0.5")
    assert (await run_beside(run, *only_millis))[0] == WARNED
    millis.fault = Fault.parse("status=401")
    code, out, err = await run_beside(run, *only_millis, "--quiet")

    assert (code, err) == (FAILED, "")
    assert out.startswith("error    millis-key          the key of the account")
    assert "\nok " not in out
    assert out.splitlines()[-1].startswith("1 error, no warnings, ")


async def test_doctor_for_a_script(run, millis):
    """JSON has the version, the worst severity and every finding; no colour, no key."""
    code, out, err = await run_beside(run, "doctor", "--only", "millis", "--json")

    said = json.loads(out)
    assert (code, err, said["version"], said["worst"]) == (DONE, "", __version__, "info")
    assert findings(out)["millis-key"] == {
        "severity": "ok",
        "check": "millis-key",
        "looked_at": f"GET {millis.url}/user/info, account default",
        "found": 'the key of the account "default" is accepted',
        "why": "",
        "remedy": "",
    }


def test_doctor_with_a_configuration_that_is_wrong(run, tmp_path):
    """A configuration that cannot be used is a finding with its remedy, and so is one that is not there."""
    (tmp_path / "bridge.toml").write_text('[[route]]\nname = "sales"\nfallback = "a,s,1"\nagent = "x"\n')
    code, out, err = run("doctor", "--only", "bridge", "--json")
    assert (code, err) == (FAILED, "")
    assert 'route "sales": agent: there is no such key' in [each["found"] for each in json.loads(out)["findings"]]

    (tmp_path / "bridge.toml").unlink()
    code, out, err = run("doctor", "--only", "bridge")
    assert (code, err) == (FAILED, "")
    assert "bridge.toml: cannot be read: No such file" in out


async def test_doctor_without_the_key_looks_at_all_the_rest(run, millis, monkeypatch):
    """Where the key is in the environment of the service alone, that is said, and the regions are timed all the same."""
    monkeypatch.delenv("MILLIS_API_KEY")

    code, out, _ = await run_beside(run, "doctor", "--only", "bridge", "--only", "millis", "--json")

    found = findings(out)
    assert code == FAILED
    assert found["bridge-config"]["found"] == "millis.api_key_file: there is no Millis API key"
    assert found["millis-region"]["severity"] == "ok"
    assert "millis-key" not in found


def test_doctor_at_a_socket_that_is_none(run, configured):
    """A named socket at which no Asterisk answers is one clear finding."""
    code, out, err = run("doctor", "--only", "pbx", "--console", "nowhere.ctl")

    assert (code, err) == (WARNED, "")
    assert "no Asterisk answers at nowhere.ctl: No such file or" in out


def test_doctor_of_a_part_that_there_is_not(run, configured):
    """Another word after --only is a misuse."""
    code, _, err = run("doctor", "--only", "phones")

    assert code == MISUSED
    assert "phones" in err


# Which rule, and why.


def test_route_shows_what_would_happen(run, configured):
    """The rule, the body for Millis and the dial string are shown; what only Asterisk knows as it is written."""
    code, out, err = run("route", "--did", "5551230001", "--caller", "2125550100")

    assert (code, err) == (DONE, "")
    shown = table(out)
    assert {name: shown[name] for name in shown if name not in ("body",)} == {
        "did_received": "5551230001",
        "did": "+15551230001",
        "caller_number": "+12125550100",
        "rule": "sales (number 1 of 3, the first that matches)",
        "POST": "http://127.0.0.1:1/register_sip_call",
        "MILLIS_DIAL": "PJSIP/millis/<SIP URI from Millis>",
        "MILLIS_DIAL_TIMEOUT": "10",
        "MILLIS_DIAL_OPTIONS": "iS(3600)",
        "MILLIS_FALLBACK": "millis-fallback,s,1",
    }
    assert '"team": "a:100:b [sales]",' in out
    assert '"tier": "${DB(crm/${CALLERID(num)})}"' in out
    assert out == "\n".join(line.rstrip() for line in out.splitlines()) + "\n"


def test_route_as_json(run, configured, monkeypatch):
    """A script gets the same as JSON, and no key is needed for it."""
    monkeypatch.delenv("MILLIS_API_KEY")
    code, out, err = run("route", "--did", "5551230001", "--json")
    shown = json.loads(out)

    assert (code, err) == (DONE, "")
    assert shown["rule"] == "sales (number 1 of 3, the first that matches)"
    assert shown["caller_number"] is None
    assert shown["body"]["agent_id"] == "-Nabc"
    assert shown["body"]["to_phone"] == "+15551230001"
    assert shown["body"]["metadata"]["caller_withheld"] == "true"
    assert shown["body"]["metadata"]["linkedid"] == "${CHANNEL(linkedid)}"


def test_route_that_no_rule_gives(run, configured):
    """Where no rule matches, the nearest is named, and the exit code says so."""
    code, out, err = run("route", "--did", "15551230009", "--caller", "2125550100")

    assert (code, err) == (FAILED, "")
    assert table(out) == {
        "did_received": "15551230009",
        "did": "+15551230009",
        "caller_number": "+12125550100",
        "rule": 'none matches; nearest is "sales" with +15551230001',
        "MILLIS_STATUS": "fallback",
        "MILLIS_REASON": "no-rule",
        "MILLIS_FALLBACK": "millis-fallback,s,1",
    }


def test_route_that_a_rule_refuses(run, configured):
    """A rule that rejects is named with its reason."""
    code, out, _ = run("route", "--did", "100", "--json")

    assert code == FAILED
    assert json.loads(out) == {
        "did_received": "100",
        "did": "100",
        "caller_number": None,
        "rule": "blocked (number 3 of 3, the first that matches)",
        "MILLIS_STATUS": "reject",
        "MILLIS_REASON": "blocked-caller",
        "MILLIS_FALLBACK": "millis-fallback,s,1",
    }


def test_route_knows_context_channel_and_arguments(run, configured):
    """Every condition of a rule can be tried; arguments are decoded as the bridge does it."""
    conditions = ("--context", "from-office", "--channel", "PJSIP/office-00000009", "--arg", "queue=7%2B")

    assert "queue (number 2 of 3" in run("route", "--did", "1", *conditions)[1]
    assert "queue (number" not in run("route", "--did", "1", *conditions[:4])[1]


# The first contact with Millis.


async def test_register_registers_once_and_dials_nothing(run, millis):
    """One real registration is made; status, call id, host and time are printed, the URI is not."""
    code, out, err = await asyncio.to_thread(run, "register", "--did", "5551230001", "--caller", "2125550100")

    assert (code, err) == (DONE, "")
    shown = table(out)
    assert float(shown.pop("millis_ms")) > 0
    assert shown == {
        "rule": "sales",
        "region": "us-west",
        "account": "default",
        "status": "registered",
        "millis_call_id": millis.issued[0]["call_id"],
        "sip_host": "127.0.0.1",
    }
    assert "sip:" not in out
    (received,) = millis.registrations
    assert (received.body["from_phone"], received.body["to_phone"]) == ("+12125550100", "+15551230001")
    assert (len(received.body["metadata"]["bridge_call_id"]), received.body["metadata"]["tier"]) == (32, "")


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("status=401", "millis-refused: HTTP 401: simulated fault"),
        ("body=no-uri", "millis-nonsense: the answer names no SIP URI; its keys are ['call_id']"),
        ("uri=tel:+1", "millis-nonsense: the answer names no SIP URI; its keys are ['call_id', 'sip']"),
        (
            "uri=sip:a@sip.example.com",
            "bad-uri: the SIP URI's host sip.example.com is not in allowed_hosts; if it is Millis's, admit it with "
            'allowed_hosts = ["127.0.0.1", "sip.example.com"] under [millis]',
        ),
    ],
)
async def test_register_tells_why_it_failed(run, millis, fault, status):
    """A registration that fails is told with the reason that a call would have, and exit code 1."""
    millis.fault = Fault.parse(fault)
    code, out, err = await asyncio.to_thread(run, "register", "--did", "5551230001", "--json")

    assert (code, err) == (FAILED, "")
    assert json.loads(out)["status"] == status


def test_register_without_a_network(run, configured):
    """A Millis that cannot be reached is told like any other failure."""
    code, out, _ = run("register", "--did", "5551230001")

    assert code == FAILED
    assert table(out)["status"].startswith(
        "millis-unreachable: the connection to http://127.0.0.1:1 failed: Connection refused"
    )


async def test_register_needs_a_rule(run, millis):
    """For a call that no rule answers, or that one refuses, nothing is registered."""
    code, out, _ = await asyncio.to_thread(run, "register", "--did", "5559999999", "--caller", "2125550100")
    assert (code, table(out)["MILLIS_REASON"]) == (FAILED, "no-rule")
    code, out, _ = await asyncio.to_thread(run, "register", "--did", "5559999999")
    assert (code, table(out)["MILLIS_REASON"]) == (FAILED, "blocked-caller")

    assert not millis.requests


def test_register_needs_a_key(run, configured, monkeypatch):
    """Without a key nothing is registered, and where it could come from is told."""
    monkeypatch.delenv("MILLIS_API_KEY")
    code, out, err = run("register", "--did", "5551230001")

    assert (code, out) == (MISUSED, "")
    assert err == (
        "millis.api_key_file: there is no Millis API key "
        "(set MILLIS_API_KEY, or name a file in MILLIS_API_KEY_FILE or api_key_file)\n"
    )


# Asterisk's own configuration.


@pytest.fixture
def freepbx(tmp_path, configured, monkeypatch):
    """A folder as FreePBX leaves it, and a configuration whose address can be written down."""
    monkeypatch.setenv("AGI_BRIDGE_SECRET", "a-secret-of-twenty-signs")
    text = (tmp_path / "bridge.toml").read_text()
    (tmp_path / "bridge.toml").write_text(text.replace("127.0.0.1:0", "127.0.0.1:4573"))
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "extensions_additional.conf").write_text("[from-internal-additional]\n")
    (folder / "extensions_custom.conf").write_text("[mine]\nexten => s,1,Hangup()\n")
    return folder


def texts(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_asterisk_config_prints_files_and_steps(run, freepbx):
    """Without --write, each file's part is printed below its path, then what is left to do; nothing is touched."""
    before = texts(freepbx)
    code, out, err = run("asterisk-config", "--flavor", "freepbx")

    assert (code, err) == (DONE, "")
    assert re.findall("^# .*", out, re.MULTILINE) == [
        "# /etc/asterisk/pjsip_custom.conf",
        "# /etc/asterisk/globals_custom.conf",
        "# /etc/asterisk/extensions_custom.conf",
    ]
    assert out.count("\n; >>> agi_bridge: ") == out.count("\n; <<< agi_bridge\n") == 3
    assert "\nMILLIS_DEFAULT_FALLBACK = millis-fallback,s,1\n" in out
    assert "\nMILLIS_SECRET = a-secret-of-twenty-signs\n" in out
    steps = out.partition("\nWhat is left to do:\n")[2].splitlines()
    assert [step[:3] for step in steps] == ["1. ", "2. ", "3. ", "4. "]
    assert texts(freepbx) == before


def test_asterisk_config_writes_once(run, freepbx):
    """With --write the files are written and named, what was there is kept, and a second run changes nothing."""
    arguments = ("asterisk-config", "--flavor", "freepbx", "--write", "--directory", str(freepbx))
    first, once = run(*arguments), texts(freepbx)
    second = run(*arguments)

    assert first[0] == second[0] == DONE
    assert first[1].splitlines()[:3] == [
        f"{freepbx}/pjsip_custom.conf: written",
        f"{freepbx}/globals_custom.conf: written",
        f"{freepbx}/extensions_custom.conf: written, "
        f"what was there is in {freepbx}/extensions_custom.conf.before-agi-bridge",
    ]
    assert second[1].count("nothing to change") == 3
    assert texts(freepbx) == once
    assert once["extensions_custom.conf"].startswith("[mine]\nexten => s,1,Hangup()\n; >>> agi_bridge")


def test_asterisk_config_is_taken_out_again(run, freepbx):
    """With --remove the administrator's text is left as it was."""
    arguments = ("asterisk-config", "--flavor", "freepbx", "--directory", str(freepbx))
    run(*arguments, "--write")
    code, _, err = run(*arguments, "--remove")

    assert (code, err) == (DONE, "")
    assert (freepbx / "extensions_custom.conf").read_text() == "[mine]\nexten => s,1,Hangup()\n"
    assert (freepbx / "globals_custom.conf").read_text() == ""


HURDLES = {
    "no-end": ("extensions_custom.conf", b"; >>> agi_bridge: x\n[millis]\n", "our part must begin with one line"),
    "latin-1": ("globals_custom.conf", b"; Caf\xe9\n", "is not UTF-8 text in line 1"),
    "trunk": ("pjsip.endpoint.conf", b"[millis]\ntype=endpoint\n", "rename the trunk or extension of that name"),
}


@pytest.mark.parametrize("name", HURDLES)
def test_asterisk_config_writes_all_or_nothing(run, freepbx, name):
    """What stands in the way is told in one line with its remedy, exit code 1, and no file is touched."""
    path, content, said = HURDLES[name]
    (freepbx / path).write_bytes(content)
    before = {each.name: each.read_bytes() for each in freepbx.iterdir()}

    code, out, err = run("asterisk-config", "--flavor", "freepbx", "--write", "--directory", str(freepbx))

    assert (code, out, err.count("\n")) == (FAILED, "", 1)
    assert err.startswith("agi-bridge: ")
    assert said in err
    assert {each.name: each.read_bytes() for each in freepbx.iterdir()} == before


def test_asterisk_config_reads_the_secret_but_no_key(run, freepbx, tmp_path, monkeypatch):
    """The secret comes from its file too; the Millis key is nobody's business here."""
    monkeypatch.delenv("AGI_BRIDGE_SECRET")
    monkeypatch.delenv("MILLIS_API_KEY")
    (tmp_path / "secret").write_text("from-a-file-of-its-own\n")
    text = (tmp_path / "bridge.toml").read_text().replace("[agi]", '[agi]\nsecret_file = "secret"')
    (tmp_path / "bridge.toml").write_text(text)

    assert "\nMILLIS_SECRET = from-a-file-of-its-own\n" in run("asterisk-config", "--flavor", "freepbx")[1]


# The standby URI of a rule.


async def test_standby_is_made_for_the_agent_of_a_rule(run, millis, tmp_path):
    """What is printed last, put under the rule, is a configuration in which the rule has a standby URI."""
    code, out, err = await asyncio.to_thread(run, "standby", "create", "--rule", "sales")

    assert (code, err) == (DONE, "")
    (call_id,) = millis.endpoints
    facts, line = out.split("\n\nThe line for the rule:\n")
    facts, delete = facts.split("\n\nTo delete it again:\n")
    assert delete == f"agi-bridge standby delete --id={call_id} --account default --region us-west"
    assert table(facts) == {
        "rule": "sales",
        "account": "default",
        "region": "us-west",
        "id": call_id,
        "status": "created",
    }
    assert line == f'standby_uri = "{millis.issued[0]["uri"]}"\n'
    path = tmp_path / "bridge.toml"
    path.write_text(path.read_text().replace('did = "+15551230001"', f'did = "+15551230001"\n{line}'))
    assert await asyncio.to_thread(run, "standby", "list", "--json") == (
        DONE,
        json.dumps(
            [{"rule": "sales", "standby_uri": millis.issued[0]["uri"]}, {"rule": "queue", "standby_uri": None}],
            indent=2,
        )
        + "\n",
        "",
    )


async def test_standby_knows_what_is_true_of_every_call(run, millis):
    """Millis gets the rule's agent and the literals of its metadata; what only a call could fill is empty."""
    await asyncio.to_thread(run, "standby", "create", "--rule", "sales", "--region", "eu-west")
    (request,) = millis.requests

    assert (request.method, request.path, request.body["region"]) == ("POST", "/sip", "eu-west")
    init_agent = request.body["init_agent"]
    assert (init_agent["agent_id"], "from_phone" in init_agent) == ("-Nabc", False)
    assert {name: value for name, value in init_agent["metadata"].items() if value} == {"team": "a:100:b [sales]"}


async def test_standby_as_json(run, millis):
    """A script gets the SIP URI beside the rest."""
    code, out, err = await asyncio.to_thread(run, "standby", "create", "--rule", "queue", "--json")

    assert (code, err) == (DONE, "")
    assert json.loads(out) == {
        "rule": "queue",
        "account": "default",
        "region": "us-west",
        "id": millis.endpoints[0],
        "status": "created",
        "standby_uri": millis.issued[0]["uri"],
    }


@pytest.mark.parametrize(
    ("answer", "afterwards"), [("", "deleted"), ("status=500", "millis-refused: HTTP 500: simulated fault")]
)
async def test_standby_that_must_not_be_dialled_is_taken_back(run, millis, answer, afterwards):
    """A SIP URI off the allow-list is not shown but deleted; the line that would admit it is."""
    millis.upcoming += [Fault(uri="sip:a@sip.example.com"), Fault.parse(answer)]
    code, out, err = await asyncio.to_thread(run, "standby", "create", "--rule", "sales")

    assert (code, err) == (FAILED, "")
    shown = table(out)
    assert shown["status"] == (
        "bad-uri: the SIP URI's host sip.example.com is not in allowed_hosts; if it is Millis's, admit it with "
        'allowed_hosts = ["127.0.0.1", "sip.example.com"] under [millis]'
    )
    assert (shown["id"], shown["afterwards"]) == (millis.issued[0]["call_id"], afterwards)
    assert len(millis.endpoints) == (afterwards != "deleted")
    assert "sip:" not in out


async def test_standby_that_millis_refuses(run, millis):
    """A refusal is told like that of a registration."""
    millis.fault = Fault.parse("status=402")
    code, out, _ = await asyncio.to_thread(run, "standby", "create", "--rule", "sales", "--json")

    assert (code, json.loads(out)["status"]) == (FAILED, "millis-refused: HTTP 402: simulated fault")


async def test_standby_is_deleted_once(run, millis, tmp_path):
    """What create printed is deleted by its id; a second time there is nothing to delete."""
    code, out, _ = await asyncio.to_thread(run, "standby", "create", "--rule", "sales", "--json")
    call_id = json.loads(out)["id"]
    code, out, err = await asyncio.to_thread(run, "standby", "delete", "--id", call_id, "--rule", "sales")

    assert (code, err) == (DONE, "")
    assert table(out) == {"account": "default", "region": "us-west", "id": call_id, "status": "deleted"}
    assert not millis.endpoints
    code, out, _ = await asyncio.to_thread(run, "standby", "delete", "--id", call_id, "--json")
    assert (code, json.loads(out)["status"]) == (
        FAILED,
        "millis-refused: HTTP 404: SIP endpoint not found; us-west was asked, try --region eu-west",
    )


async def test_printed_command_deletes_the_standby(run, millis, tmp_path):
    """What create prints is a whole command, which names the region that made the URI and the file that was read."""
    path = str(tmp_path / "bridge.toml")
    made = ("standby", "create", "--rule", "sales", "--region", "eu-west", "--config", path)
    _, out, _ = await asyncio.to_thread(run, *made)
    (command,) = (line for line in out.splitlines() if line.startswith("agi-bridge "))

    assert ("--region eu-west" in command, f"--config {path}" in command) == (True, True)
    assert (await asyncio.to_thread(run, *command.split()[1:]))[0] == DONE
    assert not millis.endpoints


async def test_deleting_a_standby_tells_which_rules_still_dial_it(run, millis, tmp_path):
    """A rule that names the deleted SIP URI is named, for it would now send its callers nowhere."""
    millis.endpoints.append("-Nstand")
    path = tmp_path / "bridge.toml"
    path.write_text(path.read_text().replace("[defaults]", '[defaults]\nstandby_uri = "sip:-Nstand@127.0.0.1"'))
    code, out, _ = await asyncio.to_thread(run, "standby", "delete", "--id=-Nstand", "--region", "eu-west")

    assert code == DONE
    assert table(out) == {
        "account": "default",
        "region": "eu-west",
        "id": "-Nstand",
        "status": "deleted",
        "still_named_by": "sales, queue",
    }


def test_standbys_of_the_configuration(run, configured):
    """Each rule with an agent is listed, and what the list is made from is said; no key is needed."""
    code, out, err = run("standby", "list")

    assert (code, err) == (DONE, "")
    assert out == (
        "from the configuration; Millis documents no way to ask for what it keeps:\nsales  none\nqueue  none\n"
    )


# Playing Asterisk.


async def call(run, bridge, *arguments):
    return await asyncio.to_thread(run, "simulate", "call", "--bridge", bridge, *arguments)


async def test_simulated_call_shows_the_conversation_and_the_variables(run, bridge, millis):
    """A call to a running bridge is shown line by line, then what the dialplan gets."""
    code, out, err = await call(run, bridge, "--did", "5551230001", "--caller", "2125550100", "--name", "Ann Example")

    assert (code, err) == (DONE, "")
    lines = out.splitlines()
    assert "> agi_callerid: 2125550100" in lines
    assert "> agi_arg_1: did=5551230001" in lines
    assert any(line.startswith("< GET FULL VARIABLE ") for line in lines)
    shown = table(out)
    assert (shown["AGISTATUS"], shown["MILLIS_STATUS"]) == ("SUCCESS", "ok")
    assert shown["MILLIS_DIAL"] == f"PJSIP/millis/{millis.issued[0]['uri']}"
    assert float(shown["total_ms"]) > 0
    (received,) = millis.registrations
    assert received.body["metadata"]["caller_name"] == "Ann Example"


async def test_simulated_call_as_json(run, bridge, millis):
    """A script gets the variables and nothing else."""
    code, out, _ = await call(run, bridge, "--did", "5551230001", "--caller", "2125550100", "--json")
    shown = json.loads(out)

    assert code == DONE
    assert shown["AGISTATUS"] == "SUCCESS"
    assert {name for name in shown if name.startswith("MILLIS_")} == {
        *("MILLIS_STATUS", "MILLIS_DIAL", "MILLIS_REDIAL", "MILLIS_DIAL_TIMEOUT", "MILLIS_DIAL_OPTIONS"),
        *("MILLIS_FALLBACK", "MILLIS_BRIDGE_CALL_ID", "MILLIS_CALL_ID"),
    }


@pytest.mark.parametrize(
    ("arguments", "code", "status", "reason"),
    [
        pytest.param("--did 5559999999 --caller 2125550100", FAILED, "fallback", "no-rule", id="no rule"),
        pytest.param("--did 5559999999", FAILED, "reject", "blocked-caller", id="a withheld caller"),
        pytest.param("--did 5551230001 --verb dance", FAILED, "fallback", "unknown-verb", id="an unknown verb"),
        pytest.param("--did 0 --verb ping", DONE, "ok", None, id="a ping"),
        pytest.param("--did 0 --verb ended", DONE, None, None, id="the end of a call, which sets nothing"),
    ],
)
async def test_simulated_call_ends_as_the_dialplan_would_see_it(run, bridge, arguments, code, status, reason):
    """The exit code is 0 where the dialplan would have what it asked for."""
    given, out, _ = await call(run, bridge, *arguments.split(), "--json")
    shown = json.loads(out)

    assert (given, shown.get("MILLIS_STATUS"), shown.get("MILLIS_REASON")) == (code, status, reason)


async def test_simulated_call_tells_the_secret_and_does_not_show_it(run, bridge, monkeypatch):
    """The secret comes from the option or the environment, reaches the bridge, and is not in what is printed."""
    _, out, _ = await call(run, bridge, "--did", "0", "--verb", "ping", "--secret", "open/sesame")
    monkeypatch.setenv("AGI_BRIDGE_SECRET", "open/sesame")
    _, again, _ = await call(run, bridge, "--did", "0", "--verb", "ping")

    assert "> agi_arg_2: secret=*****" in out.splitlines()
    assert "> agi_arg_2: secret=*****" in again.splitlines()
    assert "sesame" not in out + again


@pytest.mark.parametrize(("said", "code"), [("open-sesame-if-you-please", DONE), ("sesame", FAILED)])
async def test_simulated_call_to_a_bridge_with_a_secret(run, configured, tmp_path, said, code):
    """With the bridge's own secret the call is answered, with another it is refused."""
    (tmp_path / "agi.secret").write_text("open-sesame-if-you-please\n")
    text = (tmp_path / "bridge.toml").read_text()
    (tmp_path / "bridge.toml").write_text(text.replace("[agi]", '[agi]\nsecret_file = "agi.secret"'))
    with program("serve") as process:
        host, port = (await asyncio.to_thread(told, process, "listening for FastAGI"))["address"]
        given, _, _ = await call(run, f"{host}:{port}", "--did", "0", "--verb", "ping", "--secret", said)

    assert given == code


async def test_simulated_call_encodes_its_number_as_the_dialplan_does(run, bridge):
    """A number with signs that mean something in an address arrives whole."""
    _, out, _ = await call(run, bridge, "--did", "5%&1=,?", "--caller", "2125550100")

    assert "> agi_arg_1: did=5%25%261%3D%2C%3F" in out.splitlines()


@pytest.mark.parametrize("verb", ["route", "ended"])
def test_simulated_call_to_nobody(run, verb):
    """A bridge that is not running is told as such; the dialplan would find AGISTATUS=FAILURE."""
    code, out, err = run("simulate", "call", "--did", "1", "--bridge", "127.0.0.1:1", "--verb", verb)

    assert (code, table(out)["AGISTATUS"]) == (FAILED, "FAILURE")
    assert err == "agi-bridge: cannot connect to 127.0.0.1:1: Connection refused; is the bridge running?\n"


# Programs that run until they are stopped.


@contextmanager
def program(*arguments):
    """Run a command as a program of its own, and kill it if it is still there at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "agi_bridge", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def told(process, event):
    """Read the log up to an event, and return its line; end of file is a failure."""
    for line in process.stderr:
        fields = json.loads(line)
        if fields["event"] == event:
            return fields
    raise AssertionError(f"the log ended without {event!r}")


def test_serve_takes_calls_until_it_is_stopped(run, configured):
    """The bridge serves as a program, and SIGTERM ends it with exit code 0."""
    with program("serve") as process:
        host, port = told(process, "listening for FastAGI")["address"]
        assert told(process, "ready")["rules"] == 3
        code, out, _ = run("simulate", "call", "--did", "0", "--verb", "ping", "--bridge", f"{host}:{port}", "--json")
        assert (code, json.loads(out)["MILLIS_STATUS"]) == (DONE, "ok")
        process.send_signal(signal.SIGTERM)

        assert process.wait(10) == DONE
        assert "Traceback" not in process.stderr.read()


async def test_serve_that_is_told_twice_does_not_wait(run, millis):
    """The first signal lets calls finish, the second ends them; the exit code says that it was interrupted."""
    millis.fault = Fault(hang=True)
    with program("serve") as process:
        host, port = (await asyncio.to_thread(told, process, "listening for FastAGI"))["address"]
        await asyncio.to_thread(told, process, "ready")
        waiting = asyncio.create_task(call(run, f"{host}:{port}", "--did", "5551230001", "--json"))
        await millis.received()
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(told, process, "draining")
        process.send_signal(signal.SIGTERM)

        assert await asyncio.to_thread(process.wait, 5) == INTERRUPTED
        assert "Traceback" not in process.stderr.read()
        await waiting


def test_serve_on_a_port_that_is_taken(configured, tmp_path):
    """A port in use is told in one line, with exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = (tmp_path / "bridge.toml").read_text().replace("127.0.0.1:0", address)
        (tmp_path / "bridge.toml").write_text(text)
        with program("serve") as process:
            out, err = process.communicate(timeout=10)

    assert (process.returncode, out) == (FAILED, "")
    complaint = err.splitlines()[-1]
    assert complaint == (
        f"agi-bridge: cannot listen on {address}: Address already in use; is another bridge running? See listen under [agi]"
    )


def test_simulated_millis_on_a_port_that_is_taken(run):
    """The simulator, too, tells of a port in use in one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = run("simulate", "millis", "--port", str(port))

    assert (code, out) == (FAILED, "")
    assert err == (
        f"agi-bridge: cannot listen on 127.0.0.1:{port}: Address already in use; choose another address or --port\n"
    )


def test_simulated_millis_prints_what_it_is_asked(run, configured):
    """The simulator prints its address, then each request with its body, until Ctrl-C ends it with exit code 130."""
    with program("simulate", "millis", "--port", "0", "--key", KEY) as process:
        url = process.stdout.readline().split()[3].rstrip(";")
        configured(url)
        assert run("register", "--did", "5551230001")[0] == DONE
        method, path, body = process.stdout.readline().split(" ", 2)
        process.send_signal(signal.SIGINT)

        assert process.wait(10) == INTERRUPTED
        assert "Traceback" not in process.stderr.read()
    assert (method, path, json.loads(body)["agent_id"]) == ("POST", "/register_sip_call", "-Nabc")


# A caller and an agent


@pytest.fixture
def simulated_millis():
    """Run `simulate millis --agent`; give the address of the agent, and the one call id that it answers to."""
    with (
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as free,
        closing(socket.create_server(("127.0.0.1", 0))) as free_too,
    ):
        free.bind(("127.0.0.1", 0))
        sip, port = free.getsockname()[1], free_too.getsockname()[1]
    with program("simulate", "millis", "--port", str(port), "--agent", "--sip-host", f"127.0.0.1:{sip}") as process:
        assert process.stdout.readline() == f"simulated agent at sip:127.0.0.1:{sip}\n"
        assert process.stdout.readline().startswith("simulated Millis at ")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with closing(connection):
            connection.request("POST", "/register_sip_call", '{"agent_id": "a"}', {"authorization": KEY})
            call_id = json.loads(connection.getresponse().read())["call_id"]
        process.stdout.readline()
        yield f"127.0.0.1:{sip}", call_id, process
        process.send_signal(signal.SIGINT)
        process.wait(10)


def test_simulated_caller_and_agent_hear_each_other(run, simulated_millis):
    """The caller's story ends with audio both ways and 0; the agent tells its side."""
    pbx, call_id, millis = simulated_millis
    code, out, err = run("simulate", "caller", "--did", call_id, "--caller", "+15557654321", "--pbx", pbx)

    assert (code, err) == (DONE, "")
    *story, proof = out.splitlines()
    assert [line.partition(" ms  ")[2] for line in story] == [
        f"+15557654321 dials {call_id} on the trunk",
        "the caller hears ringing",
        "the caller is connected",
        "the caller hears the agent: a tone of 440 Hz",
        "the agent has heard the caller, and says so: a tone of 660 Hz",
        "the caller hangs up",
    ]
    assert proof == "audio went both ways: the caller heard the agent, and the agent heard the caller"
    assert [millis.stdout.readline() for _ in range(4)][3] == "the agent hears the caller: a tone of 1000 Hz\n"


def test_simulated_caller_as_json(run, simulated_millis):
    """With --json there is one object and no story; an agent answers only to a call that was registered."""
    pbx, call_id, _ = simulated_millis
    code, out, err = run("simulate", "caller", "--did", call_id, "--pbx", pbx, "--json")
    assert (code, err) == (DONE, "")
    assert json.loads(out) == {"audio_both_ways": True, "why_not": "", "status": 200, "heard_hz": [440, 660]}

    code, out, _ = run("simulate", "caller", "--did", "stranger", "--pbx", pbx, "--json")
    assert (code, json.loads(out)["audio_both_ways"], json.loads(out)["status"]) == (FAILED, False, 404)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--pbx", "nowhere"], "Invalid value for --pbx: must be an address and a port"),
        (["--name", "Ada\r\nTo: me"], "Invalid value for --did, --caller and --name: "),
        (["--host", "192.0.2.1"], "cannot call 127.0.0.1:5060 from 192.0.2.1: Cannot assign requested address; see"),
    ],
)
def test_simulated_caller_that_cannot_call(run, arguments, complaint):
    """What is wrong with the command line or the caller's own address is told in words."""
    code, _, err = run("simulate", "caller", "--did", "1", *arguments)

    assert code in (FAILED, MISUSED)
    assert complaint in " ".join(err.split())


def test_simulated_agent_on_a_port_that_is_taken(run):
    """The agent, too, tells of a port in use in one line."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, out, err = run("simulate", "millis", "--port", "0", "--agent", "--sip-host", address)

    assert (code, out) == (FAILED, "")
    assert err == (
        f"agi-bridge: cannot listen on {address}: Address already in use; choose another address or --sip-host\n"
    )


# Asking a running bridge


@pytest.fixture
async def served(tmp_path, monkeypatch):
    """Serve as a program; the commands find it where its configuration says, though that asked for any port."""
    async with SimulatedMillis() as millis, serving(write_config(tmp_path, millis)) as served:
        await served.started()
        write_config(tmp_path, millis, web_port=served.web_address[1])
        monkeypatch.delenv("MILLIS_API_KEY")
        yield served


async def test_health_of_a_bridge_that_is_ready(run, served):
    """One line a worker, and exit code 0."""
    code, out, err = await asyncio.to_thread(run, "health")

    assert (code, err) == (DONE, "")
    assert out.partition(" of 2")[0] == f"worker 1 of 1: ready; version {__version__}, {served.config}"


async def test_health_as_json_of_the_address_that_is_named(run, served):
    """With --url no configuration is read, and a script gets all that /readyz says, for each worker."""
    served.config.unlink()
    url = "http://{}:{}/".format(*served.web_address)
    code, out, _ = await asyncio.to_thread(run, "health", "--url", url, "--json")

    (standing,) = json.loads(out)
    assert (code, standing["ready"], standing["worker"], standing["workers"]) == (DONE, True, 1, 1)


async def test_health_of_a_bridge_that_drains(run, tmp_path):
    """Not ready is exit code 1, with the reason."""
    async with (
        SimulatedMillis(fault=Fault(hang=True)) as millis,
        serving(write_config(tmp_path, millis)) as served,
    ):
        await served.started()
        async with AsteriskSide(*served.address, arguments=("did=+15551230001",)):
            await millis.received()
            served.process.send_signal(signal.SIGTERM)
            await served.wrote("draining")
            code, out, _ = await asyncio.to_thread(run, "health", "--url", "{}:{}".format(*served.web_address))

    assert (code, out.partition(";")[0]) == (FAILED, "worker 1 of 1: not ready: draining")


def test_health_of_a_bridge_that_does_not_run(run, configured):
    """Nobody there is exit code 1, in words."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert run("health", "--url", f"http://127.0.0.1:{port}") == (
        FAILED,
        "",
        f"agi-bridge: no bridge answers at 127.0.0.1:{port}: Connection refused\n",
    )


IF_CHANGED = "if listen under [web] was changed since the bridge began, name the old address with --url; SIGHUP reloads without it\n"


def test_bridge_without_a_web_side_cannot_be_asked(run, configured):
    """An empty listen under [web] is named as the reason."""
    for command in ("health", "reload"):
        assert run(command) == (
            FAILED,
            "",
            f"agi-bridge: the bridge cannot be asked, because listen under [web] is empty; {IF_CHANGED}",
        )


@pytest.mark.parametrize("command", ["health", "reload"])
def test_asking_at_what_is_no_address(run, command):
    """A URL that names no host and port is a wrong command line, told with the usual one."""
    code, _, err = run(command, "--url", "http://x")
    assert code == MISUSED
    assert "--url: must be the address and port under [web], such as http://127.0.0.1:4574" in err


async def test_health_of_what_is_no_bridge(run):
    """Another server, though it speaks JSON, and the bridge's own port for Asterisk are not taken for one."""
    async with SimulatedMillis() as millis:
        code, out, err = await asyncio.to_thread(run, "health", "--url", millis.url)
    assert (code, out) == (FAILED, "")
    assert err.startswith(f"agi-bridge: what answers at {millis.host}:{millis.port} is no agi-bridge")


async def test_health_at_the_port_for_asterisk(run, served):
    """Whoever takes one port of the bridge for the other is told which is meant."""
    code, _, err = await asyncio.to_thread(run, "health", "--url", "{}:{}".format(*served.address))
    assert (code, err.partition("; ")[2]) == (FAILED, "its web port is meant, which listen under [web] names\n")


async def test_health_while_the_configuration_is_being_written(run, served):
    """The rest of the file may be wrong; where it cannot be read at all, it is said how to do without."""
    text = served.config.read_text()
    served.config.write_text(text.replace('agent_id = "-Nall"', "agent"))
    code, out, err = await asyncio.to_thread(run, "health")
    assert (code, out, err.splitlines()[1:]) == (
        MISUSED,
        "",
        ["--url: asks without a configuration file, such as --url http://127.0.0.1:4574"],
    )
    served.config.write_text(text.replace('name = "all"', 'name = "two words"').replace("[agi]", "[agi]\nlisten_ = 1"))
    assert (await asyncio.to_thread(run, "health"))[0] == DONE


async def test_worker_that_does_not_answer_is_named(run, tmp_path):
    """Health and reload tell which one it is, also where it is the first that is asked."""
    async with SimulatedMillis() as millis:
        agi_port, web_port = two_free_ports(), two_free_ports()
        path = write_config(tmp_path, millis, port=agi_port, web_port=web_port)
        path.write_text(path.read_text().replace("[agi]", "[agi]\nworkers = 2"))
        # The second of two workers, without the first.
        ours, theirs = socket.socketpair()
        with ours, theirs:
            environ = {WORKER_VARIABLE: f"2/2:{theirs.fileno()}"}
            async with serving(path, environ=environ, passed=(theirs.fileno(),)) as served:
                await served.started()
                _, health, _ = await asyncio.to_thread(run, "health")
                code, _, reload = await asyncio.to_thread(run, "reload")

    first, second = health.splitlines()
    assert first == f"worker 1 of 2: not ready: no bridge answers at 127.0.0.1:{web_port}: Connection refused"
    assert second.startswith("worker 2 of 2: ready; ")
    assert (code, reload) == (
        FAILED,
        f"worker 1 of 2: not reloaded: no bridge answers at 127.0.0.1:{web_port}: Connection refused\n",
    )


async def test_health_names_a_region_that_is_down(run, tmp_path):
    """A bridge whose Millis is down is ready all the same, and the line says which region is out."""
    async with SimulatedMillis(fault=Fault(status=503)) as millis:
        config = write_config(tmp_path, millis, more="[[route]]\nname='x'\nagent_id='x'\n")
        config.write_text(config.read_text().replace("[defaults]", "breaker_failures = 1\n[defaults]"))
        async with serving(config) as served:
            await served.started()
            await served.wrote("region is down", state="open")
            code, out, _ = await asyncio.to_thread(run, "health", "--url", "{}:{}".format(*served.web_address))

    assert (code, out.partition("; version")[0]) == (DONE, "worker 1 of 1: ready; region us-west is down")


@pytest.fixture
async def with_tokens(tmp_path, monkeypatch):
    """Serve with a token for looking and one for all, and keep the latter where the commands find it."""
    tokens = "".join(
        f'[[token]]\nname = "{name}"\nscopes = {json.dumps(scopes)}\nsha256 = "{digest(name)}"\n'
        for name, scopes in (("looker", ["read"]), ("desk", ["read", "control"]))
    )
    more = f'[[transfer]]\nname = "sales"\ndestination = "q,600,1"\n{tokens}'
    async with SimulatedMillis() as millis, serving(write_config(tmp_path, millis, more=more)) as served:
        await served.started()
        write_config(tmp_path, millis, web_port=served.web_address[1])
        monkeypatch.setenv("AGI_BRIDGE_TOKEN", "desk")
        yield served


async def test_live_calls_are_asked_for_with_a_token(run, with_tokens, tmp_path):
    """The token is in the environment or in a file, and where nothing is up, that is said; a script gets an empty list."""
    token = tmp_path / "token"
    token.write_text("looker\n")
    for arguments in (("live",), ("live", "--token-file", str(token))):
        assert await asyncio.to_thread(run, *arguments) == (DONE, "no call is up\n", "")
    assert await asyncio.to_thread(run, "live", "--json") == (DONE, "[]\n", "")


@pytest.mark.parametrize(
    ("token", "arguments", "complaint"),
    [
        ("desk", ("hangup", "nobody"), "no call of the id nobody is up"),
        ("desk", ("transfer", "nobody", "sales"), "no call of the id nobody is up"),
        ("desk", ("transfer", "nobody", "cellar"), "there is no such destination; there are: sales"),
        ("looker", ("hangup", "nobody"), "this token is not for control"),
        (
            "wrong",
            ("live",),
            "the bridge knows no such token; `agi-bridge token` makes one, and a reload takes it in",
        ),
    ],
)
async def test_refusals_of_the_api_are_one_line(run, with_tokens, monkeypatch, token, arguments, complaint):
    """What the bridge refuses is told in words, and exits with 1."""
    monkeypatch.setenv("AGI_BRIDGE_TOKEN", token)
    assert await asyncio.to_thread(run, *arguments) == (FAILED, "", f"agi-bridge: {complaint}\n")


def test_live_calls_of_a_bridge_that_does_not_run(run, configured, monkeypatch):
    """The address is named, as health names it."""
    monkeypatch.setenv("AGI_BRIDGE_TOKEN", "x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code, out, err = run("live", "--url", f"127.0.0.1:{port}")

    assert (code, out) == (FAILED, "")
    assert err == f"agi-bridge: no bridge answers at 127.0.0.1:{port}: Connection refused\n"


@pytest.mark.parametrize(
    ("token", "options", "complaint"),
    [
        (
            "",
            (),
            "AGI_BRIDGE_TOKEN: there is no token (set AGI_BRIDGE_TOKEN, or name a file with --token-file;"
            " `agi-bridge token` makes one)",
        ),
        ("a b", (), "AGI_BRIDGE_TOKEN: holds signs that are in no token"),
        ("x", ("--token-file", "/none"), "/none: cannot be read: No such file or directory"),
    ],
)
def test_commands_want_a_token(run, monkeypatch, token, options, complaint):
    """Without one nobody is asked, and what to do is said."""
    monkeypatch.setenv("AGI_BRIDGE_TOKEN", token)
    assert run("live", *options) == (MISUSED, "", f"{complaint}\n")


async def test_reload_tells_what_changed(run, served):
    """The command says what the bridge took over, and what waits for a restart; without the key, which the service has."""
    served.config.write_text(served.config.read_text().replace('name = "all"', 'name = "new"'))
    code, out, err = await asyncio.to_thread(run, "reload")

    assert (code, err) == (DONE, "")
    assert out.splitlines() == [
        f'reloaded {served.config}: web.listen, route "all" removed, route "new" added',
        "restart the bridge for: web.listen",
    ]


async def test_reload_after_the_web_port_was_changed(run, served):
    """Nobody answers at the new address; it is said how to reload all the same, and health says what waits."""
    old = "{}:{}".format(*served.web_address)
    new = f"127.0.0.1:{two_free_ports()}"
    served.config.write_text(served.config.read_text().replace(old, new))
    assert await asyncio.to_thread(run, "reload") == (
        FAILED,
        "",
        f"agi-bridge: no bridge answers at {new}: Connection refused; is it running? Or, {IF_CHANGED}",
    )
    code, out, _ = await asyncio.to_thread(run, "reload", "--url", f"http://{old}")
    assert (code, out.splitlines()[1]) == (DONE, "restart the bridge for: web.listen")
    _, out, _ = await asyncio.to_thread(run, "health", "--url", f"http://{old}")
    assert out.startswith("worker 1 of 1: ready; restart pending for: web.listen; version")


async def test_reload_as_json(run, served):
    """A script gets one answer a worker."""
    code, out, _ = await asyncio.to_thread(run, "reload", "--json")
    assert (code, json.loads(out)) == (
        DONE,
        [{"config_file": str(served.config), "changed": ["web.listen"], "needs_restart": ["web.listen"]}],
    )


async def test_reload_of_a_bad_file_asks_nobody(run, served):
    """The problems are told as by check, with exit code 2, and the bridge hears nothing."""
    served.config.write_text(served.config.read_text().replace('name = "all"', 'name = "two words"'))
    code, out, err = await asyncio.to_thread(run, "reload")
    assert (code, out) == (MISUSED, "")
    assert err.startswith('route "two words": name: must be letters')
    code, out, err = await asyncio.to_thread(run, "reload", "--json")
    ((problem,),) = (answer["problems"] for answer in json.loads(out))
    assert (code, err, problem["path"]) == (MISUSED, "", 'route "two words": name')
    assert "reload_failures_total 0.0" in (await served.get("/metrics"))[1]


async def test_reload_that_only_the_bridge_refuses(run, served):
    """What is wrong in the service's own surroundings is told by the bridge, with exit code 2 all the same."""
    served.config.write_text(
        served.config.read_text() + '[account.acme]\n[[route]]\nname = "x"\naccount = "acme"\nagent_id = "a"\n'
    )
    code, out, err = await asyncio.to_thread(run, "reload")
    assert (code, out) == (MISUSED, "")
    assert err.splitlines() == [
        "account.acme: there is no Millis API key (name a file in api_key_file, or an environment variable in api_key_env)",
        f"{served.config} is refused; the old configuration stays",
    ]


def test_reload_of_a_bridge_that_does_not_run(run, tmp_path, configured):
    """Nobody there is exit code 1, in words."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    text = (tmp_path / "bridge.toml").read_text().replace("listen = []", f'listen = "127.0.0.1:{port}"')
    (tmp_path / "bridge.toml").write_text(text)
    assert run("reload") == (
        FAILED,
        "",
        f"agi-bridge: no bridge answers at 127.0.0.1:{port}: Connection refused; is it running? Or, {IF_CHANGED}",
    )


# Records of calls


@pytest.fixture
def recorded(configured, tmp_path, monkeypatch):
    """Keep records of three calls in a folder beside the configuration."""
    monkeypatch.delenv("MILLIS_API_KEY")
    path = tmp_path / "bridge.toml"
    path.write_text(f'[records]\nfolder = "kept"\n{path.read_text()}')
    made = [
        routed("c1", 0),
        ended("c1", 30),
        routed("c2", 3600, rule="office", caller_number="+15550001111", caller_name="=1+1"),
        routed("c3", 7200, result="millis", reason="millis-timeout"),
    ]
    with closing(Store.open_for_writing(database_url(None, "", tmp_path / "kept"), 5)) as store:
        store.write(made)
        yield store


def shown(out):
    """Return the calls of a listing, by their ids."""
    return [line.split()[-1] for line in out.splitlines()[1:]]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ((), ["c1", "c2", "c3"]),
        (("--limit", "1"), ["c3"]),
        (("--rule", "office"), ["c2"]),
        (("--result", "millis"), ["c3"]),
        (("--reason", "answered"), ["c1"]),
        (("--caller", "555 000-1111"), ["c2"]),
        (("--did", "+15551230001", "--since", "2026-07-01T12:30+00:00"), ["c2", "c3"]),
        (("--since", "2026-07-01T12:30+00:00", "--until", "2026-07-01T13:30+00:00"), ["c2"]),
        (("--since", "1s"), []),
    ],
)
def test_calls_are_listed(run, recorded, options, ids):
    """The latest calls that meet every condition, the newest last; numbers are read as anybody writes them."""
    code, out, err = run("calls", *options)

    assert (code, err) == (DONE, "")
    assert out.startswith("received ")
    assert shown(out) == ids


def test_calls_as_json(run, recorded):
    """Each call is one object on one line, with every field."""
    code, out, _ = run("calls", "--json", "--limit", "2")
    second, third = map(json.loads, out.splitlines())

    assert code == DONE
    assert (second["bridge_call_id"], third["reason"], third["setup_seconds"]) == ("c2", "millis-timeout", 0.08)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_calls_are_exported(run, recorded, form):
    """The oldest come first, and the same conditions hold as for the listing."""
    code, out, err = run("export", "--format", form, "--until", "2026-07-01T13:30+00:00")
    first, second = out.splitlines()[-2:]

    assert (code, err) == (DONE, "")
    assert ("c1" in first, "c2" in second) == (True, True)
    assert ("'=1+1" in second) == (form == "csv")
    assert len(out.splitlines()) == (3 if form == "csv" else 2)


def test_calls_are_followed(recorded):
    """What changes after the listing is shown as it changes, until somebody interrupts."""
    with program("calls", "--follow", "--json", "--limit", "1") as process:
        assert json.loads(process.stdout.readline())["bridge_call_id"] == "c3"
        recorded.write([ended("c2", 4000)])
        changed = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == INTERRUPTED
        assert "Traceback" not in process.stderr.read()

    assert (changed["bridge_call_id"], changed["reason"], changed["rule"]) == ("c2", "answered", "office")


def test_records_are_found_without_a_configuration(run, tmp_path, monkeypatch):
    """Where nothing is configured, records are where a bridge that nothing was told keeps them."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    code, out, _ = run("migrate")
    assert (code, out) == (
        DONE,
        f"sqlite:///{tmp_path}/state/records.sqlite was empty and has version {VERSIONS[-1]}\n",
    )
    assert run("migrate")[1].endswith(f"had version {VERSIONS[-1]} and has version {VERSIONS[-1]}\n")

    assert shown(run("calls")[1]) == []


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("calls", "--since", "yesterday"), MISUSED, "must be such as 90m, 24h or 7d ago"),
        (("calls", "--reason", "nonsense"), MISUSED, "'nonsense' is not one of"),
        (("export",), MISUSED, "Missing option '--format'"),
        (("export", "--format", "xml"), MISUSED, "'xml' is not one of"),
        (("calls", "-c", "gone.toml"), MISUSED, "gone.toml: cannot be read"),
        (("calls",), FAILED, "there are no records in"),
        (("export", "--format", "csv"), FAILED, "there are no records in"),
    ],
)
def test_records_that_cannot_be_shown(run, tmp_path, monkeypatch, arguments, code, complaint):
    """What is wrong is told in a line, and nothing is made by asking."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    said = run(*arguments)

    assert (said[0], said[1]) == (code, "")
    assert complaint in said[2]
    assert not (tmp_path / "state").exists()


def test_records_that_are_switched_off(run, tmp_path):
    """Whoever asks for records that are not kept learns why."""
    (tmp_path / "bridge.toml").write_text("[records]\nenabled = false\n")

    assert run("calls") == (
        FAILED,
        "",
        "agi-bridge: records are switched off: enabled under [records] in bridge.toml\n",
    )


def test_database_of_a_newer_version(run, recorded):
    """Neither reading nor migrating touches it, and each says in one line what to do."""
    with recorded._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for arguments in (("calls",), ("export", "--format", "jsonl"), ("migrate",)):
        code, out, err = run(*arguments)
        assert (code, out) == (FAILED, "")
        assert err.startswith("agi-bridge: the database has version 9999, which a newer agi-bridge made")
        assert len(err.splitlines()) == 1


# What Millis knows of past calls.


async def test_backfill_joins_what_millis_knows(run, millis, tmp_path, monkeypatch):
    """Ends that no webhook told get into the records; done again, it changes nothing."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    for call in ("call-1", "call-2"):
        millis.sessions.register(call, {"metadata": {"bridge_call_id": call}})
        await millis.sessions.begin(call)
        await millis.sessions.end(call)
    url = database_url(None, "", tmp_path / "state")
    with closing(Store.open_for_writing(url, 5)) as store:
        store.write(
            [Report("call-1", datetime.now(UTC), {"uniqueid": "1.1", "result": "completed", "reason": "routed"})]
        )
    outs = [(await run_beside(run, "backfill", "--json"))[1] for _ in range(2)]

    assert list(map(json.loads, outs)) == [
        {"ends_found": 2, "records_changed": changed, "kept_aside": 1} for changed in (1, 0)
    ]
    with closing(Store.open_for_reading(url, 5)) as store:
        [record] = store.all(Selection())
    assert (record.millis_status, record.millis_cost) == ("user-ended", 0.0303)
