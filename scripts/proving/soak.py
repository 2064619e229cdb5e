"""The command line of `scripts/soak`: calls through a real Asterisk while faults come and go, and then a look around.

Exit status: 0 every call had exactly one outcome and nothing is left, 1 otherwise, 2 bad arguments, 130 interrupted.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from math import exp, log
from pathlib import Path
from random import Random, SystemRandom

from lab import Asterisk, AsteriskFailed, AsteriskUnavailable, Pbx, find_asterisk

from agi_bridge.simulator.fault import Fault
from agi_bridge.simulator.millis import SimulatedMillis
from agi_bridge.simulator.sip import AgentBehaviour, CallerBehaviour, SipAgent, SipCaller
from proving import bridge, sipp, verdict
from proving.fault_plan import spells
from proving.process import descriptors, resident_kilobytes
from proving.site import DID, FALLBACK, TRUNK, settings, witness
from proving.trend import Trend, trend

PATIENT, IMPATIENT = "+15557654321", "+15557650000"
HONEST = AgentBehaviour(speaks_hz=None, listens_for_hz=())

# A caller hears somebody within this, whatever is broken: Millis 1 s, the agent's ringing 2 s, and the ways between.
PATIENCE_SECONDS = 8.0
_TALK_SECONDS = 1.2

# One caller in so many leaves at a moment of chance.
_IMPATIENT_SHARE = 0.1
_WARM_UP_CALLS = 60
_QUIET_SECONDS = 60.0
_SETTLED_SECONDS = 2 * bridge.KEEPALIVE_SECONDS + 1
_MOST_CALLS = 2000
_REGIONS = 2


@dataclass
class Party:
    """Everybody around the PBX: two kinds of callers, Millis (one server a region), its agent, and the bridge.

    *memory* is the bridge's: moments in seconds, and kilobytes.
    """

    asterisk: Asterisk
    pbx: Pbx
    process: bridge.BridgeProcess
    millis: Sequence[SimulatedMillis]
    agent: SipAgent
    folder: Path
    memory: list[tuple[float, float]] = field(default_factory=list)

    async def call(self, name: str, rate: float, calls: int) -> sipp.Callers:
        """Place patient calls, and return what became of them."""
        crowd = sipp.callers(
            self.asterisk,
            self.folder / name,
            host=TRUNK,
            target=f"{self.pbx.address}:{self.pbx.sip_port}",
            did=DID,
            number=PATIENT,
            rate=rate,
            calls=calls,
            talk_seconds=_TALK_SECONDS,
            patience_seconds=PATIENCE_SECONDS,
        )
        with crowd.guest:
            return await asyncio.to_thread(crowd.ended)

    async def call_and_leave(self, chance: Random, rate: float, calls: int) -> None:
        """Place calls whose callers hang up at any moment: unanswered, ringing, talking."""
        async with asyncio.TaskGroup() as leaving:
            for _ in range(calls):
                leaving.create_task(self._leave(_moment(chance), chance.uniform(0, 0.5)))
                await asyncio.sleep(chance.expovariate(rate))

    async def _leave(self, answer_timeout_seconds: float, talk_seconds: float) -> None:
        behaviour = CallerBehaviour(
            answer_timeout_seconds=answer_timeout_seconds, talk_seconds=talk_seconds, speaks_hz=None, listens_for_hz=()
        )
        async with SipCaller(TRUNK) as caller:
            await caller.call((self.pbx.address, self.pbx.sip_port), DID, caller_number=IMPATIENT, behaviour=behaviour)

    async def misbehave(self, chance: Random) -> None:
        """Switch faults on and off until cancelled; then everybody is honest."""
        try:
            for spell in spells(chance, len(self.millis)):
                for millis, fault in zip(self.millis, spell.millis, strict=True):
                    millis.fault = Fault.parse(fault)
                self.agent.behaviour = replace(HONEST, **spell.agent)
                await asyncio.sleep(spell.seconds)
        finally:
            for millis in self.millis:
                millis.fault = Fault()
            self.agent.behaviour = HONEST

    async def watch(self) -> None:
        """Note the bridge's memory every second, until cancelled."""
        while True:
            self.memory.append((time.monotonic(), resident_kilobytes(self.process.pid)))
            await asyncio.sleep(1)

    async def left(self) -> verdict.Left:
        """Wait until no call is there and kept connections have had time to go, and return what is in the bridge."""
        await bridge.until(
            lambda: self.pbx.cli("core show channels count").startswith("0 active channels"),
            _QUIET_SECONDS,
            "the PBX still had calls",
        )
        await asyncio.sleep(_SETTLED_SECONDS)
        weighed = await self.process.weigh()
        return verdict.Left(descriptors(self.process.pid), weighed["tasks"], weighed["objects"], weighed["types"])


@asynccontextmanager
async def party(asterisk: Asterisk, folder: Path) -> AsyncIterator[Party]:
    """Bring everybody together."""
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(SipAgent(behaviour=HONEST, max_calls=_MOST_CALLS))
        sip_host = "{}:{}".format(*agent.address)
        millis = [
            await stack.enter_async_context(SimulatedMillis(key=bridge.KEY, sip_host=sip_host)) for _ in range(_REGIONS)
        ]
        text = bridge.config_text([each.url for each in millis], FALLBACK)
        process = await stack.enter_async_context(bridge.running(folder, text, "proving.watched_bridge"))
        starting = asterisk.start(settings(process.address))
        pbx = await asyncio.to_thread(starting.__enter__)
        stack.push_async_callback(asyncio.to_thread, starting.__exit__, None, None, None)
        yield Party(asterisk, pbx, process, millis, agent, folder)


