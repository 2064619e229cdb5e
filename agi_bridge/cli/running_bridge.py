"""Where the workers of the running bridge are asked, and with which token; for the commands that ask one."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from agi_bridge import config
from agi_bridge.cli.configuration import bytes_of, config_path, text_of
from agi_bridge.errors import ConfigError, NotRunning, Problem
from agi_bridge.web.client import ask_readiness, reachable

_USUAL_URL = "http://127.0.0.1:4574"
_IF_CHANGED = "if listen under [web] was changed since the bridge began, name the old address with --url; SIGHUP reloads without it"

UrlOption = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Where it listens, such as http://127.0.0.1:4574.")
]
TokenFileOption = Annotated[
    str | None,
    typer.Option("--token-file", metavar="FILE", help="What holds the token; without it: AGI_BRIDGE_TOKEN."),
]


def workers(url: str | None, read: Callable[[], tuple[config.WebSettings, int]]) -> list[config.Address]:
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


def over_api(token_file: str | None, config_file: str | None, url: str | None) -> tuple[list[config.Address], str]:
    """Return where every worker of the running bridge is asked, and with which token."""
    token = _api_token(token_file)
    return workers(url, lambda: where_to_ask(config_file)), token


def where_to_ask(config_file: str | None) -> tuple[config.WebSettings, int]:
    """Read no more of the file than is needed to ask, and say how to do without."""
    try:
        return config.where_to_ask(text_of(config_path(config_file)))
    except ConfigError as error:
        hint = Problem("--url", f"asks without a configuration file, such as --url {_USUAL_URL}")
        raise ConfigError([*error.problems, hint]) from None


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


def _web_address(url: str) -> config.Address:
    try:
        return config.parse_address(url.removeprefix("http://").rstrip("/"))
    except ValueError:
        message = f"must be the address and port under [web], such as {_USUAL_URL}"
        raise typer.BadParameter(message, param_hint="--url") from None


def _api_token(token_file: str | None) -> str:
    where, token = token_file or "AGI_BRIDGE_TOKEN", os.environ.get("AGI_BRIDGE_TOKEN", "").strip()
    if token_file:
        try:
            token = bytes_of(Path(token_file)).decode(errors="replace").strip()
        except OSError as error:
            raise ConfigError([Problem(where, f"cannot be read: {error.strerror}")]) from None
    if not token:
        hint = "set AGI_BRIDGE_TOKEN, or name a file with --token-file; `agi-bridge token` makes one"
        raise ConfigError([Problem(where, "there is no token", hint)])
    if not re.fullmatch("[!-~]+", token):
        raise ConfigError([Problem(where, "holds signs that are in no token")])
    return token
