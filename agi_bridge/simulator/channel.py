"""The channel of a simulated caller: its environment for AGI(), its variables, and what `${...}` in it stands for.

Pure. It repeats `setup_env` of Asterisk's res_agi.c and the substitution of pbx_variables.c, with the traps that a
bridge has to live with. It must not know the bridge, nor sockets: `simulator/asterisk.py` speaks for this channel.
A function that it does not know and nobody scripted is empty; `$[...]` is not evaluated.
"""

import itertools
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

VARIABLE_BYTES = 1023  # GET VARIABLE cuts here
FUNCTION_BYTES = 4095  # a function's result is cut here, VAR_BUF_SIZE less the NUL
_PRESENTATIONS = {
    0: "allowed_not_screened",
    1: "allowed_passed_screen",
    2: "allowed_failed_screen",
    3: "allowed",
    32: "prohib_not_screened",
    33: "prohib_passed_screen",
    34: "prohib_failed_screen",
    35: "prohib",
}
_SUBSTRING = re.compile(r"\s*([+-]?\d{1,9})(?::\s*([+-]?\d{1,9}))?")
_serial = itertools.count(1)


def to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def to_text(wire: bytes) -> str:
    return wire.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class SimulatedChannel:
    """A caller's channel as it stands when the dialplan calls AGI().

    Text goes to the wire as UTF-8 with surrogateescape, line feeds and all, as Asterisk does: a Latin-1 name is
    ``to_text(b"Jos\\xe9")``. *functions* scripts whole function calls: ``{"DB(crm/42)": "gold"}``.
    """

    did: str = "+15551230001"
    caller_number: str | None = "+15557654321"
    caller_name: str | None = None
    callingpres: int = 0
    rdnis: str | None = None
    context: str = "from-trunk"
    extension: str = "s"
    priority: int = 1
    name: str = "PJSIP/trunk-00000001"
    language: str = "en"
    uniqueid: str = field(default_factory=lambda: f"{int(time.time())}.{next(_serial)}")
    linkedid: str | None = None  # the uniqueid, unless another channel began the call
    accountcode: str = ""
    version: str = "22.10.1"
    hung_up: bool = False  # AGI() was called from the h extension or a hangup handler
    variables: Mapping[str, str] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)


def environment(channel: SimulatedChannel, host: str, port: int, script: str, arguments: Sequence[str] = ()) -> bytes:
    """Return the lines that AGI(agi://host:port/script,arguments…) sends first, the closing blank one included."""
    url = f"agi://[{host}]:{port}" if ":" in host else f"agi://{host}:{port}"
    fields = {
        "network": "yes",
        **({"network_script": script} if script else {}),
        "request": f"{url}/{script}" if script else url,
        "channel": channel.name,
        "language": channel.language,
        "type": channel.name.partition("/")[0],
        "uniqueid": channel.uniqueid,
        "version": channel.version,
        "callerid": channel.caller_number or "unknown",
        "calleridname": channel.caller_name or "unknown",
        "callingpres": str(channel.callingpres),
        "callingani2": "0",
        "callington": "0",
        "callingtns": "0",
        "dnid": channel.did or "unknown",
        "rdnis": channel.rdnis or "unknown",
        "context": channel.context,
        "extension": channel.extension,
        "priority": str(channel.priority),
        "enhanced": "0.0",
        "accountcode": channel.accountcode,
        "threadid": "140000000000001",
        **{f"arg_{number}": argument for number, argument in enumerate(arguments, 1)},
    }
    return to_bytes("".join(f"agi_{name}: {value}\n" for name, value in fields.items()) + "\n")


