"""The locked requirements: every package in one exact version with its hashes, from nowhere in particular."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
GROUPS = {
    "runtime.txt": ["build"],
    "test.txt": ["build", "test"],
    "dev.txt": ["build", "test", "lint", "bench"],
    "fuzz.txt": ["build", "fuzz"],
}


def locked(lock: Path) -> dict[str, str]:
    """Version by package name; two versions of one package, for two kinds of machine, would clash here."""
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_lock_names_hashes_and_no_host(lock):
    """Each requirement has a version and a hash, and no line says where to download."""
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]

    assert [line for line in lines if not re.match(r"[a-z0-9.-]+==\S+( ; .+)? \\$|    --hash=sha256:", line)] == []
    assert "://" not in lock.read_text()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_lock_satisfies_pyproject(lock):
    """Each lock holds all that pyproject.toml asks for, in a version that it admits."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = list(settings["project"]["dependencies"])
    for group in GROUPS[lock.name]:
        asked += settings["dependency-groups"][group]

    versions = locked(lock)
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(versions[requirement.name])


def test_locks_agree():
    """A package has the same version wherever it is locked."""
    everything = locked(ROOT / "requirements" / "dev.txt")

    for lock in LOCKS:
        versions = locked(lock)
        assert versions == {name: everything.get(name, version) for name, version in versions.items()}
