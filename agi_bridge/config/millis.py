"""`[millis]`, `[account.NAME]` and `[backfill]`: how Millis is reached, with which keys, and what it is asked afterwards."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from agi_bridge.config.address import http_url
from agi_bridge.config.table import Region, Seconds, Table, one_or_many
from agi_bridge.millis.models import REGIONS

DEFAULT_ACCOUNT = "default"


def _url_by_region(value: Any) -> dict[str, str]:
    """Read one address for all regions, or a table of one for each."""
    urls = value if isinstance(value, dict) else dict.fromkeys(REGIONS, value)
    if unknown := sorted(set(urls) - set(REGIONS)):
        raise ValueError(f'there is no region "{unknown[0]}"; there are: {", ".join(REGIONS)}')
    if not all(isinstance(url, str) for url in urls.values()):
        raise ValueError("must be an address in quotes, or a table with one for each region")
    return {region: http_url(url) for region, url in urls.items()}


def _host_pattern(text: str) -> str:
    if not re.fullmatch(r"(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", text):
        raise ValueError("must be a host name, an IPv4 address, or *.domain")
    return text


def _scheme(text: str) -> str:
    if not re.fullmatch("[A-Za-z]*", text):
        raise ValueError('must be a word such as "Bearer", or "" for the key alone')
    return text


class MillisSettings(Table):
    """`[millis]`: how Millis is reached and how long it may take."""

    region: Region = "us-west"
    base_url: Annotated[dict[str, str], BeforeValidator(_url_by_region)] = {}
    allowed_hosts: Annotated[
        list[Annotated[str, AfterValidator(_host_pattern)]], BeforeValidator(one_or_many), Field(min_length=1)
    ] = ["*.millis.ai"]
    api_key_file: str | None = None
    authorization_scheme: Annotated[str, AfterValidator(_scheme)] = ""
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
