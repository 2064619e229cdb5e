"""What `agi-bridge asterisk-config` writes, on a real Asterisk with a replica of each distribution around it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import Asterisk, Pbx, SiteSettings

from agi_bridge.cli.command import main
from agi_bridge.cli.exit_code import DONE
from agi_bridge.simulator.sip import Invited, ReferEnded, place_call
from agi_bridge.simulator.tone import CALLER_TONE_HZ
from tests.asterisk.replica import REPLICAS, Replica
from tests.asterisk.stage import AGENT, CALLER_NUMBER, DID, LOBBY, NIGHT, RECEPTION, TRUNK, UNKNOWN_DID, Stage

# A second rule, for the numbers that no route of the distribution names.
ANY_NUMBER = """
[[route]]
name = "any"
agent_id = "-Nany"
fallback = "{fallback}"
"""


@pytest.fixture(scope="module", params=REPLICAS)
def replica(request: pytest.FixtureRequest) -> Replica:
    """Each distribution in its turn."""
    return REPLICAS[request.param]


@pytest.fixture(scope="module")
def pbx(asterisk: Asterisk, replica: Replica) -> Iterator[Pbx]:
    """A PBX of the distribution, to which nothing has been added yet."""
    with asterisk.start(SiteSettings(trunk=TRUNK, files=replica.files)) as pbx:
        yield pbx


Run = Callable[..., str]


@pytest.fixture
def run(stage: Stage, replica: Replica, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `agi-bridge asterisk-config` for this PBX and give what it printed."""

    def run(*options: str, **toml: Any) -> str:
        text = stage.bridge_toml(**bridge_of(stage, replica), **toml)
        path = tmp_path / "bridge.toml"
        path.write_text(text.replace('"lobby,s,1"', f'"{replica.default_fallback}"'))
        arguments = ("--config", str(path), "--flavor", replica.flavor, "--directory", str(stage.pbx.conf_dir))
        code = main(["asterisk-config", *arguments, *options])
        printed = capsys.readouterr()
        assert (code, printed.err) == (DONE, "")
        return printed.out

    return run


@pytest.fixture
def written(stage: Stage, run: Run) -> str:
    """Write our part, and have Asterisk load it; gives what the command printed."""
    printed = run("--write")
    load(stage.pbx)
    return printed


def bridge_of(stage: Stage, replica: Replica) -> dict[str, Any]:
    """Return where the bridge listens, which our part has to say, and the fallback of its rule."""
    return {"listen": f"{stage.pbx.address}:{stage.pbx.slot.bridge_port}", "fallback": replica.fallback}


def load(pbx: Pbx) -> None:
    """Do what the command says under "Load it"."""
    pbx.cli("dialplan reload")
    pbx.cli("module reload res_pjsip.so")


def our_files(pbx: Pbx) -> dict[str, bytes]:
    """Return every file in which something of ours stands."""
    texts = {str(path.relative_to(pbx.conf_dir)): path.read_bytes() for path in pbx.conf_dir.rglob("*.conf")}
    return {name: text for name, text in texts.items() if b"agi-bridge asterisk-config`, which" in text}


def complaints(stage: Stage) -> list[str]:
    """Return what Asterisk warns of, but for what it says of every FreePBX: contexts that are not there, and "_."."""
    return [line for line in stage.problems() if not re.search(r"nonexistent context|strongly discouraged", line)]


async def test_caller_and_agent_hear_each_other(stage: Stage, replica: Replica, written: str):
    """An inbound call goes the distribution's way to the agent, Millis is told number and caller, and nothing is complained of."""
    async with stage.bridge(**bridge_of(stage, replica)):
        call = await stage.call()
        agent_leg = await stage.agent.next_report()
        route, ended = await stage.line("route"), await stage.line("ended")

    body = stage.millis.registrations[0].body
    assert (call.heard_hz, agent_leg.heard_hz) == ((AGENT,), (CALLER_TONE_HZ,))
    assert (body["to_phone"], body["from_phone"]) == (f"+{DID}", CALLER_NUMBER)
    assert (route["reason"], ended["reason"], ended["hung_up_by"]) == ("routed", "answered", "caller")
    assert complaints(stage) == []


async def test_number_of_a_route_for_any_number_arrives(stage: Stage, replica: Replica, written: str):
    """The called number reaches the bridge also where the distribution has no route of its own for it."""
    async with stage.bridge(**bridge_of(stage, replica), more=ANY_NUMBER.format(fallback=replica.fallback)):
        call = await stage.call(UNKNOWN_DID)
        route = await stage.line("route")

    assert (call.heard_hz, route["rule"]) == ((AGENT,), "any")
    assert stage.millis.registrations[0].body["to_phone"] == f"+{UNKNOWN_DID}"


