"""How a file becomes a `Config`: the text is read, its tables are looked at together, and every problem is told at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agi_bridge.config import agi, millis, originate, pbx, prefetch, records, rule, token, transfer, web, webhook
from agi_bridge.config.file import checked, parsed
from agi_bridge.config.reading import Reading
from agi_bridge.errors import ConfigError
from agi_bridge.numbers import Numbers
from agi_bridge.routing import RuleBook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from agi_bridge.access import Token
    from agi_bridge.config.agi import AgiSettings
    from agi_bridge.config.file import File
    from agi_bridge.config.log import LogSettings
    from agi_bridge.config.metadata import MetadataSettings
    from agi_bridge.config.millis import BackfillSettings, MillisSettings
    from agi_bridge.config.numbers import NumberSettings
    from agi_bridge.config.originate import OriginateSettings
    from agi_bridge.config.pbx import PbxSettings
    from agi_bridge.config.prefetch import PrefetchSettings
    from agi_bridge.config.reading import ReadFile
    from agi_bridge.config.records import RecordSettings
    from agi_bridge.config.web import WebSettings
    from agi_bridge.config.webhook import WebhookSettings
    from agi_bridge.errors import Problem
    from agi_bridge.transfer import Transfer


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that can be served. `warnings` are for the operator's eyes and stop nothing."""

    agi: AgiSettings
    web: WebSettings
    millis: MillisSettings
    numbers: NumberSettings
    metadata: MetadataSettings
    log: LogSettings
    records: RecordSettings
    prefetch: PrefetchSettings
    backfill: BackfillSettings
    rules: RuleBook
    transfers: tuple[Transfer, ...]
    tokens: tuple[Token, ...]
    api_keys: Mapping[str, SecretStr]
    warnings: tuple[Problem, ...]
    pbxs: tuple[PbxSettings, ...] = ()
    webhooks: tuple[WebhookSettings, ...] = ()
    originate: OriginateSettings | None = None

    def with_workers(self, count: int) -> Config:
        """Return the same configuration with another number of workers."""
        return replace(self, agi=self.agi.model_copy(update={"workers": count}))


def load(
    text: str,
    environ: Mapping[str, str],
    read_file: ReadFile,
    *,
    need_keys: bool = True,
    need_secret: bool | None = None,
) -> Config:
    """Read a configuration; raise ConfigError with all its problems.

    *read_file* returns the bytes of a file named in the configuration, or raises OSError. Without *need_keys*, a missing
    Millis key is no problem: nothing will be registered. The bridge's own secret is read where *need_secret* says so, else
    together with the keys.
    """
    file, problems = checked(parsed(text))
    need_secret = need_keys if need_secret is None else need_secret
    return _config(file, need_keys, need_secret, Reading(problems, environ, read_file))


def where_to_ask(text: str) -> tuple[WebSettings, int]:
    """Return where a running bridge is asked, and how many workers it has; raise ConfigError.

    All the rest of the file may be wrong: a bridge that runs can be asked while its next configuration is being written.
    """
    raw = parsed(text)
    there = raw.get("agi")
    workers = {"workers": there["workers"]} if isinstance(there, dict) and "workers" in there else {}
    file, problems = checked({"web": raw.get("web", {}), "agi": workers})
    if problems:
        raise ConfigError(problems)
    return file.web, file.agi.workers


def where_records_are(text: str, environ: Mapping[str, str], read_file: ReadFile) -> tuple[RecordSettings, Numbers]:
    """Return where records are kept, and how numbers are read; raise ConfigError. The rest of the file may be wrong."""
    raw = parsed(text)
    file, problems = checked({name: raw[name] for name in ("records", "numbers") if name in raw})
    settings = records.with_secrets(file.records, Reading(problems, environ, read_file))
    if problems:
        raise ConfigError(problems)
    return settings, Numbers(file.numbers.default_country)


def _config(file: File, need_keys: bool, need_secret: bool, reading: Reading) -> Config:
    """Look at the tables in the order in which their problems are told."""
    rules = rule.rules(file, reading)
    millis.check_deadlines(file.millis, file.agi.setup_timeout_seconds, rules, reading)
    agi.check_setup_timeout(file.agi, reading)
    rule.check_durations(file.defaults, file.route, reading)
    agi.check_allow(file.agi, reading)
    web.check_ports(file.web, file.agi, reading)
    agi.check_listen(file.agi, reading)
    web.check_listen(file.web, reading)
    millis.check_base_url(file.millis, rules, reading)
    transfers = transfer.transfers(file.transfer, reading)
    tokens = token.tokens(file.token, reading)
    originate.check_originate(file.originate, file.route, file.pbx, reading)
    api_keys = _api_keys(file, reading) if need_keys else {}
    secret = agi.secret(file.agi, need_secret, reading)
    pbxs = pbx.pbxs(file.pbx, file.agi, need_keys, reading)
    webhooks = webhook.webhooks(file.webhook, need_keys, reading)
    record_settings = records.with_secrets(file.records, reading) if need_keys else file.records
    prefetch_settings = prefetch.with_secrets(file.prefetch, reading) if need_keys else file.prefetch
    if reading.problems:
        raise ConfigError(reading.problems)
    return Config(
        agi=file.agi.with_secret(secret),
        web=file.web,
        millis=file.millis,
        numbers=file.numbers,
        metadata=file.metadata,
        log=file.log,
        records=record_settings,
        prefetch=prefetch_settings,
        backfill=file.backfill,
        rules=RuleBook(rules, Numbers(file.numbers.default_country), file.defaults.fallback or ""),
        transfers=transfers,
        tokens=tokens,
        api_keys=api_keys,
        warnings=tuple(reading.warnings),
        pbxs=pbxs,
        webhooks=webhooks,
        originate=file.originate,
    )


def _api_keys(file: File, reading: Reading) -> dict[str, SecretStr]:
    default = file.defaults.account or millis.DEFAULT_ACCOUNT
    needed = {route.account or default for route in file.route if not route.reject}
    return millis.api_keys(file.millis, file.account, needed, reading)
