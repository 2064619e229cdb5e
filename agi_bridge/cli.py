"""The command `agi-bridge`: one function a subcommand; each parses, calls, prints, and returns its exit code.

Results go to standard output, problems to standard error. Only this module imports `app`.
"""

import asyncio
import errno
import getpass
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar
from urllib.parse import quote

import typer

from agi_bridge import __version__, app, asterisk_conf, config, conversation, flavor, log, metadata
from agi_bridge.access import Scope, digest
from agi_bridge.call import Call, Reason, Result
from agi_bridge.dialplan import SipUri, safe_call_id
from agi_bridge.doctor import report
from agi_bridge.doctor.examination import Patient, examine
from agi_bridge.doctor.finding import Part, Severity, worst
from agi_bridge.dry_run import imagined_call, route_facts
from agi_bridge.errors import (
    AgiProtocolError,
    BadSipUri,
    BridgeError,
    CannotListen,
    ConfigError,
    MillisError,
    MillisRefused,
    NotRunning,
    Problem,
    RecordsError,
)
from agi_bridge.first_config import ALL_NUMBERS, FALLBACKS
from agi_bridge.millis.client import MillisClient
from agi_bridge.millis.models import REGIONS
from agi_bridge.numbers import Numbers
from agi_bridge.records.export import as_json_line, csv_lines, json_lines
from agi_bridge.records.listing import HEADING, listed
from agi_bridge.records.selection import Selection, parse_time
from agi_bridge.routing import Agent, Rule, choose_route
from agi_bridge.simulator.asterisk import play_call
from agi_bridge.simulator.channel import SimulatedChannel
from agi_bridge.simulator.fault import ALLOWED_FAULTS, Fault
from agi_bridge.simulator.millis import Received, SimulatedMillis
from agi_bridge.simulator.millis_session import Target
from agi_bridge.simulator.sip import AgentBehaviour, CallerBehaviour, SipAgent, place_call
from agi_bridge.simulator.sip_leg import CallEvent
from agi_bridge.simulator.sip_message import SipSyntaxError
from agi_bridge.simulator.story import agent_step, audio_fault, story_teller
from agi_bridge.simulator.tone import AGENT_TONE_HZ, HEARD_TONE_HZ
from agi_bridge.tool_definition import tool_definitions, webhook_definitions
from agi_bridge.web.client import ask_api, ask_readiness, ask_reload, reachable
from agi_bridge.web.live import ask_about_call, live_calls

T = TypeVar("T")

DONE, FAILED, MISUSED, WARNED, INTERRUPTED = 0, 1, 2, 3, 130

# How long a simulated caller waits for somebody to answer, and how long the simulated agent lets it ring.
_ANSWER_SECONDS = 15.0
_AGENT_RINGS_SECONDS = 0.5

_USUAL_URL = "http://127.0.0.1:4574"
_IF_CHANGED = "if listen under [web] was changed since the bridge began, name the old address with --url; SIGHUP reloads without it"

# What an operator calls the state of a breaker.
_REGION_WORDS = {"open": "is down", "half-open": "is being tried again"}

# How often the records are asked for what has changed, and how much of it is taken at a time.
_FOLLOW_SECONDS = 1.0
_FOLLOW_LIMIT = 500

DEFAULT_CONFIGS = ("bridge.toml", "/etc/agi-bridge/bridge.toml")

EXIT_CODES = "Exit codes: 0 done, 1 it did not work, 2 the command line or the configuration is wrong, 3 warnings, 130 interrupted."

_SEVERITY_CODES = {Severity.OK: DONE, Severity.INFO: DONE, Severity.WARNING: WARNED, Severity.ERROR: FAILED}


def _exit(code: int, **_: object) -> NoReturn:
    raise typer.Exit(code)


commands = typer.Typer(
    name="agi-bridge",
    help="Answers FastAGI calls from Asterisk and sends each one to its Millis voice agent.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    result_callback=_exit,
)
simulate = typer.Typer(
    help="Play Millis or Asterisk. For trying things without an account or a PBX.", no_args_is_help=True
)
commands.add_typer(simulate, name="simulate")
standby = typer.Typer(help="Make, show and delete what is dialled without an API.", no_args_is_help=True)
commands.add_typer(standby, name="standby")

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="AGI_BRIDGE_CONFIG",
        help=f"Default: the first of {' and '.join(DEFAULT_CONFIGS)}.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
