"""One connection to a manager interface: each habit of panoramisk that is kept out, and each fault of the other end."""

import asyncio
import logging
import ssl
import subprocess
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from agi_bridge.errors import (
    AmiBusy,
    AmiNonsense,
    AmiRefused,
    AmiRejected,
    AmiTimeout,
    AmiUnreachable,
    NotPermitted,
)
from agi_bridge.pbx import action
from agi_bridge.pbx.action import Action, Message
from agi_bridge.pbx.link import open_link
from tests.pbx.ami_server import (
    PATIENCE_SECONDS,
    SECRET,
    TINY_SECONDS,
    AmiServer,
    error,
    event,
    listing,
    said,
    settings,
    silence,
    success,
)


class Heard(list[Message]):
    """The events that came, and how often one was left out."""

    def __init__(self):
        self.doubts = 0
        self.news = asyncio.Event()

    def take(self, message):
        self.append(message)
        self.news.set()

    def doubt(self):
        self.doubts += 1
        self.news.set()

    async def until(self, count, *, doubts=0):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self) < count or self.doubts < doubts:
                self.news.clear()
                await self.news.wait()
        return self


@asynccontextmanager
async def listening(server, **keys):
    """Open a link that wants every event; yield it with what it hears."""
    heard = Heard()
    async with open_link(server.settings(**keys), heard.take, lambda message: True, heard.doubt) as link:
        yield link, heard


# Logging in.


async def test_login_asks_for_events_of_calls_only(server):
    """We log in with the configured user, and hear of channels and nothing else."""
    async with open_link(server.settings()):
        login = await server.asked("Login")
    assert {key: login[key] for key in ("Username", "Secret", "Events")} == {
        "Username": "agi-bridge",
        "Secret": SECRET,
        "Events": "call",
    }


async def test_wrong_secret_is_told_with_a_remedy(server):
    """Whoever is refused learns where to look, and the secret is not in the text."""
    with pytest.raises(AmiRefused) as caught:
        async with open_link(server.settings(secret="wr0ng")):
            pass
    assert str(caught.value) == (
        f"hq at 127.0.0.1:{server.port} does not let agi-bridge in: Asterisk rejects Login: Authentication failed; "
        "compare ami_user and the secret with its manager.conf, and permit there with the address of this machine"
    )


async def test_nobody_listens(server, unused_tcp_port):
    """A refused connection is told in the system's words."""
    with pytest.raises(AmiUnreachable) as caught:
        async with open_link(settings(unused_tcp_port)):
            pass
    assert str(caught.value) == f"hq at 127.0.0.1:{unused_tcp_port}: Connection refused"


async def test_host_without_an_address():
    """A name that DNS does not know is told as such."""
    with pytest.raises(AmiUnreachable, match=r"^hq at pbx\.invalid:5038: "):
        async with open_link(settings(5038, ami_host="pbx.invalid")):
            pass


@pytest.mark.parametrize("banner", [b"", b"Asterisk Call"], ids=["nothing", "half a banner"])
async def test_pbx_that_accepts_and_says_nothing(server, banner):
    """A black hole is given up after the time that connecting may take."""
    server.banner = banner
    with pytest.raises(AmiUnreachable, match=r"no login within 0\.03 s"):
        async with open_link(server.settings(ami_connect_timeout_seconds=TINY_SECONDS)):
            pass


async def test_pbx_that_does_not_answer_the_login(server):
    """The same holds for the login."""
    server.answers["Login"] = silence
    with pytest.raises(AmiUnreachable, match=r"no login within 0\.03 s"):
        async with open_link(server.settings(ami_connect_timeout_seconds=TINY_SECONDS)):
            pass


@pytest.mark.parametrize(
    "banner",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x16\x03\x01" * 50,
        b"Asterisk Call Manager/" + b"9" * 1000,
        b"\r\n\r\n",
    ],
    ids=["SSH", "HTTP", "TLS", "endless", "blank"],
)
async def test_something_else_answers(server, banner):
    """What does not greet as a manager interface does is not told our secret."""
    server.banner = banner
    with pytest.raises(AmiNonsense, match=r"^what answers for hq is no manager interface: "):
        async with open_link(server.settings()):
            pass
    assert server.actions == []


