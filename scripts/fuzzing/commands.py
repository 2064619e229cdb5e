"""The commands that we send, whatever text is put into them.

Promised: a text is refused with UnsafeText or arrives as it is; a command is one line, without NUL or line end inside and
within its bound. The other side of each promise is the simulated Asterisk's own splitter, which shares no code with ours.

An input is texts between record separators: the first is an expression, the others are names and values in turn.
"""

from agi_bridge.agi.protocol import Command, assign, execute, get_full_variable
from agi_bridge.errors import UnsafeText
from agi_bridge.simulator.command import parse_words, split_arguments
from fuzzing.target import Target

_SEPARATOR = "\x1e"
_BYTES = 300  # a short bound is met more often


def broken_by(data: bytes) -> None:
    """Send the texts in every way there is."""
    expression, *texts = data.decode("utf-8", "surrogateescape").split(_SEPARATOR)
    _arrives(get_full_variable(expression), ["GET", "FULL", "VARIABLE", expression])
    _arrives(execute("Dial", expression), ["EXEC", "Dial", expression])
    variables = dict(zip(texts[::2], texts[1::2], strict=False))
    try:
        command = assign(variables)
    except UnsafeText:
        return
    words = _arrives(command, None)
    if words:
        pairs = split_arguments(words[2])
        assert pairs == [f"{name}={value}" for name, value in variables.items()] or not variables, (
            "MSet reads otherwise"
        )


def _arrives(command: Command, expected: list[str] | None) -> list[str] | None:
    """Check what Asterisk makes of *command*; return its words, None where it was refused."""
    try:
        line = command.encode(_BYTES)
    except UnsafeText:
        return None
    assert len(line) <= _BYTES + 1, "a command longer than Asterisk takes"
    assert line.endswith(b"\n"), "a command that does not end"
    assert not set(b"\n\r\0") & set(line[:-1]), "a command that ends too early"
    words = parse_words(line[:-1].decode())
    # A lone surrogate is no character, and is sent as "?".
    expected = expected and [word.encode("utf-8", "replace").decode() for word in expected]
    assert expected is None or words == expected, "Asterisk reads another command"
    return words


TARGET = Target(
    "commands",
    broken_by,
    seeds=tuple(
        _SEPARATOR.join(texts).encode()
        for texts in (
            ("${URIENCODE(${CHANNEL(linkedid)})}|${URIENCODE(${DB(crm/${CALLERID(num)})})}",),
            ("PJSIP/millis/sip:x@example.com,30,i", "MILLIS_STATUS", "ok"),
            (
                'a "quoted" \\ text',
                *("MILLIS_FALLBACK", "millis-fallback,s,1", "MILLIS_DIAL_OPTIONS", "iL(60000)b(a^b^1)"),
                *("TIMEOUT(absolute)", "0"),
            ),
        )
    ),
    words=(_SEPARATOR, '"', "\\", '\\"', "\n", "\r", "\0", ",", "(", ")", "[", "]", "${", "}", "MILLIS_DIAL", "="),
    longest_bytes=600,
)
