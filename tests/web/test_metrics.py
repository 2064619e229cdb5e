"""The metrics: their text, literally, because dashboards are built on it; and the page that lists them."""

import re
import timeit
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agi_bridge.call import Outcome, Reason, Result
from agi_bridge.routing import Route, Rule
from agi_bridge.web.metrics import Metrics
from agi_bridge.web.snapshot import PbxState, RecordsState, Snapshot, WebhookState

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"

QUIET = Snapshot(
    version="1.2.3",
    worker=1,
    workers=1,
    not_ready="",
    draining=False,
    config_file="bridge.toml",
    config_loaded_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    reloads_refused=0,
    open_connections=0,
    open_sessions=0,
    door={"accepted": 7, "refused_peer": 1},
)
BUSY_PBX = PbxState(
    connected=True,
    logins=3,
    failures={"refused": 1, "unreachable": 2},
    actions={("Redirect", "rejected"): 4, ("Ping", "done"): 5},
    left_out=6,
    followed_calls=7,
    followed_channels=8,
    forgotten_calls=9,
)
ROUTED = Outcome(Result.COMPLETED, Reason.ROUTED)

# Records whose database is away.
AWAY = RecordsState({"taken": 7, "lost": 1}, queued=2, waiting_bytes=900, spool_is_well=True, database_is_well=False)


@dataclass
class Visit:
    """What the metrics read of a call."""

    verb: str = "route"
    route: Route | None = None
    region: str = "us-west"
    millis_seconds: float = 0.0
    setup_seconds: float | None = None


def lines(metrics, name):
    """Return the lines of one metric as Prometheus reads them, help and type included."""
    return [line for line in metrics.text().decode().splitlines() if re.search(rf"(^|# \w+ ){name}\b", line)]


def test_calls_are_counted_by_verb_rule_result_and_reason():
    """Each outcome of each rule has its own counter."""
    metrics = Metrics(lambda: QUIET)
    sales = Route(Rule("sales", "x,s,1"), "x,s,1")
    metrics.ended(Visit(route=sales), ROUTED, 0.3)
    metrics.ended(Visit(route=sales), ROUTED, 0.3)
    metrics.ended(Visit("ended"), Outcome(Result.MILLIS, Reason.AGENT_BUSY), 0.1)
    assert lines(metrics, "agi_bridge_calls_total") == [
        "# HELP agi_bridge_calls_total Sessions that are over, by verb, rule and outcome.",
        "# TYPE agi_bridge_calls_total counter",
        'agi_bridge_calls_total{reason="agent-busy",result="millis",rule="",verb="ended"} 1.0',
        'agi_bridge_calls_total{reason="routed",result="completed",rule="sales",verb="route"} 2.0',
    ]


def test_a_verb_that_nobody_knows_makes_no_label():
    """Whoever connects chooses the verb; a million of them are one counter."""
    metrics = Metrics(lambda: QUIET)
    for number in range(3):
        metrics.ended(Visit(f"verb{number}"), Outcome(Result.OPERATOR, Reason.UNKNOWN_VERB), 0.001)
    assert lines(metrics, "agi_bridge_calls_total")[2:] == [
        'agi_bridge_calls_total{reason="unknown-verb",result="operator",rule="",verb="other"} 3.0'
    ]


def test_setup_is_measured_up_to_dialling():
    """What `dial` spends with the agent is no set-up; the other verbs have none."""
    metrics = Metrics(lambda: QUIET)
    metrics.ended(Visit("route"), ROUTED, 0.25)
    metrics.ended(Visit("dial", setup_seconds=0.35), ROUTED, 300.0)
    metrics.ended(Visit("ping"), ROUTED, 0.001)
    found = lines(metrics, "agi_bridge_setup_seconds_(bucket|sum|count)")
    assert 'agi_bridge_setup_seconds_bucket{le="0.2",verb="route"} 0.0' in found
    assert 'agi_bridge_setup_seconds_bucket{le="0.3",verb="route"} 1.0' in found
    assert 'agi_bridge_setup_seconds_bucket{le="+Inf",verb="route"} 1.0' in found
    assert 'agi_bridge_setup_seconds_bucket{le="0.3",verb="dial"} 0.0' in found
    assert 'agi_bridge_setup_seconds_bucket{le="0.4",verb="dial"} 1.0' in found
    assert 'agi_bridge_setup_seconds_sum{verb="dial"} 0.35' in found
    assert not [line for line in found if "ping" in line]


