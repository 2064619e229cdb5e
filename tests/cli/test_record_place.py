"""Where the commands look for records."""

from agi_bridge.cli.exit_code import DONE, FAILED
from agi_bridge.records.schema import VERSIONS


def test_records_are_found_without_a_configuration(run, tmp_path, monkeypatch):
    """Where nothing is configured, records are where a bridge that nothing was told keeps them."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    code, out, _ = run("migrate")
    assert (code, out) == (
        DONE,
        f"sqlite:///{tmp_path}/state/records.sqlite was empty and has version {VERSIONS[-1]}\n",
    )
    assert run("migrate")[1].endswith(f"had version {VERSIONS[-1]} and has version {VERSIONS[-1]}\n")

    assert len(run("calls")[1].splitlines()) == 1


def test_folder_that_nobody_named_is_told(run, tmp_path, monkeypatch):
    """Without a configuration it is said where records are looked for; a configuration says it itself."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    said = (
        f"there is no bridge.toml and no /etc/agi-bridge/bridge.toml, so records are looked for in {tmp_path}/state\n"
    )
    assert run("migrate")[2] == said
    assert run("calls", "--json") == (DONE, "", said)

    (tmp_path / "bridge.toml").touch()
    assert run("calls", "--json") == (DONE, "", "")


def test_records_that_are_switched_off(run, tmp_path):
    """Whoever asks for records that are not kept learns why."""
    (tmp_path / "bridge.toml").write_text("[records]\nenabled = false\n")

    assert run("calls") == (
        FAILED,
        "",
        "agi-bridge: records are switched off: enabled under [records] in bridge.toml\n",
    )
