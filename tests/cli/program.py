"""The configuration of the tests of the command, and commands run as programs or beside this one."""

import asyncio
import json
import subprocess
import sys
from contextlib import contextmanager

KEY = "0123456789abcdefSECRET"


CONFIG = """
[agi]
listen = "127.0.0.1:0"

[web]
listen = []

[millis]
base_url = "{url}"
allowed_hosts = ["127.0.0.1"]

[numbers]
default_country = "US"

[defaults]
fallback = "millis-fallback,s,1"

[[route]]
name = "sales"
did = "+15551230001"
agent_id = "-Nabc"
metadata = {{ team = "a:100:b [sales]", tier = "${{DB(crm/${{CALLERID(num)}})}}" }}

[[route]]
name = "queue"
context = "from-office"
channel = "PJSIP/office"
arguments = {{ queue = "_[0-9]+" }}
agent_id = "-Nqueue"

[[route]]
name = "blocked"
caller = "withheld"
reject = true
"""


IF_CHANGED = "if listen under [web] was changed since the bridge began, name the old address with --url; SIGHUP reloads without it\n"


@contextmanager
def program(*arguments):
    """Run a command as a program of its own, and kill it if it is still there at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "agi_bridge", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def told(process, event):
    """Read the log up to an event, and return its line; end of file is a failure."""
    for line in process.stderr:
        fields = json.loads(line)
        if fields["event"] == event:
            return fields
    raise AssertionError(f"the log ended without {event!r}")


async def run_beside(run, *arguments):
    """Run a command while this process plays everybody else."""
    return await asyncio.to_thread(run, *arguments)


async def call(run, bridge, *arguments):
    return await asyncio.to_thread(run, "simulate", "call", "--bridge", bridge, *arguments)


def table(out):
    """Read a table of names and values; a line that goes on, or is of the conversation, is left out."""
    return dict(line.split(None, 1) for line in out.splitlines() if line[0] not in "<> }")
