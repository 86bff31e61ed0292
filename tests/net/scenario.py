"""Pairs of uplinks of every kind, drawn evenly over all that is sensible, and what one bulk transfer
gets out of each pair: over each uplink alone, by plain TCP, and over both, by bondway.

    for scenario in draw(40, seed=1):
        result = measure(scenario, "down", rounds=12)
        assert result.kept, result

A TCP that loses packets carries now half, now twice as much. So a round loses the same packets, by
their number on each uplink, alone and bonded; and rounds go on until it is certain on which side of
what is promised the scenario is, or there were enough.
"""

from __future__ import annotations

import dataclasses
import random
from math import inf
from statistics import fmean
from typing import Any, Dict, List, Sequence, Tuple

from bonded import Bonded, Host, Lab, Uplink, congestion_of_trunks, wait_for
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
# Student's t, two-sided, 99 %, by degrees of freedom. As one looks after each round, the intervals
# that are made of it hold for about 95 in 100 scenarios (Pocock 1977: ten looks, at 1.06 % each).
ROUNDS_MIN, ROUNDS_MAX = 3, 16
T_99 = (63.66, 9.92, 5.84, 4.60, 4.03, 3.71, 3.50, 3.36, 3.25, 3.17, 3.11, 3.05, 3.01, 2.98, 2.95)


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
class Ratio:
    """With what it may be off by."""

    value: float
    error: float

    @classmethod
    def of(cls, parts: Sequence[float], wholes: Sequence[float]) -> "Ratio":
        """Of the means of what belongs together, pair by pair (Cochran, Sampling Techniques, 6.4)."""
        count, whole = len(parts), fmean(wholes)
        value = fmean(parts) / whole
        square = sum((part - value * each) ** 2 for part, each in zip(parts, wholes))
        error = T_99[count - 2] * (square / (count - 1) / count) ** 0.5 / whole if count > 1 else inf
        return cls(value, error)

    def is_certain(self, bound: float) -> bool:
        """On which side of the bound it is."""
        return abs(self.value - bound) > self.error


@dataclasses.dataclass
class Result:
    """Mb/s, of each round."""

    scenario: Scenario
    alone: Tuple[List[float], List[float]] = dataclasses.field(default_factory=lambda: ([], []))
    bonded: List[float] = dataclasses.field(default_factory=list)

    @property
    def of_best(self) -> Ratio:
        return Ratio.of(self.bonded, max(self.alone, key=fmean))

    @property
    def of_sum(self) -> Ratio:
        return Ratio.of(self.bonded, [a + b for a, b in zip(*self.alone)])

    @property
    def promises(self) -> List[Tuple[Ratio, float]]:
        """Never slower than the better one; near the sum where the two are alike."""
        return [(self.of_best, BEST), *([(self.of_sum, SUM)] if self.scenario.alike else [])]

    @property
    def kept(self) -> bool:
        return all(ratio.value >= bound for ratio, bound in self.promises)

    @property
    def certain(self) -> bool:
        """That it is kept, or that it is not: one promise that is surely broken is enough."""
        sure = [ratio.value >= bound for ratio, bound in self.promises if ratio.is_certain(bound)]
        return len(sure) == len(self.promises) or not all(sure)

    def as_dict(self) -> Dict[str, Any]:
        return {**dataclasses.asdict(self), "of_best": dataclasses.asdict(self.of_best),
                "of_sum": dataclasses.asdict(self.of_sum), "alike": self.scenario.alike,
                "kept": self.kept, "certain": self.certain}


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


def take_round(lab: Lab, bond: Bonded, result: Result, direction: str, seed: int) -> None:
    """Each uplink alone, both at once, as they have nothing in common; then the bond."""
    seconds, destination = result.scenario.seconds, lab.destinations[0]

    def run(*ends: Tuple[Host, Any]) -> List[float]:
        for uplink in lab.uplinks:
            uplink.seed(seed)
        return rates([pair(near, destination, uplink=uplink) for near, uplink in ends], direction,
                     seconds * WARM_UP, seconds * (1 - WARM_UP))

    alone = run(*((lab.router, uplink) for uplink in lab.uplinks))
    bonded, = run((lab.client, None))
    bond.wait_until_over()
    for series, rate in zip((*result.alone, result.bonded), (*alone, bonded)):
        series.append(rate)


def measure(scenario: Scenario, direction: str, rounds: int) -> Result:
    """In one lab, until it is certain, but no more rounds than that."""
    result = Result(scenario)
    with Lab(scenario.uplinks(), destinations=[0], buffer_max=BUFFER_MAX) as lab, \
            Bonded(lab, fast=True) as bond:
        check_congestion(lab, bond)
        for number in range(rounds):
            take_round(lab, bond, result, direction, scenario.number * ROUNDS_MAX + number)
            if number + 1 >= ROUNDS_MIN and result.certain:
                break
    return result
