"""What is counted, and the text in which Prometheus reads it. The only module that knows prometheus-client.

A call that ends costs a few additions to plain numbers, in the one thread that there is; names, help and text are made when
somebody asks. `docs/operations.md` lists every metric.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from agi_bridge.call import Outcome
    from agi_bridge.routing import Route
    from agi_bridge.web.snapshot import RecordsState, Snapshot

# generate_latest writes version 0.0.4 of the format, which every Prometheus reads.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# From our own millisecond over Millis's tenths to the longest set-up that a dialplan waits for.
BUCKETS_SECONDS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    *(1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0),
)

REGION_STATES = ("closed", "half-open", "open")

# Whoever connects chooses the verb, and must not be able to make labels with it.
_VERBS = frozenset({"route", "dial", "ended", "transferred", "originate", "ping"})
_OTHER_VERB = "other"
_SET_UP_BY = ("route", "dial")
_NO_REGION = "none"


class Visited(Protocol):
    """What is read of a call that is over; `bridge.Visit` is one."""

    @property
    def verb(self) -> str: ...
    @property
    def route(self) -> Route | None: ...
    @property
    def region(self) -> str: ...
    @property
    def millis_seconds(self) -> float: ...
    @property
    def setup_seconds(self) -> float | None: ...


class _Histogram:
    """How many observations fell up to each of the buckets' bounds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS_SECONDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, float]]:
        return list(zip((*map(str, BUCKETS_SECONDS), "+Inf"), accumulate(self._counts), strict=True))


