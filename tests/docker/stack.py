"""The stack of docker-compose.yml as a person handles it: commands of docker compose, and calls from this machine."""

import asyncio
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agi_bridge.simulator.sip import AudioHeard, CallerBehaviour, CallEvent, CallReport, SipCaller
from agi_bridge.simulator.tone import AGENT_TONE_HZ, HEARD_TONE_HZ

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "scripts/demo-site"
PBX = ("127.0.0.1", 5070)
PATIENCE_SECONDS = 60
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, and what it printed."""

    code: int
    out: str
    err: str


class Compose:
    """`docker compose` in this repository, as a project of its own."""

    def __init__(self, project: str = "agi-bridge-test", **variables: str) -> None:
        # What whoever runs the tests has set for a stack of their own must not reach into this one.
        without = ("COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME", "AGI_BRIDGE_SITE", "CA_BUNDLE")
        self._environ = {name: value for name, value in os.environ.items() if name not in without} | variables
        self._command = ["docker", "compose", "--file", "docker-compose.yml", "--project-name", project]

    def __call__(self, *arguments: str) -> str:
        """Run a command that must work, and return what it printed."""
        ended = self.attempt(*arguments)
        assert ended.code == 0, f"docker compose {' '.join(arguments)}: {ended.err}{self.attempt('logs').out[-4000:]}"
        return ended.out

    def attempt(self, *arguments: str) -> Ended:
        """Run a command that may fail."""
        done = run(*self._command, "--progress", "quiet", *arguments, environ=self._environ)
        return Ended(done.returncode, done.stdout, done.stderr)

    def container(self, service: str) -> str:
        """Return the id of the container that plays a part."""
        return self("ps", "--quiet", "--all", service).strip()

    def lines(self, service: str = "bridge") -> list[dict[str, Any]]:
        """Return the bridge's log, line by line."""
        log = self("logs", "--no-log-prefix", service)
        return [json.loads(line) for line in log.splitlines() if line.startswith("{")]

    async def line(self, **fields: Any) -> dict[str, Any]:
        """Wait until the bridge has logged a line with these fields, and return the latest."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                lines = await asyncio.to_thread(self.lines)
                if found := [line for line in lines if fields.items() <= line.items()]:
                    return found[-1]
                await asyncio.sleep(POLL_SECONDS)

    async def shown(self, pattern: str, *format_of: str) -> None:
        """Wait until `docker inspect` shows what has a match for *pattern*: Docker tells nobody who has not asked."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not re.search(pattern, (await asyncio.to_thread(run, "docker", "inspect", *format_of)).stdout):  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)

    def cli(self, command: str) -> str:
        """Run a command on Asterisk's console and return what it printed."""
        return self("exec", "--no-TTY", "asterisk", "asterisk", "-rx", command)


def run(*command: str, environ: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, however it ends."""
    return subprocess.run(
        command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def obstacle() -> str:
    """Return why nothing can be run in containers here, in one sentence; "" where it can."""
    for command, reason in (
        (("docker", "info"), "no Docker engine answers"),
        (("docker", "compose", "version"), "this Docker has no Compose 2"),
    ):
        try:
            done = run(*command)
        except FileNotFoundError:
            return "there is no docker command"
        if done.returncode != 0:
            return f"{reason} ({done.stderr.strip()})"
    return ""


class Phone:
    """A softphone on this machine."""

    def __init__(self) -> None:
        self.events: list[CallEvent] = []
        self._news = asyncio.Event()

    async def call(self, seconds: float = 2.5) -> CallReport:
        """Place a call of so many seconds."""
        async with self.calling(seconds) as call:
            return await call

    @asynccontextmanager
    async def calling(self, seconds: float = 200.0) -> AsyncIterator[asyncio.Task[CallReport]]:
        """Place a call that lasts for the block, then hang up; the task returns its report."""
        behaviour = CallerBehaviour(
            answer_timeout_seconds=20, talk_seconds=seconds, listens_for_hz=(AGENT_TONE_HZ, HEARD_TONE_HZ)
        )
        async with SipCaller(on_event=self._happened) as caller, asyncio.TaskGroup() as calls:
            call = calls.create_task(caller.call(PBX, "15551230001", caller_number="+15557654321", behaviour=behaviour))
            yield call
            caller.hang_up()

    async def heard(self, hz: int) -> None:
        """Wait until the phone has heard a tone."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(isinstance(event, AudioHeard) and event.hz == hz for event in self.events):
                self._news.clear()
                await self._news.wait()

    def _happened(self, event: CallEvent) -> None:
        self.events.append(event)
        self._news.set()