DidOption = Annotated[str, typer.Option("--did", metavar="NUMBER", help="The called number, as the trunk sends it.")]
CallerOption = Annotated[
    str | None, typer.Option("--caller", metavar="NUMBER", help="The caller's number; left out, it is withheld.")
]
ContextOption = Annotated[str, typer.Option("--context", metavar="NAME", help="The dialplan context that asks.")]
ChannelOption = Annotated[str, typer.Option("--channel", metavar="NAME", help="The caller's channel.")]
UrlOption = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Where it listens, such as http://127.0.0.1:4574.")
]
TokenFileOption = Annotated[
    str | None,
    typer.Option("--token-file", metavar="FILE", help="What holds the token; without it: AGI_BRIDGE_TOKEN."),
]
CallIdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its bridge_call_id, or the beginning of it.")]
ArgumentOption = Annotated[
    list[str] | None, typer.Option("--arg", metavar="NAME=VALUE", help="An AGI argument; repeatable.")
]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="From then on: 24h, 7d, 2026-07-01 or 2026-07-01T09:30.")
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before then, written likewise.")]
ToDidOption = Annotated[str | None, typer.Option("--did", metavar="NUMBER", help="Only calls to this number.")]
FromCallerOption = Annotated[str | None, typer.Option("--caller", metavar="NUMBER", help="Only calls of this caller.")]
RuleOption = Annotated[str | None, typer.Option("--rule", metavar="NAME", help="Only calls that this rule took.")]
ResultOption = Annotated[Result | None, typer.Option("--result", metavar="RESULT", help="Only calls that went so.")]
ReasonOption = Annotated[Reason | None, typer.Option("--reason", metavar="REASON", help="Only calls that went so.")]
RegionOption = Annotated[str | None, typer.Option("--region", metavar="REGION", help=f"{' or '.join(REGIONS)}.")]


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; problems are told in words, never as a traceback."""
    try:
        commands(args=list(arguments), prog_name="agi-bridge")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else FAILED
    except ConfigError as error:
        for problem in error.problems:
            _complain(str(problem))
        return MISUSED
    except (BridgeError, OSError) as error:
        _complain(f"agi-bridge: {_in_words(error)}")
        return FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    return DONE


def _in_words(error: Exception) -> str:
    """Say what went wrong; where a file may not be written, also what to do."""
    match error:
        case PermissionError(filename=str() as name):
            return f"{name}: {error.strerror}; let uid {os.geteuid()} write there"
        case OSError(errno=errno.EROFS, filename=str() as name):
            return f"{name}: {error.strerror}; name a place that can be written"
    return str(error)


def main_entry() -> None:
    """Run as a program."""
    sys.exit(main(sys.argv[1:]))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"agi-bridge {__version__}")
        raise typer.Exit


@commands.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a subcommand."""


@commands.command()
def init(
    flavor_name: Annotated[
        str, typer.Option("--flavor", metavar="NAME", help=f"The PBX's distribution: {', '.join(FALLBACKS)}.")
    ] = "",
    country: Annotated[str, typer.Option("--country", metavar="CODE", help="Where the PBX is, such as US.")] = "",
    region: Annotated[str, typer.Option("--region", metavar="REGION", help=f"{' or '.join(REGIONS)}.")] = "",
    key_from: Annotated[
        str,
        typer.Option(
            "--key-from",
            metavar="FILE",
            help="What holds the API key; - is standard input. Without it: MILLIS_API_KEY, or the key written before.",
        ),
    ] = "",
    did: Annotated[
        list[str] | None,
        typer.Option("--did", metavar="NUMBER", help=f"A number for the agent, or {ALL_NUMBERS}; repeatable."),
    ] = None,
    agent: Annotated[str, typer.Option("--agent", metavar="ID", help="The agent's id at Millis.")] = "",
    fallback: Annotated[
        str, typer.Option("--fallback", metavar="PLACE", help="context,extension,priority for whoever gets no agent.")
    ] = "",
    config_file: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            envvar="AGI_BRIDGE_CONFIG",
            help=f"Default: {DEFAULT_CONFIGS[1]} where that folder is, else {DEFAULT_CONFIGS[0]}.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there; a backup is kept.")] = False,
) -> int:
    """Write a first configuration. Asks for what no option says; without a terminal, the options must say it all."""
    path = Path(config_file or _where_to_begin())
    if problems := conversation.obstacles(path, force):
        raise ConfigError(problems)
    given = {"--flavor": flavor_name, "--country": country, "--region": region, "--did": ",".join(did or ())}
    given |= {"--agent": agent, "--fallback": fallback}
    key = conversation.key_at_hand(key_from, path, os.environ, sys.stdin)
    # A descriptor that was closed before we began is no file at all.
    if all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        terminal = conversation.Terminal(typer.echo, input, getpass.getpass)
        try:
            answers = conversation.from_person(given, key, path, terminal)
        except (EOFError, KeyboardInterrupt):
            _complain("\nnothing is written")
            return INTERRUPTED
    else:
        answers = conversation.from_flags(given, key)
    for line in conversation.write(answers, path, force):
        typer.echo(line)
    named = () if str(path) in DEFAULT_CONFIGS else ("--config", str(path))
    typer.echo(f"next: {shlex.join(('agi-bridge', 'asterisk-config', '--flavor', answers.flavor, *named))}")
    return DONE


@commands.command()
def serve(
    config_file: ConfigOption = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="NUMBER", min=1, max=64, help="Processes; default: workers under [agi]."),
    ] = None,
) -> int:
    """Take calls until stopped. SIGTERM finishes the calls being set up first; a second one does not wait.

    SIGHUP reads the configuration anew.
    """
    path = str(_config_path(config_file).absolute())

    def read() -> config.Config:
        loaded = _load(path)
        return loaded if workers is None else loaded.with_workers(workers)

    loaded = read()
    log.configure(loaded.log, for_good=True)
    _run(app.serve(loaded, read, path))
    return DONE


@commands.command()
def health(config_file: ConfigOption = None, url: UrlOption = None, as_json: JsonOption = False) -> int:
    """Ask a running bridge whether it is ready. Asks every worker."""
    addresses = _workers(url, lambda: _where_to_ask(config_file))
    answers = [_readiness(address, number, len(addresses)) for number, address in enumerate(addresses, 1)]
    if as_json:
        _print_json(answers)
    else:
        for answer in answers:
            typer.echo(_health_line(answer))
    return DONE if all(answer.get("ready") for answer in answers) else FAILED


