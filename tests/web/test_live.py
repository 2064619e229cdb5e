"""What the commands ask about live calls, of workers that each know calls of their own, over real ports."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from agi_bridge.access import Scope, Token, digest
from agi_bridge.config import Address, WebSettings
from agi_bridge.errors import AmiUnreachable, ApiRefused, BridgeError, NoSuchCall, NotRunning
from agi_bridge.transfer import Transfer
from agi_bridge.web.api import Api
from agi_bridge.web.guard import Guard
from agi_bridge.web.live import ask_about_call, live_calls
from tests.web.asking import Clock, Dialled, web_server

TOKENS = (
    Token("looker", frozenset({Scope.READ}), digest("looker")),
    Token("doer", frozenset({Scope.CONTROL}), digest("doer")),
    Token("desk", frozenset({Scope.READ, Scope.CONTROL}), digest("desk")),
)


class Worker:
    """A bridge with some calls, which does what it is asked, or fails as planted."""

    def __init__(self, *calls: str, error: BridgeError | None = None) -> None:
        self.ids, self.error = calls, error
        self.done: list[tuple[str, ...]] = []

    async def transfer(self, bridge_call_id: str, name: str, reason: str = "", summary: str = "") -> Transfer:
        self._do("transfer", bridge_call_id, name, reason, summary)
        return Transfer(name, "q,600,1", 30)

    async def hang_up(self, bridge_call_id: str, *, by_agent: bool = False) -> None:
        self._do("hangup", bridge_call_id)

    async def live_calls(self) -> Mapping[str, Any]:
        calls = [{"bridge_call_id": call, "pbx": "hq", "uniqueid": "1.2", "channels": []} for call in self.ids]
        return {"calls": calls, "complete": True}

    def dry_run(self, did: str, caller: str | None, context: str, channel: str) -> Mapping[str, Any]:
        return {}

    async def originate(self, to: str, rule_name: str, agent_id: str = "") -> Dialled:
        return Dialled(to)

    async def calls(self, query: Mapping[str, str]) -> Mapping[str, Any]:
        return {}

    async def call(self, bridge_call_id: str) -> Mapping[str, Any] | None:
        return None

    def _do(self, *what: str) -> None:
        if what[1] not in self.ids:
            raise NoSuchCall("there is no call of that id now")
        if self.error:
            raise self.error
        self.done.append(what)


@asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[list[Address]]:
    """Run the workers, and return where each is asked."""
    settings = WebSettings(listen=["127.0.0.1:0"], request_limit_per_second=100_000)
    async with AsyncExitStack() as stack:
        addresses = []
        for worker in workers:
            routes = Api(Guard(TOKENS, settings, Clock()), worker, worker, worker, "1").routes()
            server = await stack.enter_async_context(web_server(settings, routes))
            addresses.append(Address(*server.addresses[0]))
        yield addresses


async def ask(*arguments: Any) -> str:
    """Ask from a thread, as the command asks from another process."""
    return await asyncio.to_thread(ask_about_call, *arguments)


async def test_calls_of_all_workers_are_listed_once():
    """A call that two workers know is one call."""
    async with running(Worker("a1", "b2"), Worker("b2", "c3")) as addresses:
        calls = await asyncio.to_thread(live_calls, addresses, "looker")

    assert [call["bridge_call_id"] for call in calls] == ["a1", "b2", "c3"]


async def test_workers_are_asked_until_one_knows_the_call():
    """The one that knows it does it, and nobody after it is asked."""
    workers = Worker("a1"), Worker("b2"), Worker("b2")
    async with running(*workers) as addresses:
        body = {"to": "sales", "reason": "why", "summary": "what"}
        assert await ask(addresses, "doer", "b2", "transfer", body) == "b2"

    assert [worker.done for worker in workers] == [[], [("transfer", "b2", "sales", "why", "what")], []]


async def test_id_may_be_shortened_as_long_as_it_means_one_call():
    """The beginning of one live call's id stands for it; of several it stands for none, and they are named."""
    worker = Worker("abcd1234", "abcd9999")
    async with running(Worker(), worker) as addresses:
        assert await ask(addresses, "desk", "abcd1", "hangup") == "abcd1234"
        with pytest.raises(ApiRefused, match=r"^abcd is the beginning of several calls: abcd1234, abcd9999$"):
            await ask(addresses, "desk", "abcd", "hangup")
        with pytest.raises(ApiRefused, match=r"^no call of the id abc is up$"):
            await ask(addresses, "desk", "abc", "hangup")
        with pytest.raises(ApiRefused, match=r"^no call of the id zzzz is up$"):
            await ask(addresses, "desk", "zzzz", "hangup")

    assert worker.done == [("hangup", "abcd1234")]


async def test_whoever_may_not_look_gives_the_whole_id():
    """A token for acting alone does not tell what is up, and a short id is then of no call."""
    async with running(Worker("abcd1234")) as addresses:
        with pytest.raises(ApiRefused, match=r"^no call of the id abcd is up$"):
            await ask(addresses, "doer", "abcd", "hangup")
        assert await ask(addresses, "doer", "abcd1234", "hangup") == "abcd1234"


async def test_id_is_one_part_of_the_path_whatever_it_holds():
    """No id leads to another path of the bridge."""
    worker = Worker("../a?b/ c")
    async with running(worker) as addresses:
        assert await ask(addresses, "doer", "../a?b/ c", "hangup") == "../a?b/ c"


@pytest.mark.parametrize(
    ("token", "code", "told"),
    [
        ("wrong", "unauthorized", "the bridge knows no such token"),
        ("looker", "forbidden", "this token is not for control"),
        ("doer", "pbx-unreachable", "hq cannot be reached"),
    ],
)
async def test_each_refusal_is_told_and_ends_the_search(token: str, code: str, told: str):
    """What another worker would say too is said once, and nothing is done."""
    other = Worker("a1")
    async with running(Worker("a1", error=AmiUnreachable("hq cannot be reached")), other) as addresses:
        with pytest.raises(ApiRefused, match=f"^{told}") as refused:
            await ask(addresses, token, "a1", "hangup")

    assert (refused.value.code, other.done) == (code, [])


async def test_worker_that_does_not_answer_may_have_been_the_one():
    """Where the call is not found, it is said that not everybody could be asked."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = Address(*closed.getsockname())
    async with running(Worker("a1")) as addresses:
        assert await ask([nobody, *addresses], "doer", "a1", "hangup") == "a1"
        with pytest.raises(NotRunning, match=r"^no worker that answers knows the call; no bridge answers at 127"):
            await ask([nobody, *addresses], "doer", "b2", "hangup")


async def test_nobody_else_is_asked_where_it_may_have_been_done():
    """A worker that breaks off may have done it; a second one is not asked to do it again."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        loop = asyncio.get_running_loop()

        async def break_off() -> None:
            silent.setblocking(False)
            connection, _ = await loop.sock_accept(silent)
            await loop.sock_recv(connection, 65536)
            connection.close()

        other = Worker("a1")
        async with running(other) as addresses, asyncio.TaskGroup() as tasks:
            tasks.create_task(break_off())
            with pytest.raises(NotRunning, match=r"it may have been done all the same$"):
                await ask([Address(*silent.getsockname()), *addresses], "doer", "a1", "hangup")

    assert other.done == []
