"""Which configuration file a command reads, and one that cannot be read."""

import errno
import json
import os
from pathlib import Path

import pytest

from agi_bridge.cli.exit_code import DONE, MISUSED


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
