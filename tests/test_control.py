"""What may be done with a live call: one test for each way in which it can go."""

import asyncio

import pytest
from structlog.testing import capture_logs

from agi_bridge.control import Control, LiveCall
from agi_bridge.errors import (
    AlreadyTransferred,
    AmiUnreachable,
    CallOver,
    NoSuchCall,
    NoSuchChannel,
    NoSuchTransfer,
)
from agi_bridge.transfer import Transfer

SALES = Transfer("sales", "ext-queues,600,1", 30)
CHANNEL = "PJSIP/trunk-00000001"


class FakePbx:
    """A PBX with one channel, which remembers what was done to it, or fails as planted."""

    def __init__(self) -> None:
        self.done: list[tuple[str, ...]] = []
        self.values: dict[str, str] = {}
        self.errors: dict[str, Exception] = {}
        self.asked_to_redirect, self.may_redirect = asyncio.Event(), asyncio.Event()
        self.may_redirect.set()

    async def getvar(self, variable: str, channel: str = "") -> str:
        return self.values.get(variable, "")

    async def setvar(self, channel: str, variable: str, value: str) -> None:
        self.done.append(("setvar", channel, variable, value))

    async def redirect(self, channel: str, place: str) -> None:
        self.asked_to_redirect.set()
        await self.may_redirect.wait()
        self._do("redirect", channel, place)
        self.values["CONTEXT"] = place.partition(",")[0]

    async def hangup(self, channel: str, cause: int | None = None) -> None:
        self._do("hangup", channel, str(cause))

    def _do(self, *what: str) -> None:
        if what[0] in self.errors:
            raise self.errors[what[0]]
        self.done.append(what)

    async def find(self, bridge_call_id: str) -> LiveCall | None:
        return LiveCall(bridge_call_id, self, CHANNEL) if bridge_call_id == "abc" else None


@pytest.fixture
def pbx() -> FakePbx:
    return FakePbx()


@pytest.fixture
def control(pbx: FakePbx) -> Control:
    return Control([SALES], pbx)


async def test_transfer_redirects_to_the_name_and_nothing_else(control: Control, pbx: FakePbx):
    """The PBX is told a name of the list; where that leads, it knows by itself."""
    with capture_logs() as logs:
        assert await control.transfer("abc", "sales", "wants\na refund", "Long story.") is SALES

    assert pbx.done == [
        ("setvar", CHANNEL, "__MILLIS_TRANSFER_REASON", "wants a refund"),
        ("setvar", CHANNEL, "__MILLIS_TRANSFER_SUMMARY", "Long story."),
        ("redirect", CHANNEL, "millis-transfer,sales,1"),
    ]
    assert control.counts == {("transfer", "done"): 1}
    assert [(line["verb"], line["outcome"], line["transfer"]) for line in logs] == [("transfer", "done", "sales")]


@pytest.mark.parametrize("name", ["", "Sales", "h", "sales,1", "from-internal,00441234,1", "${X}"])
async def test_what_is_not_on_the_list_is_refused_before_the_pbx_is_asked(control: Control, pbx: FakePbx, name: str):
    """The refusal says what there is, and neither the PBX nor the log gets to see what was asked for."""
    with capture_logs() as logs, pytest.raises(NoSuchTransfer, match=r"there is no such destination; there are: sales"):
        await control.transfer("abc", name)

    assert pbx.done == []
    assert "transfer" not in logs[0]
    assert control.counts == {("transfer", "no-such-transfer"): 1}


async def test_id_that_is_no_call_of_ours(control: Control, pbx: FakePbx):
    """An id that nobody knows changes nothing."""
    with pytest.raises(NoSuchCall):
        await control.transfer("xyz", "sales")
    with pytest.raises(NoSuchCall):
        await control.hang_up("xyz")
    assert pbx.done == []


async def test_caller_who_has_hung_up_meanwhile(control: Control, pbx: FakePbx):
    """A channel that is gone says that the call is over."""
    pbx.errors = dict.fromkeys(("redirect", "hangup"), NoSuchChannel("No such channel"))
    with pytest.raises(CallOver):
        await control.transfer("abc", "sales")
    with pytest.raises(CallOver):
        await control.hang_up("abc")
    assert control.counts == {("transfer", "call-over"): 1, ("hangup", "call-over"): 1}


