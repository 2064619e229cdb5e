"""The composition root: builds every part, in the order of start-up; reversed, that is the order of shutdown.

The AGI server comes last and goes first, so that calls drain while everything they need still lives, and while the web side
still says that they do.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import structlog

from agi_bridge import __version__
from agi_bridge.agi.server import AgiServer
from agi_bridge.bridge import Bridge
from agi_bridge.changes import Reloaded, changes, values
from agi_bridge.control import Control
from agi_bridge.dialplan import safe_call_id
from agi_bridge.dry_run import imagined_call, route_facts
from agi_bridge.errors import CannotListen, ConfigError, NoRecordsYet, RecordsError
from agi_bridge.events.sender import Sender
from agi_bridge.events.webhooks import Webhooks
from agi_bridge.ledger import Ledger
from agi_bridge.live import Live
from agi_bridge.millis.backfill import Backfill, ended_sessions
from agi_bridge.millis.client import millis_client, plain_keys
from agi_bridge.millis.regions import Regions
from agi_bridge.millis.sessions import MillisSessions
from agi_bridge.outbound import Outbound
from agi_bridge.pbx.pbxs import Pbxs
from agi_bridge.records.export import as_object
from agi_bridge.records.joining import without_transcript
from agi_bridge.records.keeper import Records
from agi_bridge.records.lookup import SqlLookup
from agi_bridge.records.place import open_store, record_folder, state_folder
from agi_bridge.records.reader import RecordReader
from agi_bridge.records.selection import asked_page, cursor_after
from agi_bridge.routing import choose_route
from agi_bridge.systemd import Notifier, listening_sockets, watchdog_seconds
from agi_bridge.web.api import Api
from agi_bridge.web.guard import Guard
from agi_bridge.web.lookup import HttpLookup
from agi_bridge.web.metrics import Metrics
from agi_bridge.web.millis_webhooks import MillisWebhooks
from agi_bridge.web.server import WebServer
from agi_bridge.web.snapshot import PbxState, RecordsState, Snapshot, WebhookState
from agi_bridge.web.tools import Tools
from agi_bridge.workers import DRAIN, INSIST, Place, Workers, place_from_environ

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
    from types import TracebackType

    from agi_bridge.bridge import Recorder
    from agi_bridge.call import Report
    from agi_bridge.config import Config, PrefetchSettings, RecordSettings
    from agi_bridge.events.outbox import Outbox
    from agi_bridge.pbx.connection import Connection
    from agi_bridge.records.store import Store

log = structlog.get_logger(__name__)

Found = TypeVar("Found")

# What only a restart changes, besides what the parts themselves name.
_FIXED_KEYS = (
    "web.listen",
    "web.connection_limit",
    "web.connection_timeout_seconds",
    "web.body_limit_bytes",
    "millis.connect_timeout_seconds",
    "millis.keepalive_seconds",
    "log.level",
    "log.format",
    "log.numbers",
)


# How long a thread that keeps records may go on in the interpreter while a call waits to: a tenth of Python's own 5 ms.
_THREADS_TURN_SECONDS = 0.0005


class Service:
    """The bridge in one process: entered, it takes calls, and left, it drains."""

    def __init__(
        self,
        config: Config,
        reread: Callable[[], Config],
        *,
        config_file: str = "",
        place: Place | None = None,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        self.config = config
        self._reread = reread
        self._config_file = config_file
        self._place = place or Place()
        self._loaded_at = datetime.now(UTC)
        self._reloads_refused = 0
        self._fixed = values(config, _fixed_keys(config))
        self._needs_restart: tuple[str, ...] = ()
        self._reloading = asyncio.Lock()
        self._is_up = False
        metrics = Metrics(self.snapshot)
        self.millis = millis_client(config)
        self.regions = Regions(self.millis, config.millis, time.monotonic)
        self.records = open_records(config.records, config_file, self._place) if config.records.enabled else None
        self.webhooks = Webhooks(config.webhooks, event_folder(config.records, config_file), Sender())
        self.pbxs = Pbxs(config.pbxs, time.monotonic)
        self.bridge = Bridge(
            config,
            self.regions,
            now=lambda: datetime.now(UTC),
            clock=time.monotonic,
            meter=metrics,
            recorder=Reports(*([self.records] if self.records else []), self.webhooks),
            watcher=self.pbxs,
        )
        self.reader = open_reader(config.records, config_file) if config.records.enabled else None
        self.lookup = open_lookup(config.prefetch)
        self.backfill = Backfill(
            self.millis,
            lambda: self.config.backfill,
            lambda: [(account, region) for account in self.config.api_keys for region in self._regions_in_use()],
            self._first_without_millis,
            self._add_report,
        )
        self.sessions = MillisSessions()
        self.live = Live(self.pbxs, self.reader)
        self.control = Control(config.transfers, self.live)
        self.outbound = Outbound(
            config,
            self._ledger(config),
            self.pbxs.connections,
            self.control.counts,
            now=lambda: datetime.now(UTC),
            meter=metrics,
            recorder=self.records,
        )
        self.guard = Guard(config.tokens, config.web, time.monotonic)
        self.millis_webhooks = MillisWebhooks(
            self.guard,
            self.sessions,
            self.records,
            self.lookup,
            lookup_seconds=config.prefetch.timeout_seconds,
            value_limit_characters=config.metadata.value_limit_characters,
        )
        routes = [
            *Tools(self.guard, self.control, self).routes(),
            *self.millis_webhooks.routes(),
            *Api(self.guard, self.control, self, self.outbound, __version__).routes(),
        ]
        self.web = WebServer(config.web, self._place.number, self.snapshot, metrics.text, self.reload, routes)
        self.agi = AgiServer(config.agi, self.bridge.handle, sockets=sockets, reuse_port=self._place.of > 1)

    async def __aenter__(self) -> Self:
        for warning in self.config.warnings:
            log.warning("configuration", path=warning.path, why=warning.message, hint=warning.suggestion)
        async with AsyncExitStack() as stack:
            if self.records is not None:
                await stack.enter_async_context(self.records)
            if self.reader is not None:
                await stack.enter_async_context(self.reader)
            if self.lookup is not None:
                await stack.enter_async_context(self.lookup)
            await stack.enter_async_context(self.webhooks)
            await stack.enter_async_context(self.millis)
            probing = self.regions.probing(lambda: next(iter(self.config.api_keys)), self._regions_in_use)
            await stack.enter_async_context(probing)
            if self.records is not None and self._place.number == 1:
                await stack.enter_async_context(_beside(self.backfill.run()))
            await stack.enter_async_context(self.pbxs)
            await stack.enter_async_context(self.outbound)
            await stack.enter_async_context(self.web)
            await stack.enter_async_context(self.agi)
            self._stack = stack.pop_all()
        self._is_up = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def snapshot(self) -> Snapshot:
        """Return how the bridge is now; for the web side."""
        return Snapshot(
            version=__version__,
            worker=self._place.number,
            workers=self._place.of,
            not_ready=self._not_ready(),
            draining=self.agi.draining,
            config_file=self._config_file,
            config_loaded_at=self._loaded_at,
            reloads_refused=self._reloads_refused,
            needs_restart=self._needs_restart,
            open_connections=self.agi.open_connections,
            open_sessions=self.agi.open_sessions,
            door=self.agi.counts.as_fields(),
            registrations_in_flight=self.regions.in_flight,
            orphaned_registrations=self.regions.orphaned,
            region_states=self.regions.states(),
            region_changes=self.regions.changes,
            control=self.control.counts,
            millis_webhooks=self.millis_webhooks.counts,
            http_refusals=self.guard.counts,
            http_refused_connections=self.web.refused_connections,
            records=_state_of(self.records) if self.records else None,
            pbxs={name: pbx_state(connection) for name, connection in self.pbxs.connections.items()},
            webhooks={name: _webhook_state(outbox) for name, outbox in self.webhooks.outboxes.items()},
        )

    async def bridge_call_id(self, session_id: str) -> str:
        """Return our id of the call that Millis knows by *session_id*, "" where it is not known."""
        if known := self.sessions.bridge_call_id(session_id):
            return known
        if not session_id.isprintable() or not session_id:
            return ""
        record = None
        if self.reader is not None:
            with suppress(NoRecordsYet):
                record = await self.reader.ask(lambda store: store.call_of_session(session_id))
        return record.bridge_call_id if record else ""

    async def calls(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of records as *query* asks for it; raise ValueError or RecordsError. For the web side."""
        page = asked_page(query, self.config.rules.numbers, datetime.now(UTC))
        found = await self._read(
            lambda store: store.page(page.selection, page.limit + 1, newest_first=True, after=page.after)
        )
        shown = found[: page.limit]
        more = cursor_after(shown[-1].received_at, shown[-1].bridge_call_id) if len(found) > len(shown) else None
        return {"calls": [as_object(record) for record in shown], "next": more}

    async def call(self, bridge_call_id: str) -> dict[str, Any] | None:
        """Return one record, None where there is none; raise RecordsError. For the web side."""
        known = safe_call_id(bridge_call_id)
        record = await self._read(lambda store: store.call(known)) if known else None
        return as_object(record) if record else None

    async def _read(self, question: Callable[[Store], Found]) -> Found:
        if self.reader is None:
            raise RecordsError("records are switched off: enabled under [records]")
        return await self.reader.ask(question)

    async def _first_without_millis(self, since: datetime, until: datetime) -> datetime | None:
        return await self._read(lambda store: store.first_without_millis(since, until))

    def _add_report(self, report: Report) -> None:
        if self.records is not None:
            self.records.add(report)

    async def live_calls(self) -> dict[str, Any]:
        """Return the calls that are up; for the web side."""
        return await self.live.shown()

    def dry_run(self, did: str, caller: str | None, context: str, channel: str) -> dict[str, Any]:
        """Return what would become of a call; for the web side."""
        call = imagined_call(self.config, "(given to each call)", did, caller, context, channel, ())
        return route_facts(self.config, call, choose_route(self.config.rules, call), datetime.now(UTC))

    def _ledger(self, config: Config) -> Ledger:
        """Return the count of the calls that we start; all workers, and the bridge after this one, count in one file."""
        named = config.originate.folder if config.originate else None
        folder = Path(self._config_file).parent / named if named else state_folder(os.environ)
        return Ledger(folder, lambda: datetime.now(UTC))

    def _regions_in_use(self) -> set[str]:
        """Return the regions that rules name; none where no key is needed, because every rule rejects."""
        rules = self.config.rules.rules if self.config.api_keys else ()
        return {region for rule in rules if not rule.reject for region in rule.agent.regions}

    def _not_ready(self) -> str:
        if self.agi.draining:
            return "draining"
        if not self._is_up:
            return "starting"
        full = self.agi.open_connections >= self.config.agi.session_limit
        return "session_limit under [agi] is reached" if full else ""

    async def reload(self) -> Reloaded:
        """Read the configuration anew and take it; raise ConfigError where it is bad, and then nothing has changed."""
        async with self._reloading:
            try:
                fresh = await asyncio.to_thread(self._reread)
            except Exception as error:
                self._reloads_refused += 1
                why = type(error).__name__
                if isinstance(error, ConfigError):
                    why = f"{counted(len(error.problems), 'problem')}, the first: {error.problems[0]}"
                    for problem in error.problems:
                        log.error("configuration", path=problem.path, why=problem.message, hint=problem.suggestion)
                log.error("reload failed; the old configuration stays", why=why)
                raise
            return self._take(fresh)

    def _take(self, fresh: Config) -> Reloaded:
        """Swap the configuration. Nothing is awaited here, so every call sees all of the old one or all of the new one."""
        changed = changes(self.config, fresh)
        of_agi = (f"agi.{key}" for key in self.agi.reconfigure(fresh.agi))
        # Compared with the start: what the reload before this one had put off still waits, unless it was put back.
        self._needs_restart = (
            *of_agi,
            *(k for k, v in values(fresh, _fixed_keys(fresh)).items() if v != self._fixed[k]),
        )
        self.millis.reconfigure(fresh.millis, plain_keys(fresh))
        self.regions.reconfigure(fresh.millis)
        self.pbxs.reconfigure(fresh.pbxs)
        self.webhooks.reconfigure(fresh.webhooks)
        self.control.reconfigure(fresh.transfers)
        self.outbound.reconfigure(fresh, self._ledger(fresh))
        self.guard.reconfigure(fresh.tokens, fresh.web)
        self.bridge.reconfigure(fresh)
        self.config = fresh
        self._loaded_at = datetime.now(UTC)
        _raise_file_limit(fresh)
        done = Reloaded(changed, self._needs_restart)
        log.info("configuration reloaded", changed=done.changed, needs_restart=done.needs_restart)
        return done