async def soak(rate: float, minutes: float, seed: int, folder: Path) -> list[str]:
    """Soak, tell what was seen, and return the problems."""
    asterisk = find_asterisk()
    chance = Random(seed)
    calls = max(round(rate * minutes * 60), 1)
    leaving = round(calls * _IMPATIENT_SHARE)
    print(
        f"soak: {calls} calls at {rate:g}/s, {leaving} that leave, Asterisk {asterisk.version}, --seed {seed}",
        flush=True,
    )
    async with party(asterisk, folder) as everybody:
        # First contact makes pools, caches and threads, which are no leak.
        await everybody.call("warm-up", rate, _WARM_UP_CALLS)
        before = await everybody.left()
        async with asyncio.TaskGroup() as around:
            background = [
                around.create_task(everybody.watch()),
                around.create_task(everybody.misbehave(Random(chance.random()))),
            ]
            impatient = around.create_task(
                everybody.call_and_leave(Random(chance.random()), rate * _IMPATIENT_SHARE, leaving)
            )
            callers = await everybody.call("soak", rate, calls)
            await impatient
            for task in background:
                task.cancel()
        after = await everybody.left()
        seen = witness(everybody.pbx.log_text())
    samples = "".join(f"{at - everybody.memory[0][0]:.0f},{kilobytes:.0f}\n" for at, kilobytes in everybody.memory)
    (folder / "memory.csv").write_text("seconds,kilobytes\n" + samples)
    process = everybody.process
    memory = trend(_second_half(everybody.memory))
    _tell(callers, verdict.outcomes(process.lines), memory, before, after)
    return verdict.told(
        _caller_problems(callers, calls),
        verdict.calls_without_one_outcome(process.lines, seen, PATIENT),
        verdict.descriptors_left(before, after),
        verdict.memory_left(before, after, calls + leaving),
        verdict.growing(memory),
        verdict.odd_lines(process.lines, process.noise, process.exit_code),
    )


def _moment(chance: Random) -> float:
    """Return after how many seconds a caller leaves: as likely within the first 10 ms, in which we are asked, as later."""
    return exp(chance.uniform(log(0.002), log(2)))


def _second_half(samples: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return samples[len(samples) // 2 :]


def _caller_problems(callers: sipp.Callers, calls: int) -> Iterator[str]:
    if callers.created != calls:
        yield f"only {callers.created} of {calls} calls were placed"
    if callers.failed:
        first = next((line for line in callers.errors.splitlines() if line.strip()), "")
        yield f"{callers.failed} callers reached nobody within {PATIENCE_SECONDS:g} s or were cut off: {first}"


def _tell(
    callers: sipp.Callers, outcomes: Counter[str], memory: Trend, before: verdict.Left, after: verdict.Left
) -> None:
    print(
        f"callers: {callers.created} called, {callers.succeeded} reached an agent or the fallback, {callers.failed} did not"
    )
    waits = ", ".join(
        f"{name} {callers.setup(share) / 1e3:.2f} s" for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))
    )
    print(f"their wait until somebody answered: {waits}")
    for outcome, count in outcomes.most_common():
        print(f"  {count:7} {outcome}")
    print(f"the bridge: descriptors {before.descriptors.total()} -> {after.descriptors.total()}", end="")
    print(f", tasks {before.tasks} -> {after.tasks}, objects {before.objects} -> {after.objects}")
    print(f"memory in the second half: {memory}", flush=True)


def main() -> int:
    """Soak for as long as was asked."""
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description="Calls through a real Asterisk while faults come and go; then a look around."
    )
    parser.add_argument("--rate", type=float, default=10, help="calls a second (default 10)")
    parser.add_argument("--minutes", type=float, default=2, help="how long (default 2)")
    parser.add_argument("--seed", type=int, help="of chance: the faults and their times; another each time without")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the logs there")
    given = parser.parse_args()
    if given.rate <= 0 or given.minutes <= 0:
        parser.error("--rate and --minutes must be more than nothing")
    if given.keep and given.keep.exists() and any(given.keep.iterdir()):
        parser.error(f"{given.keep} holds something already")
    seed = SystemRandom().randrange(10**6) if given.seed is None else given.seed
    try:
        with tempfile.TemporaryDirectory(prefix="agi-bridge-soak-") as folder:
            if given.keep:
                given.keep.mkdir(parents=True, exist_ok=True)
            problems = asyncio.run(soak(given.rate, given.minutes, seed, given.keep or Path(folder)))
    except (AsteriskUnavailable, AsteriskFailed, bridge.BridgeFailedError) as error:
        problems = [str(error)]
    except ExceptionGroup as group:  # of tasks side by side
        problems = list(map(str, group.exceptions))
    except KeyboardInterrupt:
        return 130
    for problem in problems:
        print(f"PROBLEM: {problem}", file=sys.stderr)
    if not problems:
        print("soak: every call had exactly one outcome, and nothing is left behind")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
