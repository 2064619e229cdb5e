"""An image with Asterisk and SIPp in it, for machines that have Docker but no root."""

import subprocess

from .debian_root import PACKAGES, SUITE
from .errors import AsteriskUnavailable
from .place import DockerImage
from .steps import Say, step, tail, works

_DOCKERFILE = f"""\
FROM debian:{SUITE}-slim
RUN (apt-get update || apt-get -o Acquire::Check-Valid-Until=false update) \\
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends {" ".join(PACKAGES)} \\
 && rm -rf /var/lib/apt/lists/*
"""
_TAG = f"agi-bridge-lab:{SUITE}-1"
_BUILD_SECONDS = 900


def obstacle() -> str | None:
    """Return why Docker cannot be used here, in one sentence, or None."""
    if not works(["docker", "info"]):
        return "no Docker engine answers"
    return None


def prepare(say: Say) -> DockerImage:
    """Return the image, built now if the engine has none; raise AsteriskUnavailable if it cannot be built."""
    if not works(["docker", "image", "inspect", _TAG]):
        with step(say, f"built the Docker image {_TAG}"):
            _build()
    return DockerImage(_TAG)


def _build() -> None:
    try:
        done = subprocess.run(
            ["docker", "build", "--quiet", f"--tag={_TAG}", "-"],
            input=_DOCKERFILE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_BUILD_SECONDS,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AsteriskUnavailable([f"the Docker image was not built within {_BUILD_SECONDS} s"]) from None
    if done.returncode != 0:
        raise AsteriskUnavailable([f"the Docker image could not be built:\n{tail(done.stdout)}"])
