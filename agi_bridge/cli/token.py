"""`agi-bridge token`: makes a token for the HTTP API."""

import secrets
from typing import Annotated

import typer

from agi_bridge.access import Scope, digest
from agi_bridge.cli.exit_code import DONE
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.output import complain

commands = new_commands()


@commands.command()
def token(
    name: Annotated[str, typer.Argument(help="Who is to have it, such as crm.")],
    scope: Annotated[list[Scope], typer.Option(help="read, control or millis; may be given more than once.")],
) -> int:
    """Make a token for the HTTP API. Shown once; the configuration holds only its hash."""
    secret = secrets.token_urlsafe(32)
    scopes = ", ".join(f'"{each}"' for each in dict.fromkeys(scope))
    complain(f"give this to {name}; nobody can show it again:")
    typer.echo(secret)
    complain("and put this into bridge.toml:")
    typer.echo(f'\n[[token]]\nname = "{name}"\nscopes = [{scopes}]\nsha256 = "{digest(secret)}"')
    return DONE
