"""The language of faults: what a person may type, and what is said to a typing mistake."""

import pytest

from agi_bridge.simulator.fault import Fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", Fault()),
        ("delay=3", Fault(delay_seconds=3)),
        ("delay=0.05", Fault(delay_seconds=0.05)),
        ("status=503", Fault(status=503)),
        ("status=422,detail=list", Fault(status=422, detail="list")),
        (" status=429 , retry-after=2 ", Fault(status=429, retry_after_seconds=2)),
        ("field=sip_uri", Fault(field="sip_uri")),
        ("field=both", Fault(field="both")),
        ("body=html", Fault(body="html")),
        ("body=huge,status=201", Fault(body="huge", status=201)),
        ("hang", Fault(hang=True)),
        ("reset", Fault(reset=True)),
        ("credit=-0.5", Fault(credit=-0.5)),
        ("agent=disabled,clock=-60", Fault(agent="disabled", clock_seconds=-60)),
        ("delay=1,reset-mid-body", Fault(delay_seconds=1, reset_mid_body=True)),
        ("uri=sip:a@evil.example&Local/x@y", Fault(uri="sip:a@evil.example&Local/x@y")),
        ("field=both, uri=sip:a@h,3,iU(ctx) ", Fault(field="both", uri="sip:a@h,3,iU(ctx)")),
        ("uri=", Fault(uri="")),
    ],
)
def test_text_names_a_fault(text, fault):
    """A comma-separated text reads as the fault it names, and a URI keeps its own commas."""
    assert Fault.parse(text) == fault


@pytest.mark.parametrize(
    "text",
    [
        "slow",
        "hang=yes",
        "delay",
        "delay=soon",
        "credit=nan",
        "agent=asleep",
        "clock=1.5",
        "delay=nan",
        "delay=-1",
        "status=99",
        "status=5xx",
        "body=cat",
        "detail=",
        "field=uri",
        "status=503,,",
        "STATUS=503",
    ],
)
def test_mistake_is_answered_with_what_is_allowed(text):
    """A text that names no fault is refused with the list of those there are."""
    with pytest.raises(ValueError, match=r"^no fault '.*'; allowed, separated by commas: delay=SECONDS, status=200"):
        Fault.parse(text)


def test_same_fault_twice_is_refused():
    """A fault given twice is refused, because one of the two would be ignored."""
    with pytest.raises(ValueError, match=r"^fault 'status' is given twice$"):
        Fault.parse("status=503,status=504")
