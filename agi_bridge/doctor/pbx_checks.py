"""Whether one PBX will carry calls to agents: its version, its modules, its dialplan. Pure: facts in, findings out.

What concerns SIP and audio is in `sip_checks`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from agi_bridge.doctor.finding import Check, Finding, Severity, fine
from agi_bridge.doctor.paths import missing_targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agi_bridge.doctor.console_text import Context
    from agi_bridge.doctor.facts import Expected, PbxFacts, Ping
    from agi_bridge.doctor.paths import AgiStep

_LTS = (20, 22)
_BEST_EFFORT = (16, 18)
# From these on a line of AGI may have 8 KiB; before, the rest of a longer one is run as a command of its own.
_LONG_LINES = {20: (20, 16), 22: (22, 6)}
_SHORT_LINE_BYTES = 2046

# What each module is needed for. Without one of these no call reaches an agent ...
NEEDED_MODULES = {
    "res_agi": "AGI(), by which the bridge is asked",
    "pbx_config": "the dialplan",
    "app_dial": "Dial(), by which agents are called",
    "app_stack": "Gosub(), of which the shipped dialplan is made",
    "app_exec": "ExecIf()",
    "app_verbose": "Log()",
    "func_callerid": "CALLERID()",
    "func_channel": "CHANNEL()",
    "func_dialplan": "DIALPLAN_EXISTS(), which finds the fallback",
    "func_logic": "IF() and ISNULL()",
    "func_strings": "FILTER() and LEN()",
    "func_timeout": "TIMEOUT(), the watchdog",
    "func_uri": "URIENCODE()",
    "chan_pjsip": "PJSIP channels",
    "res_pjsip": "SIP",
    "res_pjsip_session": "SIP calls",
    "res_pjsip_sdp_rtp": "audio in SIP calls",
    "res_pjsip_nat": "rewrite_contact and force_rport",
    "res_rtp_asterisk": "RTP",
}
# ... and without these something is missing from it.
USEFUL_MODULES = {
    "codec_ulaw": "callers whose codec is not the agent's",
    "codec_alaw": "callers whose codec is not the agent's",
    "bridge_simple": "joining the caller and the agent",
    "bridge_builtin_interval_features": "max_duration_seconds; without it MILLIS_LONGEST_CALL_SECONDS ends a call",
}

_SHIPPED_CONTEXTS = ("millis", "millis-ask", "millis-agi", "millis-ended")
_ROUTE_VERBS = ("route", "dial")
_FEW = 5


def check_pbx(facts: PbxFacts, expected: Expected) -> Iterator[Finding]:
    """Yield what there is to say of the dialplan and the machinery below it."""
    yield check_version(facts, expected)
    yield from check_modules(facts, expected)
    yield from check_contexts(facts)
    yield from check_globals(facts, expected)
    yield check_inbound(facts, expected)
    yield from check_fallbacks(facts, expected)
    yield check_hangup_handler(facts)
    yield from check_transfer(facts, expected)


def check_version(facts: PbxFacts, expected: Expected) -> Finding:
    """Judge the version of Asterisk."""
    looked_at = "core show version"
    numbers = tuple(map(int, re.findall(r"\d+", facts.version)[:2]))
    if not numbers:
        return Finding(Severity.INFO, Check.PBX_VERSION, looked_at, "Asterisk does not tell its version")
    found = f"Asterisk {facts.version}"
    if expected.command_limit_bytes > _SHORT_LINE_BYTES and numbers < _LONG_LINES.get(numbers[0], (21,)):
        return Finding(
            Severity.ERROR,
            Check.PBX_VERSION,
            looked_at,
            f"{found}, and command_limit_bytes = {expected.command_limit_bytes}",
            "this version takes lines of 2046 bytes, and runs the end of a longer one as a command of its own",
            "take command_limit_bytes under [agi] out of bridge.toml, or upgrade to 20.16, 22.6 or newer",
        )
    if numbers[0] in _LTS:
        return fine(Check.PBX_VERSION, looked_at, f"{found}, with long-term support")
    if numbers[0] in _BEST_EFFORT:
        return Finding(
            Severity.INFO,
            Check.PBX_VERSION,
            looked_at,
            found,
            "the project itself no longer mends this version; the bridge works with it as far as is known, but is not tested",
            "plan an upgrade to 20 or 22",
        )
    if numbers[0] > min(_LTS):
        return Finding(
            Severity.INFO, Check.PBX_VERSION, looked_at, found, "the bridge is tested with 20 and 22", "nothing now"
        )
    return Finding(
        Severity.WARNING,
        Check.PBX_VERSION,
        looked_at,
        found,
        "it is older than anything that the bridge was made for",
        "upgrade to 20 or 22",
    )


def check_modules(facts: PbxFacts, expected: Expected) -> Iterator[Finding]:
    """Name the modules that are missing, each with what it is for."""
    looked_at = "module show"
    if not facts.modules:
        yield Finding(Severity.INFO, Check.PBX_MODULES, looked_at, "the console shows no modules")
        return
    useful = dict(USEFUL_MODULES)
    if expected.music:
        useful["res_musiconhold"] = "the music of a rule"
    if expected.prompt:
        useful["app_playback"] = "the prompt of a rule"
    if any(facts.endpoint_settings.get(name, {}).get("media_encryption") == "sdes" for name in expected.endpoints):
        useful["res_srtp"] = "encrypted audio, which an endpoint wants"
    problems = [(Severity.ERROR, name, why) for name, why in NEEDED_MODULES.items()]
    problems += [(Severity.WARNING, name, why) for name, why in useful.items()]
    missing = [problem for problem in problems if not facts.modules.get(problem[1])]
    for severity, name, why in missing:
        state = "is loaded, but does not run" if name in facts.modules else "is not loaded"
        yield Finding(
            severity,
            Check.PBX_MODULES,
            looked_at,
            f"{name}.so {state}",
            f"it is needed for {why}",
            f"asterisk -rx 'module load {name}.so'; if that works, add \"load = {name}.so\" to modules.conf; "
            "if it does not, /var/log/asterisk/messages.log says why (not installed, or a module that it needs is missing)",
        )
    if not missing:
        yield fine(Check.PBX_MODULES, looked_at, f"all {len(problems)} modules that a call needs are running")


def check_contexts(facts: PbxFacts) -> Iterator[Finding]:
    """Judge whether anything on the PBX asks the bridge, and whether that is whole."""
    looked_at = "dialplan show"
    asking = [step for step in facts.paths.agis if _asks_for_agent(step)]
    if not asking:
        yield Finding(
            Severity.ERROR,
            Check.PBX_CONTEXTS,
            looked_at,
            f"none of the {len(facts.contexts)} contexts asks the bridge",
            "no call can reach an agent",
            "put the contexts that begin with millis from asterisk-conf/extensions.conf into your dialplan "
            "(docs/quickstart.md), then: asterisk -rx 'dialplan reload'",
        )
        return
    ours = [name for name in facts.contexts if name.split("-")[0] == "millis"]
    missing = missing_targets(facts.contexts, ours)
    if "millis" in facts.contexts:
        missing |= {name: "the shipped dialplan" for name in _SHIPPED_CONTEXTS if name not in facts.contexts}
    for name, by in missing.items():
        yield Finding(
            Severity.ERROR,
            Check.PBX_CONTEXTS,
            looked_at,
            f"the context {name} is missing; {by} sends calls there",
            "a call that is sent to a context that does not exist is hung up",
            f"take [{name}] from asterisk-conf/extensions.conf, all contexts of it from the same version; then: "
            "asterisk -rx 'dialplan reload'",
        )
    unguarded = sorted({step.context for step in asking if not _has_watchdog(facts, step.context)})
    if unguarded:
        yield Finding(
            Severity.WARNING,
            Check.PBX_CONTEXTS,
            looked_at,
            f"no watchdog around AGI in {_some(unguarded)}",
            "Asterisk waits for ever for a bridge that accepts the connection and says nothing, and the caller with it",
            "set TIMEOUT(absolute) and AGIEXITONHANGUP=yes before AGI, and add an extension T (docs/dialplan.md)",
        )
    if not missing and not unguarded:
        names = _some(sorted({step.context for step in asking}))
        yield fine(Check.PBX_CONTEXTS, looked_at, f"the bridge is asked in {names}, with a watchdog")


def check_globals(facts: PbxFacts, expected: Expected) -> Iterator[Finding]:
    """Judge the times, the address and the secret that the dialplan has been given."""
    looked_at = "dialplan show globals"
    findings = [
        *_bad_address(facts, expected, looked_at),
        *_bad_times(facts, expected, looked_at),
        *_bad_secret(facts, expected, looked_at),
    ]
    yield from findings
    if not findings:
        servers = _some(sorted({step.server for step in facts.paths.agis}))
        found = f"the PBX asks the bridge at {servers}" if servers else "nothing that the bridge needs is missing"
        yield fine(Check.PBX_GLOBALS, looked_at, found)


def check_inbound(facts: PbxFacts, expected: Expected) -> Finding:
    """Judge whether calls of the trunks reach the bridge."""
    looked_at = "pjsip show endpoints; dialplan show"
    asking = bridge_contexts(facts)
    leading = facts.paths.leading_to(asking)
    trunks = trunk_contexts(facts, expected)
    if not trunks:
        return Finding(
            Severity.INFO,
            Check.PBX_INBOUND,
            looked_at,
            "no PJSIP endpoint is known by its address, so which of them are trunks cannot be told",
            "whether the calls of your trunk reach the bridge was not looked at",
            "call the number, and look for its line in the bridge's log",
        )
    good, bad, nowhere = [], [], []
    for endpoint, context in trunks.items():
        if context not in facts.contexts:
            nowhere.append(f"{endpoint} ({context})")
        elif context in leading:
            good.append(f"{endpoint} ({context})")
        else:
            bad.append(f"{endpoint} ({context})")
    if nowhere:
        return Finding(
            Severity.ERROR,
            Check.PBX_INBOUND,
            looked_at,
            f"calls of {_some(nowhere)} come into a context that does not exist",
            "each of them is refused with 404",
            "correct context of the endpoint, or make the context; then: asterisk -rx 'core reload'",
        )
    if not good and asking:
        return Finding(
            Severity.ERROR,
            Check.PBX_INBOUND,
            looked_at,
            f"no way leads from the context of a trunk to the bridge: {_some(bad)}",
            "the calls of that trunk never get to an agent",
            "send them there: Gosub(millis,s,1(${EXTEN})) in that context, or an inbound route on FreePBX and its kin "
            "(docs/dialplan.md); then: asterisk -rx 'dialplan reload'",
        )
    if bad:
        return Finding(
            Severity.INFO,
            Check.PBX_INBOUND,
            looked_at,
            f"calls of {_some(good) or 'no trunk'} can reach the bridge, calls of {_some(bad)} cannot",
            "that is right if those are meant for people",
            "nothing, if so",
        )
    return fine(Check.PBX_INBOUND, looked_at, f"calls of {_some(good)} can reach the bridge")


def check_fallbacks(facts: PbxFacts, expected: Expected) -> Iterator[Finding]:
    """Judge whether the places exist where callers go who get no agent."""
    named = dict(expected.fallbacks)
    if last := facts.variables.get("MILLIS_DEFAULT_FALLBACK", ""):
        named |= {last: "MILLIS_DEFAULT_FALLBACK"}
    for place, who in named.items():
        looked_at = f"dialplan show {_extension_at(place)}"
        if facts.places.get(place, True):
            continue
        is_last = place == last
        yield Finding(
            Severity.ERROR if is_last else Severity.WARNING,
            Check.PBX_FALLBACK,
            looked_at,
            f"{place}, which {who} names, does not exist in the dialplan",
            "a caller who gets no agent is hung up on"
            if is_last
            else "its callers go to MILLIS_DEFAULT_FALLBACK instead",
            f"make the extension, or change {who}",
        )
    if not last and any(step.context.startswith("millis") for step in facts.paths.agis):
        yield Finding(
            Severity.ERROR,
            Check.PBX_FALLBACK,
            "dialplan show globals",
            "MILLIS_DEFAULT_FALLBACK is not set",
            "a caller who gets no answer from the bridge is hung up on",
            "set it under [globals], such as MILLIS_DEFAULT_FALLBACK = ext-queues,600,1",
        )
    elif named and all(facts.places.get(place, True) for place in named):
        yield fine(Check.PBX_FALLBACK, "dialplan show EXTENSION@CONTEXT", f"all fallbacks exist: {_some(list(named))}")


def check_hangup_handler(facts: PbxFacts) -> Finding:
    """Judge whether the bridge hears of callers who hang up during a conversation."""
    looked_at = "dialplan show"
    asking = bridge_contexts(facts)
    around = facts.paths.leading_to(asking)
    handled = any("hangup_handler_push" in step for name in around for step in facts.contexts[name].applications)
    if handled or not asking:
        told = "a hangup handler tells the bridge how calls ended" if handled else "nothing asks the bridge"
        return fine(Check.PBX_HANGUP_HANDLER, looked_at, told)
    return Finding(
        Severity.INFO,
        Check.PBX_HANGUP_HANDLER,
        looked_at,
        "no hangup handler on the way to the bridge",
        "the log ends with `routed` for callers who hang up while they talk with the agent",
        "use the shipped contexts, or push millis-ended before you ask the bridge (docs/dialplan.md)",
    )


def check_transfer(facts: PbxFacts, expected: Expected) -> Iterator[Finding]:
    """Look for a way by which a caller or an agent could dial through the PBX."""
    looked_at = "dialplan show: Dial"
    findings = [*_dial_options(facts, looked_at), *_inbound_dial_options(facts, expected, looked_at)]
    for rule, options in expected.feature_keys.items():
        findings.append(
            Finding(
                Severity.WARNING,
                Check.PBX_TRANSFER,
                f'bridge.toml: route "{rule}"',
                f'dial_options = "{options}", with allow_feature_keys',
                "whoever may press these keys can dial through the PBX, on your bill",
                "take t, T, k, K, x and X out, unless the rule cannot do without",
            )
        )
    for name in expected.endpoints:
        settings = facts.endpoint_settings.get(name, {})
        if settings.get("allow_transfer") not in ("true", "yes"):
            continue
        into = _transfer_context(settings)
        if not _is_list(facts.contexts.get(into)):
            findings.append(
                Finding(
                    Severity.WARNING,
                    Check.PBX_TRANSFER,
                    f"pjsip show endpoint {name}; dialplan show {into}",
                    f"allow_transfer = yes, into the context {into}, which is no plain list of extensions",
                    "the agent's side may send a call wherever that context leads, on your bill",
                    f"set set_var = TRANSFER_CONTEXT=millis-transfer for [{name}], as shipped, or allow_transfer = no; "
                    "then: asterisk -rx 'pjsip reload'",
                )
            )
    yield from findings
    if not findings:
        yield fine(Check.PBX_TRANSFER, looked_at, "no Dial on the way to an agent lets anybody transfer the call")


def check_ping(ping: Ping, facts: PbxFacts) -> Finding:
    """Judge the test call from the PBX to the bridge."""
    looked_at = "a test call: millis-ping"
    if ping.trouble:
        return Finding(
            Severity.INFO,
            Check.PBX_PING,
            looked_at,
            f"not made: {ping.trouble}",
            "whether the PBX reaches the bridge was not tried",
            "module load res_clioriginate.so lets doctor make it, with [millis-ping] of asterisk-conf/extensions.conf",
        )
    server = _some(sorted({step.server for step in facts.paths.agis}))
    if ping.status == "ok":
        return fine(Check.PBX_PING, looked_at, f"the PBX asked the bridge at {server}, and got its answer")
    if ping.agistatus == "FAILURE":
        return Finding(
            Severity.ERROR,
            Check.PBX_PING,
            looked_at,
            f"the PBX got no answer from the bridge at {server}",
            "every call takes its fallback",
            "is the bridge running (agi-bridge health), does it listen on that address, does its allow list hold the PBX, "
            "is the port open in the firewall, is MILLIS_SECRET the bridge's secret? The bridge's log names who it refused",
        )
    return Finding(
        Severity.ERROR,
        Check.PBX_PING,
        looked_at,
        f"what answers at {server} left MILLIS_STATUS {ping.status or 'empty'} (AGISTATUS {ping.agistatus or 'empty'})",
        "every call takes its fallback",
        "is it the bridge, is it the secret? The bridge's log says what it refused; `agi-bridge simulate call --did 0 "
        "--verb ping` asks it from here",
    )


def bridge_contexts(facts: PbxFacts) -> set[str]:
    """Return the contexts in which the bridge is asked for an agent."""
    return {step.context for step in facts.paths.agis if _asks_for_agent(step)}


def trunk_contexts(facts: PbxFacts, expected: Expected) -> dict[str, str]:
    """Return the endpoints that are known by their address, as trunks are, each with the context of its calls."""
    trunks = [name for name, matches in facts.endpoints.items() if matches and name not in expected.endpoints]
    contexts = {name: facts.endpoint_settings.get(name, {}).get("context", "") for name in trunks}
    return {name: context for name, context in contexts.items() if context}


def _asks_for_agent(step: AgiStep) -> bool:
    # The shipped dialplan has one AGI for every verb, which is then an argument.
    return step.verb in _ROUTE_VERBS or step.verb.startswith("${ARG")


def _has_watchdog(facts: PbxFacts, context: str) -> bool:
    steps = facts.contexts[context].applications
    limits = any("TIMEOUT(absolute)" in step for step in steps)
    lets_go = any("AGIEXITONHANGUP" in step for step in steps)
    return limits and lets_go and "T" in facts.contexts[context].extensions


def _bad_address(facts: PbxFacts, expected: Expected, looked_at: str) -> Iterator[Finding]:
    for server in sorted({step.server for step in facts.paths.agis}):
        if "$" in server:
            yield Finding(
                Severity.ERROR,
                Check.PBX_GLOBALS,
                looked_at,
                f"{server} is not set",
                "the PBX does not know where the bridge is, and every call takes its fallback",
                "set MILLIS_BRIDGE = 127.0.0.1:4573 under [globals]; then: asterisk -rx 'dialplan reload'",
            )
            continue
        host, _, port = server.removesuffix("]").rpartition(":") if ":" in server else (server, "", "4573")
        try:
            ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            yield Finding(
                Severity.WARNING,
                Check.PBX_GLOBALS,
                looked_at,
                f"the bridge is asked by a name: {server}",
                "Asterisk looks a name up while the caller waits, without a limit of time",
                "write its IP address into MILLIS_BRIDGE",
            )
        if expected.listen and port not in {listen.rpartition(":")[2] for listen in expected.listen}:
            yield Finding(
                Severity.WARNING,
                Check.PBX_GLOBALS,
                looked_at,
                f"the PBX asks port {port}, and the bridge listens on {_some(list(expected.listen))}",
                "unless something in between changes the port, every call takes its fallback",
                "let MILLIS_BRIDGE in the dialplan and listen under [agi] in bridge.toml name the same port",
            )


def _bad_times(facts: PbxFacts, expected: Expected, looked_at: str) -> Iterator[Finding]:
    budget = _number(facts.variables.get("MILLIS_BUDGET_SECONDS"))
    if budget is not None and budget <= expected.setup_timeout_seconds:
        yield Finding(
            Severity.WARNING,
            Check.PBX_GLOBALS,
            looked_at,
            f"MILLIS_BUDGET_SECONDS is {budget:g}, and setup_timeout_seconds of the bridge {expected.setup_timeout_seconds:g}",
            "the PBX gives up before the bridge can say what to do",
            "raise MILLIS_BUDGET_SECONDS above it, or lower setup_timeout_seconds under [agi]",
        )
    longest = _number(facts.variables.get("MILLIS_LONGEST_CALL_SECONDS"))
    if longest is not None and longest <= expected.longest_call_seconds:
        yield Finding(
            Severity.WARNING,
            Check.PBX_GLOBALS,
            looked_at,
            f"MILLIS_LONGEST_CALL_SECONDS is {longest:g}, and a rule's max_duration_seconds {expected.longest_call_seconds}",
            "the PBX ends the call before the rule does, without its warning",
            "raise MILLIS_LONGEST_CALL_SECONDS above it",
        )


def _bad_secret(facts: PbxFacts, expected: Expected, looked_at: str) -> Iterator[Finding]:
    told = facts.variables.get("MILLIS_SECRET", "")
    if expected.secret is None or told == expected.secret:
        return
    if not expected.secret:
        yield Finding(
            Severity.INFO,
            Check.PBX_GLOBALS,
            looked_at,
            "MILLIS_SECRET is set, and the bridge wants no secret",
            "it protects nothing so",
            "set secret_file under [agi], or AGI_BRIDGE_SECRET, to the same",
        )
        return
    yield Finding(
        Severity.ERROR,
        Check.PBX_GLOBALS,
        looked_at,
        "MILLIS_SECRET is not the bridge's secret"
        if told
        else "MILLIS_SECRET is not set, and the bridge wants a secret",
        "the bridge refuses every call of this PBX",
        "write the bridge's secret into MILLIS_SECRET; then: asterisk -rx 'dialplan reload'",
    )


def _dial_options(facts: PbxFacts, looked_at: str) -> Iterator[Finding]:
    """Judge the options with which agents are dialled."""
    for dial in facts.paths.dials:
        if not dial.is_ours:
            continue
        if keys := sorted(dial.letters & frozenset("tTkKxXhH")):
            yield Finding(
                Severity.ERROR,
                Check.PBX_TRANSFER,
                looked_at,
                f"Dial in {dial.context} has the option{'s' if len(keys) > 1 else ''} {', '.join(keys)}",
                "whoever presses the feature keys can send the call elsewhere and dial through the PBX, on your bill: "
                "T and K the caller, t and k the agent",
                f"take {'them' if len(keys) > 1 else 'it'} out; then: asterisk -rx 'dialplan reload'",
            )
        if "i" not in dial.letters and "MILLIS_DIAL_OPTIONS" not in dial.options:
            yield Finding(
                Severity.ERROR,
                Check.PBX_TRANSFER,
                looked_at,
                f"Dial in {dial.context} lacks the option i",
                "a redirect (302) from the far end could name any extension or trunk of this PBX",
                "use ${MILLIS_DIAL_OPTIONS}, or add i; then: asterisk -rx 'dialplan reload'",
            )


def _inbound_dial_options(facts: PbxFacts, expected: Expected, looked_at: str) -> Iterator[Finding]:
    """Judge the options with which people are dialled for callers from outside."""
    places = [*expected.fallbacks, facts.variables.get("MILLIS_DEFAULT_FALLBACK", "")]
    # A fallback is named by a variable of the call, which nobody can follow.
    start = [*trunk_contexts(facts, expected).values(), *(place.partition(",")[0] for place in places)]
    inbound = facts.paths.onwards_from(start)
    loose = {
        dial.context
        for dial in facts.paths.dials
        if dial.context in inbound and not dial.is_ours and dial.letters & frozenset("TKX")
    }
    if loose:
        yield Finding(
            Severity.WARNING,
            Check.PBX_TRANSFER,
            looked_at,
            f"a caller from outside gets Dial with T, K or X in {_some(sorted(loose))}",
            "that caller can transfer or park the call, and so dial out through the PBX, on your bill",
            "take T, K and X out there; t, for the person who is called, may stay",
        )


def _extension_at(place: str) -> str:
    context, extension, *_ = [*place.split(","), "", ""]
    return f"{extension}@{context}"


def _transfer_context(settings: Mapping[str, str]) -> str:
    """Return the context in which Asterisk looks for where a REFER leads (res_pjsip_refer.c)."""
    found = re.search(r"TRANSFER_CONTEXT=([^,\s]+)", settings.get("set_var", ""))
    return found[1] if found else settings.get("context", "")


def _is_list(context: Context | None) -> bool:
    """Return whether a context has single extensions only: no patterns, and none of another context. One that is not there has none."""
    return context is None or not (context.includes or any(name.startswith("_") for name in context.extensions))


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _some(names: Iterable[str]) -> str:
    """Return a list of names that stays readable however many there are."""
    names = list(names)
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more
