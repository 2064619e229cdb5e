"""What has to stand in Asterisk's files for this bridge, by the distribution that writes the rest of them.

Pure: the shipped configuration and the files that are there already come in as text, and text goes out. The dialplan and the
endpoints are those of asterisk-conf/; here they are only cut to what a PBX that has a configuration lacks, and given the
names of its distribution. Of the distributions it knows which files survive when they write their own anew, and where to
click. Our part of a file stands between two lines that mark it; all else in that file is the administrator's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

from agi_bridge.config import SHIPPED_BUDGET_SECONDS, SHIPPED_LONGEST_CALL_SECONDS, parse_address
from agi_bridge.errors import CannotPlace
from agi_bridge.transfer import dialplan as transfer_contexts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agi_bridge.config import Config

BEGIN = "; >>> agi_bridge"
END = "; <<< agi_bridge"
_BEGIN_LINE = (
    f"{BEGIN}: written by `agi-bridge asterisk-config`, which replaces all from here to the line that ends it\n"
)
_END_LINE = f"{END}\n"

# What of asterisk-conf/ is read; the endpoint of the first name is always wanted, the others where a rule names them.
DIALPLAN, GLOBALS, PJSIP, ENTRY = "extensions.conf", "site/extensions.conf", "pjsip.conf", "entry/{}.conf"
_ENDPOINTS = ("millis", "millis-tcp", "millis-tls")
_TEMPLATES = ("any-endpoint", "millis-endpoint")
_OUR_CONTEXT = re.compile(r"millis(-[a-z]+)*")

_SECTION = re.compile(r"\[([^\]\n]+)\](?:\(([^)\n]*)\))?")
_HAS_SECRET = re.compile(r"MILLIS_SECRET[ \t]*=[ \t]*[^\s)]")
_SETTING = re.compile(r"(\w+)\s*=>?[ \t]*(.*?)\s*")


@dataclass(frozen=True, slots=True)
class Flavor:
    """One distribution. Paths are relative to Asterisk's folder.

    `sign` is there on this distribution alone. Where `globals` is None, no file takes global variables in a way that is sure
    to hold, and the dialplan sets them for each call. `transports` are the usual names, by protocol.
    """

    title: str
    sign: str
    dialplan: str
    pjsip: str
    globals: str | None
    entry: str | None
    transports: Mapping[str, str]
    enable_transport: str
    steps: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the files that hold a part of ours, in the order in which they are written.

        The dialplan comes last: until it is there, nothing else has an effect.
        """
        return tuple(path for path in (self.pjsip, self.globals, self.dialplan) if path)


_RELOAD = 'asterisk -rx "dialplan reload" && asterisk -rx "module reload res_pjsip.so"'
_CALL = "Call the number. When the fallback answers in the agent's place, the bridge's log says why."

