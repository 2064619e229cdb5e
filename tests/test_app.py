"""The whole bridge as a process: ready, serving, reloaded, drained, insisted upon, restarted, several at once."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from agi_bridge.call import CallRecord
from agi_bridge.records.selection import Selection
from agi_bridge.records.store import Store, database_url
from agi_bridge.simulator.asterisk import AsteriskSide, PlayedCall, play_call
from agi_bridge.simulator.command import DialEnding
from agi_bridge.simulator.millis import Fault, SimulatedMillis
from tests.events.target import target
from tests.served import PATIENCE_SECONDS, Served, serving, two_free_ports, write_config

DID = ("did=+15551230001",)


@asynccontextmanager
async def bridge(millis: SimulatedMillis, folder: Path) -> AsyncIterator[tuple[Served, str, int]]:
    """Run the bridge; yield it with host and port."""
    async with serving(write_config(folder, millis)) as served:
        await served.started()
        yield served, *served.address


async def test_a_call_is_served_and_told_in_one_line_of_json(tmp_path: Path):
    """The process takes a call, routes it, and writes its line with the numbers masked."""
    async with SimulatedMillis() as millis, bridge(millis, tmp_path) as (served, host, port):
        played = await play_call(host, port, arguments=DID)
        line = await served.wrote("call")

    assert played.variables["MILLIS_STATUS"] == "ok"
    assert (line["rule"], line["reason"], line["did"]) == ("all", "routed", "+155******01")


async def test_rules_that_only_refuse_need_no_key(tmp_path: Path):
    """A bridge that registers no call starts without a Millis key, and refuses."""
    async with SimulatedMillis() as millis:
        config = write_config(tmp_path, millis)
        config.write_text(config.read_text().replace('agent_id = "-Nall"', "reject = true"))
        async with serving(config, environ={"MILLIS_API_KEY": ""}) as served:
            await served.started()
            played = await play_call(*served.address, arguments=DID)

    assert played.variables["MILLIS_STATUS"] == "reject"


# Drain


async def test_sigterm_lets_a_call_that_is_being_set_up_finish(tmp_path: Path):
    """A drain closes the door at once, but the caller inside still gets an answer, and the process ends with 0."""
    async with (
        SimulatedMillis(fault=Fault(delay_seconds=0.5)) as millis,
        bridge(millis, tmp_path) as (served, host, port),
    ):
        async with AsteriskSide(host, port, script="route", arguments=DID) as call:
            await millis.received()
            served.process.send_signal(signal.SIGTERM)
            await served.wrote("draining")
            late = await play_call(host, port)
            played = await call.finished()
        assert await served.ended() == 0

    assert played.variables["MILLIS_STATUS"] == "ok"
    assert late.agistatus == "FAILURE"


async def test_web_side_says_that_the_bridge_drains(tmp_path: Path):
    """While the last call is set up, /readyz still answers, and says that new calls are not welcome; /livez stays well."""
    async with (
        SimulatedMillis(fault=Fault(hang=True)) as millis,
        bridge(millis, tmp_path) as (served, host, port),
        AsteriskSide(host, port, script="route", arguments=DID),
    ):
        await millis.received()
        assert (await served.get("/readyz"))[0] == 200
        served.process.send_signal(signal.SIGTERM)
        await served.wrote("draining")
        status, body = await served.get("/readyz")
        alive, _ = await served.get("/livez")

    standing = json.loads(body)
    assert (status, standing["ready"], standing["why_not"], standing["draining"]) == (503, False, "draining", True)
    assert alive == 200


async def test_sigterm_does_not_wait_for_a_call_that_only_awaits_the_end_of_dial(tmp_path: Path):
    """A call in EXEC Dial needs the bridge no more: it is left to Asterisk, and recorded as such."""
    async with (
        SimulatedMillis() as millis,
        bridge(millis, tmp_path) as (served, host, port),
        AsteriskSide(host, port, script="dial", arguments=DID, dial=DialEnding(held=True)) as call,
    ):
        await call.saw('EXEC "Dial"')
        served.process.send_signal(signal.SIGTERM)
        line = await served.wrote("call")
        assert await served.ended() == 0

    assert (line["result"], line["reason"]) == ("unknown", "bridge-stopped")


async def test_a_second_signal_insists(tmp_path: Path):
    """Whoever asks twice is not made to wait for a Millis that never answers."""
    async with (
        SimulatedMillis(fault=Fault(hang=True)) as millis,
        bridge(millis, tmp_path) as (served, host, port),
        AsteriskSide(host, port, script="route", arguments=DID),
    ):
        await millis.received()
        served.process.send_signal(signal.SIGTERM)
        await served.wrote("draining")
        served.process.send_signal(signal.SIGTERM)
        await served.wrote("stopping at once")
        line = await served.wrote("call")
        assert await served.ended() in (0, 130)

    assert line["reason"] == "bridge-stopped"


# Reload


async def test_sighup_takes_the_new_rules_and_a_call_keeps_those_it_began_with(tmp_path: Path):
    """A call that waits for Millis during a reload ends by its old rule; the next one meets the new rules."""
    async with (
        SimulatedMillis(fault=Fault(delay_seconds=0.5)) as millis,
        bridge(millis, tmp_path) as (served, host, port),
    ):
        async with AsteriskSide(host, port, script="route", arguments=DID) as call:
            await millis.received()
            write_config(tmp_path, millis, rule="new", more='[log]\nlevel = "debug"\n')
            served.process.send_signal(signal.SIGHUP)
            told = await served.wrote("configuration reloaded")
            began_before = await served.wrote("call")
            await call.finished()
        await play_call(host, port, arguments=DID)
        began_after = await served.wrote("call")

    assert told["changed"] == ["log.level", 'route "all" removed', 'route "new" added']
    assert told["needs_restart"] == ["log.level"]
    assert (began_before["rule"], began_before["reason"]) == ("all", "routed")
    assert (began_after["rule"], began_after["reason"]) == ("new", "routed")


async def test_sighup_with_a_bad_file_changes_nothing_and_says_why(tmp_path: Path):
    """Each problem has its line, the old rules go on, and the refusal is counted."""
    async with SimulatedMillis() as millis, bridge(millis, tmp_path) as (served, host, port):
        write_config(tmp_path, millis, rule="two words", more='[numbers]\ndefault_country = "Mars"\n')
        served.process.send_signal(signal.SIGHUP)
        first, second = await served.wrote("configuration"), await served.wrote("configuration")
        failed = await served.wrote("reload failed; the old configuration stays")
        await play_call(host, port, arguments=DID)
        line = await served.wrote("call")
        _, metrics = await served.get("/metrics")

    assert {first["path"], second["path"]} == {"numbers.default_country", 'route "two words": name'}
    assert failed["why"].startswith(f"2 problems, the first: {first['path']}: {first['why']}")
    assert line["rule"] == "all"
    assert "agi_bridge_reload_failures_total 1.0" in metrics.splitlines()


async def test_a_reload_takes_up_a_pbx_and_readiness_does_not_depend_on_it(tmp_path: Path):
    """A PBX that is not there is watched from the reload on, in the metrics, and keeps nobody from being served."""
    table = '[[pbx]]\nname = "hq"\nami_secret_env = "MILLIS_API_KEY"\nami_port = 1\n'
    async with SimulatedMillis() as millis, bridge(millis, tmp_path) as (served, host, port):
        write_config(tmp_path, millis, more=table)
        _, body = await served.get("/reload", "POST", **{"agi-bridge": "reload"})
        trouble = await served.wrote("no connection to a PBX", pbx="hq")
        status, _ = await served.get("/readyz")
        played = await play_call(host, port, arguments=DID)
        _, metrics = await served.get("/metrics")

    assert (json.loads(body)["changed"], status) == (['pbx "hq" added'], 200)
    assert trouble["why"] == "hq at 127.0.0.1:1: Connection refused"
    assert played.variables["MILLIS_STATUS"] == "ok"
    assert 'agi_bridge_ami_connected{pbx="hq"} 0.0' in metrics.splitlines()
    assert 'agi_bridge_ami_followed_calls{pbx="hq"} 1.0' in metrics.splitlines()


async def test_a_key_that_needs_a_restart_is_named(tmp_path: Path):
    """A reload cannot move the listening sockets, and says so instead of pretending."""
    async with SimulatedMillis() as millis, bridge(millis, tmp_path) as (served, _, _):
        write_config(tmp_path, millis, port=1, web_port=2)
        status, body = await served.get("/reload", "POST", **{"agi-bridge": "reload"})

    assert status == 200
    assert json.loads(body) == {
        "config_file": str(tmp_path / "bridge.toml"),
        "changed": ["agi.listen", "web.listen"],
        "needs_restart": ["agi.listen", "web.listen"],
    }


async def test_what_waits_for_a_restart_is_said_until_it_is_put_back(tmp_path: Path):
    """What counts is what the process runs with: a second reload names the key again, and one that puts it back does not."""
    waiting = []
    async with SimulatedMillis() as millis, bridge(millis, tmp_path) as (served, _, _):
        for more in ('[log]\nlevel = "debug"\n', '[log]\nlevel = "debug"\n', ""):
            write_config(tmp_path, millis, more=more)
            _, body = await served.get("/reload", "POST", **{"agi-bridge": "reload"})
            _, standing = await served.get("/readyz")
            waiting.append((json.loads(body)["changed"], json.loads(body)["needs_restart"]))
            assert json.loads(standing)["needs_restart"] == waiting[-1][1]

    assert waiting == [(["log.level"], ["log.level"]), ([], ["log.level"]), (["log.level"], [])]


async def test_web_port_that_is_taken(tmp_path: Path):
    """A web port in use is told in one line, with exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with SimulatedMillis() as millis, serving(write_config(tmp_path, millis, web_port=port)) as served:
            assert served.process.stderr is not None
            said = (await served.process.stderr.read()).decode().splitlines()
            assert await served.ended() == 1

    assert said[-1] == (
        f"agi-bridge: cannot listen on 127.0.0.1:{port}: Address already in use; is another bridge running? "
        "See listen under [web]"
    )


