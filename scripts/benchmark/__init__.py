"""What `scripts/bench` runs: the bridge and four other FastAGI servers, measured side by side in one run.

Every server answers the same conversation (`conversation.py`) and is pinned to one core. This process is pinned to
another and plays both neighbours: Asterisk (`asterisk.py`) and the Millis API (`millis.py`). One module a question:
`throughput`, `latency`, `burst`, `sessions`, `rules`, `idle`; `report.py` sets the answers against the goals.
"""