class Metrics(Collector):
    """Counts the calls of one process; *look* tells how the process is when somebody asks."""

    def __init__(self, look: Callable[[], Snapshot]) -> None:
        self._look = look
        self._calls = Counter[tuple[str, str, str, str]]()
        self._setup: defaultdict[str, _Histogram] = defaultdict(_Histogram)
        self._millis: defaultdict[str, _Histogram] = defaultdict(_Histogram)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(namespace="agi_bridge", registry=self._registry)

    def ended(self, visit: Visited, outcome: Outcome, total_seconds: float) -> None:
        """Count a call that is over."""
        verb = visit.verb if visit.verb in _VERBS else _OTHER_VERB
        rule = visit.route.rule_name if visit.route else ""
        self._calls[verb, rule, outcome.result.value, outcome.reason.value] += 1
        if verb in _SET_UP_BY:
            self._setup[verb].observe(total_seconds if visit.setup_seconds is None else visit.setup_seconds)
        if visit.millis_seconds:
            self._millis[visit.region or _NO_REGION].observe(visit.millis_seconds)

    def text(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of ours with its help and its values."""
        yield from self._of_calls()
        now = self._look()
        yield from _of_traffic(now)
        yield from _of_regions(now)
        if now.records is not None:
            yield from _of_records(now.records)
        yield from _of_pbxs(now)
        yield from _of_webhooks(now)
        yield from _of_control(now)
        yield from _of_millis_webhooks(now)
        yield from _of_process(now)

    def _of_calls(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "agi_bridge_calls",
            "Sessions that are over, by verb, rule and outcome.",
            labels=("verb", "rule", "result", "reason"),
        )
        for labels, count in sorted(self._calls.items()):
            calls.add_metric(labels, count)
        yield calls
        yield _histogram(
            "agi_bridge_setup_seconds",
            "From a call's request to the last variable that its dialplan was told.",
            "verb",
            self._setup,
        )
        yield _histogram(
            "agi_bridge_millis_seconds",
            "How long a call waited for its registration with Millis, by the region that took it.",
            "region",
            self._millis,
        )


def _histogram(name: str, help: str, label: str, histograms: Mapping[str, _Histogram]) -> Metric:
    family = HistogramMetricFamily(name, help, labels=(label,))
    for value, histogram in sorted(histograms.items()):
        family.add_metric((value,), histogram.buckets(), histogram.sum)
    return family


def _of_traffic(now: Snapshot) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "agi_bridge_open_connections", "Connections from Asterisk at this moment.", now.open_connections
    )
    yield GaugeMetricFamily(
        "agi_bridge_open_sessions", "Connections that carry a session at this moment.", now.open_sessions
    )
    door = CounterMetricFamily(
        "agi_bridge_door", "What happened to connections from Asterisk, by the server's counters.", labels=("counter",)
    )
    for counter, count in now.door.items():
        door.add_metric((counter,), count)
    yield door
    yield GaugeMetricFamily(
        "agi_bridge_registrations_in_flight", "Registrations under way at this moment.", now.registrations_in_flight
    )
    yield CounterMetricFamily(
        "agi_bridge_orphaned_registrations",
        "Registrations that Millis may hold though nobody will dial them.",
        now.orphaned_registrations,
    )


def _of_regions(now: Snapshot) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "agi_bridge_region_state", "1 for the state that a region of Millis is in, else 0.", labels=("region", "state")
    )
    for region, current in now.region_states.items():
        for each in REGION_STATES:
            state.add_metric((region, each), each == current)
    yield state
    changes = CounterMetricFamily(
        "agi_bridge_region_changes", "How often a region of Millis entered a state.", labels=("region", "state")
    )
    for labels, count in sorted(now.region_changes.items()):
        changes.add_metric(labels, count)
    yield changes


def _of_records(now: RecordsState) -> Iterator[Metric]:
    reports = CounterMetricFamily(
        "agi_bridge_record_reports",
        "What happened to the reports of calls, by the counters of records.",
        labels=("counter",),
    )
    for counter, count in now.counts.items():
        reports.add_metric((counter,), count)
    yield reports
    yield GaugeMetricFamily("agi_bridge_record_queue", "Reports of calls that are in memory alone.", now.queued)
    yield GaugeMetricFamily(
        "agi_bridge_record_spool_bytes", "What stands in the spool and not yet in the database.", now.waiting_bytes
    )
    yield GaugeMetricFamily(
        "agi_bridge_record_spool_up", "1 while reports of calls are saved on disk, else 0.", now.spool_is_well
    )
    yield GaugeMetricFamily(
        "agi_bridge_record_database_up", "1 while reports of calls become records, else 0.", now.database_is_well
    )


def _of_pbxs(now: Snapshot) -> Iterator[Metric]:
    of_pbx = ("pbx",)
    connected = GaugeMetricFamily(
        "agi_bridge_ami_connected",
        "1 while the bridge is logged in to a PBX's manager interface, else 0.",
        labels=of_pbx,
    )
    calls = GaugeMetricFamily(
        "agi_bridge_ami_followed_calls", "Calls whose channels are followed in a PBX at this moment.", labels=of_pbx
    )
    channels = GaugeMetricFamily("agi_bridge_ami_followed_channels", "Their channels at this moment.", labels=of_pbx)
    logins = CounterMetricFamily("agi_bridge_ami_logins", "How often the bridge logged in to a PBX.", labels=of_pbx)
    failures = CounterMetricFamily(
        "agi_bridge_ami_failures", "Why a connection to a PBX was not made, or ended.", labels=("pbx", "why")
    )
    actions = CounterMetricFamily(
        "agi_bridge_ami_actions", "What was asked of a PBX, by how it went.", labels=("pbx", "action", "result")
    )
    left_out = CounterMetricFamily(
        "agi_bridge_ami_left_out_messages",
        "Messages of a PBX that were not used, because they could not be read or trusted.",
        labels=of_pbx,
    )
    forgotten = CounterMetricFamily(
        "agi_bridge_ami_forgotten_calls", "Calls no longer followed, because there were too many.", labels=of_pbx
    )
    for name, pbx in now.pbxs.items():
        connected.add_metric((name,), pbx.connected)
        calls.add_metric((name,), pbx.followed_calls)
        channels.add_metric((name,), pbx.followed_channels)
        logins.add_metric((name,), pbx.logins)
        left_out.add_metric((name,), pbx.left_out)
        forgotten.add_metric((name,), pbx.forgotten_calls)
        for why, count in sorted(pbx.failures.items()):
            failures.add_metric((name, why), count)
        for (action, result), count in sorted(pbx.actions.items()):
            actions.add_metric((name, action, result), count)
    yield from (connected, calls, channels, logins, failures, actions, left_out, forgotten)


def _of_webhooks(now: Snapshot) -> Iterator[Metric]:
    events = CounterMetricFamily(
        "agi_bridge_webhook_events",
        "What happened to the events for a webhook, by its counters.",
        labels=("webhook", "counter"),
    )
    of_webhook = ("webhook",)
    queue = GaugeMetricFamily("agi_bridge_webhook_queue", "Events that are in memory alone.", labels=of_webhook)
    spool = GaugeMetricFamily(
        "agi_bridge_webhook_spool_bytes", "What is on disk and not yet delivered.", labels=of_webhook
    )
    well = GaugeMetricFamily("agi_bridge_webhook_up", "1 while events arrive, else 0.", labels=of_webhook)
    for name, webhook in now.webhooks.items():
        for counter, count in webhook.counts.items():
            events.add_metric((name, counter), count)
        queue.add_metric((name,), webhook.queued)
        spool.add_metric((name,), webhook.waiting_bytes)
        well.add_metric((name,), webhook.is_well)
    yield from (events, queue, spool, well)


def _of_millis_webhooks(now: Snapshot) -> Iterator[Metric]:
    webhooks = CounterMetricFamily(
        "agi_bridge_millis_webhooks",
        "What Millis told of its own accord, and what was looked up for it, by what came of it.",
        labels=("webhook", "outcome"),
    )
    for labels, count in sorted(now.millis_webhooks.items()):
        webhooks.add_metric(labels, count)
    yield webhooks


def _of_control(now: Snapshot) -> Iterator[Metric]:
    verbs = CounterMetricFamily(
        "agi_bridge_control",
        "What was asked of live calls, or for new ones, by verb and outcome.",
        labels=("verb", "outcome"),
    )
    for labels, count in sorted(now.control.items()):
        verbs.add_metric(labels, count)
    yield verbs
    refusals = CounterMetricFamily("agi_bridge_http_refusals", "Refused HTTP requests, by code.", labels=("code",))
    for code, count in sorted(now.http_refusals.items()):
        refusals.add_metric((code,), count)
    yield refusals
    yield CounterMetricFamily(
        "agi_bridge_http_refused_connections",
        "HTTP connections refused, because there were too many.",
        now.http_refused_connections,
    )


def _of_process(now: Snapshot) -> Iterator[Metric]:
    yield GaugeMetricFamily("agi_bridge_ready", "1 while new calls are welcome, else 0.", not now.not_ready)
    yield GaugeMetricFamily("agi_bridge_draining", "1 while the last calls are set up before the end.", now.draining)
    yield InfoMetricFamily("agi_bridge_build", "The version that runs.", {"version": now.version})
    yield GaugeMetricFamily(
        "agi_bridge_config_loaded_timestamp_seconds",
        "When the configuration in use was read, in seconds since 1970.",
        now.config_loaded_at.timestamp(),
    )
    yield CounterMetricFamily(
        "agi_bridge_reload_failures", "Reloads that changed nothing, because the file was bad.", now.reloads_refused
    )
