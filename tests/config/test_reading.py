"""What one reading finds in the files that the configuration names."""

import pytest

from agi_bridge import config
from agi_bridge.errors import ConfigError
from tests.config.bridge_toml import GOOD


def test_file_name_that_the_system_refuses_is_a_problem():
    """A name that cannot be a file's is told like a file that is not there."""

    def read_file(name):
        return open(name, "rb").read()

    with pytest.raises(ConfigError) as caught:
        config.load(f'[millis]\napi_key_file = "a\\u0000b"\n{GOOD}', {}, read_file)

    assert str(caught.value) == "millis.api_key_file: cannot read 'a\\x00b': embedded null byte"
