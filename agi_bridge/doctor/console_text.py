"""What Asterisk's console prints, made into values. Pure: text in, values out.

The forms are those of Asterisk 16 to 22, as `asterisk -rx` shows them; over AMI, lines come without the blanks at their
beginning. Whatever cannot be read is left out: a check then says that it could not look.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTEXT = re.compile(r"\[ (?:Included )?[Cc]ontext '([^']*)' created by ")
_STEP = re.compile(
    r" *(?:'(?P<extension>[^']*)'(?: \(CID match '[^']*'\))? =>|\[[^\]]*\]|) *"
    r"(?P<priority>[0-9]+)\. (?P<application>.*?)(?:\s+\[[^\]]*\])?"
)
_INCLUDE = re.compile(r" *Include => +'([^']*)'")
_PARAMETER = re.compile(r" *([a-zA-Z0-9_]+) +: ?(.*)")


@dataclass(frozen=True, slots=True)
class Context:
    """One context of the dialplan: the applications of each extension in their order, and the contexts it includes."""

    extensions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    includes: tuple[str, ...] = ()

    @property
    def applications(self) -> list[str]:
        """Return every step of the context, such as "Goto(other,s,1)"."""
        return [step for steps in self.extensions.values() for step in steps]


def version(text: str) -> str:
    """Read `core show version`: "22.10.1" or "certified-20.7"; "" where it is not told."""
    found = re.search(r"Asterisk (\S+)", text)
    if not found:
        return ""
    plain = re.match(r"(?:certified[-/])?[0-9]+(?:\.[0-9]+)*", found[1])
    return plain[0] if plain else found[1]


def modules(text: str) -> dict[str, bool]:
    """Read `module show`: each module that is loaded, and whether it runs."""
    listed = re.findall(r"^(\S+\.so) +(.*)$", text, re.MULTILINE)
    return {name.removesuffix(".so"): "Not Running" not in rest for name, rest in listed}


def dialplan(text: str) -> dict[str, Context]:
    """Read `dialplan show`."""
    contexts: dict[str, Context] = {}
    extensions: dict[str, tuple[str, ...]] = {}
    includes: list[str] = []
    name = extension = ""
    for line in text.splitlines():
        if heading := _CONTEXT.match(line):
            name, extension, extensions, includes = heading[1], "", {}, []
            contexts[name] = Context(extensions)
        elif not contexts:
            continue
        elif included := _INCLUDE.match(line):
            includes.append(included[1])
            contexts[name] = Context(extensions, tuple(includes))
        elif step := _STEP.fullmatch(line):
            extension = extension if step["extension"] is None else step["extension"]
            extensions[extension] = (*extensions.get(extension, ()), step["application"])
    return contexts


def globals_(text: str) -> dict[str, str]:
    """Read `dialplan show globals`."""
    return dict(re.findall(r"^ *([A-Za-z_][^\s=]*)=(.*)$", text, re.MULTILINE))


def parameters(text: str) -> dict[str, str]:
    """Read the table of `pjsip show endpoint NAME` or `pjsip show transport NAME`; {} where there is no such object."""
    pairs = (_PARAMETER.fullmatch(line.rstrip()) for line in text.splitlines())
    found = {pair[1]: pair[2].strip() for pair in pairs if pair}
    return {name: value for name, value in found.items() if value != "ParameterValue"}


def codecs(allow: str) -> list[str]:
    """Read an endpoint's `allow`, such as "(ulaw|alaw)"; "(nothing)" is none."""
    names = (name.strip() for name in allow.strip("() ").split("|"))
    return [name for name in names if name and name != "nothing"]


def transports(text: str) -> dict[str, tuple[str, str]]:
    """Read `pjsip show transports`: the protocol and the address that each is bound to."""
    lines = re.findall(r"^ *Transport: +(\S+) +(udp|tcp|tls|ws|wss|flow) +\S+ +\S+ +(\S+)", text, re.MULTILINE)
    return {name: (protocol, bound) for name, protocol, bound in lines}


def endpoints(text: str) -> dict[str, tuple[str, ...]]:
    """Read `pjsip show endpoints`: the addresses by which each is known; none for those that register or log in."""
    found: dict[str, tuple[str, ...]] = {}
    name = ""
    for line in text.splitlines():
        if heading := re.match(r" *Endpoint: +([^\s/<]+)", line):
            name = heading[1]
            found[name] = ()
        elif name and (match := re.match(r" *Match: +(\S.*?) *$", line)) and not match[1].startswith("<"):
            found[name] = (*found[name], match[1])
    return found


def rtp_ports(text: str) -> tuple[int, int] | None:
    """Read `rtp show settings`: the first port and the last."""
    start, end = re.search(r"Port start: +(\d+)", text), re.search(r"Port end: +(\d+)", text)
    return (int(start[1]), int(end[1])) if start and end else None


def rtp_is_strict(text: str) -> bool:
    """Read `rtp show settings`: whether a stranger's audio is kept out of a call."""
    return not re.search(r"Strict RTP: +No", text)


def exists(text: str) -> bool:
    """Read `dialplan show EXTENSION@CONTEXT`."""
    return _CONTEXT.search(text) is not None
