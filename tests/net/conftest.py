"""Fixtures for the tests that have a concentrator alone (alone.py)."""
import ctypes
import os

import pytest

from alone import concentrator, ip

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="module")
def namespace():
    """Ours alone; gone with the last process in it."""
    outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    assert LIBC.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    try:
        ip("link", "set", "lo", "up")
        ip("address", "add", "10.88.0.1/24", "dev", "lo")
        # What is sent to 10.66.0.1 reaches a link where nobody has that MAC address.
        ip("link", "add", "swallow", "type", "veth", "peer", "name", "hole")
        ip("link", "set", "swallow", "up")
        ip("link", "set", "hole", "up")
        ip("route", "add", "10.66.0.0/16", "dev", "swallow", "src", "10.88.0.1")
        ip("neighbour", "add", "10.66.0.1", "lladdr", "02:00:00:00:00:01", "dev", "swallow")
        ip("route", "add", "unreachable", "10.99.0.0/16")
        yield
    finally:
        LIBC.setns(outside, CLONE_NEWNET)
        os.close(outside)


@pytest.fixture
def make(namespace, tmp_path):
    """A concentrator that the test still may configure; ends well, whatever happened."""
    with concentrator(tmp_path) as c:
        yield c


@pytest.fixture
def conc(make):
    return make.start()
