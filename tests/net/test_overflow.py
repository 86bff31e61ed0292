"""dsl costs nothing, lte does: scheduler "overflow" uses lte only while dsl is full.

What fits dsl stays there. A large download fills it: lte joins in at once. When the demand falls
below what dsl can carry, lte is left again, although a flow that is spread over both fills neither.
A page is over before anybody could call dsl full. A dsl that becomes slower is full sooner. What was
learnt of dsl outlives a reload."""

import dataclasses
import signal

import pytest
from bonded import Bonded, Lab, Uplink
from demand import Demand, Meter, fetch
from traffic import SLACK

IDLE = 0.3  # Mb/s: acknowledgements of its own, probes


@dataclasses.dataclass(frozen=True)
class Way:
    """Mb/s."""

    name: str
    dsl: float
    lte: float
    fits: float  # dsl
    slower: float  # dsl becomes
    exceeds: float  # then
    page: int  # bytes of a tenth of it


WAYS = [Way("down", dsl=50, lte=60, fits=20, slower=20, exceeds=30, page=60_000),
        Way("up", dsl=10, lte=20, fits=5, slower=4, exceeds=7, page=12_000)]


@pytest.fixture(params=WAYS, ids=lambda way: way.name)
def way(request):
    return request.param


@pytest.fixture
def lab():
    with Lab([Uplink("dsl", down=50, up=10, delay=10),
              Uplink("lte", down=60, up=20, delay=30, queue_ms=200)],
             destinations=[0], congestion="cubic") as lab, \
            Bonded(lab, gateway='scheduler = "overflow";\n', fast=True) as bond:
        lab.bond = bond
        yield lab


def capacity(bond, way):
    return bond.uplink("dsl")[{"down": "rx_capacity_bps", "up": "tx_capacity_bps"}[way.name]]


def test_lte_helps_while_dsl_is_full(lab, way):
    with Demand(lab, way.name, way.fits) as demand:
        meter = Meter(lab, way.name)
        meter.rates(2)
        dsl, lte = meter.carried()
        assert lte < 0.01 * (dsl + lte), f"of {dsl + lte} bytes lte carried {lte}"

        demand.mbps = None
        meter.wait_for(lambda rates: sum(rates) >= 0.9 * (way.dsl + way.lte), 2 * SLACK,
                       "nine tenths of the sum")
        assert lab.bond.uplink("dsl")["saturated"]

        demand.mbps = way.fits
        meter.wait_for(lambda rates: rates[1] < IDLE, 5 * SLACK, "an end of lte's help")
        dsl, lte = meter.rates(1)
        assert dsl > 0.9 * way.fits and lte < IDLE
        assert not lab.bond.uplink("dsl")["saturated"]
        learnt = capacity(lab.bond, way)
        assert learnt == pytest.approx(way.dsl * 1e6, rel=0.1)
        lab.bond.gateway.send_signal(signal.SIGHUP)
        lab.bond.wait_for_log("reload: done")
        assert capacity(lab.bond, way) == pytest.approx(learnt, rel=0.05)


def test_a_page_does_not_light_up_lte(lab, way):
    meter = Meter(lab, way.name)
    for _ in range(3):
        fetch(lab, way.name, way.page, 10)
    lab.bond.wait_until_over()
    dsl, lte = meter.carried()
    # Joins, the ends of subflows that stood by, probes.
    assert dsl > 30 * way.page and lte < 30 * 1000, f"dsl {dsl} bytes, lte {lte}"


def test_a_dsl_that_becomes_slower_is_full_sooner(lab, way):
    with Demand(lab, way.name, None) as demand:
        meter = Meter(lab, way.name)
        meter.wait_for(lambda rates: rates[1] > 0.5 * way.lte, 2 * SLACK, "lte's help")
        demand.mbps = way.exceeds
        meter.wait_for(lambda rates: rates[1] < IDLE, 5 * SLACK, "an end of lte's help")
        lab.uplink("dsl").set(**{f"rate_{way.name}": way.slower})
        meter.wait_for(lambda rates: sum(rates) > 0.9 * way.exceeds and rates[1] > 0.1 * way.exceeds,
                       3 * SLACK, "lte's help")
        demand.mbps = way.slower / 2
        meter.wait_for(lambda rates: rates[1] < IDLE, 5 * SLACK, "an end of lte's help")