class Reports:
    """Hands each report of a call to all who make something of it; what goes wrong with one does not reach the next."""

    def __init__(self, *takers: Recorder) -> None:
        self._takers = takers

    def add(self, report: Report) -> None:
        """Hand over; neither waits nor raises."""
        for taker in self._takers:
            try:
                taker.add(report)
            except Exception:
                log.exception("a report was not taken", bridge_call_id=report.bridge_call_id)


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[AgiServer]:
    """Run the bridge while the context is entered; leaving it drains. A reload finds the same configuration again."""
    async with Service(config, lambda: config) as service:
        yield service.agi


def open_records(settings: RecordSettings, config_file: str, place: Place) -> Records:
    """Return what keeps the records of calls, once it is entered."""
    folder = record_folder(settings, config_file)
    return Records(settings, folder, partial(open_store, settings, folder), forgets=place.number == 1)


def open_reader(settings: RecordSettings, config_file: str) -> RecordReader:
    """Return what reads the records, once it is entered."""
    folder = record_folder(settings, config_file)
    return RecordReader(partial(open_store, settings, folder, for_reading=True), settings.read_timeout_seconds)


def open_lookup(settings: PrefetchSettings) -> HttpLookup | SqlLookup | None:
    """Return what looks up callers, once it is entered; None where the configuration wants none."""
    if settings.url:
        return HttpLookup(settings)
    return SqlLookup(settings) if settings.sql else None


