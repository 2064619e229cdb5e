"""The simulated Millis API over real HTTP: what it answers, what it refuses, and how it misbehaves."""

import asyncio
import time
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from agi_bridge.simulator.millis import Fault, Received, SimulatedMillis

KEY = {"Authorization": "k3y"}
CALL = {"agent_id": "-Nabc"}


@pytest.fixture
async def millis():
    async with SimulatedMillis(key="k3y") as millis:
        yield millis


@pytest.fixture
async def http(millis):
    async with aiohttp.ClientSession(millis.url, headers=KEY) as http:
        yield http


async def register(http, body=CALL, **options):
    async with http.post("/register_sip_call", json=body, **options) as response:
        return response.status, await response.json()


async def test_registration_is_answered_with_a_sip_uri(millis, http):
    """A registration gets a call id and the SIP URI whose user it is."""
    status, answer = await register(http)

    call_id = answer["call_id"]
    assert (status, answer) == (200, {"call_id": call_id, "sip": f"sip:{call_id}@127.0.0.1:5090"})
    assert call_id.startswith("call-")
    assert list(millis.issued) == [{"call_id": call_id, "uri": answer["sip"]}]


async def test_two_registrations_differ(http):
    """Each registration gets its own call id."""
    (_, first), (_, second) = await register(http), await register(http)

    assert first["call_id"] != second["call_id"]


async def test_request_is_remembered_as_it_arrived(millis, http):
    """A request is kept with its method, path, lower-case headers, parsed body and time of arrival."""
    before = time.monotonic()
    await register(http, {"agent_id": "-Nabc", "metadata": {"did": "+1555"}})

    received = await millis.received()
    assert (received.method, received.path) == ("POST", "/register_sip_call")
    assert received.headers["authorization"] == "k3y"
    assert received.headers["content-type"] == "application/json"
    assert received.body == {"agent_id": "-Nabc", "metadata": {"did": "+1555"}}
    assert before <= received.at <= time.monotonic()


async def test_only_registrations_are_counted_as_such(millis, http):
    """Other requests are remembered, but do not count as registrations."""
    async with http.get("/user/info"):
        pass
    await register(http)

    assert [each.path for each in millis.requests] == ["/user/info", "/register_sip_call"]
    assert [each.path for each in millis.registrations] == ["/register_sip_call"]


async def test_waiting_for_a_registration_ends_when_it_arrives(millis, http):
    """A test can wait for the second registration before it has been sent."""
    waiting = asyncio.create_task(millis.received(2))
    await register(http)
    await register(http, {"agent_id": "-Nsecond"})

    assert (await waiting).body == {"agent_id": "-Nsecond"}


async def test_waiting_for_a_registration_that_does_not_come_is_bounded(millis):
    """Waiting in vain ends with a TimeoutError."""
    with pytest.raises(TimeoutError):
        await millis.received(timeout_seconds=0.01)


async def test_person_can_watch_requests_arrive():
    """Each request is handed to the watcher as it arrives."""
    watched: list[Received] = []
    async with SimulatedMillis(on_request=watched.append) as millis, aiohttp.ClientSession(millis.url) as http:
        await register(http, headers={"authorization": "any"})

    assert [each.body for each in watched] == [CALL]


async def test_missing_key_is_unprocessable(millis):
    """A request without the header is answered 422 with FastAPI's list of mistakes."""
    async with aiohttp.ClientSession(millis.url) as http:
        status, answer = await register(http)

    mistake = {"loc": ["header", "authorization"], "msg": "Field required", "type": "missing"}
    assert (status, answer) == (422, {"detail": [mistake]})


@pytest.mark.parametrize("sent", ["wrong", "Bearer k3y", ""])
async def test_wrong_key_is_unauthorised(http, sent):
    """Anything but the raw key is answered 401."""
    assert await register(http, headers={"authorization": sent}) == (401, {"detail": "Invalid API key"})


async def test_any_key_will_do_when_none_is_set():
    """A simulator without a key of its own accepts every key."""
    async with SimulatedMillis() as millis, aiohttp.ClientSession(millis.url) as http:
        status, _ = await register(http, headers={"authorization": "whatever"})

    assert status == 200


@pytest.mark.parametrize(
    ("body", "place", "kind"),
    [
        ([], ["body"], "model_attributes_type"),
        ("text", ["body"], "model_attributes_type"),
        ({"agent_id": 7}, ["body", "agent_id"], "string_type"),
        ({"agent_id": "a", "metadata": "flat"}, ["body", "metadata"], "dict_type"),
        ({"agent_id": "a", "include_metadata_in_prompt": "yes"}, ["body", "include_metadata_in_prompt"], "bool_type"),
        ({"agent_id": "a", "from_phone": 1555}, ["body", "from_phone"], "string_type"),
        ({"agent_config": {"promt": "Hi"}}, ["body", "agent_config", "promt"], "extra_forbidden"),
    ],
)
async def test_wrong_types_are_unprocessable(http, body, place, kind):
    """A body of the wrong shape is answered 422 with the place of the mistake."""
    status, answer = await register(http, body)

    assert status == 422
    assert [(each["loc"], each["type"]) for each in answer["detail"]] == [(place, kind)]


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
async def test_body_that_is_not_json_is_unprocessable(millis, http, raw):
    """A body that is not JSON is answered 422, and kept in the raw."""
    async with http.post("/register_sip_call", data=raw) as response:
        assert response.status == 422

    assert (millis.requests[0].body, millis.requests[0].raw_body) == (None, raw)


