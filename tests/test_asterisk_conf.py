"""Asterisk's configuration as files: what the package brings, and what is read and written in an administrator's folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from agi_bridge.asterisk_conf import shipped, there, write
from agi_bridge.errors import CannotPlace
from agi_bridge.flavor import FLAVORS, File

ROOT = Path(__file__).parents[1]
FREEPBX = FLAVORS["freepbx"]


@pytest.fixture
def folder(tmp_path):
    """A folder as FreePBX leaves it."""
    (tmp_path / "extensions.conf").write_text("#include extensions_custom.conf\n")
    (tmp_path / "extensions_additional.conf").write_bytes(b"; Caf\xe9\n")
    (tmp_path / "pjsip.endpoint.conf").write_text("[carrier]\n")
    (tmp_path / "extensions_custom.conf").write_bytes("; mine: é\r\n".encode())
    return tmp_path


def test_shipped_files_are_those_of_asterisk_conf():
    """All files of asterisk-conf/ are there, by path."""
    source = ROOT / "asterisk-conf"
    assert shipped() == {str(path.relative_to(source)): path.read_text() for path in source.rglob("*.conf")}


def test_shipped_files_are_in_the_package(tmp_path):
    """Whoever installs the package has them too."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as package:
        prefix = "agi_bridge/asterisk-conf/"
        inside = {
            name.removeprefix(prefix): package.read(name).decode()
            for name in package.namelist()
            if name.startswith(prefix) and name.endswith(".conf")
        }
    assert inside == shipped()


def test_files_are_read_as_they_are(folder):
    """What is there is read, line ends included; what we only look at may be in any encoding."""
    found = there(folder, FREEPBX)

    assert sorted(found) == [
        "extensions.conf",
        "extensions_additional.conf",
        "extensions_custom.conf",
        "pjsip.endpoint.conf",
    ]
    assert found["extensions_custom.conf"] == "; mine: é\r\n"


def test_file_of_ours_must_be_utf_8(folder):
    """A file into which we are to write must be text that can be written back as it was."""
    (folder / "extensions_custom.conf").write_bytes(b"[a]\n; Caf\xe9\n")

    with pytest.raises(CannotPlace, match=r"extensions_custom.conf is not UTF-8 text in line 2; .*iconv -f ISO-8859-1"):
        there(folder, FREEPBX)


def test_folder_that_is_not_there(tmp_path):
    """A folder that does not exist is told with the option that names another."""
    with pytest.raises(CannotPlace, match=r"there is no folder .*/none; .* with --directory"):
        there(tmp_path / "none", FREEPBX)


@pytest.mark.parametrize(("flavor", "lacks"), [("vitalpbx", "vitalpbx"), ("issabel", ""), ("plain", "")])
def test_folder_of_another_distribution(folder, flavor, lacks):
    """Files that a distribution does not read, or writes anew, are not written for it."""
    if flavor == "issabel":
        assert there(folder, FLAVORS[flavor])  # from outside, the two look alike
        return
    said = f"there is no {lacks}" if lacks else "so FreePBX writes extensions.conf anew"
    with pytest.raises(CannotPlace, match=rf"{said}; name another .*--flavor: plain, freepbx, issabel, vitalpbx"):
        there(folder, FLAVORS[flavor])


def test_only_what_differs_is_written(folder):
    """A file that is as it should be is left alone; of one that is replaced, the former content is kept and named."""
    mine = (folder / "extensions_custom.conf").read_bytes().decode()
    files = (
        File("pjsip_custom.conf", "", "new\n"),
        File("extensions_custom.conf", "", mine),
        File("pjsip.endpoint.conf", "", "other\n"),
        File("globals_custom.conf", "", ""),
    )

    said = write(folder, files)

    assert said == [
        f"{folder}/pjsip_custom.conf: written",
        f"{folder}/extensions_custom.conf: nothing to change",
        f"{folder}/pjsip.endpoint.conf: written, what was there is in {folder}/pjsip.endpoint.conf.before-agi-bridge",
        f"{folder}/globals_custom.conf: nothing to change",
    ]
    assert not (folder / "globals_custom.conf").exists()


def test_file_with_the_secret_is_not_for_all(folder):
    """A new file is for everybody to read, unless the secret stands in it."""
    write(folder, (File("pjsip_custom.conf", "", "x\n"), File("globals_custom.conf", "", "MILLIS_SECRET = s3cr3t\n")))

    modes = [(folder / name).stat().st_mode & 0o777 for name in ("pjsip_custom.conf", "globals_custom.conf")]
    assert modes == [0o644, 0o640]


def test_file_of_all_that_gets_the_secret_is_told(folder):
    """What permissions a file had, it keeps, for Asterisk may need them; that everybody can read the secret is said."""
    there = folder / "globals_custom.conf"
    there.write_text("x = y\n")
    there.chmod(0o644)

    said = write(folder, (File("globals_custom.conf", "", "MILLIS_SECRET = s3cr3t\n"),))

    assert said[1:] == [
        f"{there}: holds the secret, and everybody on this machine can read it; see to it: chmod o-r {there}"
    ]
    assert there.stat().st_mode & 0o777 == 0o644


def test_folder_that_cannot_be_written(folder):
    """A file that cannot be written is told with the remedy, and with what has been written before it."""
    if os.geteuid() == 0:
        (folder / "vitalpbx").write_text("")  # root may write everywhere, but not below a file
        path = "vitalpbx/extensions__90-millis.conf"
    else:
        (folder / "closed").mkdir(mode=0o500)
        path = "closed/extensions_custom.conf"

    with pytest.raises(CannotPlace, match=rf"{path} cannot be .*; run this as root"):
        write(folder, (File(path, "", "x\n"),))
