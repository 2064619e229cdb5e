"""What goes wrong before anything runs is told in one line that says what to do, and never as a traceback."""

import shutil
from pathlib import Path

import pytest

from agi_bridge import __version__
from tests.docker.stack import DEMO, Compose, Ended, run


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site like the demo's, to be spoiled. Everybody may look into its folder, as pytest's own folder forbids."""
    site = tmp_path / "site"
    shutil.copytree(DEMO, site)
    for folder in (site, *site.parents[:3]):
        folder.chmod(0o755)
    return site


def told(ended: Ended, code: int) -> str:
    """Return the one line that was told."""
    assert ended.code == code, ended
    [line] = (ended.err.strip() or ended.out.strip()).splitlines()
    return line


def checked(site: Path) -> Ended:
    """Let the bridge's container check the configuration of *site*."""
    return Compose(AGI_BRIDGE_SITE=str(site)).attempt("run", "--rm", "--no-TTY", "--no-deps", "bridge", "check")


def asterisk(site: Path, *options: str) -> Ended:
    """Start Asterisk's container with the files of *site*."""
    return Compose(AGI_BRIDGE_SITE=str(site)).attempt("run", "--rm", "--no-TTY", "--no-deps", *options, "asterisk")


def test_good_site(compose: Compose, site: Path):
    """A site that is well is said to be."""
    assert told(checked(site), 0) == "the configuration is good: 1 rule"


def test_key_is_missing(compose: Compose, site: Path):
    """A key that is not there is named, and where it belongs."""
    (site / "millis.key").unlink()
    assert told(checked(site), 2) == (
        "millis.api_key_file: cannot read millis.key: No such file or directory "
        "(write it beside the configuration, or name another)"
    )


def test_key_of_somebody_else(compose: Compose, site: Path):
    """A key that the container's user may not read is told with that user's number."""
    (site / "millis.key").chmod(0o600)
    assert told(checked(site), 2) == (
        "millis.api_key_file: cannot read millis.key: Permission denied; let uid 4573 read it"
    )


def test_configuration_is_missing(compose: Compose, site: Path):
    """A folder without bridge.toml is named as it is called outside of the container."""
    (site / "bridge.toml").unlink()
    assert told(checked(site), 2) == (
        "/etc/agi-bridge/bridge.toml: cannot be read: No such file or directory "
        f"(it belongs in the folder AGI_BRIDGE_SITE: {site})"
    )


def test_site_is_nowhere(compose: Compose, site: Path):
    """A folder that does not exist is named, and not made."""
    nowhere = site / "nowhere"
    assert told(checked(nowhere), 1).endswith(f"bind source path does not exist: {nowhere}")
    assert not nowhere.exists()


def test_authorities_are_nowhere(compose: Compose):
    """A CA_BUNDLE that does not exist is named."""
    ended = Compose(CA_BUNDLE="/nowhere.pem").attempt("build", "bridge")
    assert ended.code != 0
    assert ended.err.strip().endswith("stat /nowhere.pem: no such file or directory")


def test_port_of_the_bridge_is_taken(stack: Compose):
    """A second bridge ends at once, and says which port is taken and where it is named."""
    ended = stack.attempt("run", "--rm", "--no-TTY", "--no-deps", "bridge")
    assert told(ended, 1) == (
        "agi-bridge: cannot listen on 127.0.0.1:4584: Address already in use; is another bridge running? "
        "See listen under [web]"
    )


def test_port_of_asterisk_is_taken(stack: Compose):
    """A second Asterisk ends at once, before it takes anything from the first, and says which port is taken."""
    ended = stack.attempt("run", "--rm", "--no-TTY", "--no-deps", "asterisk")
    assert told(ended, 1) == (
        "asterisk: udp port 5070 of 127.0.0.1 is taken by another program on this machine, perhaps another PBX. Stop that "
        "one, or give this one another port in asterisk/ of the folder AGI_BRIDGE_SITE (./scripts/demo-site)"
    )


def test_file_of_asterisk_is_missing(compose: Compose, site: Path):
    """An Asterisk whose site lacks a file does not start with half a configuration."""
    (site / "asterisk/rtp.conf").unlink()
    assert told(asterisk(site), 1) == (
        "asterisk: cannot read /etc/asterisk/site/rtp.conf, which is asterisk/rtp.conf in the folder AGI_BRIDGE_SITE "
        f"({site}). Copy the four files of asterisk-conf/site/ there, and let uid 5060 read them"
    )


def test_folder_that_asterisk_cannot_write(compose: Compose, site: Path):
    """A folder for Asterisk's database that its user may not write is named."""
    (site / "lib").mkdir(mode=0o755)
    ended = asterisk(site, "--volume", f"{site / 'lib'}:/var/lib/asterisk")
    assert told(ended, 1) == (
        "asterisk: cannot write to /var/lib/asterisk. Let uid 5060 write there: chown the volume, or take it away and let it "
        "be made anew"
    )


FIRST_CONFIGURATION = [
    "--flavor",
    "plain",
    "--country",
    "US",
    "--region",
    "us-west",
    "--did",
    "all",
    "--agent",
    "a",
    "--fallback",
    "c,s,1",
]


@pytest.mark.parametrize(
    ("mode", "code", "complaint"),
    [
        (0o755, 2, "--config: cannot write into /site (run this as root, or name another file)"),
        (0o700, 1, "agi-bridge: /site/bridge.toml: Permission denied; let uid 4573 write there"),
    ],
)
def test_folder_for_a_first_configuration_cannot_be_written(compose: Compose, site: Path, mode, code, complaint):
    """A folder that the container's user may not write, or not even enter, is named, and nothing is left half done there."""
    (site / "bridge.toml").unlink()
    (site / "millis.key").unlink()
    site.chmod(mode)
    ended = Compose(MILLIS_API_KEY="k").attempt(
        *("run", "--rm", "--no-TTY", "--no-deps", "--env=MILLIS_API_KEY", "--volume", f"{site}:/site", "bridge"),
        *("init", "--config=/site/bridge.toml", *FIRST_CONFIGURATION),
    )

    assert told(ended, code) == complaint
    assert [path.name for path in site.iterdir()] == ["asterisk"]


def test_version_that_differs(compose: Compose):
    """An image is not built with a version on its label that the package does not have."""
    done = run("docker", "build", "--progress=plain", "--build-arg", "VERSION=9.9.9", ".")
    assert done.returncode != 0
    assert f"ARG VERSION=9.9.9 in this Dockerfile, but the package says: agi-bridge {__version__}" in done.stderr
