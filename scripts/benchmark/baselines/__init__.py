"""Four FastAGI servers without our features, each as small as the way it stands for allows.

Each is a program of its own: `python -m benchmark.baselines.NAME --port N --api URL`. None imports the bridge.
"""

import argparse
from dataclasses import dataclass

BACKLOG = 4096  # the listen queue is not what is being compared


@dataclass(frozen=True)
class Options:
    """Where to listen on the loopback address, and the address of the registration call."""

    port: int
    api: str


def options() -> Options:
    """Read the command line that every baseline shares."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api", required=True)
    arguments = parser.parse_args()
    return Options(arguments.port, arguments.api)
