"""SIP and audio between one PBX and the agents; what depends on Asterisk's own words is planted in tests/asterisk."""

import pytest

from agi_bridge.doctor.facts import Expected, PbxFacts
from agi_bridge.doctor.finding import Check, Severity
from agi_bridge.doctor.sip_checks import check_codecs, check_media, check_rtp, check_sip, check_transport

GOOD = {"allow": "(ulaw|alaw)", "direct_media": "false", "rtp_symmetric": "true", "rewrite_contact": "true"}
EXPECTED = Expected()


def facts(**changes):
    return PbxFacts(
        **{
            "endpoints": {"millis": ()},
            "endpoint_settings": {"millis": GOOD},
            "transports": {"udp": ("udp", "0.0.0.0:5060")},
            "transport_settings": {"udp": {}},
            "rtp_ports": (10000, 20000),
            "own_address": "8.8.4.4",
            **changes,
        }
    )


def test_sip_that_is_well():
    """A PBX with a public address and the shipped endpoint gives nothing to mend."""
    findings = list(check_sip(facts(), EXPECTED))

    assert [each for each in findings if each.severity > Severity.OK] == []
    assert {each.check for each in findings} == {
        Check.PBX_ENDPOINT,
        Check.PBX_TRANSPORT,
        Check.PBX_CODECS,
        Check.PBX_MEDIA,
        Check.PBX_NAT,
        Check.PBX_RTP,
        Check.PBX_STRANGERS,
    }


def test_sip_of_which_nothing_is_known():
    """A console that shows nothing gives notes, and no exception."""
    severities = {each.severity for each in check_sip(PbxFacts(), EXPECTED)}

    assert severities == {Severity.INFO, Severity.OK}


@pytest.mark.parametrize(
    ("allow", "severity"),
    [
        ("(ulaw)", Severity.OK),
        ("(opus|alaw)", Severity.OK),
        ("(opus|g722)", Severity.WARNING),
        ("(nothing)", Severity.ERROR),
    ],
)
def test_codecs(allow, severity):
    """One of the two codecs of G.711 must be there."""
    assert check_codecs("millis", allow).severity == severity


@pytest.mark.parametrize(
    ("transports", "settings", "severity", "found"),
    [
        ({}, {}, Severity.ERROR, "millis names no transport, and there is none for UDP"),
        ({"t": ("tcp", "")}, {"transport": "t"}, Severity.OK, "millis uses t (tcp)"),
        ({"t": ("tls", "")}, {"transport": "t", "media_encryption": "sdes"}, Severity.OK, "millis uses t (tls)"),
    ],
)
def test_transport(transports, settings, severity, found):
    """An endpoint needs a transport, named or for UDP."""
    finding = check_transport("millis", facts(transports=transports, endpoint_settings={"millis": settings}))

    assert (finding.severity, finding.found) == (severity, found)


@pytest.mark.parametrize(
    ("own_address", "agent_hosts", "severity"),
    [
        ("10.0.0.5", ("*.millis.ai",), Severity.WARNING),
        ("8.8.4.4", ("*.millis.ai",), Severity.INFO),
        ("10.0.0.5", ("127.0.0.1",), Severity.INFO),
        ("", ("*.millis.ai",), Severity.INFO),
    ],
)
def test_symmetric_media_matters_behind_nat(own_address, agent_hosts, severity):
    """Without rtp_symmetric and its kin a PBX with a public address does as well; behind NAT it does not."""
    settings = {"millis": {**GOOD, "rtp_symmetric": "false", "rewrite_contact": "no"}}

    [finding] = check_media(
        "millis",
        facts(own_address=own_address, endpoint_settings=settings),
        Expected(agent_hosts=agent_hosts),
    )

    assert (finding.severity, finding.found) == (severity, "rtp_symmetric = no, rewrite_contact = no")


@pytest.mark.parametrize(
    ("ports", "severities"),
    [
        ((10000, 20000), [Severity.OK]),
        ((10000, 10019), [Severity.WARNING]),
        ((10000, 10002), [Severity.ERROR]),
        ((20000, 10000), [Severity.ERROR]),
        (None, [Severity.INFO]),
    ],
)
def test_rtp_ports(ports, severities):
    """The range of ports must have room for calls, four for each."""
    assert [each.severity for each in check_rtp(facts(rtp_ports=ports))] == severities


def test_rtp_that_hears_strangers():
    """Audio from anywhere is a note beside the ports."""
    assert [each.severity for each in check_rtp(facts(rtp_is_strict=False))] == [Severity.OK, Severity.INFO]


def test_nat_is_judged_for_the_transport_that_is_used():
    """A transport that no agent is dialled over says nothing."""
    found = check_sip(
        facts(
            transports={"lan": ("udp", "127.0.0.1:5060"), "wan": ("udp", "10.0.0.5:5060")},
            endpoint_settings={"millis": {**GOOD, "transport": "wan"}},
        ),
        EXPECTED,
    )

    assert [each.found for each in found if each.check == Check.PBX_NAT] == [
        "packets leave from 10.0.0.5, which is private, and external_media_address is not set"
    ]
