"""What the PBX's log says of calls."""

from collections import Counter

from proving.site import Witness, witness

LOG = """\
[2026-11-21 12:00:00.001] NOTICE[1][C-1] Ext. 15551230001: witness: 1795.1 began +15557654321
[2026-11-21 12:00:00.002] WARNING[1][C-1] app_dial.c: something else
[2026-11-21 12:00:00.003] NOTICE[1][C-2] Ext. 15551230001: witness: pbx-1795.2 began
[2026-11-21 12:00:01.000] NOTICE[1][C-1] Ext. s: witness: 1795.1 desk
"""


def test_log_is_read():
    """Each call is known by its uniqueid, with its caller if there is a number, and with each visit to the fallback."""
    assert witness(LOG) == Witness({"1795.1": "+15557654321", "pbx-1795.2": ""}, Counter({"1795.1": 1}))
