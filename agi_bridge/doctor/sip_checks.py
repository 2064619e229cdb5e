"""Whether SIP and audio will find their way between one PBX and the agents: endpoints, NAT, ports, strangers. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from agi_bridge.doctor import console_text
from agi_bridge.doctor.facts import is_private
from agi_bridge.doctor.finding import Check, Finding, Severity, fine
from agi_bridge.doctor.pbx_checks import bridge_contexts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agi_bridge.doctor.facts import Expected, PbxFacts

_RELOAD = "then: asterisk -rx 'pjsip reload'"
_RESTART = "then restart Asterisk: a transport is not changed by a reload"
_G711 = ("ulaw", "alaw")
_YES = ("true", "yes")
_NO = ("false", "no")

# Two for each leg of a call, and a call has two legs.
_PORTS_A_CALL = 4
_FEW_CALLS = 10


def check_sip(facts: PbxFacts, expected: Expected) -> Iterator[Finding]:
    """Yield what there is to say of SIP and audio."""
    for name in expected.endpoints:
        if name not in facts.endpoint_settings:
            yield Finding(
                Severity.INFO, Check.PBX_ENDPOINT, f"pjsip show endpoint {name}", "the console shows no endpoints"
            )
        elif not (settings := facts.endpoint_settings[name]):
            yield Finding(
                Severity.ERROR,
                Check.PBX_ENDPOINT,
                f"pjsip show endpoint {name}",
                f'the PBX has no PJSIP endpoint "{name}"',
                f"every Dial(PJSIP/{name}/…) fails at once, and callers take their fallback",
                f"put [{name}] of asterisk-conf/pjsip.conf into yours, or name another with endpoint in bridge.toml; {_RELOAD}",
            )
        else:
            yield fine(Check.PBX_ENDPOINT, f"pjsip show endpoint {name}", f'the endpoint "{name}" is there')
            yield check_codecs(name, settings.get("allow", ""))
            yield check_transport(name, facts)
            yield from check_media(name, facts, expected)
    yield from check_nat(facts, expected)
    yield from check_rtp(facts)
    yield check_strangers(facts, expected)


def check_codecs(name: str, allow: str) -> Finding:
    """Judge the codecs of an endpoint."""
    looked_at = f"pjsip show endpoint {name}: allow"
    codecs = console_text.codecs(allow)
    told = ", ".join(codecs) or "none"
    if not codecs:
        return Finding(
            Severity.ERROR,
            Check.PBX_CODECS,
            looked_at,
            "no codec is allowed",
            "no call can have audio; Dial fails",
            f"set disallow = all and allow = ulaw,alaw for [{name}]; {_RELOAD}",
        )
    if not any(codec in codecs for codec in _G711):
        return Finding(
            Severity.WARNING,
            Check.PBX_CODECS,
            looked_at,
            f"{told}, without ulaw and alaw",
            "Millis does not document its codecs; G.711 is what everybody speaks, and without a common one the call is "
            "refused with 488 (hangup cause 58)",
            f"add ulaw,alaw to allow for [{name}]; {_RELOAD}",
        )
    return fine(Check.PBX_CODECS, looked_at, f"{name} speaks {told}")


def check_transport(name: str, facts: PbxFacts) -> Finding:
    """Judge whether an endpoint has a transport by which agents can be reached, and how safe that is."""
    looked_at = f"pjsip show endpoint {name}: transport; pjsip show transports"
    settings = facts.endpoint_settings[name]
    wanted = settings.get("transport", "")
    if wanted and wanted not in facts.transports:
        return Finding(
            Severity.ERROR,
            Check.PBX_TRANSPORT,
            looked_at,
            f'{name} wants the transport "{wanted}", which is not there',
            "Dial fails at once with CONGESTION",
            f"make [{wanted}] in pjsip.conf, or take transport out of [{name}]; transports need a restart of Asterisk",
        )
    protocols = {protocol for protocol, _ in facts.transports.values()}
    if not wanted and "udp" not in protocols:
        return Finding(
            Severity.ERROR,
            Check.PBX_TRANSPORT,
            looked_at,
            f"{name} names no transport, and there is none for UDP",
            "a SIP URI that names no transport is dialled over UDP, and Dial fails at once with CONGESTION",
            f"make a transport with protocol = udp in pjsip.conf ({_RESTART}), or set transport for [{name}]",
        )
    is_tls = bool(wanted) and facts.transports[wanted][0] == "tls"
    if settings.get("media_encryption") == "sdes" and not is_tls:
        return Finding(
            Severity.WARNING,
            Check.PBX_TRANSPORT,
            looked_at,
            f"{name} encrypts audio (sdes), and not the SIP that carries its keys",
            "whoever reads the SIP on its way can decrypt the audio",
            f"set transport = tls for [{name}], as [millis-tls] of asterisk-conf/pjsip.conf has it; {_RELOAD}",
        )
    if is_tls and facts.transport_settings.get(wanted, {}).get("verify_server", "").lower() in _NO:
        return Finding(
            Severity.WARNING,
            Check.PBX_TRANSPORT,
            f"pjsip show transport {wanted}",
            f'the transport "{wanted}" of {name} does not check certificates',
            "encryption to whoever answers is no protection",
            f"set verify_server = yes, and ca_list_file; {_RESTART}",
        )
    told = " ".join((wanted, f"({facts.transports[wanted][0]})")) if wanted else "what the SIP URI names, else UDP"
    return fine(Check.PBX_TRANSPORT, looked_at, f"{name} uses {told}")


def check_media(name: str, facts: PbxFacts, expected: Expected) -> Iterator[Finding]:
    """Judge the settings of an endpoint on which audio depends where there is NAT."""
    looked_at = f"pjsip show endpoint {name}"
    settings = facts.endpoint_settings[name]
    findings = []
    if settings.get("direct_media") in _YES:
        findings.append(
            Finding(
                Severity.WARNING,
                Check.PBX_MEDIA,
                looked_at,
                "direct_media = yes",
                "Asterisk would have the carrier and the agent send each other audio, past this PBX; they mostly cannot, "
                "and both sides hear silence some seconds into the call",
                f"set direct_media = no for [{name}]; {_RELOAD}",
            )
        )
    behind_nat = not expected.agents_are_near and is_private(facts.own_address)
    off = [
        option for option in ("rtp_symmetric", "force_rport", "rewrite_contact") if settings.get(option, "yes") in _NO
    ]
    if off:
        findings.append(
            Finding(
                Severity.WARNING if behind_nat else Severity.INFO,
                Check.PBX_MEDIA,
                looked_at,
                f"{', '.join(f'{option} = no' for option in off)}",
                "where either side is behind NAT, the PBX then answers to addresses that cannot be reached: no audio, or "
                "a call that breaks off",
                f"set {', '.join(f'{option} = yes' for option in off)} for [{name}]; {_RELOAD}",
            )
        )
    yield from findings
    if not findings:
        yield fine(Check.PBX_MEDIA, looked_at, f"{name} sends audio to where it comes from, and through this PBX")


def check_nat(facts: PbxFacts, expected: Expected) -> Iterator[Finding]:
    """Judge whether SIP and SDP of calls to agents will carry an address that agents can reach."""
    if expected.agents_are_near:
        hosts = ", ".join(expected.agent_hosts)
        yield fine(Check.PBX_NAT, "allowed_hosts under [millis]", f"the agents are near ({hosts}): no NAT in between")
        return
    for name in _transports_in_use(facts, expected):
        yield _nat_of(name, facts)


def check_rtp(facts: PbxFacts) -> Iterator[Finding]:
    """Judge the range of ports for audio."""
    looked_at = "rtp show settings"
    if facts.rtp_ports is None:
        yield Finding(Severity.INFO, Check.PBX_RTP, looked_at, "the console shows no RTP settings")
        return
    start, end = facts.rtp_ports
    calls = (end - start + 1) // _PORTS_A_CALL
    told = f"UDP {start} to {end}, enough for {calls} calls"
    if calls < 1:
        yield Finding(
            Severity.ERROR,
            Check.PBX_RTP,
            looked_at,
            f"UDP {start} to {end}: no room for a call",
            "no call can have audio",
            "set rtpstart = 10000 and rtpend = 20000 in rtp.conf; then: asterisk -rx 'module reload res_rtp_asterisk.so'",
        )
    elif calls < _FEW_CALLS:
        yield Finding(
            Severity.WARNING,
            Check.PBX_RTP,
            looked_at,
            told,
            "one call more has no audio",
            "raise rtpend in rtp.conf, and open the ports in the firewall too",
        )
    else:
        yield fine(Check.PBX_RTP, looked_at, f"{told}; the firewall must let them in, which cannot be seen from here")
    if not facts.rtp_is_strict:
        yield Finding(
            Severity.INFO,
            Check.PBX_RTP,
            looked_at,
            "strictrtp = no",
            "a stranger who finds the port of a call can speak into it",
            "set strictrtp = yes in rtp.conf, unless something here needs it off",
        )


def check_strangers(facts: PbxFacts, expected: Expected) -> Finding:
    """Judge whether somebody whom the PBX does not know can reach an agent, at your cost."""
    looked_at = "pjsip show endpoints"
    anonymous = facts.endpoint_settings.get("anonymous", {})
    admitted = facts.modules.get("res_pjsip_endpoint_identifier_anonymous") and anonymous.get("context")
    if admitted and anonymous["context"] in facts.paths.leading_to(bridge_contexts(facts)):
        return Finding(
            Severity.WARNING,
            Check.PBX_STRANGERS,
            looked_at,
            f'the endpoint "anonymous" lets anybody in, and its context {anonymous["context"]} leads to the bridge',
            "whoever finds this PBX on the internet can talk to your agents, on your bill",
            "take the endpoint out (FreePBX: Settings, Asterisk SIP Settings, Allow Anonymous Inbound SIP Calls: No), "
            f"or give it a context that leads nowhere; {_RELOAD}",
        )
    wide = [name for name, matches in facts.endpoints.items() if any(match.endswith("/0") for match in matches)]
    if wide:
        return Finding(
            Severity.WARNING,
            Check.PBX_STRANGERS,
            looked_at,
            f"every address counts as {', '.join(wide)}",
            "whoever finds this PBX on the internet can call as your trunk",
            f"write the carrier's addresses into match; {_RELOAD}",
        )
    return fine(Check.PBX_STRANGERS, looked_at, "nobody whom this PBX does not know gets to an agent over PJSIP")


def _transports_in_use(facts: PbxFacts, expected: Expected) -> list[str]:
    """Return the transports over which agents are dialled; for an endpoint that names none, those for UDP."""
    used: list[str] = []
    for name in expected.endpoints:
        wanted = facts.endpoint_settings.get(name, {}).get("transport", "")
        if wanted in facts.transports:
            used.append(wanted)
        elif not wanted:
            used += [each for each, (protocol, _) in facts.transports.items() if protocol == "udp"]
    return list(dict.fromkeys(used))


def _nat_of(name: str, facts: PbxFacts) -> Finding:
    looked_at = f"pjsip show transport {name}; the address of this machine"
    settings = facts.transport_settings.get(name, {})
    media = settings.get("external_media_address", "")
    signaling = settings.get("external_signaling_address", "")
    bound = facts.transports[name][1].rpartition(":")[0].strip("[]")
    # Bound to all addresses, a packet leaves from the one that the route to Millis takes.
    own = facts.own_address if _is_unspecified(bound) else bound
    if _is_loopback(own):
        return Finding(
            Severity.ERROR,
            Check.PBX_NAT,
            looked_at,
            f'the transport "{name}" is bound to {own}',
            "it reaches nobody outside of this machine",
            f"set bind = 0.0.0.0:5060 for [{name}]; {_RESTART}",
        )
    if not own:
        return Finding(
            Severity.INFO,
            Check.PBX_NAT,
            looked_at,
            f"whether the PBX is behind NAT cannot be seen from here (external_media_address = {media or 'not set'})",
            "behind NAT without it, the call connects and both sides hear silence",
            "run doctor on the PBX itself",
        )
    if not is_private(own):
        if media and media != own and _is_address(media):
            return Finding(
                Severity.WARNING,
                Check.PBX_NAT,
                looked_at,
                f"packets leave from {own}, and external_media_address is {media}",
                "if they are not the same machine, the agent's audio goes elsewhere: both sides hear silence",
                f"take external_media_address out of [{name}], or correct it; {_RESTART}",
            )
        return fine(Check.PBX_NAT, looked_at, f'the transport "{name}" is at the public address {own}: no NAT')
    return _behind_nat(name, own, media, signaling, settings.get("local_net", ""), looked_at)


def _behind_nat(name: str, own: str, media: str, signaling: str, local_net: str, looked_at: str) -> Finding:
    silence = "the agent's audio is sent to an address that does not exist for it: the call connects, and both sides may hear silence"
    where = f"for [{name}] in pjsip.conf (FreePBX: Settings, Asterisk SIP Settings, NAT Settings)"
    if not media:
        return Finding(
            Severity.WARNING,
            Check.PBX_NAT,
            looked_at,
            f"packets leave from {own}, which is private, and external_media_address is not set",
            silence,
            f"set external_media_address and external_signaling_address to your public address, and local_net to your own "
            f"networks, {where}; {_RESTART}",
        )
    if is_private(media):
        return Finding(
            Severity.WARNING,
            Check.PBX_NAT,
            looked_at,
            f"external_media_address is {media}, which is private too",
            silence,
            f"set it to the address that the internet sees, {where}; {_RESTART}",
        )
    if not signaling:
        return Finding(
            Severity.WARNING,
            Check.PBX_NAT,
            looked_at,
            "external_media_address is set, and external_signaling_address is not",
            "audio flows, but the agent's end of the call, or what it sends during the call, may not arrive",
            f"set it to the same address, {where}; {_RESTART}",
        )
    if not local_net:
        return Finding(
            Severity.WARNING,
            Check.PBX_NAT,
            looked_at,
            "external addresses are set, and local_net is not",
            "the PBX tells its public address to phones in your own network too, and those may hear silence",
            f"name every network on your side of the router with local_net, {where}; {_RESTART}",
        )
    told = f"{own} is private; agents are told {media}, and local_net is {local_net}"
    return fine(Check.PBX_NAT, looked_at, told)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(text: str) -> bool:
    return _is_address(text) and ipaddress.ip_address(text).is_loopback


def _is_unspecified(text: str) -> bool:
    return _is_address(text) and ipaddress.ip_address(text).is_unspecified
