"""What `scripts/soak` and `scripts/load` share: many calls through a real Asterisk, and an eye on what they leave behind.

`site.py` is the PBX, `bridge.py` the bridge as a process, `sipp.py` the callers and their agent, `process.py` what the kernel
knows of a process. `soak.py` switches faults on and off (`fault_plan.py`) and judges (`verdict.py`, `trend.py`, both pure);
`load.py` raises the rate until something gives.
"""
