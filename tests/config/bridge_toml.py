"""Texts of bridge.toml that are good but for what a test changes, and what becomes of them."""

import pytest

from agi_bridge import config
from agi_bridge.errors import ConfigError

KEY = "0123456789abcdefSECRET"

ENVIRON = {"MILLIS_API_KEY": KEY}

GOOD = """
[defaults]
fallback = "millis-fallback,s,1"

[[route]]
name = "sales"
did = "+15551230001"
agent_id = "-Nabc"
"""


PATTERN_HINT = '(write a number, or a pattern such as "_1NXXNXXXXXX" or "_X.")'

PLACE = "must be a place in the dialplan, written context,exten,priority"

SECOND = """
[account.second]
{}

[[route]]
name = "other"
agent_id = "-Nx"
account = "second"
"""

AMI = ENVIRON | {"AMI": "the-secret"}


def reader(**files):
    """Return a reader of *files*, whose names have "_" for "."."""
    contents = {name.replace("_", "."): content for name, content in files.items()}

    def read_file(name):
        if name not in contents:
            raise FileNotFoundError(2, "No such file or directory")
        return contents[name].encode() if isinstance(contents[name], str) else contents[name]

    return read_file


def load(text=GOOD, environ=ENVIRON, **files):
    return config.load(text, environ, reader(**files))


def problems(text, environ=ENVIRON, **files):
    """Return the lines that `check` prints about *text*."""
    with pytest.raises(ConfigError) as caught:
        load(text, environ, **files)
    return str(caught.value).splitlines()


def route(lines="", name="sales"):
    """Return a configuration that is good but for *lines* in its only route."""
    return f"{GOOD.replace('sales', name)}\n{lines}\n"


def warnings(text, **files):
    return [str(warning) for warning in load(text, **files).warnings]


def pbx(lines="", name="hq", secret='ami_secret_env = "AMI"'):
    """Return a `[[pbx]]` table."""
    return f'\n[[pbx]]\nname = "{name}"\n{secret}\n{lines}\n'