async def backfilled(config: Config, store: Store, since: datetime) -> dict[str, int]:
    """Ask Millis for the ends of the calls *since* then, and join them; return what came of it. For the command."""
    found = changed = 0
    drops, masks = config.records.drop_transcripts_after_days == 0, config.records.mask_numbers_after_days == 0
    regions = {region for rule in config.rules.rules if not rule.reject for region in rule.agent.regions}
    async with millis_client(config) as client:
        for account in config.api_keys:
            for region in sorted(regions):
                async for report in ended_sessions(client, config.backfill, account, region, since):
                    found += 1
                    kept = without_transcript(report) if drops else report
                    changed += await asyncio.to_thread(store.write, [kept], mask_numbers=masks)
    return {"ends_found": found, "records_changed": changed, "kept_aside": store.unmatched()}


def event_folder(settings: RecordSettings, config_file: str) -> Path:
    """Return where events wait for their targets: beside the records, kept or not."""
    return record_folder(settings, config_file) / "events"


def pbx_state(connection: Connection) -> PbxState:
    """Return how the connection to a PBX is now; for the web side."""
    return PbxState(
        connected=connection.connected,
        logins=connection.logins,
        failures=connection.failures,
        actions=connection.actions,
        left_out=connection.left_out,
        followed_calls=connection.channels.calls,
        followed_channels=connection.channels.up,
        forgotten_calls=connection.channels.forgotten,
    )


