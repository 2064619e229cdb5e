"""`agi-bridge doctor`: what it prints, and with which exit code."""

import json

from agi_bridge import __version__
from agi_bridge.cli.exit_code import DONE, FAILED, MISUSED, WARNED
from agi_bridge.simulator.fault import Fault
from tests.cli.program import run_beside


def findings(out):
    """Read what the doctor printed as JSON, by check; two of one check, and the latter stays."""
    return {each["check"]: each for each in json.loads(out)["findings"]}


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
