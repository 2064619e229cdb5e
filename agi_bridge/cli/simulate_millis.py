"""`agi-bridge simulate millis`: plays the Millis API, and with --agent the agent."""

import asyncio
import errno
import json
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Annotated

import typer

from agi_bridge.cli.address import address_option
from agi_bridge.cli.event_loop import run
from agi_bridge.cli.exit_code import DONE
from agi_bridge.cli.group import new_commands
from agi_bridge.config import Address
from agi_bridge.errors import CannotListen
from agi_bridge.simulator.fault import ALLOWED_FAULTS, Fault
from agi_bridge.simulator.millis import Received, SimulatedMillis
from agi_bridge.simulator.millis_session import Target
from agi_bridge.simulator.sip import AgentBehaviour, SipAgent
from agi_bridge.simulator.sip_leg import CallEvent
from agi_bridge.simulator.story import agent_step
from agi_bridge.simulator.tone import HEARD_TONE_HZ

commands = new_commands()

# How long the simulated agent lets it ring.
_AGENT_RINGS_SECONDS = 0.5


@commands.command("millis")
def simulate_millis(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen on; 0 takes any free one.")
    ] = 8089,
    sip_host: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="What stands in the SIP URIs that are handed out.")
    ] = "127.0.0.1:5090",
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Accept only this API key; without it, any.")] = None,
    agent: Annotated[
        bool,
        typer.Option("--agent", help="Play the agent too: answer the calls that come in at --sip-host, with a tone."),
    ] = False,
    webhooks: Annotated[
        str, typer.Option(metavar="URL", help="With --agent: a bridge's web port, to be told when calls begin and end.")
    ] = "",
    webhook_token: Annotated[str, typer.Option(metavar="TOKEN", help="The token for it, of the scope millis.")] = "",
    fault: Annotated[str, typer.Option(metavar="FAULT", help=f"Misbehave: {ALLOWED_FAULTS}.")] = "",
) -> int:
    """Play the Millis API, and print what it is asked. With --agent, the agent that answers the calls too."""
    # A shell starts its background jobs with Ctrl-C ignored, and Python keeps to that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        wanted = Fault.parse(fault)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--fault") from None
    sip_address = address_option(sip_host, "--sip-host") if agent else None
    target = Target(webhooks.rstrip("/"), webhook_token)
    run(_simulate_millis(host, port, sip_host, sip_address, key, wanted, target))
    return DONE


async def _simulate_millis(
    host: str,
    port: int,
    sip_host: str,
    agent: Address | None,
    key: str | None,
    fault: Fault,
    webhooks: Target,
) -> None:
    millis = SimulatedMillis(
        host, port, key=key, sip_host=sip_host, fault=fault, on_request=_print_request, webhooks=webhooks
    )

    def on_event(event: CallEvent) -> None:
        typer.echo(agent_step(event).sentence)
        millis.sessions.hear(event)

    async with AsyncExitStack() as stack:
        if agent is not None:
            simulated = SipAgent(
                agent.host,
                agent.port,
                behaviour=AgentBehaviour(ring_seconds=_AGENT_RINGS_SECONDS, heard_hz=HEARD_TONE_HZ),
                accepts=lambda user: any(user == issued["call_id"] for issued in millis.issued),
                on_event=on_event,
            )
            with _listening(agent, "--sip-host", "--sip-host"):
                await stack.enter_async_context(simulated)
            typer.echo(f"simulated agent at sip:{agent}")
        with _listening(Address(host, port), "--host", "--port"):
            await stack.enter_async_context(millis)
        typer.echo(f"simulated Millis at {millis.url}; stop it with Ctrl-C")
        await asyncio.Event().wait()


@contextmanager
def _listening(where: Address, host_option: str, port_option: str) -> Iterator[None]:
    """Say it in our words where an address to listen on is not to be had."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        choose = f"choose another address or {port_option}"
        if error.errno == errno.EADDRNOTAVAIL:
            why, choose = "it is none of the addresses of this machine", f"see {host_option}"
        raise CannotListen(f"cannot listen on {where}: {why}; {choose}") from error


def _print_request(received: Received) -> None:
    typer.echo(f"{received.method} {received.path} {json.dumps(received.body, ensure_ascii=False)}")