async def serve(
    config: Config, reread: Callable[[], Config], config_file: str, environ: Mapping[str, str] = os.environ
) -> None:
    """Serve until told to stop, as one process or as the parent of several.

    The first SIGTERM or SIGINT drains, the second insists; SIGHUP reads the configuration anew.
    """
    place = place_from_environ(environ)
    sockets = listening_sockets(environ, place.parent)
    notifier = Notifier(place.wire) if place.wire else Notifier.from_environ(environ)
    try:
        if config.agi.workers > 1 and place.wire is None:
            await _serve_with_workers(config, config_file, environ, sockets, notifier)
        else:
            service = Service(config, reread, config_file=config_file, place=place, sockets=sockets)
            await _serve_alone(service, place, notifier, watchdog_seconds(environ, os.getpid()))
    finally:
        notifier.close()


async def _serve_alone(service: Service, place: Place, notifier: Notifier, watchdog: float | None) -> None:
    _raise_file_limit(service.config)
    stop, hang_up = asyncio.Event(), asyncio.Event()
    main = asyncio.current_task()
    assert main is not None  # noqa: S101 - a coroutine always runs in a task

    def insist() -> None:
        log.warning("stopping at once")
        stop.set()
        main.cancel()

    def drain_or_insist() -> None:
        if stop.is_set():
            insist()
        stop.set()

    asked = (drain_or_insist, drain_or_insist) if place.wire is None else (stop.set, insist)
    async with AsyncExitStack() as stack:
        stack.enter_context(_signals(dict(zip((DRAIN, INSIST), asked, strict=True)) | {signal.SIGHUP: hang_up.set}))
        if watchdog is not None:
            await stack.enter_async_context(_beside(_say_alive(notifier, watchdog / 2)))
        if place.wire is not None:
            await stack.enter_async_context(_beside(_until_parent_is_gone(place.wire, stop)))
        await stack.enter_async_context(service)
        await stack.enter_async_context(_beside(_reload_when(hang_up, service, notifier)))
        _calm_the_collector()
        sys.setswitchinterval(_THREADS_TURN_SECONDS)
        which = {} if place.wire is None else {"worker": place.number, "pid": os.getpid()}
        log.info("ready", version=__version__, rules=len(service.config.rules.rules), **which)
        notifier.ready(_status(service.config))
        await stop.wait()
        log.info("stopping")
        notifier.stopping()


