"""SIP messages and SDP bodies: what is understood, what is refused, and what is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_bridge.simulator.sip_message import (
    NameAddress,
    Sdp,
    SipMessage,
    SipSyntaxError,
    answer_sdp,
    offer_sdp,
    sip_uri,
    user_of,
)

OPTIONS = (
    b"OPTIONS sip:agent@127.0.0.1:5090 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:5060;rport;branch=z9hG4bKone, SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKtwo\r\n"
    b'From: "Ann; tag=no" <sip:+15551230001@127.0.0.1;tag=neither>;tag=from1\r\n'
    b"To: <sip:agent@127.0.0.1>\r\n"
    b"Call-ID: call-1\r\n"
    b"CSeq: 7 OPTIONS\r\n"
    b"Supported: 100rel, timer\r\n"
    b"Content-Length: 0\r\n\r\n"
)
SDP = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=Asterisk\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 31000 RTP/AVP 3 8 0 96\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
    b"a=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-16\r\na=sendrecv\r\n"
)


def test_a_request_is_read():
    """The fields that a user agent works with come out of the text."""
    request = SipMessage.parse(OPTIONS + b"what follows the body's length is not the body")

    assert (request.method, request.uri, request.status) == ("OPTIONS", "sip:agent@127.0.0.1:5090", 0)
    assert (request.call_id, request.cseq, request.branch) == ("call-1", 7, "z9hG4bKone")
    assert (request.from_tag, request.to_tag) == ("from1", "")
    assert request.tokens("supported") == {"100rel", "timer"}
    assert request.body == b""


def test_a_response_names_the_method_that_it_answers():
    """The method of a response is that of its CSeq."""
    response = SipMessage.parse(OPTIONS.replace(b"OPTIONS sip:agent@127.0.0.1:5090 SIP/2.0", b"SIP/2.0 486 Busy: Here"))

    assert (response.method, response.status, response.uri) == ("OPTIONS", 486, "")


def test_compact_and_folded_headers_are_read():
    """RFC 3261's short names and continuation lines mean the same as the long ones."""
    text = OPTIONS.replace(b"Via: ", b"v: ").replace(b"Call-ID:", b"i :").replace(b"CSeq: 7 ", b"CSeq: 7\r\n  ")

    request = SipMessage.parse(text)

    assert (request.branch, request.call_id, request.cseq) == ("z9hG4bKone", "call-1", 7)


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"hello\r\n\r\n", id="no start line"),
        pytest.param(OPTIONS[:-2], id="cut off"),
        pytest.param(OPTIONS.replace(b"SIP/2.0\r", b"SIP/3.0\r", 1), id="another version"),
        pytest.param(OPTIONS.replace(b"Via", b"Vie"), id="no Via"),
        pytest.param(OPTIONS.replace(b"Call-ID: call-1", b"Call-ID:"), id="empty Call-ID"),
        pytest.param(OPTIONS.replace(b"CSeq: 7", b"CSeq: seven"), id="CSeq without a number"),
        pytest.param(OPTIONS.replace(b"7 OPTIONS", b"7 INVITE"), id="CSeq of another method"),
        pytest.param(OPTIONS.replace(b"Length: 0", b"Length: 1"), id="body shorter than its length"),
        pytest.param(OPTIONS.replace(b"Length: 0", b"Length: -1"), id="negative length"),
        pytest.param(OPTIONS.replace(b"Supported: ", b"Supported "), id="header without a colon"),
        pytest.param(OPTIONS.replace(b"call-1", b"call\n1"), id="a bare line feed in a header"),
    ],
)
def test_what_a_call_could_not_use_is_refused(datagram):
    """A message that lacks what is needed raises the module's own error."""
    with pytest.raises(SipSyntaxError):
        SipMessage.parse(datagram)


@given(st.binary() | st.binary().map(lambda noise: OPTIONS + noise) | st.text().map(lambda text: text.encode()))
def test_no_bytes_raise_anything_else(datagram):
    """Whatever arrives is either a message, its tags included, or SipSyntaxError."""
    try:
        message = SipMessage.parse(datagram)
    except SipSyntaxError:
        return
    assert message.call_id
    assert isinstance(message.branch + message.from_tag + message.to_tag, str)
    assert message.cseq >= 0


def test_a_message_that_was_written_reads_the_same():
    """Writing and reading are each other's inverse."""
    request = SipMessage.parse(OPTIONS)
    headers = tuple(header for header in request.headers if header[0] != "Content-Length")

    assert SipMessage.parse(SipMessage("OPTIONS", headers, uri=request.uri).encode()) == request


@pytest.mark.parametrize("value", ["Ann\r\nX-Evil: 1", "Ann\nX", "Ann\rX", "Ann\x85X"])
def test_a_header_cannot_smuggle_another(value):
    """A value with any kind of line break is refused when it is written."""
    with pytest.raises(SipSyntaxError):
        SipMessage("OPTIONS", (("From", value),), uri="sip:x").encode()


