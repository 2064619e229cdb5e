"""The bridge's configuration for a run: 1,000 rules over 10,000 DIDs, all features on.

Knows the format of `bridge.toml`, and nothing else of the bridge.
"""

from pathlib import Path

from benchmark.conversation import DIDS

RULES = 1_000
_HEAD = """\
[agi]
listen = "127.0.0.1:{port}"
session_limit = 15000
peer_rate_limit_per_second = 1000000
peer_burst_connections = 1000000

[web]
listen = []

[records]
{records}

[millis]
base_url = "{api}"
allowed_hosts = ["127.0.0.1"]
{millis}

[numbers]
default_country = "US"

[defaults]
fallback = "millis-fallback,s,1"
"""
_RULE = """
[[route]]
name = "rule-{index}"
did = [{dids}]
agent_id = "-NbenchAgent{index:04}"
metadata = {{ team = "team-{index}", spoken = "${{CHANNEL(language)}}" }}
"""


def text(port: int, api: str, millis: str = "", records: str = 'folder = "records"') -> str:
    """Return the configuration as TOML, with *millis* as a further line under `[millis]`, and *records* under `[records]`."""
    rules = (_RULE.format(index=index, dids=_dids(index)) for index in range(RULES))
    return _HEAD.format(port=port, api=api, millis=millis, records=records) + "".join(rules)


def _dids(index: int) -> str:
    """Return the ten DIDs of a rule; every tenth rule says them as one dial pattern."""
    dids = DIDS[index * 10 : index * 10 + 10]
    return f'"_{dids[0][:-1]}X"' if index % 10 == 9 else ", ".join(f'"{did}"' for did in dids)


def write(folder: Path, port: int, api: str, millis: str = "", records: str = 'folder = "records"') -> Path:
    """Write `bridge.toml` into *folder* and return its path."""
    path = folder / "bridge.toml"
    path.write_text(text(port, api, millis, records))
    return path
