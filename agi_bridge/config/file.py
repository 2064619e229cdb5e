"""The whole file: which tables it may have, how much of it can be read, and the rest as problems in our words.

Here pydantic's findings become lines that an operator understands. How tables fit together is not known here.
"""

from __future__ import annotations

import copy
import tomllib
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from agi_bridge.config.agi import AgiSettings
from agi_bridge.config.log import LogSettings
from agi_bridge.config.metadata import MetadataSettings
from agi_bridge.config.millis import AccountSettings, BackfillSettings, MillisSettings
from agi_bridge.config.numbers import NumberSettings
from agi_bridge.config.originate import OriginateSettings
from agi_bridge.config.pbx import PbxSettings
from agi_bridge.config.prefetch import PrefetchSettings
from agi_bridge.config.reading import called, closest
from agi_bridge.config.records import RecordSettings
from agi_bridge.config.route import DefaultSettings, RouteSettings
from agi_bridge.config.table import Table
from agi_bridge.config.token import TokenSettings
from agi_bridge.config.transfer import TransferSettings
from agi_bridge.config.web import WebSettings
from agi_bridge.config.webhook import WebhookSettings
from agi_bridge.errors import ConfigError, Problem
from agi_bridge.numbers import PatternError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class File(Table):
    """The whole file, as it may be written."""

    agi: AgiSettings = AgiSettings()
    web: WebSettings = WebSettings()
    millis: MillisSettings = MillisSettings()
    account: dict[str, AccountSettings] = {}
    numbers: NumberSettings = NumberSettings()
    metadata: MetadataSettings = MetadataSettings()
    log: LogSettings = LogSettings()
    records: RecordSettings = RecordSettings()
    prefetch: PrefetchSettings = PrefetchSettings()
    backfill: BackfillSettings = BackfillSettings()
    defaults: DefaultSettings = DefaultSettings()
    pbx: list[PbxSettings] = []
    route: list[RouteSettings] = []
    transfer: list[TransferSettings] = []
    originate: OriginateSettings | None = None
    token: list[TokenSettings] = []
    webhook: list[WebhookSettings] = []


def parsed(text: str) -> dict[str, Any]:
    """Return the tables of a file, unread; raise ConfigError where it is not TOML."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        hint = 'texts and phone numbers stand in quotes, such as did = "+15551230001"'
        raise ConfigError([Problem("file", f"is not TOML: {error}", hint)]) from None


def checked(raw: Mapping[str, Any]) -> tuple[File, list[Problem]]:
    """Return what can be read of *raw*, with the defaults for all else, and what is wrong with the rest."""
    try:
        return _readable(raw)
    except RecursionError:
        raise ConfigError([Problem("file", "has tables inside tables, hundreds deep")]) from None


def _readable(raw: Mapping[str, Any]) -> tuple[File, list[Problem]]:
    # What is wrong is taken out, and the rest read once more: one run is to find every problem.
    try:
        return File.model_validate(raw), []
    except ValidationError as error:
        found = error.errors(include_url=False)
        rest = copy.deepcopy(raw)
        for place in sorted({_existing(each["loc"], raw) for each in found}, reverse=True):
            _remove(place, rest)
        return _readable(rest)[0], [_in_our_words(each, raw) for each in found]


def _in_our_words(found: Any, raw: Mapping[str, Any]) -> Problem:
    """Return a finding of pydantic's in our words, with its place in the file and what to do."""
    place, kind, value = _existing(found["loc"], raw), found["type"], found["input"]
    path = _path(place, raw)
    if kind == "missing":
        return Problem(f"{path}.{found['loc'][-1]}", "is missing")
    if kind == "extra_forbidden":
        return Problem(path, "there is no such key", closest(str(place[-1]), _keys_beside(place)))
    if kind == "string_type" and isinstance(value, int | float) and not isinstance(value, bool):
        phone = "did" in place or "caller" in place
        hint = f'write "{value}"' + (' with its "+" and leading zeros' if phone else "")
        return Problem(path, f"the number {value} has no quotes", hint)
    if kind == "list_type" and place in (("route",), ("pbx",), ("transfer",), ("token",), ("webhook",)):
        hint = f"write [[{path}]], with two brackets on each side"
        return Problem(path, f"is one table, but {'PBXs' if path == 'pbx' else path + 's'} are a list", hint)
    if kind == "value_error":
        error = found["ctx"]["error"]
        hint = 'write a number, or a pattern such as "_1NXXNXXXXXX" or "_X."' if isinstance(error, PatternError) else ""
        return Problem(path, str(error), hint)
    if kind in ("model_type", "dict_type"):
        return Problem(path, "must be a table")
    if kind == "string_pattern_mismatch" and place[-1:] == ("sha256",):
        return Problem(path, "is no hash of a token", "agi-bridge token prints one, with the token to give away")
    if kind in ("too_short", "string_too_short"):
        return Problem(path, "must not be empty")
    hint = "without quotes" if kind in ("int_type", "float_type", "bool_type") and isinstance(value, str) else ""
    return Problem(path, found["msg"][0].lower() + found["msg"][1:], hint)


def _existing(place: Sequence[Any], raw: Any) -> tuple[Any, ...]:
    """Return the beginning of *place* that is there in the file, where a list of one may be written without brackets."""
    there: list[Any] = []
    for part in place:
        if part not in (raw if isinstance(raw, dict) else range(len(raw)) if isinstance(raw, list) else ()):
            break
        there.append(part)
        raw = raw[part]
    return tuple(there)


def _remove(place: Sequence[Any], raw: Any) -> None:
    for part in place[:-1]:
        raw = raw[part]
    del raw[place[-1]]


def _path(place: Sequence[Any], raw: Mapping[str, Any]) -> str:
    """Return a place in the file as the operator knows it: a route or PBX by its name, list members counted from 1."""
    head = ""
    if place[0] in ("route", "pbx", "webhook") and len(place) > 1:
        table = raw[place[0]][place[1]]
        name = table.get("name") if isinstance(table, dict) else None
        head = called(place[0], name, place[1] + 1)
        place = place[2:]
    words = (f"[{part + 1}]" if isinstance(part, int) else "." + (part or '""') for part in place)
    tail = "".join(words).removeprefix(".")
    return f"{head}: {tail}" if head and tail else head or tail


def _keys_beside(place: Sequence[Any]) -> list[str]:
    """Return the keys that may stand where an unknown one was found."""
    model: type[BaseModel] = File
    for part in place[:-1]:
        if not isinstance(part, str) or part not in model.model_fields:
            continue
        inner = [model.model_fields[part].annotation, *get_args(model.model_fields[part].annotation)]
        model = next((kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)
