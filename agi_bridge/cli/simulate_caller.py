"""`agi-bridge simulate caller`: plays a caller, one SIP call to a PBX."""

import signal
import time
from typing import Annotated

import typer

from agi_bridge.cli.address import address_option
from agi_bridge.cli.event_loop import run
from agi_bridge.cli.exit_code import DONE, FAILED
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.option import CallerOption, DidOption, JsonOption
from agi_bridge.cli.output import complain, print_json
from agi_bridge.errors import CannotListen
from agi_bridge.simulator.sip import CallerBehaviour, place_call
from agi_bridge.simulator.sip_message import SipSyntaxError
from agi_bridge.simulator.story import audio_fault, story_teller
from agi_bridge.simulator.tone import AGENT_TONE_HZ, HEARD_TONE_HZ

commands = new_commands()

# How long a simulated caller waits for somebody to answer.
_ANSWER_SECONDS = 15.0


@commands.command("caller")
def simulate_caller(
    did: DidOption,
    caller: CallerOption = None,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The caller's name.")] = "",
    pbx: Annotated[
        str, typer.Option("--pbx", metavar="HOST:PORT", help="Where the PBX takes SIP over UDP.")
    ] = "127.0.0.1:5060",
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to call from, by which the PBX knows its trunk.")
    ] = "127.0.0.1",
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="SECONDS", min=1, max=300, help="How long to talk.")
    ] = 3.0,
    as_json: JsonOption = False,
) -> int:
    """Play a caller: one SIP call to a PBX. Proves audio both ways, where the call reaches the agent of simulate millis --agent."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    address = address_option(pbx, "--pbx")
    tell = (lambda _: None) if as_json else story_teller(typer.echo, time.monotonic())
    behaviour = CallerBehaviour(
        answer_timeout_seconds=_ANSWER_SECONDS, talk_seconds=seconds, listens_for_hz=(AGENT_TONE_HZ, HEARD_TONE_HZ)
    )
    try:
        report = run(
            place_call(
                (address.host, address.port),
                did,
                caller_number=caller,
                caller_name=name,
                behaviour=behaviour,
                host=host,
                on_event=tell,
            )
        )
    except SipSyntaxError as error:
        raise typer.BadParameter(str(error), param_hint="--did, --caller and --name") from None
    except OSError as error:
        raise CannotListen(f"cannot call {address} from {host}: {error.strerror}; see --pbx and --host") from error
    fault = audio_fault(report, str(address))
    if as_json:
        print_json(
            {"audio_both_ways": not fault, "why_not": fault, "status": report.status, "heard_hz": report.heard_hz}
        )
    elif fault:
        complain(f"agi-bridge: {fault}")
    else:
        typer.echo("audio went both ways: the caller heard the agent, and the agent heard the caller")
    return FAILED if fault else DONE