def test_buckets_count_what_is_up_to_their_bound():
    """A value on the bound is inside, and what is longer than all of them is in the last."""
    metrics = Metrics(lambda: QUIET)
    metrics.ended(Visit(millis_seconds=0.1), ROUTED, 0.1)
    metrics.ended(Visit(millis_seconds=60.0), ROUTED, 60.0)
    metrics.ended(Visit(region="", millis_seconds=4.0), Outcome(Result.MILLIS, Reason.MILLIS_TIMEOUT), 4.0)
    found = lines(metrics, "agi_bridge_millis_seconds_(bucket|sum|count)")
    assert [line for line in found if re.search('le="(0.05|0.1|6.0|.Inf)",region="us-west"', line)] == [
        'agi_bridge_millis_seconds_bucket{le="0.05",region="us-west"} 0.0',
        'agi_bridge_millis_seconds_bucket{le="0.1",region="us-west"} 1.0',
        'agi_bridge_millis_seconds_bucket{le="6.0",region="us-west"} 1.0',
        'agi_bridge_millis_seconds_bucket{le="+Inf",region="us-west"} 2.0',
    ]
    assert 'agi_bridge_millis_seconds_count{region="none"} 1.0' in found
    assert found[-2:] == [
        'agi_bridge_millis_seconds_count{region="us-west"} 2.0',
        'agi_bridge_millis_seconds_sum{region="us-west"} 60.1',
    ]


def test_the_moment_is_read_when_somebody_asks():
    """Gauges show how the bridge is at the scrape, not at an earlier one."""
    now = replace(QUIET, open_connections=3, open_sessions=2, registrations_in_flight=1)
    moments = [QUIET, now]
    metrics = Metrics(lambda: moments[0])
    assert lines(metrics, "agi_bridge_open_sessions")[-1] == "agi_bridge_open_sessions 0.0"
    moments.pop(0)
    assert lines(metrics, "agi_bridge_open_sessions") == [
        "# HELP agi_bridge_open_sessions Connections that carry a session at this moment.",
        "# TYPE agi_bridge_open_sessions gauge",
        "agi_bridge_open_sessions 2.0",
    ]
    assert lines(metrics, "agi_bridge_open_connections")[-1] == "agi_bridge_open_connections 3.0"
    assert lines(metrics, "agi_bridge_registrations_in_flight")[-1] == "agi_bridge_registrations_in_flight 1.0"


def test_regions_have_one_state_each():
    """A region is in one state, and every state has a line, so that an alarm can be written before there is trouble."""
    now = replace(
        QUIET,
        region_states={"us-west": "open", "eu-west": "closed"},
        region_changes={("us-west", "open"): 2},
        orphaned_registrations=4,
    )
    metrics = Metrics(lambda: now)
    assert lines(metrics, "agi_bridge_region_state")[2:] == [
        'agi_bridge_region_state{region="us-west",state="closed"} 0.0',
        'agi_bridge_region_state{region="us-west",state="half-open"} 0.0',
        'agi_bridge_region_state{region="us-west",state="open"} 1.0',
        'agi_bridge_region_state{region="eu-west",state="closed"} 1.0',
        'agi_bridge_region_state{region="eu-west",state="half-open"} 0.0',
        'agi_bridge_region_state{region="eu-west",state="open"} 0.0',
    ]
    assert lines(metrics, "agi_bridge_region_changes_total")[2:] == [
        'agi_bridge_region_changes_total{region="us-west",state="open"} 2.0'
    ]
    assert lines(metrics, "agi_bridge_orphaned_registrations_total")[-1].endswith(" 4.0")


@pytest.mark.parametrize(
    ("moment", "line"),
    [
        (QUIET, 'agi_bridge_door_total{counter="refused_peer"} 1.0'),
        (QUIET, "agi_bridge_ready 1.0"),
        (QUIET, "agi_bridge_draining 0.0"),
        (replace(QUIET, not_ready="draining", draining=True), "agi_bridge_ready 0.0"),
        (replace(QUIET, not_ready="draining", draining=True), "agi_bridge_draining 1.0"),
        (QUIET, 'agi_bridge_build_info{version="1.2.3"} 1.0'),
        (QUIET, "agi_bridge_config_loaded_timestamp_seconds 1.767323045e+09"),
        (replace(QUIET, reloads_refused=2), "agi_bridge_reload_failures_total 2.0"),
    ],
)
def test_process_is_shown(moment, line):
    """What the door did, whether calls are welcome, and what runs since when."""
    assert line in Metrics(lambda: moment).text().decode().splitlines()


