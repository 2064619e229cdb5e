"""Which region of Millis takes a call: the health of each, and failover between them.

`Regions` is what the bridge registers calls with. It asks the regions of a call in their order, within one deadline, and
passes over those that are known to be down, so that no caller waits to learn it again. What it knows comes from the calls
themselves and from a cheap probe, which also keeps one connection a region warm: it goes out from time to time, and at once
when that connection is lost. `Breaker` holds that knowledge for one region; it is pure, and is told the time. HTTP is the
client's, and what a call is, the bridge's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from agi_bridge.errors import MillisBusy, MillisDown, MillisError, MillisRefused, MillisTimeout
from agi_bridge.millis.models import REGIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from agi_bridge.config import MillisSettings
    from agi_bridge.millis.client import MillisClient
    from agi_bridge.millis.models import Registration

log = structlog.get_logger(__name__)

# A region in trouble is probed at once, but not by every call that finds it so.
_BETWEEN_PROBES_SECONDS = 1.0


class Health(StrEnum):
    """What is known of a region, in the words of a circuit breaker."""

    CLOSED = "closed"  # calls flow
    OPEN = "open"  # down: calls pass it over
    HALF_OPEN = "half-open"  # perhaps up again: one call at a time tries


class Breaker:
    """The health of one region: open after *failures* in a row, and tried again when a probe succeeds or *seconds* are over.

    Times are in seconds of one monotonic clock. *on_change* is told of every change, with what was before and what is.
    """

    def __init__(self, failures: int, seconds: float, on_change: Callable[[Health, Health], None]) -> None:
        self.health = Health.CLOSED
        self._limit = failures
        self._seconds = seconds
        self._on_change = on_change
        self._failures = 0
        self._opened = 0.0
        self._trying = False

    def reconfigure(self, failures: int, seconds: float) -> None:
        """Take other limits; what is known of the region stays."""
        self._limit, self._seconds = failures, seconds

    def admits(self, now: float, *, last_hope: bool = False) -> bool:
        """Return whether a call may ask the region now; if so, one of the next four must be told how that went.

        Where one call tries a region that was down, others pass it over, unless it is their *last_hope*.
        """
        if self.health is Health.CLOSED:
            return True
        if self.health is Health.OPEN:
            if now < self._opened + self._seconds:
                return False
            self._become(Health.HALF_OPEN)
        if self._trying and not last_hope:
            return False
        self._trying = True
        return True

    def succeeded(self) -> None:
        """Note that a call was answered."""
        self._failures, self._trying = 0, False
        self._become(Health.CLOSED)

    def failed(self, now: float) -> None:
        """Note that a call, or a probe, found the region down."""
        self._failures += 1
        self._trying = False
        if self.health is not Health.CLOSED or self._failures >= self._limit:
            self._opened = now
            self._become(Health.OPEN)

    def doubted(self) -> None:
        """Note that a call was not answered in time, which may be its agent's doing: one more sign is wanted, and enough."""
        self._failures = max(self._failures, self._limit - 1)
        self._trying = False

    def given_up(self) -> None:
        """Note that a call ended before the region could answer: nothing was learnt."""
        self._trying = False

    def probed(self) -> None:
        """Note that a probe was answered: one makes an open region worth a try, the next one closes it."""
        self._failures = 0
        if self.health is not Health.CLOSED:
            self._become(Health.HALF_OPEN if self.health is Health.OPEN else Health.CLOSED)

    def _become(self, health: Health) -> None:
        if health is not self.health:
            before, self.health = self.health, health
            self._on_change(before, health)


