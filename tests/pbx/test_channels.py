"""Which channels our calls have: what events tell, what a list corrects, and what is never kept."""

import pytest

from agi_bridge.errors import AmiNonsense
from agi_bridge.pbx.action import ChannelRow, Message
from agi_bridge.pbx.channels import Channel, Channels, FollowedCall
from tests.pbx.ami_server import event

CALLER, AGENT = "1700000000.1", "1700000000.2"
TRUNK, MILLIS = "PJSIP/trunk-00000001", "PJSIP/millis-00000002"


def following(limit=100, over=None, channel=TRUNK):
    """Return channels with one call, of which only the caller's channel is known."""
    channels = Channels(limit, (lambda call: None) if over is None else over.append)
    channels.follow("ours", channel, CALLER)
    return channels


def heard(channels, name, uniqueid=CALLER, linkedid=CALLER, channel=TRUNK, state="Up", **more):
    """Let an event pass in as it comes: only if it concerns us."""
    raw = event(name, channel, uniqueid, linkedid, state, **more)
    if channels.concerns(raw):
        pairs = (line.partition(": ") for line in raw.decode().split("\r\n") if line)
        channels.hear(Message({key.lower(): (value,) for key, _, value in pairs}))


def row(uniqueid, linkedid=CALLER, name="PJSIP/x-1", state="Up", bridge_id=""):
    return ChannelRow(name, uniqueid, linkedid, state, bridge_id, "Dial", "millis", "s")


def up(channels, call="ours"):
    """Return the uniqueids of a call's channels that are up."""
    return [channel.uniqueid for channel in channels.call(call).up]


def test_call_is_known_from_the_moment_it_asks():
    """Before any event, the caller's channel is there, in a state that nobody has told."""
    channels = following()
    assert channels.call("ours") == FollowedCall("ours", CALLER, (Channel(TRUNK, CALLER, CALLER),))
    assert channels.every_call() == [channels.call("ours")]
    assert (channels.calls, channels.up) == (1, 1)


def test_life_of_a_call():
    """Ringing, answered, joined, hung up: each is told by an event, and the last one ends the call."""
    over: list[FollowedCall] = []
    channels = following(over=over)
    heard(channels, "Newstate", state="Ring")
    heard(channels, "Newchannel", AGENT, channel=MILLIS, state="Down")
    heard(channels, "Newstate", AGENT, channel=MILLIS, state="Ringing")
    ringing = channels.call("ours")
    heard(channels, "Newstate", AGENT, channel=MILLIS)
    heard(channels, "Newstate")
    heard(channels, "BridgeEnter", AGENT, channel=MILLIS, BridgeUniqueid="b-1")
    heard(channels, "BridgeEnter", BridgeUniqueid="b-1")
    talking = channels.call("ours")
    heard(channels, "BridgeLeave", AGENT, channel=MILLIS, BridgeUniqueid="b-1")
    heard(channels, "Hangup", AGENT, channel=MILLIS, Cause="17")
    alone = channels.call("ours")
    heard(channels, "BridgeLeave", BridgeUniqueid="b-1")
    heard(channels, "Hangup", Cause="16")

    assert [(channel.name, channel.state, channel.bridge_id) for channel in ringing.channels] == [
        (TRUNK, "Ring", ""),
        (MILLIS, "Ringing", ""),
    ]
    assert [(channel.state, channel.bridge_id) for channel in talking.channels] == [("Up", "b-1"), ("Up", "b-1")]
    assert alone.channels[0] == Channel(MILLIS, AGENT, CALLER, "Up", "", True, 17)
    assert alone.up == (alone.caller,)
    assert channels.call("ours") is None
    assert [[channel.hangup_cause for channel in call.channels] for call in over] == [[17, 16]]
    assert (channels.calls, channels.up) == (0, 0)


def test_channel_that_joined_two_bridges_leaves_the_first_one_later():
    """A channel that is moved enters its new bridge before it leaves the old one."""
    channels = following()
    heard(channels, "BridgeEnter", BridgeUniqueid="new")
    heard(channels, "BridgeLeave", BridgeUniqueid="old")
    assert channels.call("ours").caller.bridge_id == "new"