# Under systemd


class Systemd:
    """systemd's end of sd_notify: a datagram socket, and what was said."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(address)

    async def told(self, fact: str) -> str:
        """Wait until *fact* is said, and return all of that message."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                message = (await asyncio.get_running_loop().sock_recv(self.socket, 4096)).decode()
                if fact in message.splitlines():
                    return message


async def test_systemd_is_told_of_every_turn(tmp_path: Path):
    """It hears that the bridge is ready, lives, reloads, is ready again, and stops."""
    systemd = Systemd(str(tmp_path / "notify"))
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    with systemd.socket:
        async with SimulatedMillis() as millis, serving(write_config(tmp_path, millis), environ=environ) as served:
            ready = await systemd.told("READY=1")
            await systemd.told("WATCHDOG=1")
            await systemd.told("WATCHDOG=1")
            served.process.send_signal(signal.SIGHUP)
            reloading = await systemd.told("RELOADING=1")
            await systemd.told("READY=1")
            served.process.send_signal(signal.SIGTERM)
            await systemd.told("STOPPING=1")
            assert await served.ended() == 0

    assert ready == "READY=1\nSTATUS=takes calls by 1 rule\n"
    assert reloading.splitlines()[1].startswith("MONOTONIC_USEC=")


async def played(address: tuple[str, int], calls: list[asyncio.Task[PlayedCall]], done: asyncio.Event) -> None:
    """Begin a call every 100 ms until *done*: slowly enough for a backlog while a slow machine starts the next bridge."""
    while not done.is_set():
        calls.append(asyncio.create_task(play_call(*address, arguments=DID, timeout_seconds=30.0)))
        await asyncio.wait([asyncio.create_task(done.wait())], timeout=0.1)


