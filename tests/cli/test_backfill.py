"""`agi-bridge backfill`: what Millis knows of past calls."""

import json
from contextlib import closing
from datetime import UTC, datetime

from agi_bridge.call import Report
from agi_bridge.records.selection import Selection
from agi_bridge.records.store import Store, database_url
from tests.cli.program import run_beside


async def test_backfill_joins_what_millis_knows(run, millis, tmp_path, monkeypatch):
    """Ends that no webhook told get into the records; done again, it changes nothing."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    for call in ("call-1", "call-2"):
        millis.sessions.register(call, {"metadata": {"bridge_call_id": call}})
        await millis.sessions.begin(call)
        await millis.sessions.end(call)
    url = database_url(None, "", tmp_path / "state")
    with closing(Store.open_for_writing(url, 5)) as store:
        store.write(
            [Report("call-1", datetime.now(UTC), {"uniqueid": "1.1", "result": "completed", "reason": "routed"})]
        )
    outs = [(await run_beside(run, "backfill", "--json"))[1] for _ in range(2)]

    assert list(map(json.loads, outs)) == [
        {"ends_found": 2, "records_changed": changed, "kept_aside": 1} for changed in (1, 0)
    ]
    with closing(Store.open_for_reading(url, 5)) as store:
        [record] = store.all(Selection())
    assert (record.millis_status, record.millis_cost) == ("user-ended", 0.0303)