class Regions:
    """Registers calls with whichever of their regions takes them; lives as long as the bridge serves."""

    def __init__(self, client: MillisClient, settings: MillisSettings, clock: Callable[[], float]) -> None:
        self.in_flight = 0
        # Registrations that Millis may hold though nobody will dial them.
        self.orphaned = 0
        self.changes = Counter[tuple[str, str]]()
        self._client = client
        self._clock = clock
        self._breakers = {
            region: Breaker(settings.breaker_failures, settings.breaker_seconds, partial(self._changed, region))
            for region in REGIONS
        }
        self._in_doubt = {region: asyncio.Event() for region in REGIONS}
        self._trouble: dict[str, str] = {}  # the latest, by region
        # A probe makes a connection anew before a caller needs it, or finds that the region has gone.
        client.on_lost = lambda region: self._in_doubt[region].set()
        self._settings = settings

    def reconfigure(self, settings: MillisSettings) -> None:
        """Take other limits for calls to come; what is known of the regions stays."""
        self._settings = settings
        for breaker in self._breakers.values():
            breaker.reconfigure(settings.breaker_failures, settings.breaker_seconds)
        for in_doubt in self._in_doubt.values():
            in_doubt.set()  # or a probe would come when the old settings say

    def states(self) -> dict[str, str]:
        """Return the health of each region by its name."""
        return {region: breaker.health.value for region, breaker in self._breakers.items()}

    async def register(self, account: str, regions: Sequence[str], body: Mapping[str, Any]) -> Registration:
        """Register a call with the first of *regions* that takes it; raise a MillisError within `timeout_seconds`.

        The error is that of the region asked last, and says how the others failed.
        """
        settings = self._settings
        if self.in_flight >= settings.registration_limit:
            raise MillisBusy(
                f"{self.in_flight} registrations are under way, which is registration_limit under [millis]"
            )
        self.in_flight += 1
        try:
            return await self._first_of(account, regions, body, self._clock() + settings.timeout_seconds)
        finally:
            self.in_flight -= 1

    async def _first_of(
        self, account: str, regions: Sequence[str], body: Mapping[str, Any], deadline: float
    ) -> Registration:
        earlier: tuple[str, ...] = ()
        failed: MillisError | None = None
        may_be_registered = waited = False
        to_ask = list(regions)
        while to_ask:
            region = to_ask.pop(0)
            another = any(self._breakers[other].health is not Health.OPEN for other in to_ask)
            if not self._breakers[region].admits(self._clock(), last_hope=not another):
                earlier = (*earlier, f"{region}: known to be down")
                continue
            # Whoever is the last hope may use all the time that is left.
            left = deadline - self._clock()
            limit = min(left, self._settings.seconds_for_one_region) if another else left
            try:
                registration = await self._ask(account, region, body, limit)
            except MillisError as error:
                told = f"{region}: {error}"
                failed = error
                failed.region, failed.earlier = region, earlier
                failed.may_be_registered = may_be_registered = may_be_registered or error.may_be_registered
                advice = error.retry_after_seconds if isinstance(error, MillisRefused) else 0.0
                if not another and not waited and 0 < advice < deadline - self._clock():
                    # And it has said when to come again, while the caller can still wait for it.
                    await asyncio.sleep(advice)
                    to_ask, waited = [region], True
                elif not another or not error.elsewhere:
                    raise
                earlier = (*earlier, told)
            else:
                return replace(registration, earlier=earlier) if earlier else registration
        raise failed or MillisDown("; ".join(earlier))

    async def _ask(self, account: str, region: str, body: Mapping[str, Any], limit_seconds: float) -> Registration:
        """Register a call with one region, and learn from it how the region is."""
        breaker = self._breakers[region]
        try:
            registration = await self._client.register(account, region, body, limit_seconds)
        except MillisError as error:
            self.orphaned += error.may_be_registered
            if error.shows_outage:
                self._trouble[region] = str(error)
                breaker.failed(self._clock())
            elif isinstance(error, MillisTimeout):
                breaker.doubted()
            else:
                breaker.succeeded()
                raise
            self._in_doubt[region].set()
            raise
        except BaseException:
            self.orphaned += 1
            breaker.given_up()
            raise
        breaker.succeeded()
        return registration

    async def abandon(self, account: str, registration: Registration) -> None:
        """Note that nobody will dial *registration*, and take it back where the settings say so; raise nothing of Millis's."""
        self.orphaned += 1
        if not self._settings.delete_orphans:
            return
        region, call_id = registration.region, registration.call_id
        try:
            await self._client.delete_endpoint(account, region, call_id, self._settings.seconds_for_one_region)
        except MillisError as error:
            log.warning("an orphaned registration was not deleted", region=region, why=str(error))

    @asynccontextmanager
    async def probing(self, account: Callable[[], str], regions: Callable[[], Collection[str]]) -> AsyncIterator[None]:
        """Probe what *regions* returns, with the key of the *account* that is named then, while the context is entered."""
        probes = [asyncio.create_task(self._probe_for_ever(account, region, regions)) for region in REGIONS]
        try:
            yield
        finally:
            for probe in probes:
                probe.cancel()
            await asyncio.gather(*probes, return_exceptions=True)

    async def _probe_for_ever(
        self, account: Callable[[], str], region: str, regions: Callable[[], Collection[str]]
    ) -> None:
        said = ""
        while True:
            self._in_doubt[region].clear()
            if region in regions() and self._settings.probe_seconds:
                try:
                    refusal = await self._probe(account(), region)
                except Exception:
                    # Without probes, calls would find every outage by themselves, for as long as the bridge runs.
                    log.exception("a probe failed unexpectedly", region=region)
                    refusal = said
                if refusal and refusal != said:
                    log.warning("Millis refuses the probe", region=region, account=account(), why=refusal)
                said = refusal
            await asyncio.sleep(_BETWEEN_PROBES_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._rest_before_next_probe(region)):
                    await self._in_doubt[region].wait()

    def _rest_before_next_probe(self, region: str) -> float | None:
        """Return how many seconds of the pause between two probes remain; None where there are none."""
        settings = self._settings
        if not settings.probe_seconds:
            return None
        seconds = settings.probe_seconds
        if self._breakers[region].health is not Health.CLOSED:
            # Before the breaker's own time is over, so that no caller has to find out that the region is still down.
            seconds = min(seconds, settings.breaker_seconds / 2)
        return max(seconds - _BETWEEN_PROBES_SECONDS, 0.0)

    async def _probe(self, account: str, region: str) -> str:
        """Look whether *region* answers; return what it objects to, if it does."""
        breaker = self._breakers[region]
        refusal = ""
        try:
            await self._client.probe(account, region, self._settings.seconds_for_one_region)
        except MillisError as error:
            if error.shows_outage or isinstance(error, MillisTimeout):
                self._trouble[region] = str(error)
                breaker.failed(self._clock())
                return ""
            refusal = str(error)
        breaker.probed()
        return refusal

    def _changed(self, region: str, before: Health, health: Health) -> None:
        self.changes[region, health.value] += 1
        fields = {"region": region, "state": health.value, "before": before.value}
        if health is Health.OPEN:
            log.warning("region is down", **fields, why=self._trouble[region])
        else:
            log.info("region is tried" if health is Health.HALF_OPEN else "region is well", **fields)
