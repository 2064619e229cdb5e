"""`agi-bridge`, and on SIGUSR1 a line in its log that says what is alive in it: tasks, and objects by their types.

From outside, a process shows its memory and its descriptors; a task that waits for ever is neither.
"""

import asyncio
import gc
import json
import signal
import sys
from collections import Counter
from types import FrameType

from agi_bridge.cli.command import main_entry

# Types with fewer objects than this are not told; a leak grows past it soon enough.
_WORTH_TELLING = 20


def _weigh(number: int, frame: FrameType | None) -> None:
    gc.collect()
    # What was there at the start is frozen, and not among these.
    types = Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects())
    line = {
        "event": "weighed",
        "tasks": len(asyncio.all_tasks()),
        "objects": types.total(),
        "types": {name: count for name, count in types.items() if count >= _WORTH_TELLING},
    }
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _weigh)
    main_entry()
