"""A thread for each call: the standard library's socketserver and requests, the plainest server one can write.

Each call posts by itself: requests does not promise that threads may share a session.
"""

import socketserver
from uuid import uuid4

import requests

from benchmark.baselines import BACKLOG, options
from benchmark.conversation import (
    API_KEY,
    VALUES_COMMAND,
    registration,
    variables_after_answer,
    variables_before_answer,
)


class Server(socketserver.ThreadingTCPServer):
    """Knows where the API is."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = BACKLOG

    def __init__(self, port: int, api: str) -> None:
        super().__init__(("127.0.0.1", port), Call)
        self.api = api


class Call(socketserver.StreamRequestHandler):
    """One call, line by line."""

    server: Server

    def handle(self) -> None:
        """Hold the conversation."""
        request = {}
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            request[name] = value.strip()
        values = self.command(VALUES_COMMAND).partition("(")[2].rstrip(")")
        call_id = uuid4().hex
        body = registration(request, values, call_id)
        answer = requests.post(self.server.api, json=body, headers={"authorization": API_KEY}, timeout=30).json()
        for name, value in variables_before_answer(call_id) + variables_after_answer(answer):
            self.command(f'SET VARIABLE {name} "{value}"')

    def command(self, line: str) -> str:
        """Say one line and return the reply."""
        self.wfile.write(line.encode() + b"\n")
        return self.rfile.readline().decode().strip()


if __name__ == "__main__":
    given = options()
    Server(given.port, given.api).serve_forever()