async def _serve_with_workers(
    config: Config,
    config_file: str,
    environ: Mapping[str, str],
    sockets: Sequence[socket.socket],
    notifier: Notifier,
) -> None:
    if not sockets and not all(address.port for address in config.agi.addresses):
        raise CannotListen("several workers cannot share port 0; name a port in listen under [agi]")
    watchdog = watchdog_seconds(environ, os.getpid())
    workers = Workers(
        (sys.executable, "-P", "-m", "agi_bridge", "serve", "--config", config_file),
        config.agi.workers,
        environ,
        sockets,
        notifier,
        watchdog_seconds=watchdog,
        # A drain has two bounded halves: calls are set up, then what is left is ended.
        stop_timeout_seconds=2 * config.agi.drain_timeout_seconds + 5,
    )
    asked = 0

    def drain_or_insist() -> None:
        nonlocal asked
        asked += 1
        workers.stop()

    async with AsyncExitStack() as stack:
        stack.enter_context(_signals({DRAIN: drain_or_insist, INSIST: drain_or_insist, signal.SIGHUP: workers.reload}))
        if watchdog is not None:
            await stack.enter_async_context(_beside(_say_alive(notifier, watchdog / 2)))
        await workers.run()
    if asked > 1:
        raise asyncio.CancelledError


@asynccontextmanager
async def _beside(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Do *work* while the context is entered."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


@contextmanager
def _signals(actions: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number, action in actions.items():
        loop.add_signal_handler(number, action)
    try:
        yield
    finally:
        for number in actions:
            loop.remove_signal_handler(number)


async def _reload_when(hang_up: asyncio.Event, service: Service, notifier: Notifier) -> None:
    """Reload each time *hang_up* is set; signals that come meanwhile are one."""
    while True:
        await hang_up.wait()
        hang_up.clear()
        notifier.reloading()
        status = "the last reload failed; the configuration before it stays"
        try:
            await service.reload()
            status = _status(service.config)
        except ConfigError:
            pass  # it was told problem by problem
        except Exception:
            log.exception("reload failed unexpectedly")
        notifier.ready(status)


async def _say_alive(notifier: Notifier, every_seconds: float) -> None:
    while True:
        notifier.alive()
        await asyncio.sleep(every_seconds)


async def _until_parent_is_gone(wire: socket.socket, stop: asyncio.Event) -> None:
    """Set *stop* at the end of *wire*: nobody would restart or stop this worker any more."""
    wire.setblocking(False)
    with suppress(OSError):
        while await asyncio.get_running_loop().sock_recv(wire, 64):
            pass
    log.warning("the parent is gone")
    stop.set()


def counted(count: int, noun: str) -> str:
    """Return "1 rule" or "2 rules"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _state_of(records: Records) -> RecordsState:
    return RecordsState(
        counts=records.counts,
        queued=records.queued,
        waiting_bytes=records.waiting_bytes,
        spool_is_well=records.spool_is_well,
        database_is_well=records.database_is_well,
    )


def _webhook_state(outbox: Outbox) -> WebhookState:
    return WebhookState(dict(outbox.counts), outbox.queued, outbox.waiting_bytes, outbox.is_well)


def _fixed_keys(config: Config) -> tuple[str, ...]:
    tables = {"records": config.records, "prefetch": config.prefetch}
    return (*_FIXED_KEYS, *(f"{name}.{key}" for name, table in tables.items() for key in type(table).model_fields))


def _status(config: Config) -> str:
    return f"takes calls by {counted(len(config.rules.rules), 'rule')}"


def _calm_the_collector() -> None:
    """Keep garbage collection out of calls: what lives now lives for ever, and a call leaves few cycles behind.

    A full collection among 10,000 open sessions would stop everybody for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _raise_file_limit(config: Config) -> None:
    """Ask the kernel for as many open files as it allows; a call takes two, and the usual soft limit is 1024."""
    needed = 2 * config.agi.session_limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < needed:
        log.warning(
            "the limit on open files is lower than session_limit needs; raise LimitNOFILE or lower session_limit",
            limit=hard,
            needed=needed,
        )
