"""What differs between two configurations, in the words of the file.

Pure. A reload tells it to the operator, who sees whether the change that was meant is the one that was made. Secrets are
compared but never shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agi_bridge.config import Config
    from agi_bridge.routing import RuleBook

_TABLES = ("agi", "web", "millis", "numbers", "metadata", "log", "records", "prefetch", "backfill")


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload did: all that changed since the one before, and what waits for a restart since the start."""

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]


def changes(old: Config, new: Config) -> tuple[str, ...]:
    """Return what changed, each as a key of the file, or a route, PBX or token by its name."""
    return (
        *_keys(old, new),
        *_accounts(old, new),
        *_pbxs(old, new),
        *_routes(old.rules, new.rules),
        *_transfers(old, new),
        *_webhooks(old, new),
        *_originate(old, new),
        *_tokens(old, new),
    )


def values(config: Config, keys: Iterable[str]) -> Mapping[str, Any]:
    """Return what the *keys* say, each written as `table.key`."""
    places = {key: key.partition(".") for key in keys}
    return {key: getattr(getattr(config, table), name) for key, (table, _, name) in places.items()}


def _keys(old: Config, new: Config) -> Iterator[str]:
    for table in _TABLES:
        before, after = getattr(old, table), getattr(new, table)
        for key in type(before).model_fields:
            if getattr(before, key) != getattr(after, key):
                yield f"{table}.{key}"


def _accounts(old: Config, new: Config) -> Iterator[str]:
    if old.agi.secret != new.agi.secret:
        yield "the secret of AGI requests"
    if old.records.database != new.records.database and old.records.url == new.records.url:
        yield "the password of records"
    if old.prefetch.secrets != new.prefetch.secrets:
        yield "a secret of prefetch"
    for name in sorted(old.api_keys.keys() | new.api_keys.keys()):
        if old.api_keys.get(name) != new.api_keys.get(name):
            yield f"the API key of account {name}"


def _pbxs(old: Config, new: Config) -> Iterator[str]:
    before, after = ({pbx.name: pbx for pbx in config.pbxs} for config in (old, new))
    yield from (f'pbx "{name}" removed' for name in before if name not in after)
    for name, pbx in after.items():
        if name not in before:
            yield f'pbx "{name}" added'
        elif pbx != before[name]:
            yield f'pbx "{name}" changed'


def _routes(old: RuleBook, new: RuleBook) -> Iterator[str]:
    before, after = ({rule.name: rule for rule in book.rules} for book in (old, new))
    yield from (f'route "{name}" removed' for name in before if name not in after)
    for name, rule in after.items():
        if name not in before:
            yield f'route "{name}" added'
        elif rule != before[name]:
            yield f'route "{name}" changed'
    kept = before.keys() & after.keys()
    if [name for name in before if name in kept] != [name for name in after if name in kept]:
        yield "the order of the routes"
    if old.default_fallback != new.default_fallback:
        yield "defaults.fallback"


def _originate(old: Config, new: Config) -> Iterator[str]:
    if old.originate == new.originate:
        return
    if old.originate is None or new.originate is None:
        yield f"originate {'added' if new.originate else 'removed'}"
        return
    for key in type(new.originate).model_fields:
        if getattr(old.originate, key) != getattr(new.originate, key):
            yield f"originate.{key}"


def _transfers(old: Config, new: Config) -> Iterator[str]:
    if old.transfers != new.transfers:
        yield "the [[transfer]] list; the PBX has a list of its own, see agi-bridge asterisk-config"


def _webhooks(old: Config, new: Config) -> Iterator[str]:
    before, after = ({hook.name: hook for hook in config.webhooks} for config in (old, new))
    yield from (f'webhook "{name}" removed' for name in before if name not in after)
    for name, hook in after.items():
        if name not in before:
            yield f'webhook "{name}" added'
        elif hook != before[name]:
            yield f'webhook "{name}" changed'


def _tokens(old: Config, new: Config) -> Iterator[str]:
    before, after = ({token.name: token for token in config.tokens} for config in (old, new))
    yield from (f'token "{name}" removed' for name in before if name not in after)
    for name, token in after.items():
        if name not in before:
            yield f'token "{name}" added'
        elif token != before[name]:
            yield f'token "{name}" changed'