@commands.command()
def reload(config_file: ConfigOption = None, url: UrlOption = None, as_json: JsonOption = False) -> int:
    """Make the running bridge read its configuration anew. A bad file is refused, here and there, and changes nothing."""

    def read() -> tuple[config.WebSettings, int]:
        # The keys may be in the environment of the service alone.
        loaded = _load(config_file, need_keys=False)
        return loaded.web, loaded.agi.workers

    try:
        addresses = _workers(url, read)
    except ConfigError as error:
        if not as_json:
            raise
        file = str(_config_path(config_file).absolute())
        _print_json([{"config_file": file, "problems": [_as_dict(each) for each in error.problems]}])
        return MISUSED
    answers = [_reloaded(address) for address in addresses]
    if as_json:
        _print_json(answers)
    else:
        for number, answer in enumerate(answers, 1):
            _print_reloaded(f"worker {number} of {len(answers)}: " if len(answers) > 1 else "", answer)
    if any("problems" in answer for answer in answers):
        return MISUSED
    return DONE if all("changed" in answer for answer in answers) else FAILED


@commands.command()
def live(
    token_file: TokenFileOption = None,
    config_file: ConfigOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the calls that are up. Over the HTTP API; wants a token with the scope read."""
    calls = live_calls(*_over_api(token_file, config_file, url))
    if as_json:
        _print_json(calls)
        return DONE
    for call in calls:
        channels = ", ".join(f"{channel['name']} {channel['state']}" for channel in call["channels"])
        typer.echo(f"{call['bridge_call_id']}  {call['pbx']}  {channels}")
    if not calls:
        typer.echo("no call is up")
    return DONE


@commands.command()
def hangup(
    call_id: CallIdArgument,
    token_file: TokenFileOption = None,
    config_file: ConfigOption = None,
    url: UrlOption = None,
) -> int:
    """End a call. Over the HTTP API; wants a token with the scope control."""
    addresses, token = _over_api(token_file, config_file, url)
    typer.echo(f"{ask_about_call(addresses, token, call_id, 'hangup')} is ended")
    return DONE


@commands.command()
def transfer(
    call_id: CallIdArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of a [[transfer]].")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Shown before the caller's name.")] = "",
    summary: Annotated[str, typer.Option("--summary", metavar="TEXT", help="For whoever answers.")] = "",
    token_file: TokenFileOption = None,
    config_file: ConfigOption = None,
    url: UrlOption = None,
) -> int:
    """Send the caller on. Over the HTTP API; wants a token with the scope control."""
    addresses, token = _over_api(token_file, config_file, url)
    body = {"to": name, "reason": reason, "summary": summary}
    done = ask_about_call(addresses, token, call_id, "transfer", body)
    typer.echo(f"{done} is on its way to {name}")
    return DONE


@commands.command()
def originate(
    to: Annotated[str, typer.Option("--to", metavar="NUMBER", help="Whom to call, such as +15551230001.")],
    rule: Annotated[str, typer.Option("--rule", metavar="NAME", help="The outbound rule whose agent is to speak.")],
    agent: Annotated[
        str, typer.Option("--agent", metavar="ID", help="Another agent, of those that the rule allows.")
    ] = "",
    token_file: TokenFileOption = None,
    config_file: ConfigOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> int:
    """Call a number, and connect whoever answers with an agent. Over the HTTP API; wants a token with the scope control.

    Prints the id of the call once the PBX dials.
    """
    addresses, token = _over_api(token_file, config_file, url)
    body = {"to": to, "rule": rule, "agent": agent}
    started = ask_api(addresses[0], "POST", "/api/v1/originate", token, body)
    if as_json:
        _print_json(started)
    else:
        typer.echo(f"{started['bridge_call_id']} is dialling {started['to']}")
    return DONE


@commands.command()
def check(config_file: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Name all that is wrong with the configuration. Warnings stop nothing."""
    problems: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    rules = 0
    try:
        loaded = _load(config_file)
        warnings, rules = loaded.warnings, len(loaded.rules.rules)
    except ConfigError as error:
        problems = error.problems
    if as_json:
        _print_json({"problems": [_as_dict(p) for p in problems], "warnings": [_as_dict(w) for w in warnings]})
        return MISUSED if problems else DONE
    for problem in problems:
        _complain(str(problem))
    for warning in warnings:
        _complain(f"warning: {warning}")
    if problems:
        return MISUSED
    typer.echo(f"the configuration is good: {app.counted(rules, 'rule')}")
    return DONE


@commands.command()
def doctor(
    config_file: ConfigOption = None,
    only: Annotated[
        list[Part] | None,
        typer.Option("--only", metavar="PART", help=f"{', '.join(Part)}; repeatable. Default: all."),
    ] = None,
    console: Annotated[
        Path | None,
        typer.Option(
            "--console", metavar="SOCKET", help="The control socket of an Asterisk here, if it is not the usual."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Leave out notes and what is fine.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Look at both ends, and say what to do. At Millis, the bridge and the PBX; the worst first, within 5 s; changes nothing."""
    began = time.monotonic()
    findings = examine(_patient(config_file, frozenset(only or Part), console))
    seconds = time.monotonic() - began
    if as_json:
        _print_json(report.as_json(findings, seconds, __version__))
    else:
        typer.echo(report.as_text(findings, seconds, width=shutil.get_terminal_size().columns, quiet=quiet))
    return _SEVERITY_CODES[worst(findings)]


@commands.command()
def route(
    did: DidOption,
    caller: CallerOption = None,
    context: ContextOption = "from-trunk",
    channel: ChannelOption = "PJSIP/trunk-00000001",
    argument: ArgumentOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show which rule would answer a call. Also why, what Millis would be told and what dialled; nothing is sent."""
    loaded = _load(config_file, need_keys=False)
    call = _imagined(loaded, "(given to each call)", did, caller, context, channel, argument or [])
    chosen = choose_route(loaded.rules, call)
    _print_facts(route_facts(loaded, call, chosen, datetime.now(UTC)), as_json)
    return DONE if chosen.refusal is None else FAILED


@commands.command()
def register(
    did: DidOption,
    caller: CallerOption = None,
    context: ContextOption = "from-trunk",
    channel: ChannelOption = "PJSIP/trunk-00000001",
    argument: ArgumentOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Register one call with Millis, and dial nothing. The first contact with a live account."""
    loaded = _load(config_file)
    call = _imagined(loaded, uuid.uuid4().hex, did, caller, context, channel, argument or [])
    chosen = choose_route(loaded.rules, call)
    if chosen.answering is None:
        _print_facts(route_facts(loaded, call, chosen, datetime.now(UTC)), as_json)
        return FAILED
    return _run(_register(loaded, call, chosen.answering, as_json))


@standby.command("create")
def create_standby(
    rule: Annotated[str, typer.Option("--rule", metavar="NAME", help="The rule whose agent is to answer.")],
    region: RegionOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Have Millis keep a SIP URI for a rule's agent. Prints the line for the rule, and the id to delete it by."""
    loaded = _load(config_file)
    named = _named_rule(loaded, rule)
    region = _known_region(region) or named.agent.regions[0]
    return _run(_create_standby(loaded, named, region, config_file, as_json))


@standby.command("list")
def list_standbys(config_file: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Show the standby URI of each rule, as configured. Millis cannot be asked which ones it keeps."""
    loaded = _load(config_file, need_keys=False)
    uris = {
        rule.name: str(rule.agent.standby_uri) if rule.agent.standby_uri else None
        for rule in loaded.rules.rules
        if not rule.reject
    }
    if as_json:
        _print_json([{"rule": name, "standby_uri": uri} for name, uri in uris.items()])
        return DONE
    typer.echo("from the configuration; Millis documents no way to ask for what it keeps:")
    _print_table({name: uri or "none" for name, uri in uris.items()} or {"no rule has an agent": ""})
    return DONE


@standby.command("delete")
def delete_standby(
    call_id: Annotated[str, typer.Option("--id", metavar="ID", help="The id that create printed.")],
    rule: Annotated[
        str | None, typer.Option("--rule", metavar="NAME", help="Take account and region of this rule.")
    ] = None,
    account: Annotated[str | None, typer.Option("--account", metavar="NAME", help="Whose it is.")] = None,
    region: RegionOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Have Millis forget a SIP URI that it keeps. Without further options: default account, first region."""
    loaded = _load(config_file)
    agent = _named_rule(loaded, rule).agent if rule else Agent(regions=(loaded.millis.region,))
    account = account or agent.account
    if account not in loaded.api_keys:
        raise typer.BadParameter(f'there is no Millis key for the account "{account}"', param_hint="--account")
    return _run(_delete_standby(loaded, account, _known_region(region) or agent.regions[0], call_id, as_json))


@commands.command()
def migrate(config_file: ConfigOption = None) -> int:
    """Bring the database of records up to date. The bridge does so itself when it starts."""
    settings, folder, _ = _record_settings(config_file)
    with closing(app.open_store(settings, folder)) as store:
        had = f"had version {store.version_before}" if store.version_before else "was empty"
        typer.echo(f"{store.name} {had} and has version {store.version}")
    return DONE


@commands.command()
def calls(
    since: SinceOption = None,
    until: UntilOption = None,
    did: ToDidOption = None,
    caller: FromCallerOption = None,
    rule: RuleOption = None,
    result: ResultOption = None,
    reason: ReasonOption = None,
    limit: Annotated[int, typer.Option("--limit", metavar="NUMBER", min=0, help="How many, the latest of them.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what changes, until interrupted.")] = False,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the latest calls. One line each, the newest last."""
    settings, folder, numbers = _record_settings(config_file)
    selection = _selection(numbers, since, until, did, caller, rule, result, reason)
    line = as_json_line if as_json else listed
    with closing(app.open_store(settings, folder, for_reading=True)) as store:
        revision = store.latest_revision()
        if not as_json:
            typer.echo(HEADING)
        for record in reversed(store.page(selection, limit, newest_first=True)):
            typer.echo(line(record))
        while follow:
            time.sleep(_FOLLOW_SECONDS)
            changed, revision = store.changed_since(revision, selection, _FOLLOW_LIMIT)
            for record in changed:
                typer.echo(line(record))
    return DONE


@commands.command()
def backfill(
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="From then on, written as for calls.")] = "24h",
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Ask Millis how past calls ended. For webhooks that never came: what is found joins the records."""
    loaded = _load(config_file)
    settings, folder, _ = _record_settings(config_file)
    began = _time(since, "--since")
    assert began is not None  # noqa: S101 - it has a default
    with closing(app.open_store(settings, folder)) as store:
        done = _run(app.backfilled(loaded, store, began))
    _print_facts(done, as_json)
    return DONE


@commands.command()
def export(
    form: Annotated[Literal["csv", "jsonl"], typer.Option("--format", help="A table, or one JSON object a line.")],
    since: SinceOption = None,
    until: UntilOption = None,
    did: ToDidOption = None,
    caller: FromCallerOption = None,
    rule: RuleOption = None,
    result: ResultOption = None,
    reason: ReasonOption = None,
    config_file: ConfigOption = None,
) -> int:
    """Print the records of calls. The oldest first; however many there are, it takes no more memory."""
    settings, folder, numbers = _record_settings(config_file)
    selection = _selection(numbers, since, until, did, caller, rule, result, reason)
    with closing(app.open_store(settings, folder, for_reading=True)) as store:
        records = store.all(selection)
        for line in csv_lines(records) if form == "csv" else json_lines(records):
            typer.echo(line)
    return DONE


@commands.command("asterisk-config")
def asterisk_config(
    flavor_name: Annotated[str, typer.Option("--flavor", metavar="NAME", help=f"One of: {flavor.NAMES}.")],
    write: Annotated[bool, typer.Option("--write", help="Write the files instead of printing them.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take out again what --write has written.")] = False,
    directory: Annotated[
        str | None,
        typer.Option("--directory", metavar="FOLDER", help="Asterisk's configuration; default: /etc/asterisk."),
    ] = None,
    bridge: Annotated[
        str,
        typer.Option(
            "--bridge", metavar="HOST:PORT", help="Where Asterisk reaches the bridge; default: where it listens."
        ),
    ] = "",
    config_file: ConfigOption = None,
) -> int:
    """Print or write what Asterisk needs for this bridge. In the files that the distribution leaves alone."""
    chosen = _known_flavor(flavor_name)
    folder = Path(directory or "/etc/asterisk")
    if remove:
        return _put(folder, flavor.removal(chosen, asterisk_conf.there(folder, chosen)))
    loaded = _load(config_file, need_keys=False, need_secret=True)
    found = asterisk_conf.there(folder, chosen) if write or directory else {}
    planned = flavor.plan(loaded, chosen, asterisk_conf.shipped(), found, _known_address(bridge))
    if write:
        return _put(folder, planned)
    for file in planned.files:
        # With our two lines, so that what is pasted is found by a later --write.
        typer.echo(f"# {folder / file.path}\n\n{flavor.placed(file.path, '', file.ours)}")
    _print_steps(planned.steps)
    return DONE


@commands.command()
def token(
    name: Annotated[str, typer.Argument(help="Who is to have it, such as crm.")],
    scope: Annotated[list[Scope], typer.Option(help="read, control or millis; may be given more than once.")],
) -> int:
    """Make a token for the HTTP API. Shown once; the configuration holds only its hash."""
    secret = secrets.token_urlsafe(32)
    scopes = ", ".join(f'"{each}"' for each in dict.fromkeys(scope))
    _complain(f"give this to {name}; nobody can show it again:")
    typer.echo(secret)
    _complain("and put this into bridge.toml:")
    typer.echo(f'\n[[token]]\nname = "{name}"\nscopes = [{scopes}]\nsha256 = "{digest(secret)}"')
    return DONE


@commands.command()
def millis_tools(config_file: ConfigOption = None) -> int:
    """Print an agent's tools and webhooks, as JSON. To send its caller on, to end the call, and to tell us of it."""
    loaded = _load(config_file, need_keys=False)
    if not loaded.web.public_url:
        raise ConfigError([Problem("web.public_url", "is missing", "the address at which Millis reaches the web port")])
    url = loaded.web.public_url
    _print_json({"tools": tool_definitions(url, loaded.transfers)} | webhook_definitions(url))
    return DONE


@simulate.command("millis")
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
    sip_address = _address_option(sip_host, "--sip-host") if agent else None
    target = Target(webhooks.rstrip("/"), webhook_token)
    _run(_simulate_millis(host, port, sip_host, sip_address, key, wanted, target))
    return DONE


@simulate.command("caller")
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
    address = _address_option(pbx, "--pbx")
    tell = (lambda _: None) if as_json else story_teller(typer.echo, time.monotonic())
    behaviour = CallerBehaviour(
        answer_timeout_seconds=_ANSWER_SECONDS, talk_seconds=seconds, listens_for_hz=(AGENT_TONE_HZ, HEARD_TONE_HZ)
    )
    try:
        report = _run(
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
        _print_json(
            {"audio_both_ways": not fault, "why_not": fault, "status": report.status, "heard_hz": report.heard_hz}
        )
    elif fault:
        _complain(f"agi-bridge: {fault}")
    else:
        typer.echo("audio went both ways: the caller heard the agent, and the agent heard the caller")
    return FAILED if fault else DONE


@simulate.command("call")
def simulate_call(
    did: DidOption,
    caller: CallerOption = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="The caller's name.")] = None,
    bridge: Annotated[
        str, typer.Option("--bridge", metavar="HOST:PORT", help="Where the bridge listens.")
    ] = "127.0.0.1:4573",
    verb: Annotated[str, typer.Option("--verb", metavar="VERB", help="route, dial, ended or ping.")] = "route",
    secret: Annotated[
        str,
        typer.Option(
            "--secret",
            metavar="TEXT",
            envvar="AGI_BRIDGE_SECRET",
            help="What the bridge wants to be told, if anything.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> int:
    """Play Asterisk: one call to a running bridge. Prints the conversation, and the variables that the dialplan gets."""
    address = _address_option(bridge, "--bridge")
    presentation = 0 if caller else 32
    channel = SimulatedChannel(did=did, caller_number=caller, caller_name=name, callingpres=presentation)
    # As the dialplan does it: did=${URIENCODE(…)}.
    arguments = (f"did={quote(did)}", f"secret={quote(secret)}")
    on_line = None if as_json else _print_line
    played = _run(
        play_call(address.host, address.port, script=verb, arguments=arguments, channel=channel, on_line=on_line)
    )
    variables = {name: value for name, value in played.variables.items() if name.startswith("MILLIS_")}
    if played.trouble:
        _complain(f"agi-bridge: {played.trouble}")
    _print_facts({"AGISTATUS": played.agistatus, **variables, "total_ms": round(played.seconds * 1000, 1)}, as_json)
    # A bridge that is told how a call ended answers nothing.
    went_well = (
        played.agistatus == "SUCCESS" if verb in ("ended", "transferred") else variables.get("MILLIS_STATUS") == "ok"
    )
    return DONE if went_well else FAILED


async def _register(loaded: config.Config, call: Call, rule: Rule, as_json: bool) -> int:
    agent = rule.agent
    values = dict.fromkeys(metadata.expressions(agent), "")
    body = metadata.registration(
        call, agent, metadata.build(call, agent, values, datetime.now(UTC), loaded.metadata.value_limit_characters)
    )
    facts: dict[str, Any] = {"rule": rule.name, "account": agent.account}
    async with app.open_millis(loaded) as millis:
        began = time.monotonic()
        try:
            registration = await millis.register(agent.account, agent.regions, body)
            facts["status"] = "registered"
            facts["region"] = registration.region
            facts |= {"earlier": "; ".join(registration.earlier)} if registration.earlier else {}
            facts["millis_call_id"] = safe_call_id(registration.call_id)
            facts["sip_host"] = SipUri.parse(registration.sip_uri, loaded.millis.allowed_hosts).host
        except MillisError as error:
            facts["status"] = f"{error.outcome.reason}: {error}"
        facts["millis_ms"] = round((time.monotonic() - began) * 1000, 1)
    _print_facts(facts, as_json)
    return DONE if facts["status"] == "registered" else FAILED


async def _create_standby(
    loaded: config.Config, rule: Rule, region: str, config_file: str | None, as_json: bool
) -> int:
    facts: dict[str, Any] = {"rule": rule.name, "account": rule.agent.account, "region": region}
    async with app.millis_client(loaded) as millis:
        facts |= await _made_standby(millis, loaded, rule.agent, region)
    uri = facts.get("standby_uri")
    if as_json:
        _print_json(facts)
    else:
        _print_table({name: value for name, value in facts.items() if name != "standby_uri"})
        if uri:
            where = ("--config", config_file) if config_file else ()
            whose = ("--account", rule.agent.account, "--region", region)
            delete = shlex.join(("agi-bridge", "standby", "delete", f"--id={facts['id']}", *whose, *where))
            typer.echo(f'\nTo delete it again:\n{delete}\n\nThe line for the rule:\nstandby_uri = "{uri}"')
    return DONE if uri else FAILED


async def _made_standby(millis: MillisClient, loaded: config.Config, agent: Agent, region: str) -> dict[str, str]:
    """Have Millis keep a SIP URI for *agent*, and return what has become of it."""
    init_agent = metadata.standby(agent, loaded.metadata.value_limit_characters)
    try:
        made = await millis.create_endpoint(agent.account, region, init_agent, loaded.millis.timeout_seconds)
    except MillisError as error:
        return {"status": f"{error.outcome.reason}: {error}"}
    facts = {"id": safe_call_id(made.call_id)}
    try:
        uri = SipUri.parse(made.sip_uri, loaded.millis.allowed_hosts)
    except BadSipUri as error:
        # It must not be dialled, so it is not shown, and without being shown it is of no use.
        afterwards = await _deletion(millis, loaded, agent.account, region, made.call_id)
        return facts | {"status": f"{error.outcome.reason}: {error}", "afterwards": afterwards}
    return facts | {"status": "created", "standby_uri": str(uri)}


async def _delete_standby(loaded: config.Config, account: str, region: str, call_id: str, as_json: bool) -> int:
    async with app.millis_client(loaded) as millis:
        status = await _deletion(millis, loaded, account, region, call_id)
    facts = {"account": account, "region": region, "id": call_id, "status": status}
    rules = (rule for rule in loaded.rules.rules if not rule.reject)
    if users := [rule.name for rule in rules if f":{call_id}@" in str(rule.agent.standby_uri)]:
        facts["still_named_by"] = ", ".join(users)
    _print_facts(facts, as_json)
    return DONE if status == "deleted" else FAILED


async def _deletion(millis: MillisClient, loaded: config.Config, account: str, region: str, call_id: str) -> str:
    """Delete a SIP URI at Millis and return how that went."""
    try:
        await millis.delete_endpoint(account, region, call_id, loaded.millis.timeout_seconds)
    except MillisRefused as error:
        # A SIP URI is known in the region that made it.
        others = " or ".join(f"--region {name}" for name in REGIONS if name != region)
        hint = f"; {region} was asked, try {others}" if error.status == HTTPStatus.NOT_FOUND else ""
        return f"{error.outcome.reason}: {error}{hint}"
    except MillisError as error:
        return f"{error.outcome.reason}: {error}"
    return "deleted"


def _named_rule(loaded: config.Config, name: str) -> Rule:
    rule = next((rule for rule in loaded.rules.rules if rule.name == name), None)
    if rule is None:
        raise typer.BadParameter(f'there is no [[route]] with the name "{name}"', param_hint="--rule")
    if rule.reject:
        raise typer.BadParameter(f'"{name}" refuses its callers and has no agent', param_hint="--rule")
    return rule


def _known_flavor(name: str) -> flavor.Flavor:
    if name not in flavor.FLAVORS:
        raise typer.BadParameter(f'there is no flavor "{name}"; there are: {flavor.NAMES}', param_hint="--flavor")
    return flavor.FLAVORS[name]


def _known_address(text: str) -> str:
    try:
        return text and str(config.parse_address(text))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--bridge") from None


def _put(folder: Path, planned: flavor.Plan) -> int:
    for line in asterisk_conf.write(folder, planned.files):
        typer.echo(line)
    _print_steps(planned.steps)
    return DONE


def _known_region(region: str | None) -> str | None:
    if region is not None and region not in REGIONS:
        raise typer.BadParameter(f"must be {' or '.join(REGIONS)}", param_hint="--region")
    return region


async def _simulate_millis(
    host: str,
    port: int,
    sip_host: str,
    agent: config.Address | None,
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
            with _listening(agent, "--sip-host"):
                await stack.enter_async_context(simulated)
            typer.echo(f"simulated agent at sip:{agent}")
        with _listening(config.Address(host, port), "--port"):
            await stack.enter_async_context(millis)
        typer.echo(f"simulated Millis at {millis.url}; stop it with Ctrl-C")
        await asyncio.Event().wait()


@contextmanager
def _listening(where: config.Address, option: str) -> Iterator[None]:
    """Say it in our words where an address to listen on is not to be had."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise CannotListen(f"cannot listen on {where}: {why}; choose another address or {option}") from error


def _address_option(text: str, option: str) -> config.Address:
    try:
        return config.parse_address(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _imagined(loaded: config.Config, bridge_call_id: str, *told: Any) -> Call:
    try:
        return imagined_call(loaded, bridge_call_id, *told)
    except AgiProtocolError as error:
        raise typer.BadParameter(str(error), param_hint="--arg") from None


def _patient(config_file: str | None, parts: frozenset[Part], console: Path | None) -> Patient:
    """Return what is to be examined, as far as the configuration can be read."""
    path = str(_config_path(config_file))
    try:
        return Patient(path, _load(config_file), parts=parts, console=console)
    except ConfigError as error:
        problems = error.problems
    # The key may be in the environment of the service alone; all the rest can be looked at, other secrets included.
    with suppress(ConfigError):
        loaded = _load(config_file, environ={**os.environ, "MILLIS_API_KEY": "not-known-here"})
        others = {name: key for name, key in loaded.api_keys.items() if name != config.DEFAULT_ACCOUNT}
        return Patient(path, replace(loaded, api_keys=others), problems, parts=parts, console=console)
    with suppress(ConfigError):
        loaded = _load(config_file, need_keys=False)
        return Patient(path, loaded, problems, has_secrets=False, parts=parts, console=console)
    return Patient(path, None, problems, parts=parts, console=console)


def _load(
    config_file: str | None,
    *,
    need_keys: bool = True,
    need_secret: bool | None = None,
    environ: Mapping[str, str] = os.environ,
) -> config.Config:
    """Read the configuration file; files that it names are relative to its own folder."""
    path = _config_path(config_file)
    return config.load(
        _text(path),
        environ,
        lambda name: _bytes(path.parent / name),
        need_keys=need_keys,
        need_secret=need_secret,
    )


def _record_settings(config_file: str | None) -> tuple[config.RecordSettings, Path, Numbers]:
    """Return where records are kept, and how numbers are read; the rest of the file may be wrong, or all of it missing."""
    path = _config_path(config_file)
    text = _text(path) if config_file or path.exists() else ""
    settings, numbers = config.where_records_are(text, os.environ, lambda name: (path.parent / name).read_bytes())
    if not settings.enabled:
        raise RecordsError(f"records are switched off: enabled under [records] in {path}")
    return settings, app.record_folder(settings, str(path.absolute())), numbers


def _selection(
    numbers: Numbers,
    since: str | None,
    until: str | None,
    did: str | None,
    caller: str | None,
    rule: str | None,
    result: Result | None,
    reason: Reason | None,
) -> Selection:
    return Selection(
        since=_time(since, "--since"),
        until=_time(until, "--until"),
        did=did and (numbers.normalise(did) or did),
        caller_number=caller and (numbers.normalise(caller) or caller),
        rule=rule,
        result=result,
        reason=reason,
    )


def _time(text: str | None, option: str) -> datetime | None:
    try:
        return None if text is None else parse_time(text, datetime.now().astimezone())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode("utf-8-sig")  # editors on Windows put a mark before the text
    except OSError as error:
        # Set by docker-compose.yml, for in the container the path has another name than outside.
        site = os.environ.get("AGI_BRIDGE_SITE")
        hint = (
            f"it belongs in the folder AGI_BRIDGE_SITE: {site}"
            if site
            else "name the file with --config, or write one with agi-bridge init"
        )
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}", hint)]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(str(path), "is not UTF-8 text", "save it as UTF-8")]) from None


def _bytes(path: Path) -> bytes:
    """Return what a file holds; where that is not allowed, say to whom."""
    try:
        return path.read_bytes()
    except PermissionError as error:
        raise PermissionError(error.errno, f"{error.strerror}; let uid {os.geteuid()} read it") from error


def _config_path(config_file: str | None) -> Path:
    if config_file:
        return Path(config_file)
    return next((path for path in map(Path, DEFAULT_CONFIGS) if path.exists()), Path(DEFAULT_CONFIGS[0]))


def _where_to_begin() -> str:
    """Return where a first configuration is written: where an installed bridge looks, else here."""
    here, installed = DEFAULT_CONFIGS
    return installed if Path(installed).parent.is_dir() else here


def _workers(url: str | None, read: Callable[[], tuple[config.WebSettings, int]]) -> list[config.Address]:
    """Return where every worker of the running bridge is asked: as *url* says, else as the configuration that *read* gets."""
    if url is not None:
        return _each_worker([_web_address(url)])
    web, count = read()
    if not web.listen:
        raise NotRunning(f"the bridge cannot be asked, because listen under [web] is empty; {_IF_CHANGED}")
    try:
        return _each_worker([reachable(web.addresses(number)[0]) for number in range(1, count + 1)])
    except NotRunning as error:
        raise NotRunning(f"{error}; is it running? Or, {_IF_CHANGED}") from error


def _over_api(token_file: str | None, config_file: str | None, url: str | None) -> tuple[list[config.Address], str]:
    """Return where every worker of the running bridge is asked, and with which token."""
    token = _api_token(token_file)
    return _workers(url, lambda: _where_to_ask(config_file)), token


def _api_token(token_file: str | None) -> str:
    where, token = token_file or "AGI_BRIDGE_TOKEN", os.environ.get("AGI_BRIDGE_TOKEN", "").strip()
    if token_file:
        try:
            token = _bytes(Path(token_file)).decode(errors="replace").strip()
        except OSError as error:
            raise ConfigError([Problem(where, f"cannot be read: {error.strerror}")]) from None
    if not token:
        hint = "set AGI_BRIDGE_TOKEN, or name a file with --token-file; `agi-bridge token` makes one"
        raise ConfigError([Problem(where, "there is no token", hint)])
    if not re.fullmatch("[!-~]+", token):
        raise ConfigError([Problem(where, "holds signs that are in no token")])
    return token


def _where_to_ask(config_file: str | None) -> tuple[config.WebSettings, int]:
    """Read no more of the file than is needed to ask, and say how to do without."""
    try:
        return config.where_to_ask(_text(_config_path(config_file)))
    except ConfigError as error:
        hint = Problem("--url", f"asks without a configuration file, such as --url {_USUAL_URL}")
        raise ConfigError([*error.problems, hint]) from None


def _web_address(url: str) -> config.Address:
    try:
        return config.parse_address(url.removeprefix("http://").rstrip("/"))
    except ValueError:
        message = f"must be the address and port under [web], such as {_USUAL_URL}"
        raise typer.BadParameter(message, param_hint="--url") from None


def _each_worker(known: Sequence[config.Address]) -> list[config.Address]:
    """Return where every worker is asked, each on the port after the one before; the first that answers knows how many."""
    failures = []
    for address in known:
        try:
            standing = ask_readiness(address).content
        except NotRunning as error:
            failures.append(error)
            continue
        first = address.port + 1 - standing["worker"]
        return [config.Address(address.host, first + place) for place in range(standing["workers"])]
    raise failures[0]


def _readiness(address: config.Address, number: int, of: int) -> dict[str, Any]:
    try:
        return ask_readiness(address).content
    except NotRunning as error:
        return {"worker": number, "workers": of, "ready": False, "why_not": str(error)}


def _reloaded(address: config.Address) -> dict[str, Any]:
    try:
        return ask_reload(address).content
    except NotRunning as error:
        return {"why": str(error)}


def _health_line(answer: dict[str, Any]) -> str:
    line = f"worker {answer['worker']} of {answer['workers']}: "
    line += "ready" if answer["ready"] else f"not ready: {answer.get('why_not')}"
    if "version" not in answer:
        return line
    # A closed breaker is one that lets calls through, which is nothing to tell.
    for region, state in answer.get("regions", {}).items():
        line += f"; region {region} {_REGION_WORDS[state]}" if state in _REGION_WORDS else ""
    if waiting := answer.get("needs_restart"):
        line += f"; restart pending for: {', '.join(waiting)}"
    return f"{line}; version {answer['version']}, {answer.get('config_file')} of {answer.get('config_loaded_at')}"


def _print_reloaded(worker: str, answer: dict[str, Any]) -> None:
    if "problems" in answer:
        for problem in answer["problems"]:
            _complain(f"{worker}{Problem(**problem)}")
        _complain(f"{worker}{answer['config_file']} is refused; the old configuration stays")
        return
    if "changed" not in answer:
        _complain(f"{worker}not reloaded: {answer.get('why')}")
        return
    changed = answer["changed"]
    typer.echo(f"{worker}reloaded {answer['config_file']}: {', '.join(changed) or 'nothing has changed'}")
    if answer["needs_restart"]:
        typer.echo(f"{worker}restart the bridge for: {', '.join(answer['needs_restart'])}")


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _complain(text: str) -> None:
    typer.echo(text, err=True)


def _print_line(sender: str, line: str) -> None:
    line = re.sub("(?<=: secret=).+", "*****", line)
    typer.echo(f"{'<' if sender == 'bridge' else '>'} {line}".rstrip())


def _print_request(received: Received) -> None:
    typer.echo(f"{received.method} {received.path} {json.dumps(received.body, ensure_ascii=False)}")


def _print_steps(steps: Sequence[str]) -> None:
    typer.echo("\nWhat is left to do:")
    for number, step in enumerate(steps, 1):
        first, *more = step.splitlines()
        typer.echo(f"{number}. {first}")
        for line in more:
            typer.echo(f"   {line}")


def _print_facts(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(facts)
    else:
        _print_table(facts)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _print_table(facts: dict[str, Any]) -> None:
    """Print names and values, never folded: a value can be copied or searched for whole."""
    width = max(map(len, facts))
    for name, value in facts.items():
        text = json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict) else str(value)
        typer.echo(f"{name:<{width}}  {text}".replace("\n", "\n" + " " * (width + 2)).rstrip())


def _as_dict(problem: Problem) -> dict[str, str]:
    return {"path": problem.path, "message": problem.message, "suggestion": problem.suggestion}
