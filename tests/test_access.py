"""Tokens: whose is it, and what does it open."""

import pytest

from agi_bridge.access import Scope, Token, digest, holder

CRM = Token("crm", frozenset({Scope.READ}), digest("the crm's"))
MILLIS = Token("millis", frozenset({Scope.MILLIS}), digest("of millis"))


def test_hash_is_sha256_in_hexadecimal():
    """What stands in the configuration can be made by any other tool."""
    assert digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_token_is_found_by_its_hash():
    """Whoever presents a token is known by the name that the operator gave."""
    assert holder([CRM, MILLIS], "of millis") is MILLIS
    assert holder([CRM, MILLIS], "the crm's") is CRM


@pytest.mark.parametrize("presented", ["", "The crm's", "the crm's ", CRM.sha256, "é", "\udcff"])
def test_anything_else_is_nobody_s(presented: str):
    """Neither a slip nor the hash itself opens anything."""
    assert holder([CRM, MILLIS], presented) is None
    assert holder([], presented) is None
