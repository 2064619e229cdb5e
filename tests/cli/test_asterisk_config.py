"""`agi-bridge asterisk-config`: what it prints and writes."""

import re

import pytest

from agi_bridge.cli.exit_code import DONE, FAILED, MISUSED
from agi_bridge.flavor import FLAVORS


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


HURDLES = {
    "no-end": ("extensions_custom.conf", b"; >>> agi_bridge: x\n[millis]\n", "our part must begin with one line"),
    "latin-1": ("globals_custom.conf", b"; Caf\xe9\n", "is not UTF-8 text in line 1"),
    "trunk": ("pjsip.endpoint.conf", b"[millis]\ntype=endpoint\n", "rename the trunk or extension of that name"),
}


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


def test_asterisk_config_names_the_flavors(run):
    """Whoever names none is told which there are, and each of them is one."""
    code, out, err = run("asterisk-config")

    assert (code, out) == (MISUSED, "")
    assert " ".join(err.split()).endswith(f"Missing option '--flavor'. Choose from: {', '.join(FLAVORS)}")