def test_renamed_channel_has_its_new_name():
    """A masquerade gives a channel another name, under the same uniqueid."""
    channels = following()
    heard(channels, "Rename", Newname="PJSIP/desk-9")
    assert channels.call("ours").caller.name == "PJSIP/desk-9"


def test_calls_of_others_are_not_kept():
    """What neither the uniqueid nor the linkedid joins to a call of ours leaves no trace, and costs no parsing."""
    channels = following()
    heard(channels, "Newchannel", "9.1", "9.1", "PJSIP/desk-1")
    assert not channels.concerns(event("Newexten", TRUNK, CALLER, CALLER))
    assert not channels.concerns(b"Event: Newstate\r\nPrivilege: call,all")
    assert channels.up == 1


def test_linkedid_that_is_learnt_later_counts():
    """A caller whose channel did not begin its call has another linkedid; Asterisk is asked for it with the metadata."""
    channels = following()
    channels.follow("ours", TRUNK, CALLER, "1700000000.0")
    heard(channels, "Newchannel", AGENT, "1700000000.0", MILLIS)
    assert up(channels) == [CALLER, AGENT]


def test_linkedid_of_an_older_call_is_taken_over():
    """Where our channel is joined to an older one, those that come later carry the older one's linkedid."""
    channels = following()
    heard(channels, "BridgeEnter", linkedid="1600000000.7", BridgeUniqueid="b")
    heard(channels, "Newchannel", AGENT, "1600000000.7", MILLIS)
    assert up(channels) == [CALLER, AGENT]


def test_second_visit_of_a_channel_is_another_call():
    """A caller who is sent to the bridge again, with another id of ours, is followed under that."""
    channels = following()
    heard(channels, "Newchannel", AGENT, channel=MILLIS)
    channels.follow("again", TRUNK, CALLER)
    heard(channels, "Newstate", state="Up")
    assert channels.call("ours") is None
    assert up(channels, "again") == [CALLER]


def test_second_question_about_a_call_changes_nothing():
    """A redial has the id of its call."""
    channels = following()
    heard(channels, "Newstate", state="Up")
    channels.follow("ours", TRUNK, CALLER)
    assert channels.call("ours").caller.state == "Up"


@pytest.mark.parametrize(("call", "uniqueid"), [("", CALLER), ("ours", "")])
def test_call_without_an_id_is_not_followed(call, uniqueid):
    """There would be nothing to know it by."""
    channels = Channels(10)
    channels.follow(call, TRUNK, uniqueid)
    assert (channels.calls, channels.up) == (0, 0)


def test_hangup_cause_that_is_no_number_is_none():
    """A cause is a number, or unknown."""
    over: list[FollowedCall] = []
    heard(following(over=over), "Hangup", Cause="x")
    assert over[0].channels[0].hangup_cause is None


# Bounds.


def test_call_known_longest_is_forgotten_when_there_are_too_many():
    """The newest calls are the ones that live; what is forgotten is counted."""
    channels = Channels(3)
    for number in range(5):
        channels.follow(f"call{number}", TRUNK, f"{number}.1")
    assert [call.bridge_call_id for call in channels.every_call()] == ["call2", "call3", "call4"]
    assert (channels.up, channels.forgotten) == (3, 2)


def test_call_with_more_channels_than_there_may_be_is_forgotten_itself():
    """One call cannot grow without end either."""
    channels = following(limit=3)
    for number in range(2, 9):
        heard(channels, "Newchannel", f"1700000000.{number}", channel=f"PJSIP/phone-{number}")
    assert (channels.calls, channels.up, channels.forgotten) == (0, 0, 1)
    assert not channels.concerns(event("Newstate", TRUNK, CALLER, CALLER))


def test_channels_that_are_gone_are_kept_up_to_a_number():
    """A queue may ring hundreds of phones during one call; the latest ones tell enough."""
    channels = following()
    for number in range(2, 102):
        heard(channels, "Newchannel", f"1700000000.{number}", channel=f"PJSIP/phone-{number}")
        heard(channels, "Hangup", f"1700000000.{number}", channel=f"PJSIP/phone-{number}", Cause="26")
    assert len(channels.call("ours").channels) == 21
    assert channels.call("ours").channels[-2].name == "PJSIP/phone-101"


