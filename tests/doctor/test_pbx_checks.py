"""What a console tells of a PBX, and what the doctor makes of it; the faults themselves are planted in tests/asterisk."""

from dataclasses import replace

import pytest

from agi_bridge.doctor.console_text import Context
from agi_bridge.doctor.facts import Expected, PbxFacts, Ping
from agi_bridge.doctor.finding import Check, Severity
from agi_bridge.doctor.pbx_checks import (
    NEEDED_MODULES,
    USEFUL_MODULES,
    check_contexts,
    check_globals,
    check_inbound,
    check_modules,
    check_pbx,
    check_ping,
    check_transfer,
    check_version,
)

OWN = Context(
    {
        "_X.": (
            "MSet(MILLIS_STATUS=,AGIEXITONHANGUP=yes)",
            "Set(TIMEOUT(absolute)=6)",
            "AGI(agi://${MILLIS_BRIDGE}/route,did=${URIENCODE(${EXTEN})})",
            "Dial(${MILLIS_DIAL},${MILLIS_DIAL_TIMEOUT},${MILLIS_DIAL_OPTIONS})",
        ),
        "T": ("Goto(reception,s,1)",),
    }
)
WELL = PbxFacts(
    version="22.10.1",
    modules=dict.fromkeys((*NEEDED_MODULES, *USEFUL_MODULES), True),
    contexts={"from-trunk": OWN, "reception": Context()},
    variables={"MILLIS_BRIDGE": "127.0.0.1:4573", "MILLIS_BUDGET_SECONDS": "6", "MILLIS_LONGEST_CALL_SECONDS": "14400"},
    endpoints={"trunk": ("192.0.2.10/32",), "millis": ()},
    endpoint_settings={"trunk": {"context": "from-trunk"}, "millis": {"allow_transfer": "false"}},
)
EXPECTED = Expected(listen=("127.0.0.1:4573",), setup_timeout_seconds=5.5, longest_call_seconds=3600, secret="")


def told(findings):
    return [(each.severity, each.found) for each in findings]


def test_pbx_that_is_well():
    """A PBX with a dialplan of its own, as the README has it, gives nothing to mend; the handler that it lacks is a note."""
    found = [each for each in check_pbx(WELL, EXPECTED) if each.severity > Severity.OK]

    assert told(found) == [(Severity.INFO, "no hangup handler on the way to the bridge")]


def test_pbx_that_tells_nothing():
    """What the console does not show is a note or a finding, and never an exception."""
    findings = list(check_pbx(PbxFacts(), EXPECTED))

    assert (Severity.INFO, "Asterisk does not tell its version") in told(findings)
    assert (Severity.INFO, "the console shows no modules") in told(findings)
    assert (Severity.ERROR, "none of the 0 contexts asks the bridge") in told(findings)


@pytest.mark.parametrize(
    ("version", "command_limit_bytes", "severity"),
    [
        ("22.10.1", 2046, Severity.OK),
        ("20.9.3", 2046, Severity.OK),
        ("certified-20.7", 2046, Severity.OK),
        ("21.4.0", 2046, Severity.INFO),
        ("23.1.0", 8190, Severity.INFO),
        ("18.20.0", 2046, Severity.INFO),
        ("16.28.0", 2046, Severity.INFO),
        ("13.38.3", 2046, Severity.WARNING),
        ("22.6.0", 8190, Severity.OK),
        ("22.5.2", 8190, Severity.ERROR),
        ("20.15.0", 4000, Severity.ERROR),
        ("18.20.0", 4000, Severity.ERROR),
    ],
)
def test_version(version, command_limit_bytes, severity):
    """20 and 22 are good, 16 and 18 work as far as is known, and a version that tears long lines is told where that matters."""
    expected = replace(EXPECTED, command_limit_bytes=command_limit_bytes)

    assert check_version(replace(WELL, version=version), expected).severity == severity


@pytest.mark.parametrize(
    ("changes", "severity", "found"),
    [
        ({"res_agi": None}, Severity.ERROR, "res_agi.so is not loaded"),
        ({"res_agi": False}, Severity.ERROR, "res_agi.so is loaded, but does not run"),
        ({"codec_ulaw": None}, Severity.WARNING, "codec_ulaw.so is not loaded"),
        ({"res_musiconhold": None}, Severity.WARNING, "res_musiconhold.so is not loaded"),
        ({"app_playback": None}, Severity.WARNING, "app_playback.so is not loaded"),
        ({"res_srtp": None}, Severity.WARNING, "res_srtp.so is not loaded"),
    ],
)
def test_modules(changes, severity, found):
    """A missing module is told with what it is needed for; music, prompts and encryption need one where they are used."""
    settings = {**WELL.endpoint_settings, "millis": {"media_encryption": "sdes"}}
    loaded = {**WELL.modules, "res_musiconhold": True, "app_playback": True, "res_srtp": True, **changes}
    facts = replace(
        WELL,
        modules={name: runs for name, runs in loaded.items() if runs is not None},
        endpoint_settings=settings,
    )

    assert told(check_modules(facts, replace(EXPECTED, music=True, prompt=True))) == [(severity, found)]


