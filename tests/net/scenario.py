"""Pairs of uplinks of every kind, drawn evenly over all that is sensible, and what one bulk transfer
gets out of each pair: over each uplink alone, by plain TCP, and over both, by bondway.

    for scenario in draw(40, seed=1):
        result = measure(scenario, "down")
        assert result.kept, result
"""

from __future__ import annotations

import dataclasses
import random
from statistics import median
from typing import Any, Dict, List, Tuple

from bonded import Bonded, Lab, Uplink, congestion_of_trunks, wait_for
from traffic import pair, rates

RATE = (1.0, 200.0)  # Mb/s, either way
RTT = (5.0, 600.0)  # ms
QUEUE = (20.0, 1000.0)  # ms
LOSS = 2.0  # percent at most, either way
LOSSLESS = 3  # one scenario of so many loses nothing
DRAWS = 50
SECONDS = (6.0, 20.0)
ROUND_TRIPS = 20  # of the slower uplink, within SECONDS
WARM_UP = 0.3  # of the transfer
# The windows that the longest and fastest pair needs: what is measured is the uplinks.
BUFFER_MAX = 128 << 20
BEST, SUM = 0.97, 0.90
ALIKE = 4.0  # times as fast, as far: less apart, the sum is promised


@dataclasses.dataclass(frozen=True)
class Way:
    rate: float
    rtt: float
    loss: float
    queue: float

    def __str__(self) -> str:
        return f"{self.rate:5.1f} {self.rtt:4.0f} {self.loss:4.2f} {self.queue:4.0f}"


@dataclasses.dataclass(frozen=True)
class Scenario:
    number: int
    ways: Tuple[Way, Way]

    @property
    def seconds(self) -> float:
        """How long each transfer takes."""
        least, most = SECONDS
        return min(most, max(least, ROUND_TRIPS * max(way.rtt for way in self.ways) / 1000))

    @property
    def alike(self) -> bool:
        a, b = self.ways
        return (max(a.rate, b.rate) <= ALIKE * min(a.rate, b.rate) and
                max(a.rtt, b.rtt) <= ALIKE * min(a.rtt, b.rtt))

    def uplinks(self) -> List[Uplink]:
        return [Uplink(name, down=way.rate, up=way.rate, delay=way.rtt / 2, loss=way.loss,
                       queue_ms=way.queue) for name, way in zip(("wan-a", "wan-b"), self.ways)]


@dataclasses.dataclass(frozen=True)
class Result:
    """Mb/s; medians."""

    scenario: Scenario
    alone: Tuple[float, float]
    bonded: float

    @property
    def of_best(self) -> float:
        return self.bonded / max(self.alone)

    @property
    def of_sum(self) -> float:
        return self.bonded / sum(self.alone)

    @property
    def kept(self) -> bool:
        """Never slower than the better one; near the sum where the two are alike."""
        return self.of_best >= BEST and (not self.scenario.alike or self.of_sum >= SUM)

    def as_dict(self) -> Dict[str, Any]:
        return {**dataclasses.asdict(self), "of_best": self.of_best, "of_sum": self.of_sum,
                "alike": self.scenario.alike, "kept": self.kept}


# --- Drawing --------------------------------------------------------------------------------------


def hypercube(count: int, dimensions: int, rng: random.Random) -> List[List[float]]:
    """Points in the unit cube. Along each axis there is one in every slice (Latin hypercube)."""
    axes = [[(place + rng.random()) / count for place in rng.sample(range(count), count)]
            for _ in range(dimensions)]
    return [list(point) for point in zip(*axes)]


def spread(points: List[List[float]]) -> float:
    """Of the two that are nearest to each other: the square of their distance."""
    return min(sum((a - b) ** 2 for a, b in zip(p, q))
               for i, p in enumerate(points) for q in points[:i])


def _way(point: List[float], lossless: bool) -> Way:
    rate, rtt, queue = (least * (most / least) ** share
                        for share, (least, most) in zip(point, (RATE, RTT, QUEUE)))
    return Way(round(rate, 1), round(rtt), 0.0 if lossless else round(LOSS * point[3], 2),
               round(queue))


def draw(count: int, seed: int) -> List[Scenario]:
    """Of many hypercubes, the one whose points keep the widest berth of each other. The last axis
    tells which scenarios lose nothing, so that these are spread over all others, too."""
    rng = random.Random(seed)
    cubes = [hypercube(count, 9, rng) for _ in range(DRAWS)]
    points = max(cubes, key=spread) if count > 1 else cubes[0]
    return [Scenario(number, (_way(point[:4], point[8] * LOSSLESS < 1),
                              _way(point[4:8], point[8] * LOSSLESS < 1)))
            for number, point in enumerate(points)]


# --- Measuring ------------------------------------------------------------------------------------


def check_congestion(lab: Lab, bond: Bonded) -> None:
    """Alone and bonded can be compared only if every subflow has the congestion control that plain TCP
    has. Those that join may not (tests/bench/congestion.c): a bonded flow then seems to be worth
    many times the sum."""
    client, server = pair(lab.client, lab.destinations[0])
    with client, server:
        wait_for(lambda: [path["state"] for path in bond.flow()["subflows"]] == 2 * ["established"],
                 30, "both uplinks")
        for host in (lab.router, lab.vps):
            found = congestion_of_trunks(host)
            assert found == {lab.congestion}, f"subflows with {found}, not {lab.congestion} alone"
    bond.wait_until_over()


def measure(scenario: Scenario, direction: str, rounds: int = 1) -> Result:
    """In one lab, one transfer after the other."""
    warm_up, seconds = scenario.seconds * WARM_UP, scenario.seconds * (1 - WARM_UP)
    with Lab(scenario.uplinks(), destinations=[0], buffer_max=BUFFER_MAX) as lab, \
            Bonded(lab, fast=True) as bond:
        check_congestion(lab, bond)
        destination = lab.destinations[0]
        series: List[List[float]] = [[], [], []]
        for _ in range(rounds):
            for each, near, uplink in ((series[0], lab.router, lab.uplinks[0]),
                                       (series[1], lab.router, lab.uplinks[1]),
                                       (series[2], lab.client, None)):
                each += rates([pair(near, destination, uplink=uplink)], direction, warm_up, seconds)
            bond.wait_until_over()
    a, b, bonded = (median(each) for each in series)
    return Result(scenario, (a, b), bonded)
