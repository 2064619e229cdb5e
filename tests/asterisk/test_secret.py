"""The shared secret: whose dialplan knows it reaches the agent, and whose does not, the fallback."""

import pytest

from tests.asterisk.stage import AGENT, NIGHT, Stage

SECRET = "Zm9v.YmFy_~+/8AAAA=="


async def test_right_secret(stage: Stage):
    """With the secret in MILLIS_SECRET the caller hears the agent, and the end of the call is told, too."""
    stage.set_global("MILLIS_SECRET", SECRET)
    async with stage.bridge(secret=SECRET) as server:
        call = await stage.call()
        await stage.line("ended")

    assert call.heard_hz == (AGENT,)
    assert server.counts.refused_secret == 0
    assert SECRET not in str(stage.lines) + str(stage.millis.requests)


@pytest.mark.parametrize(("said", "why"), [('""', "missing"), (SECRET[:-1], "wrong")])
async def test_wrong_secret(stage: Stage, said: str, why: str):
    """Without the secret the caller hears the dialplan's fallback, and the bridge's log says why."""
    stage.set_global("MILLIS_SECRET", said)
    async with stage.bridge(secret=SECRET) as server:
        call = await stage.call()
        line = await stage.line_with("counter")

    assert call.heard_hz == (NIGHT,)
    assert (line["counter"], line["security"]) == ("refused_secret", True)
    assert line["why"] == f"the AGI argument secret is {why}; see MILLIS_SECRET"
    assert (server.counts.sessions, len(stage.millis.requests)) == (0, 0)


async def test_secret_that_nobody_wants(stage: Stage):
    """A dialplan that knows a secret works with a bridge that wants none, and Millis does not learn it."""
    stage.set_global("MILLIS_SECRET", SECRET)
    async with stage.bridge():
        call = await stage.call()
        await stage.line("ended")

    assert call.heard_hz == (AGENT,)
    assert SECRET not in str(stage.lines) + str(stage.millis.requests)