@pytest.mark.parametrize(
    ("replica", "name"), [("freepbx", "FROM_DID"), ("vitalpbx", "DID_NUMBER")], indirect=["replica"]
)
async def test_number_that_no_route_has_named_is_digits(stage: Stage, written: str, name: str):
    """What a caller has put behind the called number does not reach the variables of the distribution."""
    cli = stage.pbx.cli
    cli("module load res_clioriginate.so")
    called = "${URIDECODE(+1555%26Local/7@probe%2C1%0A2)}"
    for priority, step in enumerate((f"Set(CALLERID(dnid)={called})", "Goto(millis-inbound,s,1)"), 1):
        cli(f"dialplan add extension 1,{priority},{step} into probe replace")
    cli("channel originate Local/1@probe application Wait 10")
    await stage.saw("lobby", Invited)
    shown = cli("core show channel " + (await stage.shown("core show channels concise", r"(Local/1@probe\S+;2)!"))[1])
    cli("channel request hangup all")

    assert re.findall(rf"^{name}=(.*)", shown, re.MULTILINE) == ["+1555712"]


async def test_agent_that_refuses_leads_to_the_rule_s_fallback(stage: Stage, replica: Replica, written: str):
    """When Millis's SIP side refuses, the caller reaches an extension of the distribution."""
    stage.agent_does(refuse_status=503)
    async with stage.bridge(**bridge_of(stage, replica), sales="redial = false"):
        call = await stage.call()

    assert call.heard_hz == (RECEPTION,)


async def test_no_bridge_leads_to_the_queue(stage: Stage, written: str):
    """When there is no bridge to ask, the caller reaches what bridge.toml names under [defaults], a queue."""
    call = await stage.call()

    assert call.heard_hz == (LOBBY,)
    assert stage.events["agent"] == []


async def test_withheld_number_stays_withheld(stage: Stage, replica: Replica, written: str):
    """Millis is told no number and no name of a caller who withholds them, though the distribution's route allows them."""
    headers = (("P-Asserted-Identity", f'"Ada" <sip:{CALLER_NUMBER}@127.0.0.2>'), ("Privacy", "id"))
    async with stage.bridge(**bridge_of(stage, replica)):
        call = await stage.call(number=None, name="", headers=headers)

    body = stage.millis.registrations[0].body
    assert call.heard_hz == (AGENT,)
    assert "from_phone" not in body
    assert {name: body["metadata"][name] for name in ("caller_number", "caller_name", "caller_withheld")} == {
        "caller_number": "",
        "caller_name": "",
        "caller_withheld": "true",
    }


async def test_regenerating_keeps_our_part(stage: Stage, replica: Replica, written: str, run: Run):
    """The distribution writes its own files anew, ours stay as they are, and the next call goes through."""
    before = our_files(stage.pbx)
    if replica.flavor == "plain":
        assert set(before) == {"extensions.conf", "pjsip.conf"}
    else:
        assert not set(before) & set(replica.generated)
        replica.regenerate(stage.pbx.conf_dir)
        load(stage.pbx)

    async with stage.bridge(**bridge_of(stage, replica)):
        call = await stage.call()

    assert our_files(stage.pbx) == before
    assert call.heard_hz == (AGENT,)


async def test_second_run_changes_nothing(stage: Stage, replica: Replica, written: str, run: Run):
    """Written once more, every file stays as it is, and the command says so."""
    before = {path: path.stat().st_mtime_ns for path in stage.pbx.conf_dir.rglob("*")}

    printed = run("--write")

    assert {path: path.stat().st_mtime_ns for path in stage.pbx.conf_dir.rglob("*")} == before
    assert printed.count("nothing to change") == len(our_files(stage.pbx))


@pytest.mark.parametrize("number", ["millis", CALLER_NUMBER])
async def test_stranger_cannot_call_in(stage: Stage, replica: Replica, written: str, number: str):
    """A PBX that lets strangers in leads them nowhere near the bridge, also if one calls itself by our endpoint's name."""
    async with stage.bridge(**bridge_of(stage, replica)):
        for did in (DID, "s", "millis", "millis-inbound", "millis-agent"):
            call = await place_call((stage.pbx.address, stage.pbx.sip_port), did, caller_number=number)
            assert not call.answered

    assert [line for line in stage.lines if "verb" in line] == []
    assert list(stage.millis.requests) == []