@pytest.mark.parametrize("arguments", [(), ("--workers", "2")], ids=["one process", "two workers"])
async def test_restart_with_an_inherited_socket_refuses_nobody(tmp_path: Path, arguments: tuple[str, ...]):
    """Calls that come while no bridge runs wait in the socket that systemd holds, and are answered by the next one."""
    done = asyncio.Event()
    calls: list[asyncio.Task[PlayedCall]] = []
    async with SimulatedMillis() as millis:
        config = write_config(tmp_path, millis, port=1)
        with socket.create_server(("127.0.0.1", 0), backlog=128) as inherited:
            async with serving(config, *arguments, inherited=inherited) as served:
                await served.started()
                assert served.address == inherited.getsockname()
                playing = asyncio.create_task(played(served.address, calls, done))
                await served.wrote("call")
                assert await served.stopped() == 0
            begun = len(calls)
            async with serving(config, *arguments, inherited=inherited) as served:
                await served.started()
                await served.wrote("call")
                done.set()
                await playing
                ended = await asyncio.gather(*calls)
                assert await served.stopped() == 0

    assert len(ended) > begun
    assert {(call.agistatus, call.variables.get("MILLIS_STATUS")) for call in ended} == {("SUCCESS", "ok")}


# Several processes


@asynccontextmanager
async def workers(
    millis: SimulatedMillis, folder: Path, **environ: str
) -> AsyncIterator[tuple[Served, tuple[str, int]]]:
    """Run a parent with two workers on a port that is kept free for them; the log is that of all three."""
    web_port = two_free_ports()
    with socket.socket() as agi:
        agi.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        agi.bind(("127.0.0.1", 0))
        config = write_config(folder, millis, port=agi.getsockname()[1], web_port=web_port)
        async with serving(config, "--workers", "2", environ=environ) as served:
            await served.wrote("all workers are ready")
            served.web_address = ("127.0.0.1", web_port)
            yield served, agi.getsockname()


