"""What may reach Dial(), and what Dial's answer means."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_bridge.call import Outcome, Reason, Result
from agi_bridge.dialplan import (
    SipUri,
    check_dial_options,
    check_endpoint,
    check_place,
    check_trunk,
    dial_options,
    dial_string,
    dialstatus_of_cause,
    outcome_of_called,
    outcome_of_dial,
    safe_call_id,
    through_trunk,
)
from agi_bridge.errors import BadSipUri
from agi_bridge.routing import Dialling

ALLOWED = ["*.millis.ai", "sip.example.com", "192.0.2.7"]
FORM = "the SIP URI is not of the form sip:user@host[:port][;transport=udp|tcp|tls]"


@pytest.mark.parametrize(
    ("text", "host"),
    [
        pytest.param("sip:call-1@sip.millis.ai", "sip.millis.ai", id="the documented form"),
        pytest.param("sips:call-1@sip.millis.ai", "sip.millis.ai", id="over TLS all the way"),
        pytest.param("sip:call-1@a.b.millis.ai", "a.b.millis.ai", id="a host two names below the domain"),
        pytest.param("sip:call-1@sip.millis.ai:5061", "sip.millis.ai", id="a port"),
        pytest.param("sip:call-1@sip.millis.ai:65535", "sip.millis.ai", id="the last port"),
        pytest.param("sip:call-1@sip.millis.ai;transport=udp", "sip.millis.ai", id="over UDP"),
        pytest.param("sip:call-1@sip.millis.ai:5061;transport=tls", "sip.millis.ai", id="a port and a transport"),
        pytest.param("SIP:Call-1@SIP.Millis.AI;Transport=TCP", "sip.millis.ai", id="capitals"),
        pytest.param("sip:-Nabc_1.2+3@sip.millis.ai", "sip.millis.ai", id="every sign of a user"),
        pytest.param("sip:a@sip.example.com", "sip.example.com", id="a host that is named in full"),
        pytest.param("sip:a@192.0.2.7:5090", "192.0.2.7", id="an address that is named"),
        pytest.param(f"sip:{'a' * 128}@sip.millis.ai", "sip.millis.ai", id="the longest user"),
    ],
)
def test_honest_uri_is_dialled_as_it_is(text, host):
    """A SIP URI of an allowed host stands in the dial string sign for sign."""
    uri = SipUri.parse(text, ALLOWED)

    assert (str(uri), uri.host) == (text, host)
    assert dial_string("millis", uri) == f"PJSIP/millis/{text}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("sip:a@sip.millis.ai&Local/x@ctx", id="another destination"),
        pytest.param("sip:a&b@sip.millis.ai", id="another destination in the user"),
        pytest.param("sip:a@sip.millis.ai,3,iU(ctx)", id="other Dial options"),
        pytest.param("sip:a,b@sip.millis.ai", id="a comma in the user"),
        pytest.param("sip:a@sip.millis.ai?X-Any=1", id="a SIP header"),
        pytest.param("sip:a@sip.millis.ai\nHANGUP", id="a line feed"),
        pytest.param("sip:a@sip.millis.ai\n", id="a line feed at the end"),
        pytest.param("sip:a@sip.millis.ai\r", id="a carriage return"),
        pytest.param("sip:a@sip.millis.ai\0", id="a NUL"),
        pytest.param("<sip:a@sip.millis.ai>", id="angle brackets"),
        pytest.param('"A" <sip:a@sip.millis.ai>', id="a display name"),
        pytest.param('sip:"a"@sip.millis.ai', id="quotes"),
        pytest.param("sip:a'b@sip.millis.ai", id="an apostrophe"),
        pytest.param("sip:a\\b@sip.millis.ai", id="a backslash"),
        pytest.param("sip:a/b@sip.millis.ai", id="a slash in the user"),
        pytest.param("sip:a@sip.millis.ai/b", id="a slash behind the host"),
        pytest.param("sip:a^b@sip.millis.ai", id="a caret"),
        pytest.param("sip:a|b@sip.millis.ai", id="a bar"),
        pytest.param("sip:${EXTEN}@sip.millis.ai", id="a variable"),
        pytest.param("sip:a(b)@sip.millis.ai", id="round brackets"),
        pytest.param("sip:a[b]@sip.millis.ai", id="square brackets"),
        pytest.param("sip:a b@sip.millis.ai", id="a blank"),
        pytest.param("sip:a%0d%0ab@sip.millis.ai", id="escapes in the user"),
        pytest.param("sip:a@sip%2emillis.ai", id="escapes in the host"),
        pytest.param("sip:a:b@sip.millis.ai", id="a password"),
        pytest.param("sip:a@evil.example@sip.millis.ai", id="two at signs"),
        pytest.param("sip:sip.millis.ai", id="no user"),
        pytest.param("sip:@sip.millis.ai", id="an empty user"),
        pytest.param("sip:a@", id="no host"),
        pytest.param("sip:a@.millis.ai", id="a host that begins with a dot"),
        pytest.param("sip:a@sip.millis.ai.", id="a host that ends with a dot"),
        pytest.param("sip:a@sip.millis.ai:", id="an empty port"),
        pytest.param("sip:a@sip.millis.ai:123456", id="a port of six digits"),
        pytest.param("sip:a@sip.millis.ai:+5060", id="a port with a sign"),
        pytest.param("sip:a@sip.millis.ai;transport=ws", id="a transport for browsers"),
        pytest.param("sip:a@sip.millis.ai;transport=", id="an empty transport"),
        pytest.param("sip:a@sip.millis.ai;lr", id="another parameter"),
        pytest.param("sip:a@sip.millis.ai;transport=tls;user=phone", id="a further parameter"),
        pytest.param("sip:a@sip.millis.ai;maddr=evil.example", id="another address"),
        pytest.param("sip:a@[2001:db8::1]", id="an IPv6 address"),
        pytest.param(
            "sip:a@sip.mill\N{CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I}s.ai", id="a Cyrillic look-alike"
        ),
        pytest.param("\N{LATIN SMALL LETTER LONG S}ip:a@sip.millis.ai", id="a sign that only capitals make an s"),
        pytest.param("sip:a@sip.millis.ai:\N{ARABIC-INDIC DIGIT FIVE}060", id="a digit of another script"),
        pytest.param("tel:+15551230001", id="a telephone URI"),
        pytest.param("https://sip.millis.ai/", id="a web address"),
        pytest.param("Local/x@ctx", id="a destination of the PBX"),
        pytest.param("call-1@sip.millis.ai", id="no scheme"),
        pytest.param(" sip:a@sip.millis.ai", id="a blank before it"),
        pytest.param(f"sip:{'a' * 129}@sip.millis.ai", id="a user that is too long"),
        pytest.param("", id="nothing"),
    ],
)
def test_uri_of_another_form_is_refused(text):
    """Whatever is not the one allowed form is refused, and not repeated in the message."""
    with pytest.raises(BadSipUri) as caught:
        SipUri.parse(text, ALLOWED)

    assert str(caught.value) == FORM


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("evil.example", id="a foreign host"),
        pytest.param("evilmillis.ai", id="a domain that only ends alike"),
        pytest.param("millis.ai.evil.example", id="a domain that only begins alike"),
        pytest.param("sip.millis.ai.example", id="a longer domain"),
        pytest.param("sip.millis-ai.com", id="a domain that looks alike"),
        pytest.param("millis.ai", id="the domain itself, where names below it are allowed"),
        pytest.param("a.sip.example.com", id="a name below a host that is named in full"),
        pytest.param("192.0.2.8", id="another address"),
        pytest.param("127.0.0.1", id="this machine"),
        pytest.param("3221225991", id="an address as one number"),
    ],
)
def test_uri_of_a_host_off_the_list_is_refused(host):
    """A host that is not allowed is named with the line of the configuration that would admit it; the user is not."""
    with pytest.raises(BadSipUri) as caught:
        SipUri.parse(f"sip:call-1@{host.upper()}", ALLOWED)

    assert str(caught.value) == (
        f"the SIP URI's host {host} is not in allowed_hosts; if it is Millis's, admit it with "
        f"allowed_hosts = {json.dumps([*ALLOWED, host])} under [millis]"
    )


@pytest.mark.parametrize("port", ["0", "00000", "65536", "99999"])
def test_uri_with_an_impossible_port_is_refused(port):
    """A port that does not exist is refused."""
    with pytest.raises(BadSipUri) as caught:
        SipUri.parse(f"sip:call-1@sip.millis.ai:{port}", ALLOWED)

    assert str(caught.value) == f"the SIP URI names port {port}"


def test_uri_that_is_too_long_is_refused():
    """A URI of more than 255 characters is refused, whatever it is; PJSIP would cut it."""
    longest = "sip:call-1@" + "a." * 117 + "millis.ai"
    assert (len(longest), str(SipUri.parse(longest, ALLOWED))) == (254, longest)
    with pytest.raises(BadSipUri) as caught:
        SipUri.parse(f"{longest}:1", ALLOWED)

    assert str(caught.value) == "the SIP URI has 256 characters, more than 255"


@pytest.mark.parametrize("allowed", ["*.millis.ai", "*.MILLIS.AI", "SIP.millis.ai"])
def test_hosts_are_allowed_whatever_their_case(allowed):
    """Capitals in the list of allowed hosts do not count."""
    assert SipUri.parse("sip:a@sip.millis.ai", [allowed]).host == "sip.millis.ai"


@given(
    st.text(max_size=60)
    | st.text(alphabet=string.ascii_letters + string.digits + ".-_+@:;=&,?<>%/ ").map("sip:a@{}".format)
)
def test_no_text_gets_through_that_dial_would_take_apart(text):
    """What passes the list holds none of the signs that mean something to AGI, Dial or PJSIP."""
    try:
        uri = SipUri.parse(text, ["*.ai", text.rpartition("@")[2]])
    except BadSipUri:
        return

    assert not set(str(uri)) & set("&,?|^$(){}[]<>\"'\\/% \t\r\n\0")
    assert str(uri).isascii()


@pytest.mark.parametrize(
    ("dialling", "options"),
    [
        pytest.param(Dialling(), "iS(3600)", id="those that always stand"),
        pytest.param(
            Dialling(max_duration_seconds=60, dial_options="gb(hdr^s^1)"), "iS(60)gb(hdr^s^1)", id="the rule's"
        ),
    ],
)
def test_dial_options_forbid_redirects_and_limit_the_call(dialling, options):
    """Every call is dialled without following redirects and with its longest duration, then with the rule's options."""
    assert dial_options(dialling) == options


