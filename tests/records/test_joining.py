"""Reports become one record, in any order and however often they come."""

from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_bridge.call import CallRecord, Report
from agi_bridge.records.joining import Joined, joined, with_masked_numbers
from tests.records.reports import NOON, ended, routed, told_by_millis, transferred

# A call that is dialled in vain in one region, and then answered in the other.
REDIALLED = (
    routed(),
    ended(seconds=20, dialstatus="CHANUNAVAIL", hangup_cause=20, result="millis", reason="agent-unavailable"),
    routed(seconds=21, region="eu-west", reason="routed-redial", redialled=True),
    ended(seconds=60),
)


def record_of(*reports: Report) -> CallRecord:
    """Return the record that these reports make."""
    known: Joined | None = None
    for report in reports:
        known = joined(known, report)
    assert known is not None
    return known.record


def test_a_call_that_is_routed_and_ends_is_one_record():
    """What was decided and how the agent's leg went stand side by side; the outcome is that of the end."""
    record = record_of(routed(), ended())

    assert (record.received_at, record.rule, record.setup_seconds) == (NOON, "sales", 0.08)
    assert (record.dialstatus, record.hangup_cause, record.hung_up_by) == ("ANSWER", 16, "caller")
    assert (record.reason, record.ended_at) == ("answered", NOON + timedelta(seconds=30))


@pytest.mark.parametrize(
    "order", list(permutations(REDIALLED)), ids=lambda order: "-".join(f"{r.at:%S}" for r in order)
)
def test_of_a_redialled_call_the_last_attempt_counts(order):
    """The second region took the call, which came when it was first received."""
    record = record_of(*order)

    assert (record.received_at, record.region, record.redialled) == (NOON, "eu-west", True)
    assert (record.dialstatus, record.result, record.reason) == ("ANSWER", "completed", "answered")


def test_a_redial_that_finds_no_agent_is_how_the_call_went():
    """The outcome is the latest word, and the dialstatus remains that of the only dial."""
    record = record_of(*REDIALLED[:2], routed(seconds=21, result="millis", reason="millis-down", fallback_taken=True))

    assert (record.reason, record.fallback_taken, record.dialstatus) == ("millis-down", True, "CHANUNAVAIL")


@pytest.mark.parametrize(
    "order",
    list(permutations((routed(), ended(reason="transferred", transfer="sales", hung_up_by=None), transferred()))),
)
def test_a_call_that_the_agent_sends_on_is_one_record(order):
    """How the agent's leg went and how it went with whom the caller was sent to stand side by side."""
    record = record_of(*order)

    assert (record.transfer, record.transfer_dialstatus, record.transfer_answered_seconds) == ("sales", "ANSWER", 20)
    assert (record.dialstatus, record.answered_seconds, record.reason) == ("ANSWER", 28, "transfer-answered")


def test_an_end_without_a_beginning_is_kept():
    """A bridge that never heard of the call before still records how it ended."""
    record = record_of(ended())

    assert (record.received_at, record.uniqueid, record.rule) == (NOON + timedelta(seconds=30), "c1.1", None)


@pytest.mark.parametrize("order", list(permutations((routed(), ended(), told_by_millis(seconds=-5)))))
def test_what_millis_says_does_not_say_when_the_call_came(order):
    """Millis's clock is its own: the call was received when Asterisk asked for it."""
    record = record_of(*order)

    assert (record.received_at, record.millis_cost, record.reason) == (NOON, 0.12, "answered")


def test_a_report_that_comes_twice_changes_nothing():
    """Nothing new makes nothing new, which is how a store knows that it has nothing to write."""
    known = joined(joined(None, routed()), ended())

    assert joined(known, routed()) is known
    assert joined(known, ended()) is known


REPORTS = st.sampled_from((routed, ended, transferred, told_by_millis)).flatmap(
    lambda make: st.builds(
        make,
        seconds=st.integers(0, 9),
        result=st.sampled_from(["completed", "millis"]),
        failover=st.booleans(),
        detail=st.sampled_from([None, "x"]),
    )
)


@given(
    st.lists(REPORTS, min_size=1, max_size=6, unique_by=lambda report: report.at).flatmap(
        lambda reports: st.tuples(
            st.just(reports), st.permutations(reports), st.lists(st.sampled_from(reports), max_size=4)
        )
    )
)
def test_order_and_repetition_do_not_matter(reports):
    """Whatever sessions a call had, their reports make the same record in every order, some of them twice."""
    once, shuffled, again = reports

    assert record_of(*once) == record_of(*shuffled, *again)


def test_masked_record_names_nobody():
    """The caller's number keeps its format alone, the name is gone, and a channel made of a number is masked too."""
    known = joined(
        None,
        routed(
            channel="Local/15557654321@trunk-00000001;1", detail="no such number: +15557654321", rdnis="15550009999"
        ),
    )
    masked = with_masked_numbers(known)
    record = masked.record

    assert "5557654321" not in str(record)
    assert (record.caller_number, record.caller_name, record.rdnis) == ("+155******21", None, "1555*****99")
    assert record.did == "+15551230001"
    assert with_masked_numbers(masked) == masked


def test_a_masked_record_stays_masked():
    """A report that comes late does not bring the numbers back."""
    masked = with_masked_numbers(joined(None, ended()))

    assert joined(masked, routed()).record.caller_number == "+155******21"
    assert joined(None, routed(), mask_numbers=True).record.caller_name is None
