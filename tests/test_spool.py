"""The spool keeps lines through every end of a process, and gives them back once it is told that they are safe elsewhere."""

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agi_bridge.spool import Spool, SpoolFull

LIMIT = 1_000_000


def a_spool(folder: Path, limit_bytes: int = LIMIT) -> Spool:
    return Spool.create(folder, "spool", limit_bytes)


def killed(spool: Spool) -> None:
    """Do to the file what the end of its process does."""
    os.close(spool._descriptor)


@contextmanager
def files_of_at_most(limit_bytes: int) -> Iterator[None]:
    """Have the kernel refuse what goes beyond it, as it does where a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_lines_come_back_in_order_until_they_are_forgotten(tmp_path: Path):
    """Reading changes nothing, forgetting is for good, and a file that is read to its end takes no room."""
    spool = a_spool(tmp_path)
    spool.append(b"a\nb\n")
    spool.append(b"c\n")

    assert spool.read(2) == ([b"a", b"b"], 4)
    assert spool.read(2) == ([b"a", b"b"], 4)
    spool.forget(4)
    assert (spool.read(9), spool.waiting_bytes) == (([b"c"], 6), 2)
    spool.append(b"d\n")
    spool.forget(8)
    assert (spool.read(9), spool.waiting_bytes, spool.path.stat().st_size) == (([], 0), 0, 0)
    spool.close()


def test_a_spool_that_holds_nothing_is_deleted_when_it_is_closed(tmp_path: Path):
    """An end in good order leaves no file behind."""
    empty, full = a_spool(tmp_path), a_spool(tmp_path)
    full.append(b"a\n")
    empty.close()
    full.close()

    assert list(tmp_path.iterdir()) == [full.path]


def test_long_lines_are_read_whole(tmp_path: Path):
    """A line may be longer than what is read at a time, and a few of them are enough at once."""
    spool = a_spool(tmp_path, limit_bytes=30_000_000)
    lines = [bytes([65 + place]) * 2_000_000 for place in range(5)]
    for line in lines:
        spool.append(line + b"\n")
    read = []
    while spool.waiting_bytes:
        some, end = spool.read(100)
        assert 0 < len(some) < 5
        read += some
        spool.forget(end)
    spool.close()

    assert read == lines


def test_nobody_else_can_read_it(tmp_path: Path):
    """The file and its folder hold numbers of callers, and are for the bridge alone."""
    spool = a_spool(tmp_path / "records")

    assert (spool.path.stat().st_mode & 0o777, spool.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    spool.close()


def test_a_spool_is_taken_over_when_its_process_is_gone(tmp_path: Path):
    """What somebody else still holds is left alone; what nobody holds is read to its last whole line, the oldest first."""
    first, held = Spool.create(tmp_path, "1", LIMIT), Spool.create(tmp_path, "2", LIMIT)
    first.append(b"a\nb\n")
    os.write(first._descriptor, b"half a li")
    killed(first)
    (taken,), _ = Spool.abandoned(tmp_path, LIMIT)

    assert taken.path == first.path
    assert taken.read(9) == ([b"a", b"b"], 4)
    assert Spool.abandoned(tmp_path, LIMIT) == ([], [])
    taken.append(b"c\n")
    assert taken.read(9) == ([b"a", b"b", b"c"], 6)
    taken.close()
    held.close()


def test_a_file_that_cannot_be_read_holds_up_no_other(tmp_path: Path):
    """Each is taken over for itself; what is wrong with one is returned."""
    (tmp_path / "1.spool").mkdir()
    spool = a_spool(tmp_path)
    spool.append(b"a\n")
    killed(spool)
    (taken,), (failure,) = Spool.abandoned(tmp_path, LIMIT)

    assert taken.read(9) == ([b"a"], 2)
    assert failure.filename == str(tmp_path / "1.spool")
    taken.close()


def test_a_line_that_was_never_finished_is_all_that_is_lost(tmp_path: Path):
    """A file of one torn line, however long, is an empty one."""
    spool = a_spool(tmp_path)
    os.write(spool._descriptor, b"x" * 600_000)
    killed(spool)
    (taken,), _ = Spool.abandoned(tmp_path, LIMIT)

    assert taken.waiting_bytes == 0
    taken.close()


def test_the_limit_is_kept(tmp_path: Path):
    """What would go beyond the limit is refused, and what is there stays."""
    spool = a_spool(tmp_path, limit_bytes=5)
    spool.append(b"abc\n")
    with pytest.raises(SpoolFull, match="limit of 5 bytes"):
        spool.append(b"d\n")

    assert spool.read(9) == ([b"abc"], 4)
    spool.close()


def test_a_full_disk_leaves_no_half_lines(tmp_path: Path):
    """Lines that do not fit leave the file as it was, and the next ones go in once there is room."""
    spool = a_spool(tmp_path)
    spool.append(b"before\n")
    with files_of_at_most(10), pytest.raises(OSError, match="File too large"):
        spool.append(b"does not fit\n")
    spool.append(b"after\n")

    assert spool.read(9)[0] == [b"before", b"after"]
    spool.close()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path):
    """Where no file can be made, the error says which."""
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        Spool.create(tmp_path / "file" / "records", "spool", LIMIT)


def test_new_spool_is_never_taken_for_an_abandoned_one(tmp_path: Path):
    """However often another process looks for spools that nobody holds, a file that was just made stays."""
    done = threading.Event()

    def take_over() -> None:
        while not done.is_set():
            taken, _ = Spool.abandoned(tmp_path, LIMIT)
            for spool in taken:
                spool.close()

    other = threading.Thread(target=take_over)
    other.start()
    try:
        made = [Spool.create(tmp_path, f"spool-{number}", LIMIT) for number in range(300)]
    finally:
        done.set()
        other.join()
    assert [spool.path for spool in made if not spool.path.exists()] == []
    for spool in made:
        spool.close()