def test_dial_options_of_a_call_with_music_and_a_warning():
    """The warning before the end and the music in place of ringing come with options of their own."""
    assert (
        dial_options(Dialling(max_duration_seconds=600, warning_seconds=30), "jazz") == "iS(600)L(600000:30000)m(jazz)"
    )


@pytest.mark.parametrize("options", ["", "g", "gr", "b(add-header^s^1)", "U(sub^s^1)e", "A(beep)", "F(ctx^s^1)r(ring)"])
def test_options_of_dial_are_taken_as_they_are(options):
    """Options that hand nobody the PBX may be added by a rule."""
    assert check_dial_options(options, allow_feature_keys=False) == options


@pytest.mark.parametrize("key", "tTkKxX")
def test_feature_keys_have_to_be_allowed(key):
    """An option that lets a party dial through the PBX is refused unless the configuration allows it beside it."""
    with pytest.raises(ValueError, match=key) as caught:
        check_dial_options(f"g{key}r", allow_feature_keys=False)

    assert str(caught.value) == (
        f"option {key} lets a party of the call dial through the PBX; "
        "if that is wanted, set allow_feature_keys = true beside it"
    )
    assert check_dial_options(f"g{key}r", allow_feature_keys=True) == f"g{key}r"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("i", "option i is the bridge's own"),
        ("S(10)", "option S is the bridge's own; max_duration_seconds is the limit of a call"),
        ("gL(60000)", "option L is the bridge's own; max_duration_seconds is the limit of a call"),
    ],
)
@pytest.mark.parametrize("allow_feature_keys", [True, False])
def test_options_of_the_bridge_are_refused(options, message, allow_feature_keys):
    """A rule can neither follow redirects nor lengthen a call, whatever it allows."""
    with pytest.raises(ValueError, match="bridge's own") as caught:
        check_dial_options(options, allow_feature_keys)

    assert str(caught.value) == message


