"""Findings: their order, their severity as a whole, and what never leaves with them."""

import pytest

from agi_bridge.doctor.finding import Check, Finding, Part, Severity, fine, masked, worst, worst_first


def finding(severity: Severity, check: Check, found: str = "") -> Finding:
    return Finding(severity, check, "", found)


def test_worst_comes_first():
    """Findings stand by their severity, equally bad ones in the order of the checks."""
    said = [
        fine(Check.BRIDGE_CONFIG, "", ""),
        finding(Severity.WARNING, Check.PBX_NAT),
        finding(Severity.ERROR, Check.PBX_NAT),
        finding(Severity.WARNING, Check.MILLIS_CREDIT),
    ]

    assert [(each.severity, each.check) for each in worst_first(said)] == [
        (Severity.ERROR, Check.PBX_NAT),
        (Severity.WARNING, Check.MILLIS_CREDIT),
        (Severity.WARNING, Check.PBX_NAT),
        (Severity.OK, Check.BRIDGE_CONFIG),
    ]
    assert worst(said) == Severity.ERROR
    assert worst([]) == Severity.OK


def test_every_check_belongs_to_a_part():
    """The first word of a check's name is the part that it is of."""
    assert {check.part for check in Check} == set(Part)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the key sk-0123456789 is refused", "the key ***** is refused"),
        ("sip:call-1f0c9a@sip.millis.ai;transport=tls", "sip:*****@sip.millis.ai;transport=tls"),
        ("<SIPS:a@h>, sip:b@h", "<SIPS:*****@h>, sip:*****@h"),
        ("15551230001@from-trunk and +4420123456", "1555*****01@from-trunk and +442*****56"),
        ("10.20.30.40:5060, 203.0.113.5, 22.10.1, 2026-11-20T10:00:00", None),
        ("1,048,576 files, port 4573, 300000 ms", None),
        ("a line\x1b[31m and\nanother", "a line [31m and another"),
    ],
)
def test_nothing_private_leaves(text, shown):
    """Keys, users of SIP URIs and the middle of phone numbers are hidden, in every field; addresses and figures are not."""
    hidden = masked(Finding(Severity.INFO, Check.PBX_PING, text, text, text, text), ["sk-0123456789", "", "so"])

    assert {hidden.looked_at, hidden.found, hidden.why, hidden.remedy} == {shown or text}


def test_endless_text_is_cut():
    """What a PBX or Millis says is told to a bounded length."""
    assert len(masked(finding(Severity.INFO, Check.PBX_PING, "x" * 5000), []).found) == 1001