async def test_caller_on_the_way_elsewhere_is_not_sent_twice(control: Control, pbx: FakePbx):
    """Of two requests at once only one moves the caller, and a later one finds the mark of the dialplan."""
    pbx.may_redirect.clear()
    first = asyncio.create_task(control.transfer("abc", "sales"))
    await pbx.asked_to_redirect.wait()
    with pytest.raises(AlreadyTransferred):
        await control.transfer("abc", "sales")
    pbx.may_redirect.set()
    await first

    with pytest.raises(AlreadyTransferred):
        await control.transfer("abc", "sales")
    pbx.values |= {"CONTEXT": "millis-hand-over", "MILLIS_TRANSFER": "sales"}
    with pytest.raises(AlreadyTransferred):
        await control.transfer("abc", "sales")
    assert [what[0] for what in pbx.done].count("redirect") == 1


async def test_caller_whom_nobody_has_answered_may_be_sent_on_again(control: Control, pbx: FakePbx):
    """Where the dialplan has taken its mark away, an operator may try once more, and the agent may not."""
    await control.transfer("abc", "sales")
    pbx.values = {"CONTEXT": "reception", "MILLIS_REPORTING": "transferred"}
    with pytest.raises(AlreadyTransferred, match="the caller is with somebody else now"):
        await control.transfer("abc", "sales", by_agent=True)
    await control.transfer("abc", "sales")
    assert [what[0] for what in pbx.done].count("redirect") == 2


async def test_whoever_asks_and_goes_away_leaves_a_line(control: Control, pbx: FakePbx):
    """A request that is given up while the PBX is asked is counted and told, and may be made again."""
    pbx.may_redirect.clear()
    asked = asyncio.create_task(control.transfer("abc", "sales"))
    await pbx.asked_to_redirect.wait()
    with capture_logs() as logs:
        asked.cancel()
        await asyncio.wait([asked])
    pbx.may_redirect.set()
    await control.transfer("abc", "sales")

    assert [(line["verb"], line["outcome"]) for line in logs] == [("transfer", "given-up")]
    assert control.counts == {("transfer", "given-up"): 1, ("transfer", "done"): 1}


async def test_failed_request_may_be_made_again(control: Control, pbx: FakePbx):
    """A PBX that could not be asked is told as such, and does not leave the call marked."""
    pbx.errors["redirect"] = AmiUnreachable("hq: gone")
    with capture_logs() as logs, pytest.raises(AmiUnreachable):
        await control.transfer("abc", "sales")
    assert (logs[0]["outcome"], logs[0]["why"]) == ("pbx-failed", "hq: gone")

    pbx.errors.clear()
    await control.transfer("abc", "sales")
    assert control.counts == {("transfer", "pbx-failed"): 1, ("transfer", "done"): 1}


async def test_hangup_ends_the_call_as_anybody_would(control: Control, pbx: FakePbx):
    """The caller's channel is hung up with the everyday cause."""
    await control.hang_up("abc")
    assert pbx.done == [("hangup", CHANNEL, "16")]


async def test_agent_cannot_hang_up_a_caller_it_has_sent_on(control: Control, pbx: FakePbx):
    """An agent that says goodbye after a transfer leaves the caller to whom it was sent; an operator may end the call."""
    await control.transfer("abc", "sales")
    with pytest.raises(AlreadyTransferred, match="the caller is with somebody else now"):
        await control.hang_up("abc", by_agent=True)
    assert [what[0] for what in pbx.done].count("hangup") == 0

    await control.hang_up("abc")
    assert pbx.done[-1] == ("hangup", CHANNEL, "16")


async def test_agent_does_nothing_to_a_caller_whom_it_has_no_more(control: Control, pbx: FakePbx):
    """A late request of an agent whose leg has ended does nothing to a caller in the fallback."""
    pbx.values["MILLIS_REPORTING"] = "ended"
    with pytest.raises(AlreadyTransferred, match="the caller is with somebody else now"):
        await control.hang_up("abc", by_agent=True)
    with pytest.raises(AlreadyTransferred, match="the caller is with somebody else now"):
        await control.transfer("abc", "sales", by_agent=True)
    assert pbx.done == []


async def test_agent_ends_a_call_of_its_own(control: Control, pbx: FakePbx):
    """While the caller is with the agent, the agent may hang up; also after a transfer that did not come about."""
    pbx.errors["redirect"] = AmiUnreachable("hq: gone")
    with pytest.raises(AmiUnreachable):
        await control.transfer("abc", "sales")
    await control.hang_up("abc", by_agent=True)
    assert pbx.done[-1] == ("hangup", CHANNEL, "16")


async def test_another_list_holds_from_now_on(control: Control):
    """A reload brings other destinations."""
    control.reconfigure([Transfer("night", "x,s,1", 30)])
    with pytest.raises(NoSuchTransfer, match="there are: night"):
        await control.transfer("abc", "sales")
