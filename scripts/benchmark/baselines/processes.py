"""Asterisk's fork for AGI scripts: accepts a call and starts `agi_script` with the socket as its standard streams.

Cheaper than the real thing, which copies through pipes, so the comparison favours the script.
"""

import socket
import subprocess
import sys

from benchmark.baselines import BACKLOG, options


def main() -> None:
    """Serve until killed."""
    given = options()
    listener = socket.create_server(("127.0.0.1", given.port), backlog=BACKLOG)
    children: dict[int, subprocess.Popen[bytes]] = {}
    while True:
        connection, _ = listener.accept()
        with connection:
            child = subprocess.Popen(
                [sys.executable, "-m", "benchmark.baselines.agi_script", given.api],
                stdin=connection.fileno(),
                stdout=connection.fileno(),
                stderr=subprocess.DEVNULL,  # pyst2 tells everything it does; a console would only slow it down
                close_fds=False,
            )
        children[child.pid] = child
        for pid in [pid for pid, child in children.items() if child.poll() is not None]:
            del children[pid]


if __name__ == "__main__":
    main()