def test_each_pbx_is_shown():
    """Whether the bridge is logged in to each PBX, how often, why not, and what was asked of it."""
    metrics = Metrics(lambda: replace(QUIET, pbxs={"hq": BUSY_PBX, "branch": PbxState()}))
    shown = [line for line in metrics.text().decode().splitlines() if line.startswith("agi_bridge_ami_")]
    assert shown == [
        'agi_bridge_ami_connected{pbx="hq"} 1.0',
        'agi_bridge_ami_connected{pbx="branch"} 0.0',
        'agi_bridge_ami_followed_calls{pbx="hq"} 7.0',
        'agi_bridge_ami_followed_calls{pbx="branch"} 0.0',
        'agi_bridge_ami_followed_channels{pbx="hq"} 8.0',
        'agi_bridge_ami_followed_channels{pbx="branch"} 0.0',
        'agi_bridge_ami_logins_total{pbx="hq"} 3.0',
        'agi_bridge_ami_logins_total{pbx="branch"} 0.0',
        'agi_bridge_ami_failures_total{pbx="hq",why="refused"} 1.0',
        'agi_bridge_ami_failures_total{pbx="hq",why="unreachable"} 2.0',
        'agi_bridge_ami_actions_total{action="Ping",pbx="hq",result="done"} 5.0',
        'agi_bridge_ami_actions_total{action="Redirect",pbx="hq",result="rejected"} 4.0',
        'agi_bridge_ami_left_out_messages_total{pbx="hq"} 6.0',
        'agi_bridge_ami_left_out_messages_total{pbx="branch"} 0.0',
        'agi_bridge_ami_forgotten_calls_total{pbx="hq"} 9.0',
        'agi_bridge_ami_forgotten_calls_total{pbx="branch"} 0.0',
    ]


def test_each_webhook_is_shown():
    """What has become of its events, what waits, and whether they arrive."""
    webhook = WebhookState({"accepted": 5, "delivered": 3}, queued=1, waiting_bytes=400, is_well=False)
    metrics = Metrics(lambda: replace(QUIET, webhooks={"crm": webhook}))
    shown = [line for line in metrics.text().decode().splitlines() if line.startswith("agi_bridge_webhook_")]
    assert shown == [
        'agi_bridge_webhook_events_total{counter="accepted",webhook="crm"} 5.0',
        'agi_bridge_webhook_events_total{counter="delivered",webhook="crm"} 3.0',
        'agi_bridge_webhook_queue{webhook="crm"} 1.0',
        'agi_bridge_webhook_spool_bytes{webhook="crm"} 400.0',
        'agi_bridge_webhook_up{webhook="crm"} 0.0',
    ]


def test_two_processes_in_one_do_not_share_a_count():
    """There is no global registry: what one counts, another does not show."""
    one, other = Metrics(lambda: QUIET), Metrics(lambda: QUIET)
    one.ended(Visit(), ROUTED, 0.1)
    assert len(lines(one, "agi_bridge_calls_total")) == 3
    assert len(lines(other, "agi_bridge_calls_total")) == 2


def test_counting_a_call_costs_microseconds():
    """A call that ends is not held up by being counted."""
    metrics, visit = Metrics(lambda: QUIET), Visit(route=Route(Rule("sales", "x,s,1"), "x,s,1"), millis_seconds=0.2)
    seconds = min(timeit.repeat(lambda: metrics.ended(visit, ROUTED, 0.3), number=1000, repeat=5)) / 1000
    assert seconds < 50e-6


def test_what_waits_for_the_database_is_told():
    """Whoever watches sees that reports wait in the spool, how many were lost, and what is not well."""
    metrics = Metrics(lambda: replace(QUIET, records=AWAY))
    text = metrics.text().decode().splitlines()

    assert {
        'agi_bridge_record_reports_total{counter="taken"} 7.0',
        'agi_bridge_record_reports_total{counter="lost"} 1.0',
        "agi_bridge_record_queue 2.0",
        "agi_bridge_record_spool_bytes 900.0",
        "agi_bridge_record_spool_up 1.0",
        "agi_bridge_record_database_up 0.0",
    } <= set(text)
    assert not lines(Metrics(lambda: QUIET), "agi_bridge_record_queue")


def test_every_metric_is_documented():
    """operations.md lists each metric with its type and labels, and none that does not exist."""
    metrics = Metrics(
        lambda: replace(
            QUIET,
            region_states={"us-west": "open"},
            region_changes={("us-west", "open"): 1},
            pbxs={"hq": BUSY_PBX},
            control={("transfer", "done"): 1},
            millis_webhooks={("prefetch", "learnt"): 1},
            http_refusals={"unauthorized": 1},
            webhooks={"crm": WebhookState({"accepted": 1})},
            records=AWAY,
        )
    )
    metrics.ended(Visit(millis_seconds=0.1), ROUTED, 0.1)
    real = {
        (family.name + ("_total" if family.type == "counter" else ""), family.type): {
            label for sample in family.samples for label in sample.labels if label != "le"
        }
        for family in text_string_to_metric_families(metrics.text().decode())
    }
    rows = re.findall(r"^\| `(agi_bridge_\w+)` \| (\w+) \|([^|]*)\|", OPERATIONS.read_text(), re.MULTILINE)
    assert {(name, kind): set(re.findall("`([^`]+)`", labels)) for name, kind, labels in rows} == real
