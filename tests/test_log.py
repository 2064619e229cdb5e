"""Log lines: their two forms, what they hide, and that nothing in them can pass for another line."""

import contextlib
import io
import json
import logging

import pytest
import structlog

from agi_bridge import log
from agi_bridge.config import LogSettings

SECRET = "0123456789abcdefSECRET"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Leave structlog and the standard library's logging to other tests as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def written():
    return io.StringIO()


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_line_is_json_where_no_terminal_reads(written):
    """An event is one JSON object with its level, its time in UTC and its fields."""
    log.configure(LogSettings(), written)
    structlog.get_logger().info("call", rule="sales", total_ms=1.5)

    (line,) = lines(written)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "call", "level": "info", "rule": "sales", "total_ms": 1.5}


def test_line_is_text_on_a_terminal():
    """On a terminal an event is a coloured line for people."""
    terminal = Terminal()
    log.configure(LogSettings(), terminal)
    structlog.get_logger().info("call", rule="sales")

    assert "\x1b[" in terminal.getvalue()
    assert "call" in terminal.getvalue()
    assert terminal.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("form", "stream", "is_json"),
    [("json", Terminal, True), ("json", io.StringIO, True), ("text", io.StringIO, False), ("auto", Terminal, False)],
)
def test_form_can_be_chosen(form, stream, is_json):
    """The form follows the terminal only where the settings leave it to it."""
    written = stream()
    log.configure(LogSettings(format=form), written)
    structlog.get_logger().info("call")

    assert written.getvalue().startswith("{") is is_json


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_level_is_the_least_that_is_told(written, level, told):
    """Events below the level are not written."""
    log.configure(LogSettings(level=level), written)
    for name in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), name)("event")

    assert [line["level"] for line in lines(written)] == told


@pytest.mark.parametrize("form", ["json", "text"])
def test_numbers_are_masked_unless_configured(form):
    """Every field that holds a phone number is masked, and shown in full only by configuration."""
    masked, full = io.StringIO(), io.StringIO()
    numbers = {name: f"+1555123{place:04d}" for place, name in enumerate(log.NUMBER_FIELDS)}
    for settings, stream in (
        (LogSettings(format=form), masked),
        (LogSettings(format=form, numbers="full"), full),
    ):
        log.configure(settings, stream)
        structlog.get_logger().info("call", **numbers, caller_name=None)

    assert {"did", "did_received", "nearest_did", "caller_number"} == set(log.NUMBER_FIELDS)
    assert not [number for number in numbers.values() if number in masked.getvalue()]
    assert [number for number in numbers.values() if number in full.getvalue()] == list(numbers.values())


def test_a_full_disk_ends_nothing():
    """A log that cannot be written loses lines, and nothing else: no exception reaches a call."""
    full = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115 - closing it fails too
    log.configure(LogSettings(format="json"), full)
    structlog.get_logger().info("call")
    logging.getLogger("aiohttp").error("trouble")
    with contextlib.suppress(OSError):
        full.close()


@pytest.mark.parametrize(
    ("field", "text", "masked"),
    [
        ("channel", "PJSIP/trunk-0000001a", "PJSIP/trunk-0000001a"),
        ("channel", "PJSIP/trunk-00000012", "PJSIP/trunk-00000012"),
        ("channel", "Local/15551230001@office-00000003;1", "Local/1555*****01@office-00000003;1"),
        ("channel", "PJSIP/+15551230001-00000003", "PJSIP/+155******01-00000003"),
        ("detail", "HTTP 422: from_phone +15551230001 is not yours", "HTTP 422: from_phone +155******01 is not yours"),
        (
            "detail",
            "no answer from http://127.0.0.1:45678 within 4.0 s",
            "no answer from http://127.0.0.1:45678 within 4.0 s",
        ),
        ("uniqueid", "1700000000.15", "1700000000.15"),
    ],
)
def test_number_among_other_words_is_masked(written, field, text, masked):
    """A number that stands in a channel's name or in what Millis says is masked like one by itself."""
    log.configure(LogSettings(), written)
    structlog.get_logger().info("call", **{field: text})

    assert lines(written)[0][field] == masked


def test_number_that_is_unknown_stays_so(written):
    """A caller without a number is null, not a mask."""
    log.configure(LogSettings(), written)
    structlog.get_logger().info("call", caller_number=None, did="")

    (line,) = lines(written)
    assert (line["caller_number"], line["did"]) == (None, "")


HOSTILE = "a\nFAKE\r\x1b[2J\x9b2J\u2028b\u202ec\x7f"


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_text_can_pass_for_another_line(form, written):
    """Line ends, terminal commands and signs that turn the writing are escaped, in the event and in its fields."""
    log.configure(LogSettings(format=form), written)
    structlog.get_logger().warning(HOSTILE, channel=HOSTILE, did=HOSTILE)

    assert len(written.getvalue().splitlines()) == 1
    assert written.getvalue().removesuffix("\n").isprintable()


def test_json_holds_a_hostile_text_as_it_was(written):
    """What is escaped in a line is the same text once the line is read."""
    log.configure(LogSettings(numbers="full"), written)
    structlog.get_logger().warning(HOSTILE, did=HOSTILE, channel="Zoë")

    (line,) = lines(written)
    assert (line["event"], line["did"], line["channel"]) == (HOSTILE, HOSTILE, "Zoë")


def test_value_that_json_does_not_know_is_written_as_text(written):
    """A field of any type ends in the line, never in an error."""
    log.configure(LogSettings(), written)
    structlog.get_logger().info("call", what=object, half="\ud800")

    assert lines(written)[0]["what"] == "<class 'object'>"


@pytest.mark.parametrize("form", ["json", "text"])
def test_exception_is_told_without_variables(form, written):
    """A traceback names files and lines, and no value that a function held, such as the key."""
    log.configure(LogSettings(format=form), written)

    def fail(api_key):
        raise ZeroDivisionError("division of a call")

    try:
        fail(SECRET)
    except ZeroDivisionError:
        structlog.get_logger().exception("unexpected failure", bridge_call_id="b1")

    told = written.getvalue()
    assert "Traceback (most recent call last)" in told
    assert "ZeroDivisionError: division of a call" in told
    assert "b1" in told
    assert SECRET not in told


def test_libraries_write_to_the_same_log_from_warnings_up(written):
    """A warning of a library becomes a line like ours, an exception with it; what is below stays out."""
    log.configure(LogSettings(), written)
    library = logging.getLogger("aiohttp.client")
    library.info("not told")
    library.warning("%s is %d", "limit", 5)
    try:
        raise OSError("broken")
    except OSError:
        library.exception("it failed")

    warning, error = lines(written)
    assert (warning["event"], warning["level"]) == ("limit is 5", "warning")
    assert (error["event"], error["level"]) == ("it failed", "error")
    assert error["exception"].endswith("OSError: broken")