class ChannelMemory:
    """What a channel remembers while it lives: its variables, the functions that were written, its state."""

    def __init__(self, channel: SimulatedChannel) -> None:
        self.channel = channel
        self.variables = dict(channel.variables)
        self.functions = dict(channel.functions)
        self.state = 4  # AST_STATE_RING; 6 once answered

    def set(self, name: str, value: str) -> None:
        """Do as Set() does: a name that ends in a parenthesis writes a function, leading underscores only inherit."""
        if name.endswith(")"):
            self.functions[name] = value
        else:
            self.variables[name.removeprefix("_").removeprefix("_")] = value

    def get(self, expression: str) -> str | None:
        """Return what GET VARIABLE finds: None where there is nothing, cut where Asterisk cuts it."""
        found = self._look_up(expression)
        return None if found is None else to_text(to_bytes(found)[:VARIABLE_BYTES])

    def evaluate(self, text: str) -> str:
        """Return *text* with each ``${...}`` replaced, innermost first. What is replaced is not looked at again."""
        done, position = [], 0
        while (start := text.find("${", position)) >= 0:
            depth, end = 1, start + 2
            while depth and end < len(text):
                depth += {"{": 1, "}": -1}.get(text[end], 0)
                end += 1
            inside = text[start + 2 : end if depth else end - 1]
            done += [text[position:start], self._look_up(self.evaluate(inside)) or ""]
            position = end
        return "".join([*done, text[position:]])

    def _look_up(self, expression: str) -> str | None:
        """Read a variable or a function, and cut out ``:offset:length``.

        Asterisk looks for that colon after it has put values in: `${URIENCODE(${X})}` with an X of ``a):1`` loses text.
        """
        name, cut = expression, None
        depth = 0
        for position, char in enumerate(expression):
            depth += {"(": 1, ")": -1}.get(char, 0)
            if char == ":" and depth == 0:
                name, cut = expression[:position], _SUBSTRING.match(expression, position + 1)
                break
        value = self._function(name) if "(" in name else self._variable(name)
        if value is None or cut is None:
            return value
        offset, length = int(cut[1]), None if cut[2] is None else int(cut[2])
        return to_text(to_bytes(value)[offset:][:length])

    def _variable(self, name: str) -> str | None:
        channel = self.channel
        builtin = {
            "CALLINGPRES": str(channel.callingpres),
            "CHANNEL": channel.name,
            "CONTEXT": channel.context,
            "EXTEN": channel.extension,
            "HANGUPCAUSE": "0",
            "PRIORITY": str(channel.priority),
            "UNIQUEID": channel.uniqueid,
        }
        return self.variables.get(name, builtin.get(name))

    def _function(self, call: str) -> str | None:
        name, _, rest = call.partition("(")
        argument = rest.rpartition(")")[0] if ")" in rest else rest
        scripted = self.functions.get(f"{name}({argument})")
        if scripted is not None:
            value: str | None = scripted
        elif name == "URIENCODE":
            value = quote(to_bytes(argument), safe="!*'()") if argument else None
        elif name in {"CALLERID", "CHANNEL", "REDIRECTING"}:
            value = self._item(name, argument.lower())
        else:
            value = None
        return None if value is None else to_text(to_bytes(value)[:FUNCTION_BYTES])

    def _item(self, function: str, item: str) -> str | None:
        channel = self.channel
        match function, item:
            case "CALLERID", "num" | "number" | "ani" | "ani-num":
                return channel.caller_number or ""
            case "CALLERID", "name":
                return channel.caller_name or ""
            case "CALLERID", "all":
                return f'"{channel.caller_name or ""}" <{channel.caller_number or ""}>'
            case "CALLERID", "pres" | "num-pres" | "name-pres":
                return _PRESENTATIONS.get(channel.callingpres, "unavailable")
            case "CALLERID", "dnid":
                return channel.did
            case ("CALLERID", "rdnis") | ("REDIRECTING", "from-num"):
                return channel.rdnis or ""
            case "CHANNEL", "name" | "language" | "uniqueid" | "context" | "accountcode":
                return str(getattr(channel, item))
            case "CHANNEL", "linkedid":
                return channel.linkedid or channel.uniqueid
            case "CHANNEL", "exten":
                return channel.extension
            case "CHANNEL", "channeltype":
                return channel.name.partition("/")[0]
            case "CHANNEL", "state":
                return "Up" if self.state == 6 else "Ring"
            case "CHANNEL", "hangupsource":
                return ""
        return None
