"""Failover and health: the breaker as a table of what happens, and the regions against two simulated Millis APIs."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from agi_bridge.call import Reason
from agi_bridge.config import MillisSettings
from agi_bridge.errors import MillisBusy, MillisDown, MillisError, MillisRefused, MillisTimeout
from agi_bridge.millis.client import MillisClient
from agi_bridge.millis.regions import Breaker, Health, Regions
from agi_bridge.simulator.fault import Fault
from agi_bridge.simulator.millis import SimulatedMillis

BOTH = ("us-west", "eu-west")
BODY = {"agent_id": "-Nabc"}

# How late a busy machine may be; no limit under test is near it.
GRACE_SECONDS = 0.5


class Changes(list[tuple[Health, Health]]):
    """Remembers the changes of a breaker."""

    def __call__(self, before: Health, health: Health) -> None:
        """Take one."""
        self.append((before, health))


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def breaker(changes: Changes) -> Breaker:
    """A breaker that opens after two failures, for ten seconds."""
    return Breaker(2, 10.0, changes)


def opened(breaker: Breaker, now: float = 0.0) -> Breaker:
    """Let *breaker* open at *now*."""
    breaker.failed(now)
    breaker.failed(now)
    return breaker


def test_breaker_opens_after_failures_in_a_row(breaker: Breaker, changes: Changes):
    """A single failure is an accident; the limit in a row is an outage."""
    breaker.failed(0.0)
    assert breaker.admits(0.0)
    breaker.failed(1.0)

    assert (breaker.health, breaker.admits(1.0)) == (Health.OPEN, False)
    assert changes == [(Health.CLOSED, Health.OPEN)]


def test_success_between_failures_starts_the_count_anew(breaker: Breaker):
    """Failures among successes never open it."""
    for _ in range(5):
        breaker.failed(0.0)
        breaker.succeeded()

    assert breaker.health is Health.CLOSED


def test_one_call_tries_when_the_time_is_over(breaker: Breaker):
    """After its seconds an open breaker admits one call, and no second one before that has told how it went."""
    opened(breaker)

    assert [breaker.admits(now) for now in (9.9, 10.0, 10.1)] == [False, True, False]
    assert breaker.health is Health.HALF_OPEN


def test_trial_that_succeeds_closes(breaker: Breaker, changes: Changes):
    """Whoever tries with success opens the way for all."""
    opened(breaker).admits(10.0)
    breaker.succeeded()

    assert breaker.admits(10.0)
    assert changes[1:] == [(Health.OPEN, Health.HALF_OPEN), (Health.HALF_OPEN, Health.CLOSED)]


def test_trial_that_fails_opens_for_as_long_again(breaker: Breaker):
    """One failure is enough while the region is in doubt."""
    opened(breaker).admits(10.0)
    breaker.failed(12.0)

    assert [breaker.admits(now) for now in (21.9, 22.0)] == [False, True]


def test_trial_that_is_given_up_leaves_its_place_to_another(breaker: Breaker):
    """A caller who hangs up while trying has learnt nothing, and blocks nobody."""
    opened(breaker).admits(10.0)
    breaker.given_up()

    assert (breaker.health, breaker.admits(10.1)) == (Health.HALF_OPEN, True)


def test_probe_that_is_answered_shortens_the_wait(breaker: Breaker):
    """A region that answers a probe is tried by the next call."""
    opened(breaker)
    breaker.probed()

    assert [breaker.admits(now) for now in (0.1, 0.2)] == [True, False]


def test_second_answered_probe_closes(breaker: Breaker):
    """A region that no call tries, because another serves them all, is well again after two answered probes."""
    opened(breaker)
    breaker.probed()
    breaker.probed()

    assert breaker.health is Health.CLOSED


def test_probes_that_fail_now_and_then_open_nothing(breaker: Breaker):
    """An answered probe forgets the failures before it; failures days apart are no outage."""
    for _ in range(5):
        breaker.failed(0.0)
        breaker.probed()

    assert breaker.health is Health.CLOSED


def test_calls_without_an_answer_in_time_open_nothing_by_themselves(breaker: Breaker, changes: Changes):
    """It may be one agent that is slow; but after such a call a single failed probe is enough."""
    for _ in range(5):
        breaker.doubted()
    assert changes == []

    breaker.failed(1.0)
    assert changes == [(Health.CLOSED, Health.OPEN)]


def test_last_hope_does_not_wait_for_the_one_who_tries(breaker: Breaker):
    """While one call tries the region, a call that has no other region left may try too."""
    opened(breaker).admits(10.0)

    assert [breaker.admits(10.1, last_hope=hope) for hope in (False, True)] == [False, True]


def test_failures_while_open_prolong_it(breaker: Breaker):
    """A probe that fails says that it is too early to try."""
    opened(breaker).failed(5.0)

    assert [breaker.admits(now) for now in (14.9, 15.0)] == [False, True]


class Stand:
    """Two regions, each a simulated Millis, and what chooses between them."""

    def __init__(
        self, west: SimulatedMillis, east: SimulatedMillis, client: MillisClient, millis: MillisSettings
    ) -> None:
        self.west, self.east = west, east
        self.client = client
        self.regions = Regions(client, millis, lambda: time.monotonic() + self.ahead)
        self.ahead = 0.0  # how many seconds the clock of the regions is ahead of the true time

    async def register(self, *regions: str):
        """Register a call."""
        return await self.regions.register("default", regions or BOTH, BODY)

    async def failure(self, *regions: str) -> MillisError:
        """Register a call, and return the error that this ends in."""
        with pytest.raises(MillisError) as caught:
            await self.register(*regions)
        return caught.value


@asynccontextmanager
async def stand(**settings):
    """Set both regions up, with a deadline of a second for each call."""
    async with SimulatedMillis() as west, SimulatedMillis() as east:
        limits = {"timeout_seconds": 1.0, "connect_timeout_seconds": 0.5} | settings
        millis = MillisSettings(base_url={"us-west": west.url, "eu-west": east.url}, **limits)
        async with MillisClient(millis, {"default": "key"}) as client:
            yield Stand(west, east, client, millis)


async def test_first_region_takes_the_call():
    """While the first region answers, the second is not asked."""
    async with stand() as two:
        registration = await two.register()

        assert (registration.region, registration.earlier) == ("us-west", ())
        assert list(two.east.requests) == []


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("reset", "the connection to {url} failed: Connection reset by peer"),
        ("reset-mid-body", "{url} broke off in its answer"),
        ("hang", "no answer from {url} within 0.5 s"),
        ("status=500", "HTTP 500: simulated fault"),
        ("status=502", "HTTP 502: simulated fault"),
        ("status=503", "HTTP 503: simulated fault"),
        ("status=504", "HTTP 504: simulated fault"),
        ("status=429", "HTTP 429: simulated fault"),
        ("body=empty", "the answer is not JSON: empty"),
    ],
)
async def test_second_region_takes_what_the_first_cannot(fault: str, why: str):
    """Where another region may do better, it is asked at once, and the registration says why."""
    async with stand() as two:
        two.west.fault = Fault.parse(fault)
        registration = await two.register()

        assert registration.region == "eu-west"
        assert registration.earlier == (f"us-west: {why.replace('{url}', two.west.url)}",)
        assert len(two.west.requests) == len(two.east.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422])
async def test_what_is_wrong_everywhere_is_asked_once(status: int):
    """A key, a credit or a request that is refused would be refused by the other region too."""
    async with stand() as two:
        two.west.fault = Fault(status=status)
        error = await two.failure()

        assert str(error) == f"HTTP {status}: simulated fault"
        assert list(two.east.requests) == []


async def test_error_tells_of_all_regions():
    """When both fail, the error is that of the last one asked, and says how the first failed."""
    async with stand() as two:
        two.west.fault, two.east.fault = Fault(status=503), Fault(status=402)
        error = await two.failure()

    assert (type(error), str(error)) == (
        MillisRefused,
        "us-west: HTTP 503: simulated fault; eu-west: HTTP 402: simulated fault",
    )


async def test_all_regions_share_one_deadline():
    """Two silent regions cost the caller `timeout_seconds` together."""
    async with stand() as two:
        two.west.fault = two.east.fault = Fault(hang=True)
        began = time.monotonic()
        error = await two.failure()

    assert type(error) is MillisTimeout
    assert 1.0 <= time.monotonic() - began < 1.0 + GRACE_SECONDS


async def test_last_hope_has_all_the_time_that_is_left():
    """A region that nobody stands behind is not cut short for the sake of another."""
    async with stand(region_timeout_seconds=0.1) as two:
        two.west.fault = Fault(delay_seconds=0.3)

        assert (await two.register("us-west")).region == "us-west"


async def test_other_region_does_not_wait_for_the_advice_of_the_first():
    """A first region that says when to come again is not waited for while there is another to ask."""
    async with stand() as two:
        two.west.fault = Fault(status=429, retry_after_seconds=1)
        began = time.monotonic()
        registration = await two.register()

    assert registration.region == "eu-west"
    assert time.monotonic() - began < GRACE_SECONDS


async def test_last_hope_is_asked_again_when_it_says_so():
    """After 429 with Retry-After from the last region, the second try waits that long, and there is no third."""
    async with stand(timeout_seconds=3.0) as two:
        two.west.fault = Fault(status=429, retry_after_seconds=1)
        two.east.upcoming.append(Fault(status=429, retry_after_seconds=1))
        began = time.monotonic()
        registration = await two.register()
        waited_seconds = time.monotonic() - began
        two.east.fault = two.west.fault
        await two.failure()

        assert (registration.region, len(two.east.registrations)) == ("eu-west", 4)
        assert 1.0 <= waited_seconds < 1.0 + GRACE_SECONDS


async def test_advice_to_come_when_the_caller_has_gone_is_not_followed():
    """Where Retry-After leads beyond the deadline, the call ends at once."""
    async with stand() as two:
        two.west.fault = Fault(status=429, retry_after_seconds=60)
        error = await two.failure("us-west")

        assert str(error) == "HTTP 429: simulated fault"
        assert len(two.west.registrations) == 1


async def test_region_that_is_down_is_passed_over():
    """After the outage is known, calls go to the other region without asking the first."""
    async with stand(breaker_failures=2) as two:
        two.west.fault = Fault(status=503)
        registrations = [await two.register() for _ in range(4)]

        assert len(two.west.requests) == 2
        assert registrations[-1].earlier == ("us-west: known to be down",)
        assert two.regions.states() == {"us-west": "open", "eu-west": "closed"}


async def test_nobody_is_asked_when_all_are_down():
    """With every region known to be down, the call ends at once with a reason of its own."""
    async with stand(breaker_failures=1) as two:
        two.west.fault = two.east.fault = Fault(reset=True)
        await two.failure()
        error = await two.failure()

        assert (type(error), error.outcome.reason) == (MillisDown, Reason.MILLIS_DOWN)
        assert str(error) == "us-west: known to be down; eu-west: known to be down"
        assert len(two.west.requests) == len(two.east.requests) == 1


@pytest.mark.parametrize("fault", ["status=500", "body=html", "status=402"])
async def test_trouble_of_one_call_is_no_outage(fault: str):
    """What may be about one agent alone does not keep the calls of others from the region."""
    async with stand(breaker_failures=1) as two:
        two.west.fault = Fault.parse(fault)
        await two.failure("us-west")

        assert two.regions.states()["us-west"] == "closed"


async def test_region_that_is_well_again_is_used_again():
    """When its seconds are over, one call tries the region, and the rest follow."""
    async with stand(breaker_failures=1, breaker_seconds=60.0) as two:
        two.west.upcoming.append(Fault(status=503))
        await two.register()
        two.ahead = 60.0

        assert (await two.register()).region == "us-west"
        assert two.regions.states()["us-west"] == "closed"
        assert dict(two.regions.changes) == {
            ("us-west", "open"): 1,
            ("us-west", "half-open"): 1,
            ("us-west", "closed"): 1,
        }


async def test_changes_are_told_once():
    """An outage is a warning, its end is news, and nothing in between repeats them."""
    with capture_logs() as lines:
        async with stand(breaker_failures=1, breaker_seconds=60.0) as two:
            two.west.upcoming.append(Fault(status=503))
            for _ in range(3):
                await two.register()
            two.ahead = 60.0
            await two.register()

    assert [(line["event"], line["log_level"], line["before"], line["state"]) for line in lines] == [
        ("region is down", "warning", "closed", "open"),
        ("region is tried", "info", "open", "half-open"),
        ("region is well", "info", "half-open", "closed"),
    ]
    assert lines[0]["why"] == "HTTP 503: simulated fault"


async def test_slow_agent_keeps_nobody_else_from_the_regions():
    """Calls that are not answered in time open no breaker while the probes are answered."""
    async with stand(breaker_failures=1, probe_seconds=0.05) as two:
        async with two.regions.probing(lambda: "default", lambda: BOTH):
            await probed(two.west)
            two.west.upcoming.extend([Fault(hang=True)] * 2)
            await two.failure("us-west")

        assert two.regions.states() == {"us-west": "closed", "eu-west": "closed"}


async def test_error_says_that_a_region_may_have_registered_the_call():
    """A first region that did not answer in time may hold a registration, whatever the second one says."""
    async with stand() as two:
        two.west.fault, two.east.fault = Fault(hang=True), Fault(status=402)
        error = await two.failure()

        assert (error.may_be_registered, two.regions.orphaned) == (True, 1)


async def test_probes_outlive_what_nobody_foresaw():
    """An unexpected failure of a probe is told, and the next one is sent all the same."""
    accounts = iter(["no-such-account"])
    with capture_logs() as lines:
        async with stand(probe_seconds=0.05) as two:
            async with two.regions.probing(lambda: next(accounts, "default"), lambda: ("us-west",)):
                await probed(two.west)

    assert [line["event"] for line in lines] == ["a probe failed unexpectedly"]


async def test_caller_who_leaves_frees_the_place_of_the_one_who_tries():
    """A cancelled call closes its request, and counts as an orphan: Millis may have registered it."""
    async with stand(breaker_failures=1, breaker_seconds=60.0) as two:
        two.west.upcoming.append(Fault(status=503))
        await two.register()
        two.ahead = 60.0
        two.west.upcoming.append(Fault(hang=True))
        trying = asyncio.create_task(two.register("us-west"))
        await two.west.received(2)
        trying.cancel()
        await asyncio.wait([trying])

        assert two.regions.orphaned == 1
        assert (await two.register()).region == "us-west"


async def test_no_more_than_the_limit_is_under_way():
    """A call beyond `registration_limit` fails at once instead of waiting; when one ends, its place is free."""
    async with stand(registration_limit=2, timeout_seconds=5.0) as two:
        two.west.fault = Fault(hang=True)
        waiting = [asyncio.create_task(two.register("us-west")) for _ in range(2)]
        await two.west.received(2)

        error = await two.failure()
        assert (type(error), error.outcome.reason) == (MillisBusy, Reason.BUSY)
        assert str(error) == "2 registrations are under way, which is registration_limit under [millis]"
        assert (len(two.west.requests), two.regions.in_flight) == (2, 2)

        waiting[0].cancel()
        await two.west.abandoned()
        two.west.fault = Fault()
        assert (await two.register()).region == "us-west"
        waiting[1].cancel()
        await asyncio.wait(waiting)


async def test_orphan_is_counted_and_left_alone():
    """A registration that nobody will dial costs Millis nothing to keep, so by default it is not deleted."""
    async with stand() as two:
        await two.regions.abandon("default", await two.register())

        assert two.regions.orphaned == 1
        assert [request.method for request in two.west.requests] == ["POST"]


async def test_orphan_is_deleted_where_the_settings_say_so():
    """With `delete_orphans` the region that gave it is asked to take it back; that this fails, is a line in the log."""
    async with stand(delete_orphans=True) as two:
        registration = await two.register()
        with capture_logs() as lines:
            await two.regions.abandon("default", registration)

        assert two.west.requests[-1].method == "DELETE"
        assert two.west.requests[-1].path == f"/sip/{registration.call_id}"
        assert [(line["event"], line["why"]) for line in lines] == [
            ("an orphaned registration was not deleted", "HTTP 404: SIP endpoint not found")
        ]


async def probed(millis: SimulatedMillis, count: int = 1) -> None:
    """Wait until *millis* has been probed so often."""
    async with asyncio.timeout(5):
        while sum(request.path == "/user/info" for request in millis.requests) < count:
            await millis.any_request()


async def test_probe_finds_an_outage_before_a_caller_does():
    """Probes that fail open the breaker; one that is answered lets the next call try."""
    async with stand(breaker_failures=1, breaker_seconds=60.0, probe_seconds=0.05) as two:
        two.west.fault = Fault(status=503)
        async with two.regions.probing(lambda: "default", lambda: BOTH):
            await probed(two.west)
            await until(lambda: two.regions.states()["us-west"] == "open")
            two.west.fault = Fault()
            await until(lambda: two.regions.states()["us-west"] == "half-open")

        assert (await two.register()).region == "us-west"


async def until(happened) -> None:
    """Wait until *happened()* is true: the state of a breaker announces itself only in the log."""
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110 - nothing could set an event
            await asyncio.sleep(0.01)


async def test_region_in_trouble_is_probed_at_once():
    """A call that finds a region down has it looked at now and not at the next turn."""
    async with (
        stand(probe_seconds=3600, keepalive_seconds=3600) as two,
        two.regions.probing(lambda: "default", lambda: ("us-west",)),
    ):
        await probed(two.west)
        two.west.upcoming.append(Fault(status=503))
        await two.failure("us-west")
        await probed(two.west, 2)


async def test_probes_come_as_often_as_the_settings_say():
    """From one probe to the next it is `probe_seconds`, or the API might close the kept connection in between."""
    async with stand(probe_seconds=1.5) as two, two.regions.probing(lambda: "default", lambda: ("us-west",)):
        await probed(two.west, 2)
        first, second = (request.at for request in two.west.requests)

    assert 1.4 < second - first < 2.0


async def test_lost_connection_is_renewed_at_once():
    """A region that closes the connection kept for the next call is probed now and not at the next turn."""
    async with (
        stand(probe_seconds=3600, keepalive_seconds=3600) as two,
        two.regions.probing(lambda: "default", lambda: BOTH),
    ):
        await probed(two.west)
        await probed(two.east)
        two.client.on_lost("us-west")
        await probed(two.west, 2)

        assert len(two.east.requests) == 1


async def test_region_that_is_down_is_probed_before_a_caller_has_to_try_it():
    """While an outage lasts, probes keep the breaker open, and no caller waits to learn of it once more."""
    async with stand(breaker_failures=1, breaker_seconds=2.2, probe_seconds=3600) as two:
        two.west.fault = Fault(status=503)
        async with two.regions.probing(lambda: "default", lambda: ("us-west",)):
            await probed(two.west, 4)

        assert (await two.failure("us-west")).outcome.reason is Reason.MILLIS_DOWN
        assert dict(two.regions.changes) == {("us-west", "open"): 1}


async def test_only_regions_in_use_are_probed():
    """A region that no rule names is left in peace."""
    async with stand(probe_seconds=0.05) as two:
        async with two.regions.probing(lambda: "default", lambda: ("us-west",)):
            await probed(two.west, 2)

        assert list(two.east.requests) == []


async def test_refused_probe_is_told_once_and_is_no_outage():
    """A key that Millis no longer takes is worth one line, before the first caller meets it; the region is up."""
    with capture_logs() as lines:
        async with stand(probe_seconds=0.05) as two:
            two.west.fault = Fault(status=401)
            async with two.regions.probing(lambda: "default", lambda: ("us-west",)):
                await probed(two.west, 3)
            states = two.regions.states()

    assert states["us-west"] == "closed"
    assert [(line["event"], line["region"], line["why"]) for line in lines] == [
        ("Millis refuses the probe", "us-west", "HTTP 401: simulated fault")
    ]


async def test_other_limits_hold_at_once():
    """A change of the configuration reaches regions and breakers, and what they know stays."""
    async with stand(breaker_failures=5) as two:
        two.west.fault = Fault(status=503)
        await two.register()
        two.regions.reconfigure(MillisSettings(breaker_failures=1, registration_limit=1))
        await two.register()

        assert two.regions.states()["us-west"] == "open"