FLAVORS = {
    "plain": Flavor(
        title="a plain Asterisk",
        sign="extensions.conf",
        dialplan="extensions.conf",
        pjsip="pjsip.conf",
        globals=None,
        entry=None,
        transports={"tcp": "tcp", "tls": "tls"},
        enable_transport="add one to pjsip.conf, and restart Asterisk",
        steps=(
            "In the context of your trunk, send the numbers to the bridge:\n"
            "exten => _X.,1,Gosub(millis-settings,s,1)\n"
            " same => n,Gosub(millis,s,1(${FILTER(0-9,${EXTEN})}))\n"
            " same => n,Hangup()\n"
            "exten => _+X.,1,Gosub(millis-settings,s,1)\n"
            " same => n,Gosub(millis,s,1(+${FILTER(0-9,${EXTEN})}))\n"
            " same => n,Hangup()",
            f"Load it: {_RELOAD}",
            _CALL,
        ),
    ),
    "freepbx": Flavor(
        title="FreePBX",
        sign="extensions_additional.conf",
        dialplan="extensions_custom.conf",
        pjsip="pjsip_custom.conf",
        globals="globals_custom.conf",
        entry="freepbx",
        transports={"tcp": "0.0.0.0-tcp", "tls": "0.0.0.0-tls"},
        enable_transport="Settings > Asterisk SIP Settings > SIP Settings [chan_pjsip], Submit, Apply Config, "
        "and fwconsole restart",
        steps=(
            f"Load it: {_RELOAD}",
            "Admin > Custom Destinations > Add Destination: Target millis-inbound,s,1 - Description Millis - Return No. Submit.",
            "Connectivity > Inbound Routes > the route of your number (or Add Inbound Route): "
            "Set Destination: Custom Destinations, Millis. Submit, then Apply Config.",
            _CALL,
        ),
    ),
    "issabel": Flavor(
        title="Issabel",
        sign="extensions_additional.conf",
        dialplan="extensions_custom.conf",
        pjsip="pjsip_custom.conf",
        globals="globals_custom.conf",
        entry="freepbx",
        transports={"tcp": "transport-tcp", "tls": "transport-tls"},
        enable_transport="PBX > PBX Configuration > PJSIP Settings, Submit Changes, Apply Config, and restart Asterisk",
        steps=(
            'Is PJSIP there? asterisk -rx "module show like chan_pjsip" must name it as Running; '
            "Asterisk 11 has none, and must be upgraded first.",
            f"Load it: {_RELOAD}",
            "PBX > PBX Configuration > Advanced > Custom Destinations: Custom Destination millis-inbound,s,1 - "
            "Description Millis. Submit Changes.",
            "PBX > PBX Configuration > Inbound Routes > the route of your number (or Add Incoming Route): "
            "Set Destination: Custom Destinations, Millis. Submit, then Apply Config.",
            _CALL,
        ),
    ),
    "vitalpbx": Flavor(
        title="VitalPBX",
        sign="vitalpbx",
        # Two underscores, because that is what extensions.conf and pjsip.conf include; 90 comes after all of its own.
        dialplan="vitalpbx/extensions__90-millis.conf",
        pjsip="vitalpbx/pjsip__90-millis.conf",
        globals=None,
        entry="vitalpbx",
        transports={"tcp": "transport-tcp", "tls": "transport-tls"},
        enable_transport="Settings > Technology Settings > PJSIP Settings, Save, Apply Changes, and restart Asterisk",
        steps=(
            f"Load it: {_RELOAD}",
            "PBX > Applications > Custom Contexts: Description Millis - Context millis-inbound - Extension s - Priority 1. Save.",
            "PBX > External > Inbound Routes > the route of your number (or a new one): Destination: Custom Contexts, Millis. "
            "Save, then Apply Changes.",
            _CALL,
        ),
    ),
}

# For whoever asks for one that is not there.
NAMES = ", ".join(FLAVORS)

# Every file in which a name of ours could stand already.
LOOKED_AT = (
    "extensions*.conf",
    "globals_custom.conf",
    "pjsip*.conf",
    "vitalpbx/extensions__*.conf",
    "vitalpbx/pjsip__*.conf",
)


