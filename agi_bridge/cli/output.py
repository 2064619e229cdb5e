"""What commands print: results on standard output, problems on standard error, JSON where a script might listen."""

import json
from typing import Any

import typer

from agi_bridge.errors import Problem


def complain(text: str) -> None:
    typer.echo(text, err=True)


def print_facts(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        print_table(facts)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(facts: dict[str, Any]) -> None:
    """Print names and values, never folded: a value can be copied or searched for whole."""
    width = max(map(len, facts))
    for name, value in facts.items():
        text = json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict) else str(value)
        typer.echo(f"{name:<{width}}  {text}".replace("\n", "\n" + " " * (width + 2)).rstrip())


def as_dict(problem: Problem) -> dict[str, str]:
    return {"path": problem.path, "message": problem.message, "suggestion": problem.suggestion}