def test_nothing_is_left_of_calls_that_are_over():
    """Ten thousand calls leave no more behind than none."""
    channels = Channels(100)
    for number in range(10_000):
        channels.follow(f"call{number}", TRUNK, f"{number}.1", f"{number}.0")
        heard(channels, "Newchannel", f"{number}.2", f"{number}.0", MILLIS)
        heard(channels, "Hangup", f"{number}.2", f"{number}.0", MILLIS, Cause="16")
        heard(channels, "Hangup", f"{number}.1", f"{number}.0", Cause="16")
    assert [channels._calls, channels._by_uniqueid, channels._by_linkedid, channels.forgotten] == [{}, {}, {}, 0]


# A list corrects.


def test_list_tells_what_no_event_has_told():
    """After the connection was lost, channels that came meanwhile are found, and those that went are over."""
    over: list[FollowedCall] = []
    channels = following(over=over)
    channels.follow("gone", TRUNK, "5.1")
    channels.begin_list()
    channels.take_list([row(CALLER, state="Up", bridge_id="b"), row(AGENT, name=MILLIS), row("9.1", "9.1")])
    assert up(channels) == [CALLER, AGENT]
    assert channels.call("ours").caller.bridge_id == "b"
    assert [(call.bridge_call_id, call.channels[0].hangup_cause) for call in over] == [("gone", None)]


def test_what_came_after_the_question_outlives_the_list():
    """A list is as old as the question: a call that began since then is not on it, and goes on."""
    channels = following()
    channels.begin_list()
    channels.follow("new", TRUNK, "6.1")
    channels.take_list([row(CALLER)])
    assert channels.call("new") is not None


def test_what_went_after_the_question_does_not_come_back():
    """A channel that hung up since then may still be on the list."""
    channels = following()
    heard(channels, "Newchannel", AGENT, channel=MILLIS)
    channels.begin_list()
    heard(channels, "Hangup", AGENT, channel=MILLIS, Cause="16")
    channels.take_list([row(CALLER), row(AGENT, name=MILLIS)])
    assert up(channels) == [CALLER]


def test_event_since_the_question_outdoes_the_list():
    """What was heard meanwhile is newer than what the list says."""
    channels = following()
    channels.begin_list()
    heard(channels, "Newstate", state="Up")
    channels.take_list([row(CALLER, state="Ring")])
    assert channels.call("ours").caller.state == "Up"


def test_question_that_got_no_list_is_over():
    """Where the PBX gives no list, nothing is taken for gone, and nothing is gathered."""
    channels = following()
    channels.begin_list()
    channels.drop_list()
    heard(channels, "Newstate", state="Up")
    channels.take_list([])
    assert (up(channels), channels._heard_since) == ([CALLER], set())


def test_list_that_lacks_rows_ends_no_call():
    """Where a row was left out, whoever is missing may be there all the same."""
    channels = following()
    channels.begin_list()
    channels.take_list([row(AGENT)], complete=False)
    assert up(channels) == [CALLER, AGENT]


def test_row_without_an_id_is_passed_over():
    """A row that a text of the caller's has torn in two belongs to nobody."""
    channels = following()
    channels.begin_list()
    channels.take_list([row(CALLER), row("")])
    assert up(channels) == [CALLER]


# What a caller may write.


def test_last_header_counts_for_whose_an_event_is():
    """What a caller decides, such as the number, comes before the ids; so a forged id does not hide the genuine one."""
    channels = following()
    forged = event("Newstate", TRUNK, CALLER, CALLER, CallerIDNum="12\r\nUniqueid: 9.9\r\nLinkedid: 9.9")
    assert channels.concerns(forged)


def test_event_that_says_a_thing_twice_is_not_believed():
    """An event with two ids changes nothing."""
    channels = following()
    with pytest.raises(AmiNonsense):
        channels.hear(Message({"event": ("Hangup",), "uniqueid": (CALLER, "9.9"), "linkedid": (CALLER,)}))
    assert up(channels) == [CALLER]


def test_call_that_we_make_is_followed_before_it_has_a_channel():
    """Its first event names the channel; and a call that does not come about is dropped."""
    channels = following(channel="")
    assert channels.call("ours").caller.name == ""
    heard(channels, "Newchannel", state="Down")
    assert channels.call("ours").caller.name == TRUNK
    channels.drop("ours")
    channels.drop("never known")
    assert (channels.calls, channels.up) == (0, 0)
