"""What `scripts/fuzz` runs: bytes that nobody would send, into every place that takes bytes from somebody else.

A target (`target.py`) is a function of bytes that ends quietly, or raises because a promise is broken. One module a target:
`agi_bytes`, `commands`, `session`, `millis_answers`, `sip_uri`, `config_text`. `worker.py` hands one of them to the
coverage-guided fuzzer; `tests/fuzzing` plays them for a moment without it.
"""
