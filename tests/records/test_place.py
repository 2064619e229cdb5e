"""Where records are, if nobody says."""

from pathlib import Path

import pytest

from agi_bridge.records.place import SYSTEM_FOLDER, state_folder


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/agi-bridge", "HOME": "/home/ada"}, "/var/lib/agi-bridge"),
        ({"STATE_DIRECTORY": "/var/lib/one:/var/lib/two"}, "/var/lib/one"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/ada"}, "/state/agi-bridge"),
        ({"HOME": "/home/ada"}, "/home/ada/.local/state/agi-bridge"),
        ({}, "/.local/state/agi-bridge"),
    ],
)
def test_folder_is_that_of_the_service_else_that_of_the_user(environ, folder, tmp_path):
    """systemd names the folder of a service; somebody who tries things has a folder in their home."""
    assert state_folder(environ, tmp_path / "missing") == Path(folder)


def test_a_command_finds_what_the_service_keeps(tmp_path):
    """Where the system's folder is there, it is meant, whoever asks."""
    assert state_folder({"HOME": "/home/ada"}, tmp_path) == tmp_path
    assert Path("/var/lib/agi-bridge") == SYSTEM_FOLDER
