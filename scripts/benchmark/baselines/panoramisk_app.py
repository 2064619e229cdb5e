"""panoramisk's `fast_agi` with aiohttp's client: what an asyncio programmer writes today.

Favoured where its author would be by a careful user: raised backlog, uvloop, one shared client session.
"""

import asyncio
from uuid import uuid4

import aiohttp
import uvloop
from panoramisk.fast_agi import Application, Request  # type: ignore[import-untyped]  # it ships no types

from benchmark.baselines import BACKLOG, options
from benchmark.conversation import (
    API_KEY,
    VALUES_COMMAND,
    registration,
    variables_after_answer,
    variables_before_answer,
)


async def main() -> None:
    """Serve until killed."""
    given = options()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers={"authorization": API_KEY}) as session:

        async def route(request: Request) -> None:
            reply = await request.send_command(VALUES_COMMAND)
            call_id = uuid4().hex
            body = registration(request.headers, reply["result"][1], call_id)
            async with session.post(given.api, json=body) as response:
                answer = await response.json()
            for name, value in variables_before_answer(call_id) + variables_after_answer(answer):
                await request.send_command(f'SET VARIABLE {name} "{value}"')

        application = Application(loop=asyncio.get_running_loop())
        application.add_route("route", route)
        server = await asyncio.start_server(application.handler, "127.0.0.1", given.port, backlog=BACKLOG)
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
