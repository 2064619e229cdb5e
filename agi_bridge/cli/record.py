"""The records of calls: `calls` and `export` show them, `migrate` brings their database up to date."""

import time
from contextlib import closing
from typing import Annotated, Literal

import typer

from agi_bridge.call import Reason, Result
from agi_bridge.cli.call_line import HEADING, listed
from agi_bridge.cli.exit_code import DONE
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.option import ConfigOption, JsonOption
from agi_bridge.cli.record_place import record_settings, time_option
from agi_bridge.numbers import Numbers
from agi_bridge.records.export import as_json_line, csv_lines, json_lines
from agi_bridge.records.place import open_store
from agi_bridge.records.selection import Selection

commands = new_commands()

# How often the records are asked for what has changed, and how much of it is taken at a time.
_FOLLOW_SECONDS = 1.0
_FOLLOW_LIMIT = 500

SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="From then on: 24h, 7d, 2026-07-01 or 2026-07-01T09:30.")
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before then, written likewise.")]
ToDidOption = Annotated[str | None, typer.Option("--did", metavar="NUMBER", help="Only calls to this number.")]
FromCallerOption = Annotated[str | None, typer.Option("--caller", metavar="NUMBER", help="Only calls of this caller.")]
RuleOption = Annotated[str | None, typer.Option("--rule", metavar="NAME", help="Only calls that this rule took.")]
ResultOption = Annotated[Result | None, typer.Option("--result", metavar="RESULT", help="Only calls that went so.")]
ReasonOption = Annotated[Reason | None, typer.Option("--reason", metavar="REASON", help="Only calls that went so.")]


@commands.command()
def migrate(config_file: ConfigOption = None) -> int:
    """Bring the database of records up to date. The bridge does so itself when it starts."""
    settings, folder, _ = record_settings(config_file)
    with closing(open_store(settings, folder)) as store:
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
    settings, folder, numbers = record_settings(config_file)
    selection = _selection(numbers, since, until, did, caller, rule, result, reason)
    line = as_json_line if as_json else listed
    with closing(open_store(settings, folder, for_reading=True)) as store:
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
    settings, folder, numbers = record_settings(config_file)
    selection = _selection(numbers, since, until, did, caller, rule, result, reason)
    with closing(open_store(settings, folder, for_reading=True)) as store:
        records = store.all(selection)
        for line in csv_lines(records) if form == "csv" else json_lines(records):
            typer.echo(line)
    return DONE


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
        since=time_option(since, "--since"),
        until=time_option(until, "--until"),
        did=did and (numbers.normalise(did) or did),
        caller_number=caller and (numbers.normalise(caller) or caller),
        rule=rule,
        result=result,
        reason=reason,
    )
