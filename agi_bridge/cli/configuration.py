"""The configuration file of a command: which it is, and what it says."""

import os
from collections.abc import Mapping
from pathlib import Path

from agi_bridge import config
from agi_bridge.cli.option import DEFAULT_CONFIGS
from agi_bridge.errors import ConfigError, Problem


def load(
    config_file: str | None,
    *,
    need_keys: bool = True,
    need_secret: bool | None = None,
    environ: Mapping[str, str] = os.environ,
) -> config.Config:
    """Read the configuration file; files that it names are relative to its own folder."""
    path = config_path(config_file)
    return config.load(
        text_of(path),
        environ,
        lambda name: bytes_of(path.parent / name),
        need_keys=need_keys,
        need_secret=need_secret,
    )


def config_path(config_file: str | None) -> Path:
    if config_file:
        return Path(config_file)
    return next((path for path in map(Path, DEFAULT_CONFIGS) if path.exists()), Path(DEFAULT_CONFIGS[0]))


def text_of(path: Path) -> str:
    try:
        return bytes_of(path).decode("utf-8-sig")  # editors on Windows put a mark before the text
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


def bytes_of(path: Path) -> bytes:
    """Return what a file holds; where that is not allowed, say to whom."""
    try:
        return path.read_bytes()
    except PermissionError as error:
        raise PermissionError(error.errno, f"{error.strerror}; let uid {os.geteuid()} read it") from error