async def test_null_fields_and_unknown_fields_are_accepted(http):
    """Every field may be null, and unknown ones at the top are ignored."""
    body = {"agent_id": "-Nabc", "agent_config": None, "metadata": None, "session_continuation": None, "extra": 1}

    assert (await register(http, body))[0] == 200


async def test_call_without_an_agent_is_refused(http):
    """Neither an agent id nor an agent config is a bad request."""
    assert await register(http, {}) == (400, {"detail": "agent_id or agent_config is required"})


async def test_unknown_agent_is_not_found():
    """A simulator that was given its agents knows no other."""
    async with SimulatedMillis(agents=["-Nabc"]) as millis, aiohttp.ClientSession(millis.url, headers=KEY) as http:
        assert (await register(http))[0] == 200
        assert await register(http, {"agent_id": "-Nother"}) == (404, {"detail": "Agent not found"})
        async with http.get("/agents/-Nabc") as known, http.get("/agents/-Nother") as unknown:
            assert (known.status, (await known.json())["id"], unknown.status) == (200, "-Nabc", 404)


async def test_account_shows_its_credit(http):
    """GET /user/info answers with the account's credit."""
    async with http.get("/user/info") as response:
        answer = await response.json()

    assert response.status == 200
    assert {"user_id", "credit", "used_credit", "auto_refill"} == answer.keys()


async def test_account_and_agents_are_as_a_fault_says(millis, http):
    """An account may have no credit, and an agent may be disabled or gone."""
    millis.fault = Fault.parse("credit=0,agent=disabled")
    async with http.get("/user/info") as account, http.get("/agents/-Nabc") as agent:
        assert (await account.json())["credit"] == 0
        assert (agent.status, (await agent.json())["status"]) == (200, "disabled")

    millis.fault = Fault.parse("agent=missing")
    async with http.get("/agents/-Nabc") as agent:
        assert agent.status == 404


async def test_clock_may_be_wrong(millis, http):
    """The date of an answer is as far ahead as a fault says."""
    millis.fault = Fault.parse("clock=86400")
    async with http.get("/user/info") as response:
        ahead = parsedate_to_datetime(response.headers["Date"]).timestamp() - time.time()

    assert 86_000 < ahead <= 86_400


async def test_persistent_endpoint_lives_until_deleted(millis, http):
    """A persistent SIP endpoint can be deleted once."""
    async with http.post("/sip", json={"init_agent": CALL, "region": "us-west"}) as response:
        call_id = (await response.json())["call_id"]
    assert list(millis.endpoints) == [call_id]

    async with http.delete(f"/sip/{call_id}") as first, http.delete(f"/sip/{call_id}") as second:
        assert (first.status, second.status) == (200, 404)


@pytest.mark.parametrize("body", [[], {}, {"init_agent": {"agent_id": 1}}])
async def test_persistent_endpoint_needs_an_agent(http, body):
    """A persistent SIP endpoint is checked like a call."""
    async with http.post("/sip", json=body) as response:
        assert (response.status, (await response.json())["detail"][0]["loc"][:2]) == (422, ["body", "init_agent"])


async def test_persistent_endpoint_may_name_a_region(http):
    """The region of a persistent SIP endpoint is a text, null or left out."""
    statuses = []
    for region in ({"region": "eu-west"}, {"region": None}, {}, {"region": 1}):
        async with http.post("/sip", json={"init_agent": CALL} | region) as response:
            statuses.append(response.status)

    assert statuses == [200, 200, 200, 422]


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/register_sip_call"), ("POST", "/nothing/here")])
async def test_unknown_path_is_not_found(http, method, path):
    """A path that the API does not have is answered as FastAPI does."""
    async with http.request(method, path) as response:
        assert (response.status, await response.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize(("field", "names"), [("sip", {"sip"}), ("sip_uri", {"sip_uri"}), ("both", {"sip", "sip_uri"})])
async def test_uri_stands_under_the_name_that_was_asked_for(millis, http, field, names):
    """The URI is answered under either name that the documentation gives, or both."""
    millis.fault = Fault(field=field)
    _, answer = await register(http)

    assert answer.keys() - {"call_id"} == names


async def test_hostile_uri_is_answered_as_it_is(millis, http):
    """A scripted URI replaces the good one, unescaped."""
    millis.fault = Fault.parse("uri=sip:a@evil.example&Local/x@y")

    assert (await register(http))[1]["sip"] == "sip:a@evil.example&Local/x@y"


@pytest.mark.parametrize("status", [400, 401, 402, 404, 422, 429, 500, 502, 503, 504])
async def test_refusal_carries_a_text(millis, http, status):
    """A refusal has its status and a detail that is a text."""
    millis.fault = Fault(status=status)

    assert await register(http) == (status, {"detail": "simulated fault"})


async def test_refusal_carries_a_list_on_request(millis, http):
    """A refusal's detail can be FastAPI's list."""
    millis.fault = Fault.parse("status=422,detail=list")
    status, answer = await register(http)

    assert status == 422
    assert [each.keys() for each in answer["detail"]] == [{"loc", "msg", "type"}]


async def test_other_success_carries_the_answer(millis, http):
    """A 201 is as good as a 200."""
    millis.fault = Fault(status=201)
    status, answer = await register(http)

    assert (status, answer.keys()) == (201, {"call_id", "sip"})


async def test_refusal_may_ask_for_patience(millis, http):
    """Retry-After is sent with whatever else is wrong."""
    millis.fault = Fault.parse("status=429,retry-after=2")
    async with http.post("/register_sip_call", json=CALL) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "2")


