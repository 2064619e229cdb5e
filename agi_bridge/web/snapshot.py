"""How the bridge is at one moment, as plain values: all that the web side ever sees of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class RecordsState:
    """What has become of the reports of calls: counters by their names, and what waits for the spool and the database."""

    counts: Mapping[str, int]
    queued: int
    waiting_bytes: int
    spool_is_well: bool
    database_is_well: bool


@dataclass(frozen=True, slots=True)
class WebhookState:
    """What has become of the events for one target: counters by their names, and what waits for the disk and the target."""

    counts: Mapping[str, int] = field(default_factory=dict)
    queued: int = 0
    waiting_bytes: int = 0
    is_well: bool = True


@dataclass(frozen=True, slots=True)
class PbxState:
    """The connection to the manager interface of one PBX. `failures` counts why there was none, `actions` each by how it went."""

    connected: bool = False
    logins: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    actions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    left_out: int = 0
    followed_calls: int = 0
    followed_channels: int = 0
    forgotten_calls: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One process of the bridge. `not_ready` says why new calls are not welcome; it is empty where they are.

    `needs_restart` names the keys that were changed but wait for a restart. `door` has the server's counters by their names, `region_states` the state of each region, and `region_changes` how
    often each region entered each state. `control` counts what was asked of live calls by verb and outcome, `millis_webhooks`
    what Millis told by what came of it, `http_refusals` the refused requests by code. `pbxs` has the PBXs that are configured,
    by their names, and so has `webhooks`.
    """

    version: str
    worker: int
    workers: int
    not_ready: str
    draining: bool
    config_file: str
    config_loaded_at: datetime
    reloads_refused: int
    open_connections: int
    open_sessions: int
    door: Mapping[str, int]
    needs_restart: tuple[str, ...] = ()
    registrations_in_flight: int = 0
    orphaned_registrations: int = 0
    region_states: Mapping[str, str] = field(default_factory=dict)
    region_changes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    control: Mapping[tuple[str, str], int] = field(default_factory=dict)
    millis_webhooks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    http_refusals: Mapping[str, int] = field(default_factory=dict)
    http_refused_connections: int = 0
    records: RecordsState | None = None
    pbxs: Mapping[str, PbxState] = field(default_factory=dict)
    webhooks: Mapping[str, WebhookState] = field(default_factory=dict)
