"""A certificate that nobody trusts unless told to, made anew for each run."""

import ssl
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> Path:
    """A key and a certificate for 127.0.0.1, in one file; valid for five days."""
    folder = tmp_path_factory.mktemp("tls")
    made: Path = folder / "simulated.pem"
    request = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "5", "-subj", "/CN=127.0.0.1")
    names = ("-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run(
        [*request, *names, "-keyout", folder / "key", "-out", folder / "certificate"], check=True, capture_output=True
    )
    made.write_text((folder / "key").read_text() + (folder / "certificate").read_text())
    return made


@pytest.fixture
def tls(certificate) -> ssl.SSLContext:
    """What a server with that certificate speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
