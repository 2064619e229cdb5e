"""`[millis]`, `[account.NAME]` and `[backfill]`: how Millis is reached, with which keys, and what it is asked afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr

from agi_bridge.config.address import http_url, is_plain_http_elsewhere, is_plain_http_here
from agi_bridge.config.table import OneOrMany, Region, Seconds, Table, matching
from agi_bridge.millis.models import REGIONS

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from agi_bridge.config.reading import Reading
    from agi_bridge.routing import Rule

DEFAULT_ACCOUNT = "default"


def _url_by_region(value: Any) -> dict[str, str]:
    """Read one address for all regions, or a table of one for each."""
    urls = value if isinstance(value, dict) else dict.fromkeys(REGIONS, value)
    if unknown := sorted(set(urls) - set(REGIONS)):
        raise ValueError(f'there is no region "{unknown[0]}"; there are: {", ".join(REGIONS)}')
    if not all(isinstance(url, str) for url in urls.values()):
        raise ValueError("must be an address in quotes, or a table with one for each region")
    return {region: http_url(url) for region, url in urls.items()}


_HostPattern = Annotated[
    str,
    matching(
        r"(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", "must be a host name, an IPv4 address, or *.domain"
    ),
]
_Scheme = Annotated[str, matching("[A-Za-z]*", 'must be a word such as "Bearer", or "" for the key alone')]


class MillisSettings(Table):
    """`[millis]`: how Millis is reached and how long it may take."""

    region: Region = "us-west"
    base_url: Annotated[dict[str, str], BeforeValidator(_url_by_region)] = {}
    allowed_hosts: Annotated[OneOrMany[_HostPattern], Field(min_length=1)] = ["*.millis.ai"]
    api_key_file: str | None = None
    authorization_scheme: _Scheme = ""
    connect_timeout_seconds: Seconds = 1.0
    region_timeout_seconds: Seconds | None = None
    timeout_seconds: Seconds = 3.9
    keepalive_seconds: Seconds = 30.0
    registration_limit: Annotated[int, Field(ge=1)] = 4_000
    breaker_failures: Annotated[int, Field(ge=1, le=1000)] = 2
    breaker_seconds: Seconds = 10.0
    probe_seconds: Annotated[float, Field(ge=0, le=3600)] = 15.0
    delete_orphans: bool = False
    response_limit_bytes: Annotated[int, Field(ge=1024, le=16_777_216)] = 65_536

    def url(self, region: str) -> str:
        """Return the address of the API of *region*, without a slash at its end."""
        return self.base_url.get(region, REGIONS[region])

    @property
    def seconds_for_one_region(self) -> float:
        """Return how long a region may take while there is another to ask; half of the whole time, where nothing is said."""
        return self.region_timeout_seconds or self.timeout_seconds / 2


class AccountSettings(Table):
    """`[account.NAME]`: a further Millis account, whose key stands in a file or in an environment variable."""

    api_key_file: str | None = None
    api_key_env: str | None = None


class BackfillSettings(Table):
    """`[backfill]`: how Millis is asked for what its webhooks have not told."""

    every_seconds: Annotated[int, Field(ge=0, le=86_400)] = 0
    wait_seconds: Annotated[int, Field(ge=0, le=86_400)] = 600
    look_back_seconds: Annotated[int, Field(ge=60, le=2_592_000)] = 86_400
    page_limit: Annotated[int, Field(ge=1, le=10_000)] = 100
    page_size: Annotated[int, Field(ge=1, le=100)] = 20
    pause_seconds: Annotated[float, Field(ge=0, le=600)] = 1.0
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 20.0
    answer_limit_bytes: Annotated[int, Field(ge=65_536, le=268_435_456)] = 33_554_432


def check_deadlines(
    millis: MillisSettings, setup_timeout_seconds: float, rules: Iterable[Rule], reading: Reading
) -> None:
    """Report limits of which one leaves no room for another that must fit into it."""
    if millis.connect_timeout_seconds > millis.timeout_seconds:
        reading.refuse("millis.connect_timeout_seconds", "is longer than millis.timeout_seconds, which holds for all")
    if millis.seconds_for_one_region > millis.timeout_seconds:
        reading.refuse(
            "millis.region_timeout_seconds", "is longer than millis.timeout_seconds, which holds for all regions"
        )
    elif millis.seconds_for_one_region == millis.timeout_seconds and any(len(rule.agent.regions) > 1 for rule in rules):
        reading.refuse(
            "millis.region_timeout_seconds",
            "leaves no time for the second region after a first one that does not answer",
            "make it shorter than timeout_seconds, or set failover = false under [defaults]",
        )
    if millis.timeout_seconds >= setup_timeout_seconds:
        reading.refuse("agi.setup_timeout_seconds", "must be longer than millis.timeout_seconds")
    if millis.probe_seconds >= millis.keepalive_seconds:
        reading.warn(
            "millis.probe_seconds",
            "is not shorter than keepalive_seconds, so no connection stays warm between two probes",
            "make it shorter",
        )


def check_base_url(millis: MillisSettings, rules: Iterable[Rule], reading: Reading) -> None:
    """Warn of a key that can be read on the way, and of calls that would take it where it is not meant to go."""
    if any(is_plain_http_elsewhere(millis.url(region)) for region in REGIONS):
        reading.warn("millis.base_url", "sends the API key over the network unencrypted", "use https://")
    # Half a trial: a simulated Millis on this machine, and behind it, for the other region, the real one.
    simulated = {region for region, url in millis.base_url.items() if is_plain_http_here(url)}
    tried = [rule.agent.regions for rule in rules if not rule.reject and rule.agent.regions[0] in simulated]
    for region in sorted({region for regions in tried for region in regions} - millis.base_url.keys()):
        reading.warn(
            "millis.base_url",
            f"has no address for {region}, so calls that fail here go, with the key, to {millis.url(region)}",
            "write one address for both regions, or set failover = false under [defaults]",
        )


def api_keys(
    millis: MillisSettings, accounts: Mapping[str, AccountSettings], needed: Container[str], reading: Reading
) -> dict[str, SecretStr]:
    """Return the key of each account; that of an account which no rule uses may be missing."""
    if DEFAULT_ACCOUNT in accounts:
        reading.refuse("account.default", "is the account of [millis] already", "give this one another name")
    environ = reading.environ
    file_name = environ.get("MILLIS_API_KEY_FILE")
    path = "MILLIS_API_KEY_FILE" if file_name else "millis.api_key_file"
    sources = {DEFAULT_ACCOUNT: (path, environ.get("MILLIS_API_KEY"), file_name or millis.api_key_file)} | {
        name: (f"account.{name}", environ.get(account.api_key_env or ""), account.api_key_file)
        for name, account in accounts.items()
    }
    keys: dict[str, SecretStr] = {}
    for name, (path, value, file_name) in sources.items():
        # An empty variable is what docker compose makes of one that is not set.
        key = (value or "").strip()
        if not key and file_name:
            key = reading.secret(path, file_name) or ""
        if not (key.isascii() and key.isprintable() and " " not in key):
            reading.refuse(path, "the Millis key holds blanks or signs that no HTTP header can carry")
        elif key:
            keys[name] = SecretStr(key)
        elif name in needed and not (reading.has_refused(path) or reading.has_refused_in(f"{path}.")):
            reading.refuse(path, "there is no Millis API key", _key_suggestion(name, accounts))
    return keys


def _key_suggestion(name: str, accounts: Mapping[str, AccountSettings]) -> str:
    if name == DEFAULT_ACCOUNT:
        return "set MILLIS_API_KEY, or name a file in MILLIS_API_KEY_FILE or api_key_file"
    variable = accounts[name].api_key_env
    if variable:
        return f"set {variable}, or name a file in api_key_file"
    return "name a file in api_key_file, or an environment variable in api_key_env"
