import pytest

from router import GOOD, PROGRAM, Router, new_key


@pytest.fixture
def router():
    with Router(PROGRAM) as it:
        it.config("bondway", GOOD)
        it.key("vps.key", new_key())
        it.network_up("lan", "br-lan")
        it.network_up("wan", "pppoe-wan")
        it.network_up("lte", "wwan0")
        yield it