async def test_banner_may_come_in_pieces_and_with_what_follows(server):
    """TCP keeps no borders."""
    server.banner = b""
    server.answers["Login"] = success("Message: Authentication accepted")
    heard = Heard()

    async def greet():
        await server.until(lambda: server.connections)
        await server.send(
            b"Asterisk Call ", b"Manager/1", b"1.0.0\r\nEvent: FullyBooted\r\nStatus: Fully Booted\r\n\r\n"
        )

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(greet())
        async with open_link(server.settings(), heard.take, lambda message: True):
            await heard.until(1)
    assert heard[0]["Event"] == "FullyBooted"


async def test_connection_is_cut_during_the_login(server):
    """A PBX that closes, because too many are logging in, is told as such."""

    def cut(action):
        server.cut()
        return b""

    server.answers["Login"] = cut
    with pytest.raises(AmiUnreachable, match=r"the connection broke|closed the connection"):
        async with open_link(server.settings()):
            pass


# Guards, one for each habit of panoramisk.


async def test_answer_that_ends_in_successfully_queued_is_an_answer(server):
    """panoramisk raises KeyError over such an answer to an action without Async, and drops the connection."""
    server.answers["QueueThing"] = success("Message: Thing successfully queued")
    async with open_link(server.settings()) as link:
        [answer] = await link.ask(Action("QueueThing"))
        await link.ask(action.PING)
    assert answer["Message"] == "Thing successfully queued"
    assert server.connections == 1


async def test_link_that_is_lost_stays_lost(server):
    """panoramisk would connect again by itself, two seconds later, and also after close()."""
    async with open_link(server.settings()) as link:
        server.cut()
        await link.lost.wait()
        manager = link._manager
    assert manager.pinger is None
    timers = getattr(asyncio.get_running_loop(), "_scheduled", [])
    assert not [timer for timer in timers if not timer.cancelled() and "panoramisk" in repr(timer)]
    assert server.connections == 1


async def test_action_that_was_never_answered_is_not_sent_again(server):
    """panoramisk keeps such an action and sends it to the next connection, when its channel may be another one's."""
    server.answers["Redirect"] = silence
    async with open_link(server.settings(ami_action_timeout_seconds=TINY_SECONDS)) as link:
        with pytest.raises(AmiTimeout) as caught:
            await link.ask(action.redirect("PJSIP/a-1", "c,s,1"))
        held = dict(link._protocol.responses)
        manager = link._manager
    assert str(caught.value) == f"hq at 127.0.0.1:{server.port}: no answer to Redirect within 0.03 s"
    assert caught.value.may_be_done
    assert (held, list(manager.awaiting_actions)) == ({}, [])


async def test_who_waits_for_an_answer_learns_that_the_connection_broke(server):
    """panoramisk leaves them waiting for ever."""
    server.answers["Redirect"] = silence
    async with open_link(server.settings(ami_action_timeout_seconds=60)) as link, asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(raised(link.ask(action.redirect(f"PJSIP/a-{number}", "c,s,1")))) for number in range(3)
        ]
        await server.asked("Redirect", 3)
        server.cut()
    errors = [task.result() for task in asked]
    assert [type(each) for each in errors] == [AmiUnreachable] * 3
    assert all(each.may_be_done for each in errors)


async def raised(work):
    """Return the error that *work* ends in."""
    try:
        await work
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