@dataclass(frozen=True, slots=True)
class File:
    """One file: `ours` is what we have to say in it, `whole` is what it will then hold, the administrator's text included."""

    path: str
    ours: str
    whole: str

    @property
    def holds_secret(self) -> bool:
        """Return whether the bridge's secret stands in it."""
        return _HAS_SECRET.search(self.whole) is not None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write, in this order, and what is then left for a person to do."""

    files: tuple[File, ...]
    steps: tuple[str, ...]


def plan(
    config: Config, flavor: Flavor, shipped: Mapping[str, str], found: Mapping[str, str], bridge: str = ""
) -> Plan:
    """Return what has to stand where for *config*; raise CannotPlace.

    *shipped* are files of asterisk-conf/, *found* those of Asterisk's folder, by path. *bridge* is where Asterisk reaches the
    bridge, where that is not where it listens.
    """
    names = {rule.dialling.endpoint for rule in config.rules.rules if not rule.reject}
    transports = {**flavor.transports, **_transports(found)}
    settings = _settings(config, shipped[GLOBALS], bridge)
    contexts = "".join(text for name, text in _sections(shipped[DIALPLAN]) if _OUR_CONTEXT.fullmatch(name))
    contexts = contexts.rstrip("\n") + "\n"
    if config.transfers:
        contexts += "\n" + transfer_contexts(config.transfers)
    if flavor.entry:
        contexts = "".join(text for _, text in _sections(shipped[ENTRY.format(flavor.entry)])) + "\n" + contexts
    ours = {flavor.pjsip: _endpoints(shipped[PJSIP], names, transports)}
    if flavor.globals:
        ours[flavor.globals] = settings
    else:
        contexts = _as_subroutine(settings) + "\n" + contexts
    ours[flavor.dialplan] = contexts
    _refuse_doubles(ours, found)
    _refuse_to_forget_the_secret(settings, found)
    files = tuple(File(path, ours[path], placed(path, found.get(path, ""), ours[path])) for path in flavor.paths)
    return Plan(files, (*_notes(flavor, names, found), *flavor.steps))


def removal(flavor: Flavor, found: Mapping[str, str]) -> Plan:
    """Return the files of *flavor* without our part; raise CannotPlace."""
    # The dialplan first: from then on, nothing leads to the rest.
    paths = [path for path in reversed(flavor.paths) if path in found]
    files = tuple(File(path, "", placed(path, found[path], "")) for path in paths)
    return Plan(files, (f"Load it: {_RELOAD}",))


def placed(path: str, existing: str, ours: str) -> str:
    """Return *existing* with *ours* between our two lines, at the end where it has none yet; all the rest stays as it is.

    With nothing to say, our lines go too. Raises CannotPlace where they are not one of each, in their order.
    """
    lines = existing.splitlines(keepends=True)
    begins = [place for place, line in enumerate(lines) if line.startswith(BEGIN)]
    ends = [place for place, line in enumerate(lines) if line.startswith(END)]
    part = f"{_BEGIN_LINE}{ours}{_END_LINE}" if ours else ""
    if not begins and not ends:
        gap = "\n" if part and existing and not existing.endswith("\n") else ""
        return f"{existing}{gap}{part}"
    if len(begins) != 1 or len(ends) != 1 or ends[0] < begins[0]:
        where = "; ".join(f"line {place + 1}: {lines[place].rstrip()[: len(BEGIN)]}" for place in sorted(begins + ends))
        raise CannotPlace(
            f'{path}: our part must begin with one line "{BEGIN}" and end with one line "{END}", but there is {where}; '
            "delete what is left of our part by hand, both lines included, and run this again"
        )
    return "".join(lines[: begins[0]]) + part + "".join(lines[ends[0] + 1 :])


def _without_ours(text: str) -> str:
    """Return the administrator's text; of a part without its end, nothing that comes after its beginning."""
    before, _, rest = text.partition(BEGIN)
    return before + rest.partition(END)[2]


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield each section's name and text, with the comment right above it; what stands before the first one is left out."""
    name, block = "", list[str]()
    for line in text.splitlines(keepends=True):
        if line.startswith("#include"):
            continue
        if header := _SECTION.match(line):
            above = len(block)
            while above and block[above - 1].startswith(";"):
                above -= 1
            if name:
                yield name, "".join(block[:above])
            name, block = header[1], block[above:]
        block.append(line)
    if name:
        yield name, "".join(block)


def _settings(config: Config, shipped: str, bridge: str) -> str:
    """Return the global variables with their comments, as `NAME = value`."""
    rules = config.rules.rules
    longest = max((rule.dialling.max_duration_seconds for rule in rules), default=0)
    values = {
        "MILLIS_BRIDGE": _bridge_address(config, bridge),
        "MILLIS_SECRET": config.agi.secret.get_secret_value(),
        "MILLIS_BUDGET_SECONDS": str(max(SHIPPED_BUDGET_SECONDS, floor(config.agi.setup_timeout_seconds) + 1)),
        # A minute, for a call that rings before it is answered.
        "MILLIS_LONGEST_CALL_SECONDS": str(max(SHIPPED_LONGEST_CALL_SECONDS, longest + 60)),
    }
    if config.rules.default_fallback:
        values["MILLIS_DEFAULT_FALLBACK"] = config.rules.default_fallback
    [section] = [text for name, text in _sections(shipped) if name == "globals"]
    lines = section.partition("[globals]\n")[2].splitlines()
    last = max(place for place, line in enumerate(lines) if _SETTING.fullmatch(line))
    return "".join(f"{_with_value(line, values)}\n".replace(" = \n", " =\n") for line in lines[: last + 1])


