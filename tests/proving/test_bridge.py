"""The configuration that the bridge is proven with."""

import tomllib

from proving.bridge import KEY, config_text

from agi_bridge.config import load


def test_one_millis_serves_all_regions():
    """With one address the configuration is one that the bridge takes, without a warning."""
    config = load(config_text(["http://127.0.0.1:1"], "desk,s,1"), {"MILLIS_API_KEY": KEY}, lambda name: b"")

    assert {config.millis.url(region) for region in ("us-west", "eu-west")} == {"http://127.0.0.1:1"}
    assert config.warnings == ()


def test_each_region_may_have_its_own():
    """With two addresses the configuration names one for each region."""
    text = config_text(["http://127.0.0.1:1", "http://127.0.0.1:2"], "desk,s,1")

    assert tomllib.loads(text)["millis"]["base_url"] == {
        "us-west": "http://127.0.0.1:1",
        "eu-west": "http://127.0.0.1:2",
    }
