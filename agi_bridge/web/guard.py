"""Lets a request in or not: by its token, the token's scope, and how fast its holder asks.

A shell around aiohttp's request; whose token it is, `access` decides. A wrong token costs its sender the next ones, and never
somebody else's right one: behind a proxy, everybody comes from one address.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from agi_bridge.access import Scope, Token, holder
from agi_bridge.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from agi_bridge.config import WebSettings

log = structlog.get_logger(__name__)

# Peers whose wrong tokens are remembered; beyond that the one known longest is forgotten.
_MOST_PEERS = 1024


def refusal(status: int, code: str, message: str) -> web.Response:
    """Return an error, in the one shape that all have: `{"error": {"code": …, "message": …}}`."""
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


class Guard:
    """Knows the tokens, and how fast each was used of late. `counts` has the refusals by their codes."""

    def __init__(self, tokens: tuple[Token, ...], settings: WebSettings, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.counts = Counter[str]()
        self._wrong: dict[str, Pace] = {}
        self.reconfigure(tokens, settings)

    def reconfigure(self, tokens: tuple[Token, ...], settings: WebSettings) -> None:
        """Take other tokens and limits."""
        self._tokens, self._settings = tokens, settings
        per_second = settings.request_limit_per_second
        self._paces = {token.name: Pace(per_second, 2 * per_second, self._clock()) for token in tokens}

    def refused(self, request: web.Request, scope: Scope) -> web.Response | None:
        """Return None where the request may have what *scope* opens, else the answer that says why not."""
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        token = holder(self._tokens, presented.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            return self._wrong_token(request.remote or "")
        if scope not in token.scopes:
            return self._refused(403, "forbidden", f"this token is not for {scope}", holder=token.name)
        if not self._paces[token.name].take(self._clock()):
            limit = self._settings.request_limit_per_second
            return self._refused(429, "too-many-requests", f"at most {limit} requests a second", holder=token.name)
        return None

    def _wrong_token(self, peer: str) -> web.Response:
        pace = self._wrong.get(peer)
        if pace is None:
            if len(self._wrong) >= _MOST_PEERS:
                del self._wrong[next(iter(self._wrong))]
            per_minute = self._settings.wrong_token_limit_per_minute
            pace = self._wrong[peer] = Pace(per_minute / 60, per_minute, self._clock())
        if not pace.take(self._clock()):
            self.counts["too-many-wrong-tokens"] += 1  # without a line: whoever guesses could fill the log
            return refusal(429, "too-many-wrong-tokens", "wait, and send a token that agi-bridge has made")
        return self._refused(
            401, "unauthorized", 'send "Authorization: Bearer …" with a token that agi-bridge has made', peer=peer
        )

    def _refused(self, status: int, code: str, message: str, **facts: str) -> web.Response:
        self.counts[code] += 1
        log.warning("HTTP request refused", status=status, code=code, security=True, **facts)
        return refusal(status, code, message)