def test_letters_in_an_options_argument_are_no_options():
    """The argument of an option may hold any letter."""
    assert check_dial_options("b(tTkKxXiSL^s^1)", allow_feature_keys=False) == "b(tTkKxXiSL^s^1)"


@pytest.mark.parametrize(
    "options",
    ["g,30", "g b", 'g"', "g\n", "b(a", "b)a(", "b(a)(b)", "1", "b(${X})", "b(a&b)", "b(a(b))", "gé", "g\\"],
)
def test_what_is_no_option_of_dial_is_refused(options):
    """Commas, quotes, blanks, variables and open brackets cannot stand in the options."""
    with pytest.raises(ValueError, match="must be") as caught:
        check_dial_options(options, allow_feature_keys=True)

    assert str(caught.value) == (
        "must be options of Dial, such as 'g' or 'gb(add-header^s^1)', without commas, quotes or blanks"
    )


@pytest.mark.parametrize(
    "place",
    [
        "millis-fallback,s,1",
        "from-internal,100,1",
        "ext-queues,700,1",
        "ivr_2,s,start",
        "ctx,*98,1",
        "ctx,+49301,999999",
    ],
)
def test_place_in_the_dialplan(place):
    """A fallback is a context, an extension and a priority or label."""
    assert check_place(place) == place


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("", id="nothing"),
        pytest.param("s", id="an extension alone"),
        pytest.param("ctx,s", id="no priority"),
        pytest.param("ctx,s,0", id="priority 0"),
        pytest.param("ctx,s,01", id="a priority with a zero before it"),
        pytest.param("ctx,s,1,x", id="something behind it"),
        pytest.param("ctx, s,1", id="a blank"),
        pytest.param("ctx,s,1\n", id="a line feed"),
        pytest.param("ctx,${EXTEN},1", id="a variable"),
        pytest.param("ctx|s|1", id="bars of long ago"),
        pytest.param("c&d,s,1", id="an ampersand"),
        pytest.param("ctx,s,1)", id="a bracket"),
        pytest.param(f"{'c' * 80},s,1", id="a context that Asterisk would cut"),
    ],
)
def test_what_is_no_place_is_refused(place):
    """A text that Goto() would not understand, or understand otherwise, is refused."""
    with pytest.raises(ValueError, match="place") as caught:
        check_place(place)

    assert str(caught.value) == "must be a place in the dialplan, written context,exten,priority"


