"""What a scenario hands back, and how it is shown: tables for people, one JSON document for machines.

Knows nothing of servers or sockets. A goal that could not be judged in this run (its server was left out) is absent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Goal:
    """A figure of the issue: what was wanted, what was measured, whether that is enough."""

    figure: str
    wanted: str
    measured: str
    met: bool

    @classmethod
    def at_least(cls, figure: str, wanted: float, measured: float, unit: str) -> "Goal":
        """Judge a figure that should be high."""
        return cls(figure, f"≥ {wanted:g} {unit}", f"{measured:.3g} {unit}", measured >= wanted)

    @classmethod
    def at_most(cls, figure: str, wanted: float, measured: float, unit: str) -> "Goal":
        """Judge a figure that should be low."""
        return cls(figure, f"≤ {wanted:g} {unit}", f"{measured:.3g} {unit}", measured <= wanted)


@dataclass
class Chapter:
    """The answer to one question: a table (columns, rows of text), the goals it decides, the bare figures, warnings."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that *share* of *values* do not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the figures that sum up *values*; without any they are no numbers, and meet no goal."""
    if not values:
        return {"median": nan, "p99": nan, "maximum": nan, "count": 0}
    return {
        "median": median(values),
        "p99": quantile(values, 0.99),
        "maximum": max(values),
        "count": len(values),
    }


def show(console: Console, chapter: Chapter) -> None:
    """Print a chapter's table and warnings."""
    table = Table(title=chapter.title, title_justify="left")
    table.add_column(chapter.columns[0])
    for column in chapter.columns[1:]:
        table.add_column(column, justify="right")
    for row in chapter.rows:
        table.add_row(*row)
    console.print(table)
    for warning in chapter.warnings:
        console.print(f"[yellow]warning:[/yellow] {warning}")


def show_goals(console: Console, goals: Sequence[Goal]) -> None:
    """Print the goals beside what was measured."""
    if not goals:
        return
    table = Table(title="Goals", title_justify="left")
    for column in ("figure", "wanted", "measured", ""):
        table.add_column(column)
    for goal in goals:
        table.add_row(
            goal.figure, goal.wanted, goal.measured, "[green]met[/green]" if goal.met else "[red]MISSED[/red]"
        )
    console.print(table)
