"""The options that several commands have."""

from typing import Annotated

import typer

DEFAULT_CONFIGS = ("bridge.toml", "/etc/agi-bridge/bridge.toml")

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
