"""What the images and docker-compose.yml are made of agrees with the rest, as far as no engine is needed to see it."""

import re
from pathlib import Path

import pytest

from agi_bridge import __version__, config

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "scripts/demo-site"


def keys(text: str) -> set[str]:
    """Return "section.key" for everything that a file of Asterisk sets, commented lines left out."""
    found, section = set(), ""
    for line in text.splitlines():
        if heading := re.match(r"\[([\w-]+)\]", line):
            section = heading[1]
            found.add(section)
        elif pair := re.match(r"([\w-]+)\s*=", line):
            found.add(f"{section}.{pair[1]}")
    return found


@pytest.mark.parametrize("dockerfile", ["Dockerfile", "asterisk-conf/Dockerfile"])
def test_images_have_the_version_of_the_package(dockerfile: str):
    """The version on an image's label is that of agi_bridge/__init__.py."""
    [stated] = re.findall(r"^ARG VERSION=(.+)$", (ROOT / dockerfile).read_text(), re.MULTILINE)
    assert stated == __version__


@pytest.mark.parametrize("name", ["extensions.conf", "manager.conf", "pjsip.conf", "rtp.conf"])
def test_demo_sets_what_a_site_sets(name: str):
    """The demo's Asterisk is configured by the same keys as any site's, none more and none less."""
    assert keys((DEMO / "asterisk" / name).read_text()) == keys((ROOT / "asterisk-conf/site" / name).read_text())


def test_demo_configuration_is_good():
    """The bridge takes the demo's configuration without a warning, and its Asterisk asks where it listens."""
    text = (DEMO / "bridge.toml").read_text()
    loaded = config.load(text, {}, lambda name: (DEMO / name).read_bytes())

    assert loaded.warnings == ()
    assert f"MILLIS_BRIDGE = {loaded.agi.listen[0]}\n" in (DEMO / "asterisk/extensions.conf").read_text()


def test_demo_listens_on_this_machine_only():
    """No address of the demo can be reached from another machine."""
    addresses = re.findall(
        r"(?:bind = |listen = \")([^:\n]+):", "".join(p.read_text() for p in DEMO.rglob("*.*") if p.is_file())
    )
    assert set(addresses) == {"127.0.0.1"}
    assert len(addresses) == 5


def test_variables_of_compose_are_documented():
    """docs/docker.md and the head of docker-compose.yml name each variable that the file reads."""
    compose, page = (ROOT / "docker-compose.yml").read_text(), (ROOT / "docs/docker.md").read_text()
    head = compose.partition("\nname:")[0]
    variables = set(re.findall(r"\$\{(\w+)", compose))

    assert variables == {name for name in variables if f"`{name}`" in page and f"  {name} " in head}
    assert len(variables) == 2