async def test_nothing_includes_our_contexts(stage: Stage, written: str):
    """No context of the distribution includes one of ours, so what phones and trunks may dial is what it was before."""
    contexts = stage.pbx.cli("dialplan show")

    assert re.findall(r"Context '(millis-inbound|millis)'", contexts)
    assert re.findall(r"Include =>\s+'millis.*", contexts) == []


async def test_endpoint_has_no_way_in(stage: Stage, written: str):
    """The endpoint through which agents are dialled leads to a context without extensions, and is known by address alone."""
    endpoint = stage.pbx.cli("pjsip show endpoint millis")

    assert re.search(r"^ context +: millis-agent$", endpoint, re.MULTILINE)
    assert re.search(r"^ identify_by +: ip$", endpoint, re.MULTILINE)


async def test_tcp_goes_by_the_distribution_s_transport(stage: Stage, replica: Replica, written: str, run: Run):
    """An endpoint with a transport of its own gets the name that the distribution has given it."""
    run("--write", sales='endpoint = "millis-tcp"')
    load(stage.pbx)
    endpoint = stage.pbx.cli("pjsip show endpoint millis-tcp")

    [transport] = re.findall(r"^ transport +: (\S+)$", endpoint, re.MULTILINE)
    assert f"Transport:  {transport}" in stage.pbx.cli("pjsip show transports")


async def test_agent_sends_its_caller_on(stage: Stage, replica: Replica, written: str, run: Run):
    """What bridge.toml lists under [[transfer]] is in the dialplan: the agent names it, and the caller reaches the queue."""
    sales = f'[[transfer]]\nname = "sales"\ndestination = "{replica.default_fallback}"'
    run("--write", more=sales)
    load(stage.pbx)
    stage.agent_does(refer_to=f"sip:sales@{stage.pbx.address}", refer_after_seconds=0.5)
    async with stage.bridge(**bridge_of(stage, replica), more=sales):
        async with stage.calling():
            await stage.heard("caller", AGENT)
            await stage.heard("caller", LOBBY)
        transferred = await stage.line("transferred")

    assert (transferred["reason"], transferred["transfer"]) == ("transfer-answered", "sales")


@pytest.mark.parametrize("name", ["200", "s", "millis-inbound"])
async def test_agent_reaches_no_extension_of_the_pbx(stage: Stage, replica: Replica, written: str, name: str):
    """A name off the list is refused, though the distribution has a context for transfers that knows the extension."""
    stage.agent_does(refer_to=f"sip:{name}@{stage.pbx.address}", refer_after_seconds=0.5)
    async with stage.bridge(**bridge_of(stage, replica)):
        async with stage.calling():
            await stage.heard("caller", AGENT)
            refused = await stage.saw("agent", ReferEnded)
        ended = await stage.line("ended")

    assert (refused.status, ended["reason"]) == (404, "answered")
    assert stage.events["reception"] == []


async def test_removal_leaves_no_trace(stage: Stage, replica: Replica, written: str, run: Run):
    """Taken out again, every file is as it was before, and Asterisk knows nothing of ours."""
    run("--remove")
    load(stage.pbx)

    shipped = replica.files
    assert our_files(stage.pbx) == {}
    assert {name: (stage.pbx.conf_dir / name).read_text() for name in shipped} == shipped
    assert "millis" not in stage.pbx.cli("pjsip show endpoints")
    assert "Context 'millis" not in stage.pbx.cli("dialplan show")


FREEPBX_PAGE = Path(__file__).parents[2] / "docs/freepbx.md"
# Whom the caller hears at each place that freepbx.md names.
FALLBACKS = {
    "from-did-direct,200,1": (RECEPTION,),
    "ext-queues,600,1": (LOBBY,),
    "app-announcement-1,s,1": (NIGHT,),
    "app-blackhole,hangup,1": (),
}


def test_documented_fallbacks_are_the_tested_ones():
    """The table of freepbx.md names these places and no other."""
    table = FREEPBX_PAGE.read_text().partition("| where | fallback |")[2].partition("\n\n")[0]
    assert re.findall(r"`([^`]+)` \|$", table, re.MULTILINE) == list(FALLBACKS)


@pytest.mark.parametrize("replica", ["freepbx"], indirect=True)
@pytest.mark.parametrize("fallback", FALLBACKS)
async def test_documented_fallback_is_reached(stage: Stage, replica: Replica, written: str, fallback: str):
    """Each place that freepbx.md recommends as a fallback takes the caller."""
    stage.millis_does("status=503")
    async with stage.bridge(**bridge_of(stage, replica) | {"fallback": fallback}):
        call = await stage.call()

    assert call.heard_hz == FALLBACKS[fallback]