@pytest.mark.parametrize("endpoint", ["millis", "millis-tls", "trunk_2", "a.b", "E" * 79])
def test_endpoint(endpoint):
    """The name of a PJSIP endpoint is taken as it is."""
    assert check_endpoint(endpoint) == endpoint


@pytest.mark.parametrize("endpoint", ["", "a/b", "a@b", "a&b", "a,b", "a b", "a\n", "${X}", "é", "e" * 80])
def test_what_is_no_endpoint_is_refused(endpoint):
    """A name that would change the dial string is refused."""
    with pytest.raises(ValueError, match="endpoint") as caught:
        check_endpoint(endpoint)

    assert str(caught.value) == "must be the name of a PJSIP endpoint: letters, digits, '_', '.' and '-'"


@pytest.mark.parametrize(
    ("call_id", "safe"),
    [
        ("call-1a2b", "call-1a2b"),
        ("-Nabc_9.x+1", "-Nabc_9.x+1"),
        ("sip:secret@sip.millis.ai", ""),
        ("a" * 128, "a" * 128),
        ("a" * 129, ""),
        ("a b", ""),
        ("a\n", ""),
        ("a,b", ""),
        ("${SHELL(id)}", ""),
        ('a"', ""),
        ("é", ""),
        ("", ""),
    ],
)
def test_call_id_of_millis_is_safe_or_left_out(call_id, safe):
    """A call id that could be more than text is dropped."""
    assert safe_call_id(call_id) == safe