@pytest.mark.parametrize(
    ("value", "name", "user", "tag"),
    [
        ('"Ann Lee" <sip:+15551230001@host:5060;x=y>;tag=1;z', "Ann Lee", "+15551230001", "1"),
        (r'"a \"b\" \\c" <sip:1@host>', r'a "b" \c', "1", ""),
        ("Ann <sip:1@host>;tag=2", "Ann", "1", "2"),
        ("<sip:host>;tag=3", "", "", "3"),
        ("sip:1@host;tag=4", "", "1", "4"),
        ("<sip:a%23b:secret@host>", "", "a#b", ""),
        ("garbage", "", "", ""),
    ],
)
def test_an_address_is_taken_apart(value, name, user, tag):
    """Name, user and tag come from their own places, with and without brackets and quotes."""
    address = NameAddress.parse(value)

    assert (address.name, address.user, address.tag) == (name, user, tag)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"])))
def test_names_and_users_survive_quoting(text):
    """What is written into an address comes back out of it."""
    address = NameAddress(text, sip_uri(text, "host", 5060), ";tag=1")

    assert NameAddress.parse(str(address)) == address
    assert user_of(address.uri) == text


def test_an_offer_is_read():
    """The first G.711 codec offered, the event payload and the media address are found."""
    sdp = Sdp.parse(SDP)

    assert (sdp.host, sdp.port, sdp.codec, sdp.telephone_event) == ("127.0.0.1", 31000, 8, 96)
    assert sdp.hears


def test_an_address_of_the_media_line_goes_before_the_session_s():
    """A `c=` line below the `m=` line wins."""
    assert Sdp.parse(SDP + b"c=IN IP4 127.0.0.9\r\n").host == "127.0.0.9"


@pytest.mark.parametrize("hold", [b"a=sendonly", b"a=inactive"])
def test_a_far_side_on_hold_does_not_hear(hold):
    """Neither `sendonly` nor `inactive` wants our audio; nor does the old address 0.0.0.0."""
    assert not Sdp.parse(SDP.replace(b"a=sendrecv", hold)).hears
    assert not Sdp.parse(SDP.replace(b"c=IN IP4 127.0.0.1", b"c=IN IP4 0.0.0.0")).hears


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe", id="not text"),
        pytest.param(SDP.replace(b"m=audio", b"m=video"), id="no audio"),
        pytest.param(SDP.replace(b"RTP/AVP", b"RTP/SAVP"), id="encrypted"),
        pytest.param(SDP.replace(b"3 8 0 96", b"3 9 96"), id="no G.711"),
        pytest.param(SDP.replace(b"audio 31000", b"audio 0"), id="refused audio"),
        pytest.param(SDP.replace(b"audio 31000", b"audio 70000"), id="no such port"),
        pytest.param(SDP.replace(b"audio 31000 RTP/AVP 3 8 0 96", b"audio"), id="half a media line"),
        pytest.param(SDP.replace(b"IP4 127.0.0.1", b"IP6 ::1"), id="IPv6"),
        pytest.param(SDP.replace(b"IP4 127.0.0.1", b"IP4 example.org"), id="a name for an address"),
    ],
)
def test_an_sdp_that_we_cannot_talk_by_is_refused(body):
    """There is G.711 over plain RTP to an IPv4 address, or there is an error."""
    assert Sdp.find(body) is None
    with pytest.raises(SipSyntaxError):
        Sdp.parse(body)


@given(st.binary() | st.binary().map(lambda noise: SDP + noise))
def test_no_sdp_raises_anything_else(body):
    """Whatever the body, it is an SDP or it is not."""
    sdp = Sdp.find(body)

    assert sdp is None or sdp.codec in (0, 8)


def test_an_answer_takes_one_codec_and_mirrors_the_direction():
    """Our answer holds the offer's codec, its event payload, and the complement of its direction."""
    answer = answer_sdp(Sdp.parse(SDP.replace(b"a=sendrecv", b"a=sendonly")), "127.0.0.1", 4000, 2)

    assert answer == (
        b"v=0\r\no=- 4000 2 IN IP4 127.0.0.1\r\ns=agi_bridge\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        b"m=audio 4000 RTP/AVP 8 96\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:96 telephone-event/8000\r\n"
        b"a=ptime:20\r\na=recvonly\r\n"
    )


def test_other_media_are_refused_in_their_places():
    """An answer has as many `m=` lines as the offer, in its order, those that we do not want with port 0."""
    video = b"m=video 31002 RTP/AVP 99 100\r\n"
    before, audio, after = SDP.partition(b"m=audio")

    answer = answer_sdp(Sdp.parse(before + video + audio + after + video), "127.0.0.1", 4000, 1)

    assert [line for line in answer.splitlines() if line.startswith(b"m=")] == [
        b"m=video 0 RTP/AVP 99 100",
        b"m=audio 4000 RTP/AVP 8 96",
        b"m=video 0 RTP/AVP 99 100",
    ]


def test_our_own_offer_can_be_answered():
    """What we offer, we would accept."""
    assert Sdp.parse(offer_sdp("127.0.0.1", 4000, 1)).codec == 0
