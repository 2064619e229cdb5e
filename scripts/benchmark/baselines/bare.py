"""The practical limit for Python: an asyncio Protocol and aiohttp's client, the bridge's bytes and nothing else.

No rules, no number normalisation, no checks, no bounds, no log. Like the bridge it sets several variables with one
command, and those that do not depend on the API while the API is being asked.
"""

import asyncio
import json
from typing import Any, cast
from uuid import uuid4

import aiohttp
import uvloop

from benchmark.baselines import BACKLOG, options
from benchmark.conversation import (
    API_KEY,
    VALUES_COMMAND,
    registration,
    variables_after_answer,
    variables_before_answer,
)


def _assign(variables: list[tuple[str, str]]) -> bytes:
    """Return the command that sets all of *variables*."""
    assignments = ",".join(f'{name}=\\"{value}\\"' for name, value in variables)
    return f'EXEC "MSet" "{assignments}"\n'.encode()


class Call(asyncio.Protocol):
    """One call; *_last* is its last command, once the API has answered, and *_ready* is waiting for it."""

    def __init__(self, api: str, session: aiohttp.ClientSession) -> None:
        self._api = api
        self._session = session
        self._pending = b""
        self._request: dict[str, str] = {}
        self._registering: asyncio.Task[None] | None = None
        self._ready = False
        self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by birth

    def data_received(self, data: bytes) -> None:
        data = self._pending + data
        if not data.endswith(b"\n" if self._request else b"\n\n"):
            self._pending = data
            return
        self._pending = b""
        if not self._request:
            self._request = dict(line.split(": ", 1) for line in data.decode().splitlines() if line)
            self._transport.write(VALUES_COMMAND.encode() + b"\n")
        elif self._registering is None:
            values, call_id = data[data.index(b"(") + 1 : -2].decode(), uuid4().hex
            self._registering = asyncio.create_task(self._register(registration(self._request, values, call_id)))
            self._transport.write(_assign(variables_before_answer(call_id)))
        elif not self._ready:
            self._ready = True
            self._transport.write(self._last)
        else:
            self._transport.close()

    async def _register(self, body: dict[str, Any]) -> None:
        headers = {"authorization": API_KEY}
        async with self._session.post(self._api, json=body, headers=headers) as response:
            answer = json.loads(await response.read())
        if self._request["agi_network_script"] == "dial":
            self._last = f'EXEC "Dial" "PJSIP/millis/{answer["sip"]},30,i"\n'.encode()
        else:
            self._last = _assign(variables_after_answer(answer))
        if self._ready:
            self._transport.write(self._last)


async def main() -> None:
    """Serve until killed."""
    given = options()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Call(given.api, session), "127.0.0.1", given.port, backlog=BACKLOG)
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
