"""Asterisk's configuration as files: what we ship, and what stands in an administrator's folder.

Reads and writes; what has to stand where is decided in flavor.py. All is read and decided before anything is written.
"""

import stat
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from agi_bridge.errors import CannotPlace
from agi_bridge.files import replace_text
from agi_bridge.flavor import FLAVORS, LOOKED_AT, NAMES, File, Flavor

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

# A new file that holds the secret is for Asterisk alone.
_OPEN, _SECRET = 0o644, 0o640


def shipped() -> dict[str, str]:
    """Return the files of asterisk-conf/ by path: of the installed package, or of the copy of the repository that it is."""
    package = resources.files("agi_bridge")
    inside = package / "asterisk-conf"
    return dict(_read(inside if inside.is_dir() else Path(str(package)).parent / "asterisk-conf"))


def _read(folder: "Traversable", prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for each in folder.iterdir():
        if each.is_dir():
            found += _read(each, f"{prefix}{each.name}/")
        elif each.name.endswith(".conf"):
            found.append((prefix + each.name, each.read_text(encoding="utf-8")))
    return found


def there(folder: Path, flavor: Flavor) -> dict[str, str]:
    """Return the files of Asterisk's *folder* in which a name of ours could stand, by path; raise CannotPlace."""
    if not folder.is_dir():
        raise CannotPlace(
            f"there is no folder {folder}; name the one of your Asterisk's configuration with --directory"
        )
    if not (folder / flavor.sign).exists():
        raise CannotPlace(
            f"{folder} is not the configuration of {flavor.title}, for there is no {flavor.sign}; name another --directory, "
            f"or another --flavor: {NAMES}"
        )
    if flavor is FLAVORS["plain"]:
        for other in FLAVORS.values():
            if other.sign != flavor.sign and (folder / other.sign).exists():
                raise CannotPlace(
                    f"{folder} has {other.sign}, so {other.title} writes extensions.conf anew; name another --flavor: "
                    f"{NAMES}"
                )
    paths = sorted({path for pattern in LOOKED_AT for path in folder.glob(pattern)})
    found = {str(path.relative_to(folder)): path for path in paths}
    # What we only look at need not be in any particular encoding.
    return {name: _text(path, strictly=name in flavor.paths) for name, path in found.items()}


def write(folder: Path, files: tuple[File, ...]) -> list[str]:
    """Write the files that are not yet as they should be, and say of each what has become of it."""
    said = []
    for file in files:
        path = folder / file.path
        if file.whole == (_text(path) if path.exists() else ""):
            said.append(f"{path}: nothing to change")
            continue
        try:
            backup = replace_text(path, file.whole, mode=_SECRET if file.holds_secret else _OPEN)
        except OSError as error:
            done = f"; {', '.join(said)}" if said else ""
            raise CannotPlace(
                f"{path} cannot be written: {error.strerror}; run this as root, or name another --directory{done}"
            ) from error
        said.append(f"{path}: written" + (f", what was there is in {backup}" if backup else ""))
        # Its permissions stay, for we do not know by which of them Asterisk reads it.
        if file.holds_secret and path.stat().st_mode & stat.S_IROTH:
            said.append(
                f"{path}: holds the secret, and everybody on this machine can read it; see to it: chmod o-r {path}"
            )
    return said


def _text(path: Path, *, strictly: bool = True) -> str:
    """Return the file; *strictly* byte for byte, so that what is not ours can be written back as it is."""
    try:
        return path.read_bytes().decode(errors="strict" if strictly else "replace")
    except OSError as error:
        raise CannotPlace(f"{path} cannot be read: {error.strerror}; run this as root") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise CannotPlace(
            f"{path} is not UTF-8 text in line {line}; turn it into UTF-8 first, with iconv -f ISO-8859-1 -t UTF-8"
        ) from None
