"""Files that the commands write: whole or not at all."""

import os

import pytest

from agi_bridge.files import replace_state, replace_text


def test_new_file_has_the_text_and_the_mode(tmp_path):
    """A file that was not there is made, with the permissions asked for; there is nothing to keep."""
    path = tmp_path / "bridge.toml"

    assert replace_text(path, "key = 1\n", mode=0o640) is None
    assert path.read_text() == "key = 1\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["bridge.toml"]


def test_former_content_is_kept_beside(tmp_path):
    """What was replaced can be had back, with the permissions that it had."""
    path = tmp_path / "extensions_custom.conf"
    path.write_text("; mine\n")
    path.chmod(0o600)

    backup = replace_text(path, "; mine\n; ours\n")
    assert backup is not None

    assert backup == tmp_path / "extensions_custom.conf.before-agi-bridge"
    assert (path.read_text(), backup.read_text()) == ("; mine\n; ours\n", "; mine\n")
    assert [p.stat().st_mode & 0o777 for p in (path, backup)] == [0o600, 0o600]


def test_same_content_changes_nothing(tmp_path):
    """A second run leaves the file, and the backup of the first run, as they are."""
    path = tmp_path / "a.conf"
    path.write_text("one")
    replace_text(path, "two")
    before = path.stat()

    assert replace_text(path, "two") is None
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (tmp_path / "a.conf.before-agi-bridge").read_text() == "one"


def test_symbolic_link_stays_one(tmp_path):
    """Where a distribution links a file elsewhere, the file that it names is replaced, not the link."""
    (tmp_path / "real.conf").write_text("one")
    link = tmp_path / "link.conf"
    link.symlink_to("real.conf")

    replace_text(link, "two")

    assert link.is_symlink()
    assert (tmp_path / "real.conf").read_text() == "two"


def test_failed_write_changes_nothing(tmp_path):
    """A file that cannot be written stays as it was, and nothing half-written is left beside it."""
    path = tmp_path / "missing-folder" / "a.conf"

    with pytest.raises(OSError, match="missing-folder"):
        replace_text(path, "text")
    assert os.listdir(tmp_path) == []


def test_owner_of_a_file_that_exists_stays(tmp_path):
    """The PBX must still be able to read its own file after root has changed it."""
    path = tmp_path / "a.conf"
    path.write_text("one")
    owner = (12345, 23456) if os.geteuid() == 0 else (os.geteuid(), os.getegid())  # only root may give a file away
    os.chown(path, *owner)

    backup = replace_text(path, "two")
    assert backup is not None

    assert [(p.stat().st_uid, p.stat().st_gid) for p in (path, backup)] == [owner] * 2


def test_new_file_has_the_owner_of_its_folder(tmp_path):
    """What root writes into the folder of a service, the service can read."""
    folder = tmp_path / "asterisk"
    folder.mkdir()
    owner = (12345, 23456) if os.geteuid() == 0 else (os.geteuid(), os.getegid())  # only root may give a file away
    os.chown(folder, *owner)

    replace_text(folder / "a.conf", "one")

    written = (folder / "a.conf").stat()
    assert (written.st_uid, written.st_gid) == owner


def test_file_of_our_own_is_replaced_without_a_backup(tmp_path):
    """Nobody edits it, so nothing is kept beside it; its permissions stay."""
    path = tmp_path / "count.json"
    replace_state(path, "1")
    path.chmod(0o600)
    replace_state(path, "2")

    assert (path.read_text(), os.listdir(tmp_path)) == ("2", ["count.json"])
    assert path.stat().st_mode & 0o777 == 0o600
