"""How the findings look, on paper and as JSON."""

import json
import re

from agi_bridge.doctor.finding import Check, Finding, Severity, fine
from agi_bridge.doctor.report import as_json, as_text

FINDINGS = [
    fine(Check.BRIDGE_CONFIG, "bridge.toml", "the configuration is good: 1 rule"),
    Finding(Severity.INFO, Check.MILLIS_STANDBY, "bridge.toml", "1 of 1 rules without a standby", "", "make one"),
    Finding(
        Severity.WARNING,
        Check.PBX_RTP,
        "rtp show settings",
        "UDP 10000 to 10019, enough for 5 calls",
        "one call more has no audio",
        "raise rtpend in rtp.conf, and open the ports in the firewall too",
    ),
    Finding(Severity.ERROR, Check.MILLIS_KEY, "GET /user/info", "refused: HTTP 401", "no call", "compare it"),
]

TEXT = """\
error    millis-key          refused: HTTP 401
           why               no call
           what to do        compare it
           looked at         GET /user/info

warning  pbx-rtp             UDP 10000 to 10019, enough for 5 calls
           why               one call more has no audio
           what to do        raise rtpend in rtp.conf, and open the
                             ports in the firewall too
           looked at         rtp show settings

info     millis-standby      1 of 1 rules without a standby
           what to do        make one

ok       bridge-config       the configuration is good: 1 rule

1 error, 1 warning, 1 note; 1 fine. Looked for 1.3 s."""


def plain(text: str) -> str:
    return re.sub("\x1b\\[[0-9;]*m", "", text)


def test_report_on_paper():
    """The worst stands first with its reason and its remedy; what is fine takes one line."""
    assert plain(as_text(FINDINGS, 1.26, width=70)) == TEXT


def test_quiet_report():
    """Without notes and what is fine, the problems and the sum are left."""
    assert plain(as_text(FINDINGS, 1.26, width=70, quiet=True)) == "\n\n".join(
        [*TEXT.split("\n\n")[:2], TEXT.split("\n\n")[-1]]
    )
    assert plain(as_text([], 0.04, width=70, quiet=True)) == "no errors, no warnings; 0 fine. Looked for 0.0 s."


def test_each_severity_has_its_colour():
    """A terminal shows at a glance how bad a line is."""
    assert as_text(FINDINGS[-1:], 0, width=80).startswith("\x1b[31;1merror\x1b[0m    millis-key")


def test_command_in_a_remedy_is_not_torn():
    """A word that is longer than the line stays whole, so that it can be copied."""
    word = "x" * 200
    assert word in as_text([Finding(Severity.INFO, Check.PBX_RTP, "", "a", "", word)], 0, width=60)


def test_report_for_a_script():
    """JSON has every finding with all its fields, the worst first, and the severity of the whole."""
    said = json.loads(json.dumps(as_json(FINDINGS, 1.256, "1.2.3")))

    assert (said["version"], said["worst"], said["seconds"]) == ("1.2.3", "error", 1.26)
    assert [each["check"] for each in said["findings"]] == ["millis-key", "pbx-rtp", "millis-standby", "bridge-config"]
    assert said["findings"][0] == {
        "severity": "error",
        "check": "millis-key",
        "looked_at": "GET /user/info",
        "found": "refused: HTTP 401",
        "why": "no call",
        "remedy": "compare it",
    }
