"""`[records]`: where records of calls are kept, and what is needed to get there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PrivateAttr, SecretStr

from agi_bridge.config.table import DATABASE_URL, DatabaseUrl, Seconds, Table

if TYPE_CHECKING:
    from agi_bridge.config.reading import Reading


class RecordSettings(Table):
    """`[records]`: where records of calls are kept, how much may wait for the database, and what is forgotten when."""

    enabled: bool = True
    folder: str | None = None
    url: DatabaseUrl | None = None
    password_file: str | None = None
    gather_seconds: Annotated[float, Field(ge=0, le=10)] = 0.05
    batch_seconds: Annotated[float, Field(ge=0, le=60)] = 0.5
    batch_limit: Annotated[int, Field(ge=1, le=10_000)] = 200
    queue_limit: Annotated[int, Field(ge=1)] = 10_000
    spool_limit_bytes: Annotated[int, Field(ge=65_536)] = 268_435_456
    write_timeout_seconds: Annotated[float, Field(ge=1, le=600)] = 10.0
    read_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 3.0
    retry_seconds: Seconds = 30.0
    keep_days: Annotated[int, Field(ge=0, le=36_500)] = 365
    mask_numbers_after_days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    drop_transcripts_after_days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    unmatched_keep_days: Annotated[int, Field(ge=1, le=36_500)] = 7
    close_calls_after_seconds: Annotated[int, Field(ge=60, le=604_800)] = 600

    # Not keys: the password comes from `password_file`, or the whole address from the environment.
    _password: SecretStr = PrivateAttr(default=SecretStr(""))
    _environ_url: SecretStr = PrivateAttr(default=SecretStr(""))

    def with_secrets(self, password: SecretStr, environ_url: SecretStr) -> RecordSettings:
        """Return these settings with what no log may show."""
        settings = self.model_copy()
        settings._password, settings._environ_url = password, environ_url
        return settings

    @property
    def database(self) -> tuple[SecretStr, SecretStr]:
        """Return the address of the database, "" for the usual file, and its password, "" where none is wanted."""
        if self._environ_url.get_secret_value():
            return self._environ_url, SecretStr("")
        return SecretStr(self.url or ""), self._password


def with_secrets(records: RecordSettings, reading: Reading) -> RecordSettings:
    """Return where records are kept, with the password that is needed to get there."""
    environ_url = reading.environ.get("AGI_BRIDGE_RECORDS_URL", "").strip()
    if environ_url and not DATABASE_URL.fullmatch(environ_url):
        reading.refuse("AGI_BRIDGE_RECORDS_URL", 'must be such as "postgresql://user:password@host/database"')
    password: str | None = None
    if records.password_file and not environ_url:
        password = reading.secret("records.password_file", records.password_file)
        if password == "":
            reading.refuse("records.password_file", f"{records.password_file} is empty")
    return records.with_secrets(SecretStr(password or ""), SecretStr(environ_url))
