"""Many flows for a long time, while uplinks fail and return at random. Each flow sends both ways what
both ends compare; then nothing may be left: no descriptor, and no memory that grows.

    result = soak(seconds=300, flows=50, seed=1)
    assert result.kept, result
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import socket
import struct
import threading
import time
from typing import Callable, Dict, List, Sequence, Tuple

from bonded import Bonded, Lab, Process, Uplink, descriptors, memory_kib, wait_for
from traffic import Background, Server, connect, offer, read, take

BYTES_MAX = 2 << 20  # of a flow, each way
HEALTHY, FAILED = (0.5, 5.0), (0.2, 6.0)  # s
SETTLING = 0.25  # of the time: the memory that so many flows need is had by then
BLOCKS = 12  # the samples of the memory are averaged to so many
SAMPLE = 0.25  # s
SLIGHT = 128  # KiB that may be had once more in a run: a page here and there is no leak

FAILURES: Dict[str, Callable] = {
    "silent": lambda uplink: uplink.drop("both"),
    "one-way up": lambda uplink: uplink.drop("up"),
    "one-way down": lambda uplink: uplink.drop("down"),
    "carrier": lambda uplink: uplink.carrier(False),
    "losses": lambda uplink: uplink.set(loss=10),
    "slow": lambda uplink: uplink.set(rate=1),
}


@dataclasses.dataclass(frozen=True)
class Failure:
    begin: float
    end: float
    uplink: int
    kind: str


def plan(seed: int, seconds: float, uplinks: int) -> List[Failure]:
    """One after the other: there is always an uplink that is well."""
    rng, failures, at = random.Random(seed), [], 0.0
    while (at := at + rng.uniform(*HEALTHY)) < seconds:
        end = at + rng.uniform(*FAILED)
        failures.append(Failure(at, end, rng.randrange(uplinks), rng.choice(list(FAILURES))))
        at = end
    return failures


def drift(samples: Sequence[float]) -> Tuple[float, float]:
    """Over all of the time: how much it grows along a straight line, and the standard error of that.
    Neighbours are alike, so they count as blocks."""
    size = len(samples) // BLOCKS
    means = [sum(samples[i * size:(i + 1) * size]) / size for i in range(BLOCKS)]
    middle, mean = (BLOCKS - 1) / 2, sum(means) / BLOCKS
    square = sum((i - middle) ** 2 for i in range(BLOCKS))
    slope = sum((i - middle) * (each - mean) for i, each in enumerate(means)) / square
    rest = sum((each - mean - slope * (i - middle)) ** 2 for i, each in enumerate(means))
    return slope * BLOCKS, (rest / (BLOCKS - 2) / square) ** 0.5 * BLOCKS


def is_steady(samples: Sequence[float]) -> bool:
    growth, error = drift(samples)
    return growth <= max(2 * error, SLIGHT)


@dataclasses.dataclass
class Result:
    failures: int
    flows: int = 0
    unended: int = 0  # which both ends have left, and the daemons still carry
    mismatches: List[str] = dataclasses.field(default_factory=list)  # not byte for byte
    cut: List[str] = dataclasses.field(default_factory=list)  # or refused
    descriptors: Dict[str, Tuple[int, int]] = dataclasses.field(default_factory=dict)
    memory: Dict[str, List[float]] = dataclasses.field(default_factory=dict)  # KiB

    @property
    def leaks(self) -> List[str]:
        return [name for name, (before, after) in self.descriptors.items() if after > before]

    @property
    def growing(self) -> List[str]:
        return [name for name, samples in self.memory.items() if not is_steady(samples)]

    @property
    def kept(self) -> bool:
        return self.flows > 0 and not (self.mismatches or self.cut or self.unended or self.leaks or
                                       self.growing)


# ---- flows ----

def answer(connection: socket.socket) -> None:
    """Tells what came, and sends as much as was asked for, with its digest."""
    coming, going = struct.unpack("!II", read(connection, 8))
    connection.sendall(bytes.fromhex(take(connection, coming).sha256))
    connection.sendall(bytes.fromhex(offer(connection, going).sha256))


def exchange(lab: Lab, port: int, up: int, down: int) -> str:
    """What is wrong; empty: nothing."""
    with connect(lab.client, lab.destinations[0].address, port) as client:
        client.sendall(struct.pack("!II", up, down))
        sent = offer(client, up)
        if read(client, 32).hex() != sent.sha256:
            return f"{up} bytes up did not arrive as they were"
        received = take(client, down)
        if (received.length, read(client, 32).hex()) != (down, received.sha256):
            return f"{down} bytes down did not arrive as they were"
        return "more came than was sent" if read(client, 1) else ""


def size(rng: random.Random) -> int:
    """As many small ones as large ones, by orders of magnitude; and some of nothing."""
    return int(BYTES_MAX ** rng.uniform(0, 1)) - 1


def keep_exchanging(lab: Lab, port: int, seed: int, over: threading.Event, result: Result) -> None:
    rng = random.Random(seed)
    while not over.is_set():
        up, down = size(rng), size(rng)
        result.flows += 1
        try:
            wrong = exchange(lab, port, up, down)
        except OSError as error:
            result.cut.append(f"{up} bytes up, {down} down: {error}")
            continue
        if wrong:
            result.mismatches.append(wrong)


# ---- failures ----

def restore(lab: Lab, failure: Failure) -> None:
    uplink = lab.uplinks[failure.uplink]
    uplink.drop(None)
    uplink.carrier(True)
    uplink.shape()


def run_failures(lab: Lab, failures: List[Failure], seconds: float, each: Callable) -> None:
    """each() is called now and then meanwhile, with the time."""
    steps = sorted([(f.begin, 0, f) for f in failures] + [(f.end, 1, f) for f in failures],
                   key=lambda step: step[:2])
    begin = time.monotonic()
    while (now := time.monotonic() - begin) < seconds:
        while steps and steps[0][0] <= now:
            _, ends, failure = steps.pop(0)
            if ends:
                restore(lab, failure)
            else:
                FAILURES[failure.kind](lab.uplinks[failure.uplink])
        each(now)
        time.sleep(SAMPLE)  # not a wait: this is the sampling
    for _, ends, failure in steps:
        if ends:
            restore(lab, failure)


# ---- the whole ----

def daemons(bond: Bonded) -> Dict[str, Process]:
    return {"gateway": bond.gateway, "concentrator": bond.concentrator}


def held(bond: Bonded, name: str) -> int:
    """Its descriptors, without those of connections that wait: the more is going on, the more are
    kept."""
    warm = sum(each["warm"] for each in bond.status()["concentrators"])
    return descriptors(daemons(bond)[name]) - warm


def soak(seconds: float, flows: int, seed: int, fast: bool = True) -> Result:
    uplinks = [Uplink("dsl", down=50, up=10, delay=10), Uplink("lte", down=60, up=20, delay=30)]
    failures, over = plan(seed, seconds, len(uplinks)), threading.Event()
    result = Result(len(failures))
    with Lab(uplinks) as lab, Bonded(lab, fast=fast) as bond, \
            Server(lab.destinations[0], answer) as server:
        result.memory = {name: [] for name in daemons(bond)}
        assert exchange(lab, server.port, 1, 1) == ""
        bond.wait_until_over()
        wait_for(lambda: bond.status()["concentrators"][0]["warm"] > 1, 20, "warm connections")
        before = {name: held(bond, name) for name in daemons(bond)}

        def sample(now: float) -> None:
            if now > SETTLING * seconds:
                for name, process in daemons(bond).items():
                    result.memory[name].append(memory_kib(process))

        running = [Background(keep_exchanging, lab, server.port, seed * 1000 + i, over, result)
                   for i in range(flows)]
        run_failures(lab, failures, seconds, sample)
        over.set()
        for each in running:
            each.result()
        with contextlib.suppress(TimeoutError):  # the result tells
            bond.wait_until_over()
        result.unended = len(bond.flows())
        for name in daemons(bond):
            with contextlib.suppress(TimeoutError):
                wait_for(lambda: held(bond, name) <= before[name], 30)
            result.descriptors[name] = before[name], held(bond, name)
    return result
