"""What the kernel tells of a process, tried on this one."""

import os
import socket
import tempfile

from proving.process import busy_seconds, cpu_seconds, descriptors, resident_kilobytes


def test_descriptors_are_told_in_words():
    """A listening socket, a connection and a file are known by where they lead."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as near,
        tempfile.NamedTemporaryFile() as file,
    ):
        address = "{}:{}".format(*listener.getsockname())
        found = descriptors(os.getpid())

        assert found[f"TCP listening on {address}"] == 1
        assert found[f"TCP established to {address}"] == 1
        assert found[file.name] == 1
        assert near.fileno() >= 0


def test_processor_time_and_memory_are_numbers_of_this_process():
    """This process has memory and has used time, of which the machine has used no less."""
    assert resident_kilobytes(os.getpid()) > 1000
    assert cpu_seconds(os.getpid()) > 0
    assert busy_seconds() > 0
