"""Looks up a caller over HTTP, where the configuration says.

A shell around aiohttp. What is known of the call goes into the query, the answer is a JSON object; whatever else happens is a
LookupFailed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from agi_bridge.errors import LookupFailed
from agi_bridge.metadata import LOOKUP_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from agi_bridge.config import PrefetchSettings


class HttpLookup:
    """Asks the address of the settings, from where it is entered to where it is left."""

    def __init__(self, settings: PrefetchSettings) -> None:
        self._settings = settings
        self._asking = 0

    async def __aenter__(self) -> Self:
        token = self._settings.secrets[0].get_secret_value()
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            # A compressed answer could be a thousand times its size in memory.
            auto_decompress=False,
            headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "agi-bridge"}
            | ({"authorization": f"Bearer {token}"} if token else {}),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def find(self, known: Mapping[str, str]) -> Mapping[str, Any]:
        """Return what the address says of what is *known* of a call; raise LookupFailed."""
        if self._asking >= self._settings.lookup_limit:
            raise LookupFailed("lookup_limit under [prefetch] is reached")
        self._asking += 1
        try:
            return await self._asked({name: known[name] for name in LOOKUP_NAMES if name in known})
        except TimeoutError:
            raise
        except aiohttp.ClientError as error:
            raise LookupFailed(f"url under [prefetch] cannot be asked: {str(error) or type(error).__name__}") from error
        finally:
            self._asking -= 1

    async def _asked(self, query: Mapping[str, str]) -> Mapping[str, Any]:
        # Redirects are not followed: the token must not travel to where an answer points.
        async with self._http.get(self._settings.url or "", params=query, allow_redirects=False) as response:
            if response.status in (204, 404):
                return {}
            if response.status != 200:
                raise LookupFailed(f"url under [prefetch] answers with status {response.status}")
            answer = b""
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > self._settings.answer_limit_bytes:
                    raise LookupFailed("the answer of url under [prefetch] is beyond answer_limit_bytes")
        try:
            found = json.loads(answer)
        except (ValueError, RecursionError):
            raise LookupFailed("url under [prefetch] does not answer with JSON") from None
        if not isinstance(found, dict):
            raise LookupFailed("url under [prefetch] does not answer with a JSON object")
        return found
