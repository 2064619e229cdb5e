"""`agi-bridge live`, `hangup` and `transfer`: over the HTTP API."""

import asyncio
import json
import re
import socket

import pytest

from agi_bridge.access import digest
from agi_bridge.cli.exit_code import DONE, FAILED
from agi_bridge.simulator.asterisk import play_call
from agi_bridge.simulator.millis import SimulatedMillis
from tests.served import serving, write_config

PATIENCE_SECONDS = 30

PBX = '[[pbx]]\nname = "away"\nami_port = 1\nami_secret_env = "AWAY_SECRET"\n'


@pytest.fixture
async def with_tokens(request, tmp_path, monkeypatch):
    """Serve with a token for looking and one for all, and keep the latter where the commands find it; and with a PBX or none."""
    monkeypatch.setenv("AWAY_SECRET", "a-secret-of-twenty-signs")
    pbx = getattr(request, "param", PBX)
    tokens = "".join(
        f'[[token]]\nname = "{name}"\nscopes = {json.dumps(scopes)}\nsha256 = "{digest(name)}"\n'
        for name, scopes in (("looker", ["read"]), ("desk", ["read", "control"]))
    )
    more = f'[[transfer]]\nname = "sales"\ndestination = "q,600,1"\n{tokens}{pbx}'
    async with SimulatedMillis() as millis, serving(write_config(tmp_path, millis, more=more)) as served:
        await served.started()
        write_config(tmp_path, millis, web_port=served.web_address[1])
        monkeypatch.setenv("AGI_BRIDGE_TOKEN", "desk")
        yield served


async def test_live_calls_are_asked_for_with_a_token(run, with_tokens, tmp_path):
    """The token is in the environment or in a file, and where nothing is up, that is said; a script gets an empty list."""
    token = tmp_path / "token"
    token.write_text("looker\n")
    for arguments in (("live",), ("live", "--token-file", str(token))):
        assert await asyncio.to_thread(run, *arguments) == (DONE, "no call is up\n", "")
    assert await asyncio.to_thread(run, "live", "--json") == (DONE, "[]\n", "")


async def test_live_call_is_one_line(run, with_tokens):
    """Its id, then who called which number by which rule; the PBX cannot be asked, so the records have the word."""
    await play_call(*with_tokens.address, arguments=["did=+15551230001"])
    said = ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "+15551230001" not in said:  # its record comes by itself, within seconds
            _, said, _ = await asyncio.to_thread(run, "live")

    assert re.fullmatch(r"[0-9a-f]{32}  \d\d:\d\d:\d\d  \S+ +\+15551230001 +\S+ +away +PJSIP/trunk-00000001\n", said)


@pytest.mark.parametrize(
    ("token", "arguments", "complaint"),
    [
        ("desk", ("hangup", "nobody"), "no call of the id nobody is up"),
        ("desk", ("transfer", "nobody", "sales"), "no call of the id nobody is up"),
        ("desk", ("transfer", "nobody", "cellar"), "there is no such destination; there are: sales"),
        ("looker", ("hangup", "nobody"), "this token is not for control"),
        (
            "wrong",
            ("live",),
            "the bridge knows no such token; `agi-bridge token` makes one, and a reload takes it in",
        ),
    ],
)
async def test_refusals_of_the_api_are_one_line(run, with_tokens, monkeypatch, token, arguments, complaint):
    """What the bridge refuses is told in words, and exits with 1."""
    monkeypatch.setenv("AGI_BRIDGE_TOKEN", token)
    assert await asyncio.to_thread(run, *arguments) == (FAILED, "", f"agi-bridge: {complaint}\n")


@pytest.mark.parametrize("with_tokens", [""], indirect=True, ids=["no PBX"])
async def test_bridge_without_a_pbx_says_so(run, with_tokens):
    """Whoever wants to end a call that could never be reached learns what is missing."""
    assert await asyncio.to_thread(run, "hangup", "nobody") == (
        FAILED,
        "",
        "agi-bridge: there is no [[pbx]] in the configuration, and only through one can a call be sent on or ended\n",
    )


def test_live_calls_of_a_bridge_that_does_not_run(run, configured, monkeypatch):
    """The address is named, as health names it."""
    monkeypatch.setenv("AGI_BRIDGE_TOKEN", "x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code, out, err = run("live", "--url", f"127.0.0.1:{port}")

    assert (code, out) == (FAILED, "")
    assert err == f"agi-bridge: no bridge answers at 127.0.0.1:{port}: Connection refused\n"