@pytest.mark.parametrize(
    ("dialstatus", "hangup_cause", "result", "reason"),
    [
        ("ANSWER", "16", Result.COMPLETED, Reason.ANSWERED),
        ("CANCEL", "0", Result.CALLER, Reason.CALLER_HUNG_UP),
        ("BUSY", "17", Result.MILLIS, Reason.AGENT_BUSY),
        ("BUSY", "", Result.MILLIS, Reason.AGENT_BUSY),
        pytest.param("BUSY", "0", Result.MILLIS, Reason.AGENT_UNAVAILABLE, id="a redirect that was not followed"),
        ("NOANSWER", "19", Result.MILLIS, Reason.AGENT_NO_ANSWER),
        ("CONGESTION", "34", Result.MILLIS, Reason.AGENT_CONGESTION),
        ("CHANUNAVAIL", "3", Result.MILLIS, Reason.AGENT_UNAVAILABLE),
        ("DONTCALL", "", Result.PBX, Reason.DIAL_REFUSED),
        ("TORTURE", "", Result.PBX, Reason.DIAL_REFUSED),
        ("INVALIDARGS", "", Result.PBX, Reason.DIAL_REFUSED),
        ("", "", Result.UNKNOWN, Reason.NEVER_DIALLED),
        ("SOMETHING-NEW", "", Result.UNKNOWN, Reason.NEVER_DIALLED),
    ],
)
def test_outcome_of_dial(dialstatus, hangup_cause, result, reason):
    """Each DIALSTATUS says whose doing the end of the agent leg was, and why."""
    assert outcome_of_dial(dialstatus, hangup_cause) == Outcome(result, reason)


@pytest.mark.parametrize(
    ("trunk", "dialled"),
    [
        ("PJSIP/{number}@carrier", "PJSIP/+15551230001@carrier"),
        ("PJSIP/{digits}@carrier-2.b", "PJSIP/15551230001@carrier-2.b"),
        ("PJSIP/c/sip:{number}@sip.example.com:5061;transport=tls", "PJSIP/c/sip:+15551230001@sip.example.com:5061;transport=tls"),
    ],
)  # fmt: skip
def test_number_takes_its_place_in_the_trunk(trunk, dialled):
    """With its plus sign or without, and nothing else changes."""
    assert through_trunk(check_trunk(trunk), "+15551230001") == dialled


@pytest.mark.parametrize(
    "trunk",
    ["", "PJSIP/carrier", "PJSIP/+1@carrier", "Local/{number}@x", "PJSIP/{number}@a&PJSIP/b", "PJSIP/{number}@a,1", "PJSIP/{number}@a b",
     "DAHDI/g1/{number}", "PJSIP/{number}{number}@a", "PJSIP/a/sip:{number}@h?X=1", "PJSIP/{number}@a\n"],
)  # fmt: skip
def test_trunk_that_could_dial_anything_else_is_refused(trunk):
    """One destination, one number, no options."""
    with pytest.raises(ValueError, match="must be PJSIP"):
        check_trunk(trunk)


@pytest.mark.parametrize(
    ("cause", "dialstatus", "reason"),
    [
        (17, "BUSY", Reason.CALLED_BUSY),
        (18, "NOANSWER", Reason.CALLED_NO_ANSWER),
        (19, "NOANSWER", Reason.CALLED_NO_ANSWER),
        (34, "CONGESTION", Reason.CALLED_UNREACHABLE),
        (1, "CHANUNAVAIL", Reason.CALLED_UNREACHABLE),
        (0, "CHANUNAVAIL", Reason.CALLED_UNREACHABLE),
        (None, "CHANUNAVAIL", Reason.CALLED_UNREACHABLE),
    ],
)
def test_hangup_cause_says_why_nobody_answered_us(cause, dialstatus, reason):
    """Originate has no DIALSTATUS, so it is told in the words of one."""
    assert dialstatus_of_cause(cause) == dialstatus
    assert outcome_of_called(dialstatus).reason == reason
