"""The doctor at a real Asterisk: one that is well, and one for each fault."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import structlog
from lab import Asterisk, Pbx, SiteSettings
from lab.site import SHIPPED
from pydantic import SecretStr

from agi_bridge import app
from agi_bridge.config import PbxSettings, load
from agi_bridge.doctor.console import ami_console, socket_console
from agi_bridge.doctor.examination import Patient, examine
from agi_bridge.doctor.facts import Expected
from agi_bridge.doctor.finding import Check, Finding, Part, Severity
from agi_bridge.doctor.pbx_checks import check_pbx, check_ping
from agi_bridge.doctor.pbx_gatherer import gather_pbx, ping_from
from agi_bridge.doctor.sip_checks import check_sip
from agi_bridge.simulator.millis import SimulatedMillis
from tests.asterisk.stage import closed_port
from tests.served import two_free_ports

CLOUD = Expected(fallbacks={"reception,s,1": 'the rule "sales"'})
NEAR = replace(CLOUD, agent_hosts=("127.0.0.1",))
RECEPTION = "\n[reception]\nexten => s,1,Hangup()\n"
INSIDE, OUTSIDE = "10.1.2.3", "9.9.9.9"

MILLIS_ENDPOINT = "[millis](millis-endpoint)"
OWN_DIALPLAN = """
[own]
exten => _X.,1,Set(MILLIS_STATUS=)
 same => n,AGI(agi://${MILLIS_BRIDGE}/route,did=${EXTEN})
 same => n,Dial(${MILLIS_DIAL},30,%s)
 same => n,Hangup()
"""


def shipped(name: str, *changes: tuple[str, str]) -> dict[str, str]:
    """Return a shipped file with something else in the place of each of some of its texts."""
    text = (SHIPPED / name).read_text()
    for old, new in changes:
        assert old in text, f"{name} does not say {old!r}"
        text = text.replace(old, new)
    return {name: text}


def without_context(name: str) -> dict[str, str]:
    text = (SHIPPED / "extensions.conf").read_text()
    kept = re.sub(rf"^\[{re.escape(name)}\]\n(?:(?!\[).*\n)*", "", text, flags=re.MULTILINE)
    assert kept != text
    return {"extensions.conf": kept}


def examined(pbx: Pbx, expected: Expected, own_address: str = INSIDE) -> list[Finding]:
    """Have the doctor look at a PBX as it does on the PBX itself."""
    console = socket_console(pbx.folder / "run/asterisk.ctl", time.monotonic() + 4)
    facts = gather_pbx(console, expected, own_address)
    return [*check_pbx(facts, expected), *check_sip(facts, expected), check_ping(ping_from(console, facts), facts)]


def problems(findings: list[Finding]) -> dict[Check, list[Finding]]:
    """Return what is worse than a note, by its check; the bridge that is not there is left out."""
    found: dict[Check, list[Finding]] = {}
    for finding in findings:
        if finding.severity > Severity.INFO and finding.check != Check.PBX_PING:
            found.setdefault(finding.check, []).append(finding)
    return found


@contextmanager
def well(asterisk: Asterisk, **site: object) -> Iterator[Pbx]:
    """Run a PBX that is well but for what *site* says."""
    settings = {"dialplan": RECEPTION, **site}
    with asterisk.start(SiteSettings(**settings)) as pbx:  # type: ignore[arg-type]
        yield pbx


FAULTS = [
    pytest.param(
        {"files": shipped("modules.conf", ("load = func_uri.so\n", ""))},
        Check.PBX_MODULES,
        Severity.ERROR,
        "func_uri.so is not loaded",
        id="a module that is needed is missing",
    ),
    pytest.param(
        {"files": shipped("modules.conf", ("load = res_speech.so\n", ""))},
        Check.PBX_MODULES,
        Severity.ERROR,
        "res_agi.so",
        id="a module that another one needs is missing",
    ),
    pytest.param(
        {"files": shipped("modules.conf", ("load = codec_alaw.so\n", ""))},
        Check.PBX_MODULES,
        Severity.WARNING,
        "codec_alaw.so is not loaded",
        id="a codec is missing",
    ),
    pytest.param(
        {"files": shipped("pjsip.conf", (MILLIS_ENDPOINT, "[somebody-else](millis-endpoint)"))},
        Check.PBX_ENDPOINT,
        Severity.ERROR,
        'no PJSIP endpoint "millis"',
        id="the endpoint is missing",
    ),
    pytest.param(
        {"files": shipped("pjsip.conf", (MILLIS_ENDPOINT, f"{MILLIS_ENDPOINT}\ndisallow = all\nallow = gsm"))},
        Check.PBX_CODECS,
        Severity.WARNING,
        "gsm, without ulaw and alaw",
        id="the codecs are wrong",
    ),
    pytest.param(
        {"files": shipped("pjsip.conf", (MILLIS_ENDPOINT, f"{MILLIS_ENDPOINT}\ntransport = wan"))},
        Check.PBX_TRANSPORT,
        Severity.ERROR,
        'wants the transport "wan", which is not there',
        id="the transport is missing",
    ),
    pytest.param(
        {"files": shipped("pjsip.conf", (MILLIS_ENDPOINT, f"{MILLIS_ENDPOINT}\nmedia_encryption = sdes"))},
        Check.PBX_TRANSPORT,
        Severity.WARNING,
        "encrypts audio (sdes), and not the SIP that carries its keys",
        id="keys of encrypted audio travel in the clear",
    ),
    pytest.param(
        {
            "files": shipped(
                "pjsip.conf",
                (MILLIS_ENDPOINT, f"{MILLIS_ENDPOINT}\ntransport = tls"),
                ("verify_server = yes", "verify_server = no"),
            )
        },
        Check.PBX_TRANSPORT,
        Severity.WARNING,
        "does not check certificates",
        id="certificates are not checked",
    ),
    pytest.param(
        {"files": shipped("pjsip.conf", (MILLIS_ENDPOINT, f"{MILLIS_ENDPOINT}\ndirect_media = yes"))},
        Check.PBX_MEDIA,
        Severity.WARNING,
        "direct_media = yes",
        id="audio goes past the PBX",
    ),
    pytest.param(
        {
            "files": shipped("pjsip.conf", ("set_var = TRANSFER_CONTEXT=millis-transfer", "")),
            "dialplan": RECEPTION + "[millis-agent](+)\ninclude => from-trunk\n",
        },
        Check.PBX_TRANSFER,
        Severity.WARNING,
        "allow_transfer = yes, into the context millis-agent",
        id="the agent may send calls anywhere",
    ),
    pytest.param(
        {"dialplan": RECEPTION + OWN_DIALPLAN % "${MILLIS_DIAL_OPTIONS}Tt"},
        Check.PBX_TRANSFER,
        Severity.ERROR,
        "Dial in own has the options T, t",
        id="feature keys in Dial",
    ),
    pytest.param(
        {"dialplan": "DIAL_OPTIONS = Ttr\n" + RECEPTION + OWN_DIALPLAN % "i${DIAL_OPTIONS}"},
        Check.PBX_TRANSFER,
        Severity.ERROR,
        "Dial in own has the options T, t",
        id="feature keys in a global variable",
    ),
    pytest.param(
        {"dialplan": RECEPTION + OWN_DIALPLAN % "g"},
        Check.PBX_TRANSFER,
        Severity.ERROR,
        "Dial in own lacks the option i",
        id="redirects are followed",
    ),
    pytest.param(
        {"dialplan": RECEPTION.replace("Hangup()", "Dial(PJSIP/100,20,TtU(x^T))")},
        Check.PBX_TRANSFER,
        Severity.WARNING,
        "gets Dial with T, K or X in reception",
        id="a caller may transfer away from the fallback",
    ),
    pytest.param(
        {"dialplan": RECEPTION + OWN_DIALPLAN % "i"},
        Check.PBX_CONTEXTS,
        Severity.WARNING,
        "no watchdog around AGI in own",
        id="no watchdog",
    ),
    pytest.param(
        {"files": without_context("millis-report")},
        Check.PBX_CONTEXTS,
        Severity.ERROR,
        "the context millis-report is missing",
        id="a context of the shipped ones is missing",
    ),
    pytest.param(
        {"files": {"extensions.conf": "#include site/extensions.conf\n"}},
        Check.PBX_CONTEXTS,
        Severity.ERROR,
        "none of the",
        id="nothing asks the bridge",
    ),
    pytest.param(
        {"files": shipped("pjsip.conf", ("context = from-trunk", "context = from-pstn"))},
        Check.PBX_INBOUND,
        Severity.ERROR,
        "trunk (from-pstn) come into a context that does not exist",
        id="the trunk's context does not exist",
    ),
    pytest.param(
        {
            "files": shipped("pjsip.conf", ("context = from-trunk", "context = from-pstn")),
            "dialplan": RECEPTION + "[from-pstn]\nexten => _X.,1,Goto(reception,s,1)\n",
        },
        Check.PBX_INBOUND,
        Severity.ERROR,
        "no way leads from the context of a trunk to the bridge: trunk (from-pstn)",
        id="the bridge's contexts are not included",
    ),
    pytest.param(
        {"dialplan": ""},
        Check.PBX_FALLBACK,
        Severity.WARNING,
        'reception,s,1, which the rule "sales" names, does not exist',
        id="a rule's fallback does not exist",
    ),
    pytest.param(
        {"default_fallback": "nowhere,s,1"},
        Check.PBX_FALLBACK,
        Severity.ERROR,
        "nowhere,s,1, which MILLIS_DEFAULT_FALLBACK names, does not exist",
        id="the last fallback does not exist",
    ),
    pytest.param(
        {"bridge": "bridge.example.com:4573"},
        Check.PBX_GLOBALS,
        Severity.WARNING,
        "the bridge is asked by a name",
        id="the bridge is asked by a name",
    ),
    pytest.param(
        {"files": {"rtp.conf": "[general]\nrtpstart = 20000\nrtpend = 20009\n"}},
        Check.PBX_RTP,
        Severity.WARNING,
        "UDP 20000 to 20009, enough for 2 calls",
        id="few ports for audio",
    ),
    pytest.param(
        {
            "files": shipped(
                "modules.conf",
                (
                    "load = res_pjsip_nat.so\n",
                    "load = res_pjsip_nat.so\nload = res_pjsip_endpoint_identifier_anonymous.so\n",
                ),
            ),
            "pjsip": "\n[anonymous]\ntype = endpoint\ncontext = from-trunk\nallow = ulaw\n",
        },
        Check.PBX_STRANGERS,
        Severity.WARNING,
        'the endpoint "anonymous" lets anybody in',
        id="strangers reach the agent",
    ),
    pytest.param(
        {"trunk": "0.0.0.0/0"},
        Check.PBX_STRANGERS,
        Severity.WARNING,
        "every address counts as trunk",
        id="everybody is the trunk",
    ),
]


@pytest.mark.parametrize(("site", "check", "severity", "found"), FAULTS)
def test_planted_fault_is_found(asterisk, site, check, severity, found):
    """Each fault of a PBX is found by its check, with what it means and what to do."""
    with well(asterisk, **site) as pbx:
        said = problems(examined(pbx, NEAR))

    assert [finding for finding in said.get(check, []) if found in finding.found] != [], said
    assert all(finding.why and finding.remedy for findings in said.values() for finding in findings)
    assert max(finding.severity for finding in said[check] if found in finding.found) == severity


@pytest.mark.parametrize(
    ("settings", "own_address", "severity", "found"),
    [
        ("", INSIDE, Severity.WARNING, "which is private, and external_media_address is not set"),
        ("external_media_address = 192.168.9.9", INSIDE, Severity.WARNING, "192.168.9.9, which is private too"),
        (f"external_media_address = {OUTSIDE}", INSIDE, Severity.WARNING, "external_signaling_address is not"),
        (
            f"external_media_address = {OUTSIDE}\nexternal_signaling_address = {OUTSIDE}",
            INSIDE,
            Severity.WARNING,
            "local_net is not",
        ),
        (
            f"external_media_address = {OUTSIDE}\nexternal_signaling_address = {OUTSIDE}\nlocal_net = 10.0.0.0/8",
            INSIDE,
            Severity.OK,
            "10.1.2.3 is private; agents are told 9.9.9.9, and local_net is 10.0.0.0/255.0.0.0",
        ),
        ("", "8.8.4.4", Severity.OK, "no NAT"),
        ("external_media_address = 9.9.9.8", "8.8.4.4", Severity.WARNING, "packets leave from 8.8.4.4, and"),
        ("", "", Severity.INFO, "cannot be seen from here"),
    ],
)
def test_nat_settings_are_judged_by_the_real_address(asterisk, settings, own_address, severity, found):
    """Whether the external addresses are right depends on the address from which packets leave."""
    port = two_free_ports()
    transport = f"\n[wan]\ntype = transport\nprotocol = udp\nbind = 0.0.0.0:{port}\n{settings}\n"
    files = shipped("pjsip.conf", (MILLIS_ENDPOINT, f"{MILLIS_ENDPOINT}\ntransport = wan"))
    with well(asterisk, pjsip=transport, files=files) as pbx:
        [finding] = [each for each in examined(pbx, CLOUD, own_address) if each.check == Check.PBX_NAT]

    assert (finding.severity, found in finding.found) == (severity, True), finding


def test_transport_that_reaches_nobody_is_found(asterisk):
    """A transport on the loopback address cannot reach an agent in the cloud."""
    with well(asterisk) as pbx:
        said = problems(examined(pbx, CLOUD))

    assert [finding.found for finding in said[Check.PBX_NAT]] == ['the transport "udp" is bound to 127.0.0.1']


async def test_whole_run_that_finds_nothing(asterisk, tmp_path):
    """Where all is well there are notes at most, the test call got its answer, and every part was looked at."""
    async with SimulatedMillis(key="k3y-of-tests", agents=["-Nsales"]) as millis:
        web = two_free_ports()
        text = bridge_toml(millis.url, f"127.0.0.1:{web + 1}", f"127.0.0.1:{web}")
        config = load(text, {"MILLIS_API_KEY": "k3y-of-tests"}, lambda name: b"")
        with structlog.testing.capture_logs():
            async with app.running(config) as server:
                bridge = "{}:{}".format(*server.addresses[0])
                with well(asterisk, bridge=bridge) as pbx:
                    patient = Patient("bridge.toml", config, console=pbx.folder / "run/asterisk.ctl")
                    findings = await asyncio.to_thread(examine, patient)

    assert [finding for finding in findings if finding.severity > Severity.INFO] == []
    checks = {finding.check for finding in findings}
    assert set(Check) - checks == {Check.MILLIS_CERTIFICATE}  # the simulated Millis speaks without TLS
    [ping] = [finding for finding in findings if finding.check == Check.PBX_PING]
    assert ping.severity == Severity.OK


def bridge_toml(millis_url: str, listen: str, web: str) -> str:
    return f"""
[agi]
listen = "{listen}"
[web]
listen = "{web}"
[millis]
base_url = "{millis_url}"
allowed_hosts = ["127.0.0.1"]
[[route]]
name = "sales"
agent_id = "-Nsales"
fallback = "reception,s,1"
standby_uri = "sip:standby@127.0.0.1"
"""


def test_closed_port_of_the_bridge_is_found(asterisk):
    """A PBX whose bridge does not listen says so in a test call of its own."""
    with closed_port() as address, well(asterisk, bridge="{}:{}".format(*address)) as pbx:
        [ping] = [finding for finding in examined(pbx, NEAR) if finding.check == Check.PBX_PING]

    assert (ping.severity, ping.found) == (
        Severity.ERROR,
        f"the PBX got no answer from the bridge at {address[0]}:{address[1]}",
    )


def test_test_call_that_cannot_be_made_is_a_note(asterisk):
    """Without the module for it, or without its context, the test call is left out, and that is said."""
    with well(asterisk, files=shipped("modules.conf", ("load = res_clioriginate.so\n", ""))) as pbx:
        [ping] = [finding for finding in examined(pbx, NEAR) if finding.check == Check.PBX_PING]
    assert (ping.severity, ping.found) == (Severity.INFO, "not made: the console has no `channel originate`")

    with well(asterisk, files=without_context("millis-ping")) as pbx:
        [ping] = [finding for finding in examined(pbx, NEAR) if finding.check == Check.PBX_PING]
    assert (ping.severity, ping.found) == (Severity.INFO, "not made: the dialplan has no [millis-ping]")


def manager_conf(permissions: str = "command") -> dict[str, str]:
    text = (SHIPPED / "manager.conf").read_text()
    return {"manager.conf": re.sub(r"^write = .*$", f"write = {permissions}", text, flags=re.MULTILINE)}


@pytest.mark.parametrize(
    ("secret", "permissions", "severity", "found"),
    [
        ("right", "command", Severity.OK, "Asterisk answers at hq (127.0.0.1:"),
        ("wrong", "command", Severity.WARNING, "does not let agi-bridge in"),
        ("right", "originate", Severity.WARNING, "the manager user may not use the console"),
    ],
)
def test_console_over_the_manager_interface(asterisk, tmp_path, secret, permissions, severity, found):
    """A PBX is examined over AMI; a wrong password, or one without the right, is one clear line with its remedy."""
    (tmp_path / "secret").write_text(secret)
    files = manager_conf(permissions)
    files["manager.conf"] += "\n[agi-bridge](+)\nsecret = right\n"
    with well(asterisk, files=files) as pbx:
        pbx_toml = f'[[pbx]]\nname = "hq"\nami_port = {pbx.manager_port}\nami_secret_file = "secret"\n'
        text = bridge_toml("http://127.0.0.1:1", "127.0.0.1:4573", "127.0.0.1:0") + pbx_toml
        config = load(text, {"MILLIS_API_KEY": "k"}, lambda name: (tmp_path / name).read_bytes())
        findings = examine(Patient("bridge.toml", config, parts=frozenset([Part.PBX])))

    [console] = [finding for finding in findings if finding.check == Check.PBX_CONSOLE]
    assert (console.severity, found in console.found) == (severity, True), console
    assert bool(console.remedy) == (severity > Severity.OK)
    assert (len(findings) > 10) == (severity == Severity.OK)
    if severity == Severity.OK:
        assert [each for each in findings if each.severity > Severity.INFO and each.check != Check.PBX_PING] == []


LARGE_DIALPLAN = "".join(
    f"[large-{number}]\nexten => s,1,NoOp({'x' * 200})\n same => n,Goto(large-{(number + 1) % 2500},s,1)\n"
    " same => n,Dial(PJSIP/100,20,tr)\ninclude => reception\n"
    for number in range(2500)
)


@pytest.mark.parametrize("more", ["", LARGE_DIALPLAN], ids=["as shipped", "a large dialplan"])
def test_both_consoles_see_the_same(asterisk, more):
    """What AMI shows of a PBX is read as what its own console shows, however large it is."""
    files = manager_conf()
    files["manager.conf"] += "\n[agi-bridge](+)\nsecret = right\n"
    with well(asterisk, files=files, dialplan=RECEPTION + more) as pbx:
        deadline = time.monotonic() + 10
        own = gather_pbx(socket_console(pbx.folder / "run/asterisk.ctl", deadline), NEAR, INSIDE)
        settings = PbxSettings(name="hq", ami_port=pbx.manager_port).with_secret(SecretStr("right"), "")
        with ami_console(settings, deadline) as console:
            assert gather_pbx(console, NEAR, INSIDE) == own

    assert own.contexts
    assert own.endpoint_settings["trunk"]["context"] == "from-trunk"
