"""An AGI script over pyst2 and requests, started afresh for each call: how most AGI is run today."""

import sys
from uuid import uuid4

import requests
from asterisk.agi import AGI  # type: ignore[import-untyped]  # it ships no types

from benchmark.conversation import (
    API_KEY,
    VALUES_COMMAND,
    registration,
    variables_after_answer,
    variables_before_answer,
)


def main() -> None:
    """Serve the one call on standard input and output; the API's address is the only argument."""
    agi = AGI()
    values = agi.get_full_variable(VALUES_COMMAND.partition('"')[2].rstrip('"'))
    call_id = uuid4().hex
    body = registration(agi.env, values, call_id)
    answer = requests.post(sys.argv[1], json=body, headers={"authorization": API_KEY}, timeout=30).json()
    for name, value in variables_before_answer(call_id) + variables_after_answer(answer):
        agi.set_variable(name, value)


if __name__ == "__main__":
    main()
