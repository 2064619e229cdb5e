"""Commands that are imported when they are asked for: no command pays for what another one needs.

A group knows of each of its commands the module and the first sentence of its help. That is all that `--help` shows, so it
imports nothing either.
"""

from collections import UserDict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_group


@dataclass(frozen=True, slots=True)
class Listed:
    """A command as its group knows it: the module under `agi_bridge.cli` that has it, and what it does."""

    module: str
    summary: str


class _Commands(UserDict[str, Any]):
    """The commands of a group by their names; to look one up imports its module."""

    def __getitem__(self, name: str) -> Any:
        module = import_module(f"agi_bridge.cli.{self.data[name].module}")
        return get_group(module.commands).commands[name]


class LazyGroup(TyperGroup):
    """A group that imports the one command that is run. A subclass lists them, in the order of the help."""

    listed: ClassVar[Mapping[str, Listed]]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(self.listed)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what is wrong with an option is told in words of ours, where typer hands on pydantic's."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ").replace("Input should be", "must be")
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write what each command does."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, listed.summary) for name, listed in self.listed.items()])


def new_commands(group: type[TyperGroup] = TyperGroup, **settings: Any) -> typer.Typer:
    """Return what takes the commands of a module, or of a *group*; told in plain text, and never with a traceback."""
    return typer.Typer(
        cls=group, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings
    )