@pytest.mark.parametrize(
    ("body", "content_type", "beginning"),
    [
        ("html", "text/html", b"<!DOCTYPE html>"),
        ("empty", "application/json", b""),
        ("not-json", "application/json", b'{"call_id": "call-'),
        ("list", "application/json", b"[]"),
        ("no-uri", "application/json", b'{"call_id": "call-'),
    ],
)
@pytest.mark.parametrize("status", [200, 500])
async def test_body_may_be_nonsense(millis, http, body, content_type, beginning, status):
    """A body of the wrong kind is sent with any status; only an answer without a URI needs a success."""
    millis.fault = Fault(body=body, status=status)
    async with http.post("/register_sip_call", json=CALL) as response:
        raw = await response.read()

    assert (response.status, response.content_type) == (status, content_type)
    if (body, status) != ("no-uri", 500):
        assert raw.startswith(beginning)
    assert b"sip:" not in raw


async def test_huge_body_stops_when_the_client_has_enough(millis, http):
    """A body without end is streamed, and abandoned as soon as the client closes."""
    millis.fault = Fault(body="huge")
    async with http.post("/register_sip_call", json=CALL) as response:
        assert (await response.content.readexactly(300_000)).startswith(b'{"call_id": "xxx')
        assert response.content_length is None
        response.close()

    await millis.abandoned()


async def test_delay_is_waited_for(millis, http):
    """A delayed answer comes after the delay, and is the ordinary one."""
    millis.fault = Fault(delay_seconds=0.05)
    before = time.monotonic()
    status, _ = await register(http)

    assert (status, time.monotonic() - before >= 0.05) == (200, True)


async def test_faults_can_stand_in_a_queue(millis, http):
    """Each upcoming fault is for one request, and then the usual behaviour is back."""
    millis.upcoming.extend([Fault(status=503), Fault(status=500)])

    assert [(await register(http))[0] for _ in range(3)] == [503, 500, 200]


@pytest.mark.parametrize("fault", [Fault(reset=True), Fault(reset_mid_body=True)])
async def test_connection_is_reset(millis, http, fault):
    """A reset breaks the connection, before the answer or within it."""
    millis.fault = fault
    with pytest.raises(aiohttp.ClientError):
        await register(http)

    assert len(millis.requests) == 1


async def test_reset_in_mid_body_comes_after_the_headers(millis, http):
    """A reset in mid-body leaves the client with a status and a beginning."""
    millis.fault = Fault(reset_mid_body=True)
    async with http.post("/register_sip_call", json=CALL) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await response.read()


@pytest.mark.parametrize("fault", [Fault(hang=True), Fault(delay_seconds=30)])
async def test_client_that_goes_away_is_noticed_at_once(millis, http, fault):
    """The moment at which a waiting client gives up is known to within milliseconds."""
    millis.fault = fault
    waiting = asyncio.create_task(register(http))
    await millis.received()
    before = time.monotonic()
    waiting.cancel()

    assert 0 <= await millis.abandoned() - before < 0.05


async def test_answered_client_has_not_gone_away(millis, http):
    """A client that got its answer did not abandon it."""
    await register(http)
    with pytest.raises(TimeoutError):
        await millis.abandoned(timeout_seconds=0.01)


async def test_closing_lets_go_of_those_who_hang():
    """Shutting the simulator down answers those it kept waiting."""
    millis = SimulatedMillis(fault=Fault(hang=True))
    async with aiohttp.ClientSession() as http:
        async with millis:
            url = f"{millis.url}/register_sip_call"
            waiting = asyncio.create_task(http.post(url, json=CALL, headers=KEY))
            await millis.received()
        async with await waiting as response:
            assert (response.status, await response.json()) == (503, {"detail": "the simulator is closing"})

    assert not millis.abandoned_at


async def test_taken_port_is_an_error(millis):
    """A port that is in use is an OSError, and leaves nothing behind."""
    with pytest.raises(OSError, match="in use"):
        async with SimulatedMillis(port=millis.port):
            pass


async def test_address_may_be_ipv6():
    """The URL of an IPv6 address has its brackets."""
    async with SimulatedMillis("::1") as millis, aiohttp.ClientSession(millis.url, headers=KEY) as http:
        assert (millis.url, (await register(http))[0]) == (f"http://[::1]:{millis.port}", 200)
