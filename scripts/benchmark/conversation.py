"""The conversation every server holds, in the words of both sides: what Asterisk says, what a baseline answers.

The order is the bridge's own: one GET FULL VARIABLE, one POST to the API, eight variables set, the status last. The bridge
and the bare Protocol set several with one command; the others set one at a time, as people do. The bridge brings its own
words; nothing here comes from it. No sockets.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

API_KEY = "bench-key"
EPOCH = 1790000000  # every uniqueid is EPOCH.N, so the API stub can tell by the body which call it serves
VARIABLES_SET = 8
DIDS = [f"+1212555{line:04}" for line in range(10_000)]

_ENVIRONMENT = "".join(
    f"{line}\n"
    for line in (
        "agi_network: yes",
        "agi_network_script: {verb}",
        "agi_request: agi://127.0.0.1:4573/{verb}",
        "agi_channel: PJSIP/trunk-{number:08x}",
        "agi_language: en",
        "agi_type: PJSIP",
        f"agi_uniqueid: {EPOCH}.{{number}}",
        "agi_version: 22.10.1",
        "agi_callerid: {caller}",
        "agi_calleridname: Caller {number}",
        "agi_callingpres: 0",
        "agi_callingani2: 0",
        "agi_callington: 0",
        "agi_callingtns: 0",
        "agi_dnid: 1212555{line:04}",
        "agi_rdnis: unknown",
        "agi_context: from-trunk",
        "agi_extension: 1212555{line:04}",
        "agi_priority: 7",
        "agi_enhanced: 0.0",
        "agi_accountcode: ",
        "agi_threadid: 139871234567890",
        "agi_arg_1: did=%2B1212555{line:04}",
        "",
    )
)

VALUES_COMMAND = 'GET FULL VARIABLE "${URIENCODE(${CHANNEL(linkedid)})}|${URIENCODE(${CHANNEL(language)})}"'


def environment(number: int, verb: str) -> bytes:
    """Return what Asterisk sends when call *number* reaches AGI(); DID and caller change from call to call."""
    # Strides that share no factor with what they wrap at: all 10,000 DIDs far apart, eight million callers, so that
    # nothing is fast because it was remembered. Trunks send callers in both spellings.
    line = number * 7919 % len(DIDS)
    caller = f"{200 + number * 7 % 797}555{number * 6133 % 10_000:04}"
    return _ENVIRONMENT.format(
        number=number, verb=verb, line=line, caller=f"+1{caller}" if number % 2 else caller
    ).encode()


def registration(request: Mapping[str, str], values: str, bridge_call_id: str) -> dict[str, Any]:
    """Return the body of POST /register_sip_call: what the bridge sends, without asking whether it is so."""
    linkedid, language = map(unquote, values.split("|"))
    did = unquote(request["agi_arg_1"].partition("=")[2])
    caller_number = "+1" + request["agi_callerid"].removeprefix("+1")
    return {
        "agent_id": "-NbenchAgent0001",
        "metadata": {
            "bridge_call_id": bridge_call_id,
            "uniqueid": request["agi_uniqueid"],
            "linkedid": linkedid,
            "did": did,
            "caller_number": caller_number,
            "caller_name": request["agi_calleridname"],
            "caller_withheld": "false",
            "rdnis": "",
            "channel": request["agi_channel"],
            "context": request["agi_context"],
            "language": request["agi_language"],
            "called_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "team": "team-1",
            "spoken": language,
        },
        "include_metadata_in_prompt": False,
        "from_phone": caller_number,
        "to_phone": did,
    }


def variables_before_answer(bridge_call_id: str) -> list[tuple[str, str]]:
    """Return the variables that do not wait for the API."""
    return [
        ("MILLIS_BRIDGE_CALL_ID", bridge_call_id),
        ("MILLIS_FALLBACK", "millis-fallback,s,1"),
        ("MILLIS_DIAL_TIMEOUT", "30"),
        ("MILLIS_DIAL_OPTIONS", "iL(3600000)"),
    ]


def variables_after_answer(answer: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the variables made of the API's answer; the status is the last one set."""
    return [
        ("MILLIS_CALL_ID", answer["call_id"]),
        ("MILLIS_REDIAL", "us-west"),
        ("MILLIS_DIAL", f"PJSIP/millis/{answer['sip']}"),
        ("MILLIS_STATUS", "ok"),
    ]
