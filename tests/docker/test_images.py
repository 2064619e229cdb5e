"""What is in the two images: the version, the shipped configuration as it is, and nothing of whoever built them."""

import json
from pathlib import Path

import pytest

from agi_bridge import __version__
from tests.docker.stack import ROOT, Compose, run

IMAGES = ("agi-bridge", "agi-bridge-asterisk")


def inside(image: str, *command: str) -> str:
    """Run a command in an image and return what it printed."""
    done = run("docker", "run", "--rm", f"--entrypoint={command[0]}", image, *command[1:])
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("image", IMAGES)
def test_image_says_what_it_is(compose: Compose, image: str):
    """The labels name title and version, the user is a number, and there is a health check."""
    [about] = json.loads(run("docker", "image", "inspect", image).stdout)
    labels = about["Config"]["Labels"]

    assert labels["org.opencontainers.image.title"] == image
    assert labels["org.opencontainers.image.version"] == __version__
    assert about["Config"]["User"] in ("4573:4573", "5060:5060")
    assert about["Config"]["Healthcheck"]["Test"]


def test_bridge_in_its_image(compose: Compose):
    """The package runs without pip and build tools beside it, and everything of it is compiled."""
    assert inside("agi-bridge", "agi-bridge", "--version") == f"agi-bridge {__version__}\n"
    packages = inside("agi-bridge", "sh", "-c", "ls /opt/agi-bridge/lib/python3*/site-packages")
    assert "uvloop" in packages
    assert not {"pip", "hatchling", "pytest"} & set(packages.split())
    assert "app.cpython-" in inside("agi-bridge", "sh", "-c", "ls /opt/agi-bridge/lib/*/*/agi_bridge/__pycache__")


def test_bridge_image_stays_small(compose: Compose):
    """All that the image has over its base is under 120 MB."""
    history = run(
        "docker", "history", "--no-trunc", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", "agi-bridge"
    ).stdout
    # The uppermost layers are ours, down to the one that makes the user; below is the base.
    ours = []
    for line in history.splitlines():
        size, _, step = line.partition(" ")
        ours.append(int(size))
        if "groupadd --gid 4573" in step:
            break

    assert 10_000_000 < sum(ours) < 120_000_000


def test_asterisk_has_the_shipped_configuration(compose: Compose):
    """Each file of asterisk-conf/ is in the image, byte for byte."""
    shipped = sorted(
        path.relative_to(ROOT / "asterisk-conf")
        for folder in ("", "site")
        for path in (ROOT / "asterisk-conf" / folder).glob("*.conf")
    )
    assert {Path("extensions.conf"), Path("site/pjsip.conf")} <= set(shipped)
    for name in shipped:
        assert (
            inside("agi-bridge-asterisk", "cat", f"/etc/asterisk/{name}") == (ROOT / "asterisk-conf" / name).read_text()
        )


def test_no_secret_stays_in_an_image(compose: Compose):
    """The authorities that a build was handed are in no layer of the image."""
    for image in IMAGES:
        assert inside(image, "sh", "-c", "ls -A /run/secrets 2>/dev/null || true") == ""
