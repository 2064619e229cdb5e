"""Files that the commands write for an administrator: whole or not at all, and what was there before stays beside it.
Files of our own are written whole, too.

Knows no configuration and no dialplan; whoever calls has the text, and tells the person what happened.
"""

import os
import tempfile
from pathlib import Path

BACKUP_SUFFIX = ".before-agi-bridge"


def replace_text(path: Path, text: str, *, mode: int = 0o644) -> Path | None:
    """Make *text* the content of the file at *path*; return where the former content is kept, None where there was none.

    The text is written beside the file and then takes its name, so a reader, or a power cut, sees the old file or the new
    one. A file that exists keeps its owner and permissions; a new one gets *mode*, in octal as for chmod, and the owner of its
    folder. What is there already is left as it is, and no backup is made of it. A symbolic link stays one; the file that it
    names is replaced.

    Raises OSError, in which case nothing has changed.
    """
    target = path.resolve()
    former = target.read_bytes() if target.exists() else None
    written = text.encode()
    if former == written:
        return None
    backup = None
    if former is not None:
        backup = target.with_name(target.name + BACKUP_SUFFIX)
        _write(backup, former, like=target, mode=mode)
    _write(target, written, like=target if former is not None else None, mode=mode)
    return backup


def replace_state(path: Path, text: str) -> None:
    """Make *text* the content of a file of our own, which nobody edits; without a backup. Raises OSError, as above."""
    _write(path, text.encode(), like=path if path.exists() else None, mode=0o640)


def _write(path: Path, content: bytes, *, like: Path | None, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as beside:
            owned = (like or path.parent).stat()
            if like is not None:
                mode = owned.st_mode & 0o7777
            # Root writes for the service that owns the folder; nobody else can give a file away.
            if (owned.st_uid, owned.st_gid) != (os.geteuid(), os.getegid()) and (like is not None or os.geteuid() == 0):
                os.fchown(beside.fileno(), owned.st_uid, owned.st_gid)
            os.fchmod(beside.fileno(), mode)
            beside.write(content)
            beside.flush()
            os.fsync(beside.fileno())
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