@pytest.mark.parametrize(
    ("variables", "expected", "severity", "found"),
    [
        ({"MILLIS_BRIDGE": None}, {}, Severity.ERROR, "${MILLIS_BRIDGE} is not set"),
        ({"MILLIS_BRIDGE": "[::1]:4573"}, {}, Severity.OK, "the PBX asks the bridge at [::1]:4573"),
        ({"MILLIS_BRIDGE": "127.0.0.1"}, {}, Severity.OK, "the PBX asks the bridge at 127.0.0.1"),
        ({"MILLIS_BRIDGE": "bridge:4573"}, {}, Severity.WARNING, "the bridge is asked by a name: bridge:4573"),
        (
            {"MILLIS_BRIDGE": "127.0.0.1:4000"},
            {},
            Severity.WARNING,
            "the PBX asks port 4000, and the bridge listens on 127.0.0.1:4573",
        ),
        (
            {"MILLIS_BUDGET_SECONDS": "5"},
            {},
            Severity.WARNING,
            "MILLIS_BUDGET_SECONDS is 5, and setup_timeout_seconds of the bridge 5.5",
        ),
        (
            {"MILLIS_LONGEST_CALL_SECONDS": "600"},
            {},
            Severity.WARNING,
            "MILLIS_LONGEST_CALL_SECONDS is 600, and a rule's max_duration_seconds 3600",
        ),
        ({"MILLIS_BUDGET_SECONDS": "soon"}, {}, Severity.OK, "the PBX asks the bridge at 127.0.0.1:4573"),
        ({}, {"secret": "s3cret"}, Severity.ERROR, "MILLIS_SECRET is not set, and the bridge wants a secret"),
        ({"MILLIS_SECRET": "other"}, {"secret": "s3cret"}, Severity.ERROR, "MILLIS_SECRET is not the bridge's secret"),
        ({"MILLIS_SECRET": "other"}, {}, Severity.INFO, "MILLIS_SECRET is set, and the bridge wants no secret"),
        ({"MILLIS_SECRET": "other"}, {"secret": None}, Severity.OK, "the PBX asks the bridge at 127.0.0.1:4573"),
    ],
)
def test_globals(variables, expected, severity, found):
    """What the dialplan was given must fit what the bridge was given; a secret is compared and never told."""
    values = {name: value for name, value in {**WELL.variables, **variables}.items() if value is not None}

    findings = list(check_globals(replace(WELL, variables=values), replace(EXPECTED, **expected)))

    assert told(findings) == [(severity, found)]
    assert "s3cret" not in str(findings)
    assert "other" not in str(findings)


def test_trunks_that_cannot_be_told():
    """A PBX whose trunks log in by themselves shows none of them; that is a note."""
    finding = check_inbound(replace(WELL, endpoints={"trunk": ()}), EXPECTED)

    assert (finding.severity, finding.check) == (Severity.INFO, Check.PBX_INBOUND)


def test_trunk_that_is_not_for_agents():
    """A second trunk whose calls go to people is a note."""
    facts = replace(
        WELL,
        endpoints={**WELL.endpoints, "fax": ("192.0.2.11/32",)},
        endpoint_settings={**WELL.endpoint_settings, "fax": {"context": "reception"}},
    )

    finding = check_inbound(facts, EXPECTED)

    assert finding.severity == Severity.INFO
    assert finding.found == "calls of trunk (from-trunk) can reach the bridge, calls of fax (reception) cannot"


def test_contexts_of_the_shipped_dialplan_belong_together():
    """Where `millis` is, those that it needs must be too."""
    facts = replace(WELL, contexts={"millis": Context({"s": OWN.extensions["_X."], "T": ()}), "millis-ask": Context()})

    assert [each.found.split(" is ")[0] for each in check_contexts(facts)] == [
        "the context millis-agi",
        "the context millis-ended",
    ]


def test_feature_keys_that_a_rule_allows():
    """What an operator allowed on purpose is still told."""
    found = list(check_transfer(WELL, replace(EXPECTED, feature_keys={"sales": "t"})))

    assert told(found) == [(Severity.WARNING, 'dial_options = "t", with allow_feature_keys')]


@pytest.mark.parametrize(
    ("ping", "severity", "found"),
    [
        (Ping("ok", "SUCCESS"), Severity.OK, "the PBX asked the bridge at 127.0.0.1:4573, and got its answer"),
        (Ping("", "FAILURE"), Severity.ERROR, "the PBX got no answer from the bridge at 127.0.0.1:4573"),
        (
            Ping("", "SUCCESS"),
            Severity.ERROR,
            "what answers at 127.0.0.1:4573 left MILLIS_STATUS empty (AGISTATUS SUCCESS)",
        ),
        (Ping(trouble="no reason"), Severity.INFO, "not made: no reason"),
    ],
)
def test_ping(ping, severity, found):
    """The test call says whether the PBX reaches the bridge, and whether what answers is one."""
    finding = check_ping(ping, WELL)

    assert (finding.severity, finding.found) == (severity, found)