def _with_value(line: str, values: Mapping[str, str]) -> str:
    setting = _SETTING.fullmatch(line)
    return f"{setting[1]} = {values[setting[1]]}" if setting and setting[1] in values else line


def _as_subroutine(settings: str) -> str:
    """Return a context that sets on a channel what would else be global variables."""
    lines = ["; Gosub(millis-settings,s,1): what would else be global variables.", "[millis-settings]"]
    before = "exten => s,1,"
    for line in settings.splitlines():
        if setting := _SETTING.fullmatch(line):
            lines.append(f"{before}Set({setting[1]}={setting[2]})")
            before = " same => n,"
        else:
            lines.append(line)
    return "\n".join([*lines, f"{before}Return()", ""])


def _bridge_address(config: Config, bridge: str) -> str:
    """Return where the PBX reaches the bridge; an address that stands for every address of this machine is its own."""
    address = parse_address(bridge) if bridge else config.agi.addresses[0]
    if not address.port:
        raise CannotPlace("the bridge listens on any free port; say where Asterisk reaches it, with --bridge HOST:PORT")
    text = str(address)
    return text.replace("0.0.0.0:", "127.0.0.1:") if address.host == "0.0.0.0" else text.replace("[::]:", "[::1]:")  # noqa: S104


def _endpoints(shipped: str, names: Iterable[str], transports: Mapping[str, str]) -> str:
    wanted = {*_TEMPLATES, _ENDPOINTS[0], *names} & {*_TEMPLATES, *_ENDPOINTS}
    text = "".join(section for name, section in _sections(shipped) if name in wanted)
    return re.sub(r"(?<=^transport = )\w+$", lambda name: transports[name[0]], text, flags=re.MULTILINE).rstrip() + "\n"


def _transports(found: Mapping[str, str]) -> dict[str, str]:
    """Return the first PJSIP transport of each protocol in the files that are there."""
    transports: dict[str, str] = {}
    for path, text in found.items():
        if "pjsip" not in path:
            continue
        for name, section in _sections(_without_ours(text)):
            protocol = re.search(r"^\s*protocol\s*=\s*(\w+)", section, re.MULTILINE)
            if protocol and f"[{name}](!" not in section:
                transports.setdefault(protocol[1].lower(), name)
    return transports


def _refuse_doubles(ours: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Raise CannotPlace where a section of ours stands elsewhere: two endpoints of one name cost Asterisk all of pjsip.conf."""
    for path, text in ours.items():
        kind = "pjsip" if "pjsip" in path else "extensions"
        names = {name for name, _ in _sections(text)}
        for other, whole in found.items():
            if kind not in other:
                continue
            for line in _without_ours(whole).splitlines():
                header = _SECTION.match(line)
                # With (+), a section adds to one that is there: the administrator's own business.
                if header and header[1] in names and header[2] != "+":
                    remedy = (
                        "rename the trunk or extension of that name, or delete a copy made by hand"
                        if kind == "pjsip"
                        else "delete that copy, which our part is to replace"
                    )
                    raise CannotPlace(f"{other} has a section [{header[1]}] already; {remedy}, and run this again")


def _refuse_to_forget_the_secret(settings: str, found: Mapping[str, str]) -> None:
    """Raise CannotPlace where Asterisk knows a secret and we do not: it may be in the environment of the service alone."""
    if _HAS_SECRET.search(settings):
        return
    for path, text in found.items():
        if _HAS_SECRET.search(text):
            raise CannotPlace(
                f"{path} has a MILLIS_SECRET, but neither AGI_BRIDGE_SECRET nor secret_file says it here; set the one that the "
                "bridge has, or, if it has none any more, delete that line"
            )


def _notes(flavor: Flavor, names: Iterable[str], found: Mapping[str, str]) -> Iterator[str]:
    """Yield what a person must see to before anything else."""
    for name in sorted(set(names) - set(_ENDPOINTS)):
        yield f"The endpoint {name}, which a rule names, is not one of ours: it must be a PJSIP endpoint of yours."
    there = _transports(found)
    for name in sorted(set(names) & set(_ENDPOINTS[1:])):
        protocol = name.removeprefix("millis-")
        if found and protocol not in there:
            yield f"The endpoint {name} needs a PJSIP transport for {protocol.upper()}: {flavor.enable_transport}."