async def test_error_in_our_callback_does_not_drop_the_connection(server):
    """panoramisk lets it pass into the event loop, which closes the transport."""
    heard = Heard()

    def stumble(message):
        raise ValueError("we stumbled")

    with capture_logs() as logs:
        async with open_link(server.settings(), stumble, lambda message: True, heard.doubt) as link:
            await server.send(event("Newstate", "PJSIP/a-1", "1.1", "1.1") * 3)
            await heard.until(0, doubts=3)
            await link.ask(action.PING)
            assert link.left_out == 3
    assert [line for line in logs if line["log_level"] == "warning"] == [
        {
            "event": "a message of a PBX was left out",
            "log_level": "warning",
            "pbx": "hq",
            "why": "ValueError: we stumbled",
        }
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_sign_that_arrives_in_two_pieces_is_whole(server, size):
    """panoramisk decodes each chunk by itself, and loses what was split."""
    raw = event("Newstate", "PJSIP/a-1", "1.1", "1.1", CallerIDName="Zoë Müller 李 😀")
    async with listening(server) as (_, heard):
        await server.send(*(raw[at : at + size] for at in range(0, len(raw), size)))
        await heard.until(1)
    assert heard[0]["CallerIDName"] == "Zoë Müller 李 😀"


async def test_bytes_that_are_no_utf8_spoil_their_own_sign_only(server):
    """Other channel drivers deliver Latin-1."""
    async with listening(server) as (_, heard):
        await server.send(event("Newstate", "PJSIP/a-1", "1.1", "1.1", CallerIDName="Zo@!").replace(b"@", b"\xeb"))
        await heard.until(1)
    assert (heard[0]["CallerIDName"], heard[0]["Uniqueid"]) == ("Zo!", "1.1")


async def test_messages_that_come_together_are_taken_apart(server):
    """Several messages in one segment, with a border in the middle of the end of one."""
    raw = event("Newstate", "PJSIP/a-1", "1.1", "1.1") * 3
    async with listening(server) as (_, heard):
        await server.send(raw[: len(raw) - 2], raw[-2:])
        await heard.until(3)
    assert [message["Uniqueid"] for message in heard] == ["1.1"] * 3


async def test_link_starts_no_timer_and_no_task(server):
    """panoramisk pings by a timer and never looks for an answer; our own pings are timed elsewhere."""
    before = asyncio.all_tasks()
    async with open_link(server.settings()) as link:
        assert link._manager.pinger is None
        await server.send(said("Event: FullyBooted", "Status: Fully Booted"))
        await link.ask(action.PING)
        others = [task for task in asyncio.all_tasks() - before if "ami_server" not in repr(task)]
    assert others == []


# Answers.


async def test_answers_find_those_who_asked(server):
    """Answers come in any order, each to its own question."""
    held = []

    def hold(asked):
        held.append(success(f"Value: of {asked['Variable']}")(asked))
        return b"" if len(held) < 3 else b"".join(reversed(held))

    server.answers["Getvar"] = hold
    async with open_link(server.settings()) as link:
        answers = await asyncio.gather(*(link.ask(action.getvar(name, "")) for name in "ABC"))
    assert [answer[0]["Value"] for answer in answers] == ["of A", "of B", "of C"]


@pytest.mark.parametrize(
    ("message", "kind"), [("Permission denied", NotPermitted), ("Something else", AmiRejected)], ids=["class", "other"]
)
async def test_list_that_is_refused_ends_at_once(server, message, kind):
    """An error is the whole answer, also where a list was wanted."""
    server.answers["CoreShowChannels"] = error(message)
    async with open_link(server.settings()) as link:
        with pytest.raises(kind):
            await link.ask(action.CORE_SHOW_CHANNELS)


async def test_list_comes_whole(server):
    """A list is its first answer, its rows, and its end."""
    server.answers["CoreShowChannels"] = listing(
        *({"Channel": name, "BridgeId": ""} for name in ("PJSIP/a", "PJSIP/b"))
    )
    async with open_link(server.settings()) as link:
        answer = await link.ask(action.CORE_SHOW_CHANNELS)
    assert [message["Event"] for message in answer] == [
        *("", "CoreShowChannel", "CoreShowChannel", "CoreShowChannelsComplete"),
    ]


async def test_list_without_end_is_given_up(server):
    """A list may have as many rows as channels are followed, and no more."""
    server.answers["CoreShowChannels"] = listing(*({"Channel": f"PJSIP/{n}", "BridgeId": ""} for n in range(20)))
    async with open_link(server.settings(ami_channel_limit=10)) as link:
        with pytest.raises(AmiNonsense, match="the answer has more than 10 parts, which is ami_channel_limit"):
            await link.ask(action.CORE_SHOW_CHANNELS)
        await link.ask(action.PING)


async def test_originated_call_ends_with_the_event_that_tells_of_it(server):
    """The first answer says only that the call is queued; the event may even overtake it."""

    def overtaken(asked):
        number = f"ActionID: {asked['ActionID']}"
        told = said("Event: OriginateResponse", number, "Response: Failure", "Reason: 5")
        return told + said("Response: Success", number, "Message: Originate successfully queued")

    server.answers["Originate"] = overtaken
    async with open_link(server.settings()) as link:
        answer = await link.ask(action.originate(action.Origination("PJSIP/1", "c,s,1")))
        await link.ask(action.PING)
    assert answer[-1]["Reason"] == "5"


async def test_patience_is_added_to_the_time_of_an_action(server):
    """An originated call may ring longer than other actions may take."""
    server.answers["Slow"] = silence
    async with open_link(server.settings(ami_action_timeout_seconds=TINY_SECONDS)) as link:
        with pytest.raises(AmiTimeout, match=r"within 0\.06 s"):
            await link.ask(Action("Slow", patience_seconds=TINY_SECONDS))


async def test_too_many_actions_at_once_are_refused(server):
    """An action beyond the limit is not queued; those that were under way are not disturbed."""
    server.answers["Getvar"] = silence
    async with open_link(server.settings(ami_action_limit=2)) as link:
        waiting = [asyncio.create_task(link.ask(action.getvar(name, ""))) for name in "AB"]
        await server.asked("Getvar", 2)
        with pytest.raises(AmiBusy, match="2 actions are under way, which is ami_action_limit"):
            await link.ask(action.PING)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        await link.ask(action.PING)


async def test_action_after_the_end_is_refused_at_once(server):
    """Nothing is sent on a link that is lost."""
    async with open_link(server.settings()) as link:
        server.cut()
        await link.lost.wait()
        with pytest.raises(AmiUnreachable) as caught:
            await link.ask(action.PING)
    assert not caught.value.may_be_done


# Text that somebody else has written.


@pytest.mark.parametrize(
    "number",
    ["12\r\nUniqueid: 9.9", "12\r\nuniqueid: 9.9", "12\nUniqueid: 9.9", "12\r\nLinkedid: 9.9", "12\r\nChannel: x"],
    ids=repr,
)
async def test_event_with_a_header_of_the_callers_is_left_out(server, number):
    """A caller's number may hold line ends, which Asterisk writes as they are; then the event says two things."""
    async with listening(server) as (link, heard):
        await server.send(event("Hangup", "PJSIP/a-1", "1.1", "1.1", CallerIDNum=number, Cause="16"))
        await heard.until(0, doubts=1)
        assert link.left_out == 1
    assert heard == []


async def test_event_that_was_ended_early_raises_doubt(server):
    """A caller who ends a message can write a whole one; what remains of the genuine one gives it away."""
    async with listening(server) as (_, heard):
        await server.send(event("Newchannel", "PJSIP/a-1", "1.1", "1.1", CallerIDNum="12\r\n\r\nTorn: 1"))
        await heard.until(0, doubts=2)
    assert heard == []


async def test_row_that_was_ended_early_raises_doubt(server):
    """In a list, too, a text may end a message: the arguments of an application."""
    torn = {"Channel": "PJSIP/a-1", "CallerIDNum": "1", "Linkedid": "1.1", "ApplicationData": "x\r\n\r\nEvent: Y"}
    server.answers["CoreShowChannels"] = listing(torn | {"BridgeId": ""})
    async with listening(server) as (link, heard):
        answer = await link.ask(action.CORE_SHOW_CHANNELS)
    assert (len(answer), heard.doubts) == (2, 1)


async def test_answer_that_cannot_be_trusted_fails_the_question(server):
    """Whoever asks for a value that holds line ends does not wait for the end of the time limit."""
    server.answers["Getvar"] = success("Variable: X", "Value: 1\r\nResponse: Error")
    async with open_link(server.settings(ami_action_timeout_seconds=60)) as link:
        with pytest.raises(AmiNonsense, match=r"the answer of hq cannot be used: .*a header stands in it twice"):
            await link.ask(action.getvar("X", ""))


async def test_response_to_nobody_is_nothing(server):
    """An answer to a question that nobody asked, or no longer waits for, passes by."""
    async with listening(server) as (link, heard):
        await server.send(said("Response: Success", "ActionID: 1"), said("Response: Error"))
        await link.ask(action.PING)
    assert (heard, link.left_out) == ([], 0)


# Floods.


async def test_flood_of_other_peoples_events_is_passed_over(server):
    """What nobody wants never reaches panoramisk, and an answer behind it arrives."""
    wanted = []
    flood = event("Newstate", "PJSIP/other-1", "9.1", "9.1") * 20_000

    def want(message):
        wanted.append(len(message))
        return False

    heard = Heard()
    async with open_link(server.settings(), heard.take, want) as link:
        await server.send(flood)
        await link.ask(action.PING)
    assert (len(wanted), heard) == (20_000, [])


async def test_message_without_end_is_given_up(server):
    """A message that never ends costs no more memory than its limit, and the link."""
    async with open_link(server.settings(ami_message_limit_bytes=4096)) as link:
        await server.send(b"Event: X\r\nY: " + b"y" * 10_000)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await link.lost.wait()
        assert link.why_lost == "a message has more than 4096 bytes, which is ami_message_limit_bytes"


async def test_shutdown_is_told_as_such(server):
    """An Asterisk that stops says so before it closes."""
    async with listening(server) as (link, _):
        await server.send(said("Event: Shutdown", "Shutdown: Cleanly"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await link.lost.wait()
        assert link.why_lost == "Asterisk shuts down"


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that is its own authority; return the file with it, and the one with its key."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "pbx.key", folder / "pbx.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=pbx"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.fixture
def server_fails_unseen(monkeypatch):
    """Keep asyncio from telling that a client of the test's own server did not like its certificate."""
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)


@pytest.fixture
async def tls_server(certificate, server_fails_unseen):
    """A manager interface that speaks TLS alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    async with AmiServer(context) as server:
        yield server


async def test_tls_with_an_authority_of_ones_own(tls_server, certificate):
    """With the PBX's authority, everything goes over TLS."""
    async with open_link(tls_server.settings(ami_tls=True, ami_ca_file=str(certificate[0]))) as link:
        await link.ask(action.PING)


async def test_certificate_that_is_not_trusted(tls_server):
    """A certificate of nobody's is refused, before the secret is sent."""
    with pytest.raises(AmiUnreachable, match="its certificate is not trusted: self-signed certificate"):
        async with open_link(tls_server.settings(ami_tls=True)):
            pass
    assert tls_server.actions == []


async def test_tls_towards_a_port_without_it(server):
    """A port that does not speak TLS is told as a failure to connect."""
    with pytest.raises(AmiUnreachable, match=r"^hq at "):
        async with open_link(server.settings(ami_tls=True)):
            pass


async def test_authority_that_cannot_be_read(server, tmp_path):
    """A file that looks like a certificate, and is none, is named."""
    broken = tmp_path / "ca.crt"
    broken.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    with pytest.raises(AmiUnreachable, match="hq: ami_ca_file holds no certificate that can be read"):
        async with open_link(server.settings(ami_tls=True, ami_ca_file=str(broken))):
            pass