async def test_workers_share_the_calls_and_stop_together(tmp_path: Path):
    """Two processes answer on one port, each has a web port of its own, and SIGTERM to the parent drains both."""
    async with SimulatedMillis() as millis, workers(millis, tmp_path) as (served, address):
        ended = await asyncio.gather(*(play_call(*address, arguments=DID) for _ in range(20)))
        standing = []
        for _ in range(2):
            standing.append(json.loads((await served.get("/readyz"))[1]))
            served.web_address = (served.web_address[0], served.web_address[1] + 1)
        assert await served.stopped() == 0

    assert {call.variables["MILLIS_STATUS"] for call in ended} == {"ok"}
    assert [(each["worker"], each["workers"], each["ready"]) for each in standing] == [(1, 2, True), (2, 2, True)]


def a_child(process: int) -> int:
    return int(Path(f"/proc/{process}/task/{process}/children").read_text().split()[0])


async def test_a_worker_that_dies_is_started_again(tmp_path: Path):
    """The others take its calls meanwhile, and systemd, whom only the parent speaks to, hears of nothing but readiness."""
    systemd = Systemd(str(tmp_path / "notify"))
    with systemd.socket:
        async with (
            SimulatedMillis() as millis,
            workers(millis, tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify")) as (served, address),
        ):
            assert await systemd.told("READY=1") == "READY=1\nSTATUS=2 workers take calls\n"
            os.kill(a_child(served.process.pid), signal.SIGKILL)
            line = await served.wrote("a worker ended")
            ended = await play_call(*address, arguments=DID)
            await served.wrote("all workers are ready")
            assert await served.stopped() == 0

    assert (line["exit_code"], ended.variables["MILLIS_STATUS"]) == (-9, "ok")


async def test_a_second_signal_to_the_parent_insists(tmp_path: Path):
    """Workers whose Millis never answers are not waited for by whoever asks twice."""
    async with (
        SimulatedMillis(fault=Fault(hang=True)) as millis,
        workers(millis, tmp_path) as (served, address),
        AsteriskSide(*address, script="route", arguments=DID),
    ):
        await millis.received()
        served.process.send_signal(signal.SIGTERM)
        await served.wrote("draining")
        served.process.send_signal(signal.SIGTERM)
        line = await served.wrote("call")
        assert await served.ended() == 130

    assert line["reason"] == "bridge-stopped"


async def test_sighup_reloads_every_worker(tmp_path: Path):
    """The parent passes SIGHUP on, and each worker takes the new rules."""
    async with SimulatedMillis() as millis, workers(millis, tmp_path) as (served, _):
        config = served.config.read_text()
        served.config.write_text(config.replace('name = "all"', 'name = "new"'))
        served.process.send_signal(signal.SIGHUP)
        for _ in range(2):
            told = await served.wrote("configuration reloaded")
            assert told["changed"] == ['route "all" removed', 'route "new" added']
        await served.wrote("all workers are ready")


async def test_workers_stop_when_their_parent_is_killed(tmp_path: Path):
    """A worker that nobody could restart or stop any more drains and ends."""
    async with SimulatedMillis() as millis, workers(millis, tmp_path) as (served, address):
        served.process.kill()
        events = [line["event"] for line in await served.rest()]
        assert (await play_call(*address)).agistatus == "FAILURE"

    assert events.count("the parent is gone") == events.count("no longer listening") == 2


async def test_workers_cannot_share_any_port(tmp_path: Path):
    """Port 0 would give each worker another port, so it is refused."""
    async with SimulatedMillis() as millis, serving(write_config(tmp_path, millis), "--workers", "2") as served:
        assert served.process.stderr is not None
        said = (await served.process.stderr.read()).decode()
        assert await served.ended() == 1

    assert said == "agi-bridge: several workers cannot share port 0; name a port in listen under [agi]\n"


# Records

KEPT = '[records]\nfolder = "kept"\ngather_seconds = 0.01\nbatch_seconds = 0.05\n'


def kept(folder: Path) -> list[CallRecord]:
    """Return the records in the folder that `KEPT` names."""
    with closing(Store.open_for_reading(database_url(None, "", folder / "kept"), 5)) as store:
        return list(store.all(Selection()))


async def place_calls(host: str, port: int, count: int) -> list[str]:
    """Have calls routed and reported as ended, and return the ids of those that the bridge answered."""
    ids = []
    for _ in range(count):
        played = await play_call(host, port, arguments=DID)
        ids.append(played.variables["MILLIS_BRIDGE_CALL_ID"])
        end = (f"bridge_call_id={ids[-1]}", "dialstatus=ANSWER", "answered_seconds=3", "hangup_cause=16")
        await play_call(host, port, script="ended", arguments=end)
    return ids


async def test_each_call_is_one_record_across_workers_and_restarts(tmp_path: Path):
    """Whichever of two workers hears the beginning of a call and which its end, the call has one record."""
    async with SimulatedMillis() as millis:
        config = write_config(tmp_path, millis, port=two_free_ports(), more=KEPT)
        config.write_text(config.read_text().replace("[web]\n", "[web]\nlisten = []\n#", 1))
        ids = []
        for _ in range(2):
            async with serving(config, "--workers", "2") as served:
                await served.wrote("all workers are ready")
                host, port = next(tuple(line["address"]) for line in served.lines if "FastAGI" in line["event"])
                for _ in range(2):
                    await served.wrote("records are kept")
                ids += await place_calls(host, port, 10)
                assert await served.stopped() == 0

    records = kept(tmp_path)
    assert sorted(record.bridge_call_id for record in records) == sorted(ids)
    assert {(record.reason, record.answered_seconds, record.rule) for record in records} == {("answered", 3, "all")}
    assert list((tmp_path / "kept").glob("*.spool")) == []


async def test_a_bridge_that_is_killed_leaves_its_records_to_the_next(tmp_path: Path):
    """With the database away and the bridge killed, what was saved on disk becomes a record at the next start, once."""
    database = tmp_path / "kept" / "records.sqlite"
    database.mkdir(parents=True)
    async with SimulatedMillis() as millis:
        config = write_config(tmp_path, millis, more=KEPT)
        async with serving(config) as served:
            await served.started()
            await served.wrote("the database of records is away; reports of calls wait in the spool")
            ids = await place_calls(*served.address, 20)
            while "agi_bridge_record_queue 0.0" not in (await served.get("/metrics"))[1]:
                pass
            served.process.kill()
            await served.ended()
        database.rmdir()
        async with serving(config) as served:
            await served.started()
            await served.wrote("reports of calls that an earlier process left are written")
            assert await served.stopped() == 0

    assert sorted(record.bridge_call_id for record in kept(tmp_path)) == sorted(ids)
    assert {record.reason for record in kept(tmp_path)} == {"answered"}


async def test_calls_are_taken_where_no_record_can_be_kept(tmp_path: Path):
    """A folder that cannot be made is told in one line, and no call is touched by it."""
    (tmp_path / "kept").touch()
    async with SimulatedMillis() as millis, serving(write_config(tmp_path, millis, more=KEPT)) as served:
        await served.started()
        told = await served.wrote("records cannot be kept; reports of calls wait in memory")
        played = await play_call(*served.address, arguments=DID)
        _, metrics = await served.get("/metrics")

    assert played.variables["MILLIS_STATUS"] == "ok"
    assert told["spool"] == f"{tmp_path}/kept: File exists"
    assert {"agi_bridge_record_database_up 0.0", "agi_bridge_record_spool_up 0.0"} <= set(metrics.splitlines())


async def test_records_may_be_switched_off(tmp_path: Path):
    """Then nothing is written, and nothing is said of records."""
    async with SimulatedMillis() as millis:
        config = write_config(tmp_path, millis, more='[records]\nenabled = false\nfolder = "kept"\n')
        async with serving(config) as served:
            await served.started()
            await play_call(*served.address, arguments=DID)
            _, metrics = await served.get("/metrics")

    assert "agi_bridge_record" not in metrics
    assert not (tmp_path / "kept").exists()


# Events

CRM_SECRET = {"CRM_SECRET": "a rather long secret"}


def webhook(url: str, name: str = "crm") -> str:
    return (
        f'[[webhook]]\nname = "{name}"\nurl = "{url}/hook"\nplain_http_reason = "a test"\nsecret_env = "CRM_SECRET"\n'
        "retry_seconds = 0.05\nretry_limit_seconds = 0.2\n"
    )


async def test_calls_are_told_to_webhooks_that_a_reload_takes_in(tmp_path: Path):
    """A target that is added to the file of a running bridge is told of each call from then on: its beginning, then its end."""
    async with SimulatedMillis() as millis, target() as crm:
        config = write_config(tmp_path, millis, more=KEPT)
        async with serving(config, environ=CRM_SECRET) as served:
            await served.started()
            await place_calls(*served.address, 1)
            config.write_text(config.read_text() + webhook(crm.url))
            served.process.send_signal(signal.SIGHUP)
            done = await served.wrote("configuration reloaded")
            ids = await place_calls(*served.address, 2)
            await crm.takes(4)
            _, metrics = await served.get("/metrics")

    assert done["changed"] == ['webhook "crm" added']
    told = [[event["type"] for event in crm.taken if event["bridge_call_id"] == id] for id in ids]
    assert told == [["call-routed", "call-ended"]] * 2
    first = crm.taken[0]["call"]
    assert (first["rule"], first["did"], first["reason"]) == ("all", "+15551230001", "routed")
    assert 'agi_bridge_webhook_events_total{counter="accepted",webhook="crm"} 4.0' in metrics


async def test_a_bridge_that_is_killed_leaves_its_events_to_the_next(tmp_path: Path):
    """With the target away and the bridge killed, every event that was on disk arrives after the next start, whole and once."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with SimulatedMillis() as millis:
        config = write_config(tmp_path, millis, more=KEPT + webhook(f"http://127.0.0.1:{port}"))
        async with serving(config, environ=CRM_SECRET) as served:
            await served.started()
            ids = await place_calls(*served.address, 20)
            wanted = {
                'agi_bridge_webhook_queue{webhook="crm"} 0.0',
                'agi_bridge_webhook_events_total{counter="accepted",webhook="crm"} 40.0',
            }
            while not wanted <= set((await served.get("/metrics"))[1].splitlines()):
                pass
            served.process.kill()
            await served.ended()
        async with target(port) as crm, serving(config, environ=CRM_SECRET) as served:
            await served.started()
            await crm.takes(40)
            assert await served.stopped() == 0

    assert len({event["id"] for event in crm.taken}) == len(crm.taken) == 40
    for id in ids:
        told = [event["type"] for event in crm.taken if event["bridge_call_id"] == id]
        assert told == ["call-routed", "call-ended"]


async def test_a_target_that_hangs_holds_up_no_call(tmp_path: Path):
    """Calls are set up, and the bridge drains and ends, while a target takes no event."""
    async with SimulatedMillis() as millis, target() as crm:
        crm.answer = lambda event: "hang"
        config = write_config(tmp_path, millis, more=KEPT + webhook(crm.url))
        async with serving(config, environ=CRM_SECRET) as served:
            await served.started()
            ids = await place_calls(*served.address, 5)
            await crm.until(lambda: crm.received)
            ids += await place_calls(*served.address, 5)
            assert await served.stopped() == 0

    assert len(ids) == 10
    assert os.listdir(tmp_path / "kept" / "events" / "crm") != []
