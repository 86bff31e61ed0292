"""Many flows for a long time, while uplinks fail and return at random. Each flow sends both ways what
both ends compare. Now and then all of them end: then nothing may be left, no flow, no descriptor, and
no memory that grows from one time to the next.

    result = soak(seconds=300, flows=50, seed=1)
    assert result.kept, result
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
import socket
import struct
import sys
import threading
import time
from typing import Callable, Dict, List, Sequence, Tuple

from bonded import (Bonded, Lab, Process, Uplink, descriptors, find_program, kernel_counter, memory_kib,
                    same_congestion, wait_for)
from traffic import Background, Server, connect, offer, read, take

BYTES_MAX = 1 << 20  # of a flow, each way
# How long a flow may wait for its next byte. Where fifty of them share a few Mb/s, plain TCP keeps
# one waiting for half a minute, too: this is for those that hang.
PATIENCE = 240  # s
HEALTHY, FAILED = (0.5, 5.0), (0.2, 6.0)  # s
ROUND = 15.0  # s, then they end
STAGGER = 3.0  # s, in which they begin
# The concentrator keeps salts for so long, one of each connection that greeted it.
HEAP_SETTLING = SALTS_KEPT = 90.0  # s
SALT = 88 / 1024  # KiB, of its heap
# What is free lies scattered, and for so long a little more so with each round.
RESIDENT_SETTLING = 600.0  # s
SAMPLES_MIN = 4
LONGER = 2  # times the time that was asked for: to have so many samples
DIALS_MAX = 2  # for each flow
# Of all flows. Those that begin together are hit together: twenty by one failure, where another one had
# held fifty up and has just ended.
UNHEARD_MAX = 1 / 250
# KiB that may be had once more in a run: some hundred salts (see above) more than were reckoned with.
SLIGHT = 128

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
    """How much it grows along a straight line from the first to the last, and the standard error of
    that."""
    n = len(samples)
    middle, mean = (n - 1) / 2, sum(samples) / n
    square = sum((i - middle) ** 2 for i in range(n))
    slope = sum((i - middle) * (each - mean) for i, each in enumerate(samples)) / square
    rest = sum((each - mean - slope * (i - middle)) ** 2 for i, each in enumerate(samples))
    return slope * (n - 1), (rest / (n - 2) / square) ** 0.5 * (n - 1)


def is_steady(samples: Sequence[float]) -> bool:
    """With too few of them nothing can be told."""
    if len(samples) < SAMPLES_MIN:
        return True
    growth, error = drift(samples)
    return growth <= max(2 * error, SLIGHT)


@dataclasses.dataclass
class Result:
    failures: int = 0
    flows: int = 0
    rounds: int = 0
    mismatches: List[str] = dataclasses.field(default_factory=list)  # not byte for byte
    cut: List[str] = dataclasses.field(default_factory=list)  # or refused
    # Of those the ones whose first words were heard, and the answer was lost with the uplink: they are
    # not said twice (README.md, "When an uplink fails").
    unheard: List[str] = dataclasses.field(default_factory=list)
    # What both ends have left, and the daemons have not.
    left: List[str] = dataclasses.field(default_factory=list)
    dials: int = 0  # of the gateway: one that no uplink answers at once is raced on another
    # KiB, each time that nothing runs, once that has settled: heap, and resident
    memory: Dict[str, List[float]] = dataclasses.field(default_factory=dict)

    @property
    def growing(self) -> List[str]:
        return [name for name, samples in self.memory.items() if not is_steady(samples)]

    @property
    def kept(self) -> bool:
        return not (self.mismatches or self.cut or self.left or self.growing or
                    len(self.unheard) > UNHEARD_MAX * self.flows or
                    self.dials > DIALS_MAX * self.flows)


# ---- flows ----

def answer(connection: socket.socket) -> None:
    """Tells what came, and sends as much as was asked for, with its digest."""
    connection.settimeout(PATIENCE)
    coming, going = struct.unpack("!II", read(connection, 8))
    connection.sendall(bytes.fromhex(take(connection, coming).sha256))
    connection.sendall(bytes.fromhex(offer(connection, going).sha256))


def exchange(lab: Lab, port: int, up: int, down: int) -> str:
    """What is wrong; empty: nothing."""
    with connect(lab.client, lab.destinations[0].address, port) as client:
        client.settimeout(PATIENCE)
        try:
            return converse(client, up, down)
        except OSError as error:
            own = client.getsockname()[1]
            raise ConnectionError(f"{up} bytes up, {down} down, from port {own}: {error}") from None


def converse(client: socket.socket, up: int, down: int) -> str:
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
    over.wait(rng.uniform(0, STAGGER))
    while not over.is_set():
        up, down = size(rng), size(rng)
        result.flows += 1
        try:
            wrong = exchange(lab, port, up, down)
        except OSError as error:
            result.cut.append(str(error))
            continue
        if wrong:
            result.mismatches.append(wrong)


def explain_cuts(result: Result, log: str) -> None:
    """By what the gateway's log says of those that were cut."""
    ends: Dict[str, List[str]] = {}
    for end in re.finditer(r"closed why=.* client=\S+:(\d+) .*", log):
        ends.setdefault(end[1], []).append(end[0])
    cuts, result.cut = result.cut, []
    for each in cuts:
        port = re.search(r"from port (\d+)", each)
        said = [end for end in ends.get(port[1] if port else "", []) if "why=done" not in end]
        unheard = any("why=concentrator-rejected " in end and " rx_bytes=0 " in end for end in said)
        (result.unheard if unheard else result.cut).append(" | ".join([each, *said]))


# ---- failures ----

def restore(lab: Lab, failure: Failure) -> None:
    uplink = lab.uplinks[failure.uplink]
    uplink.drop(None)
    uplink.carrier(True)
    uplink.shape()


def run_failures(lab: Lab, failures: List[Failure], over: threading.Event, result: Result) -> None:
    begin = time.monotonic()
    for failure in failures:
        if over.wait(max(0.0, begin + failure.begin - time.monotonic())):
            return
        result.failures += 1
        FAILURES[failure.kind](lab.uplinks[failure.uplink])
        over.wait(begin + failure.end - time.monotonic())
        restore(lab, failure)


# ---- memory ----

def counting(lab: Lab) -> Dict[str, str]:
    """The environment in which daemons tell how much memory they hold (tests/bench/heap.c)."""
    program = find_program(fast=True)
    library = program.parent.parent / "tests/bench/libbench-heap.so"
    before = same_congestion(program, lab).get("LD_PRELOAD", "")
    return {"LD_PRELOAD": f"{before} {library}", "BENCH_HEAP": str(lab.directory)}


def heap_kib(lab: Lab, process: Process) -> float:
    return int.from_bytes((lab.directory / str(process.pid)).read_bytes(), sys.byteorder) / 1024


class Dials:
    """How many the gateway has made by when. In between they are taken to be spread evenly."""

    def __init__(self) -> None:
        self._noted: List[Tuple[float, int]] = [(0.0, 0)]

    def note(self, now: float, dials: int) -> None:
        self._noted.append((now, dials))

    def by(self, at: float) -> float:
        for (begin, some), (end, more) in zip(self._noted, self._noted[1:]):
            if at < end:
                return some + (more - some) * max(0.0, at - begin) / (end - begin)
        return self._noted[-1][1]

    def salts(self, now: float) -> float:
        """That the concentrator keeps of them."""
        return self.by(now) - self.by(now - SALTS_KEPT)


def note_memory(result: Result, lab: Lab, processes: Dict[str, Process], now: float,
                dials: Dials) -> None:
    for name, process in processes.items():
        salts = dials.salts(now) if name == "concentrator" else 0
        if now > HEAP_SETTLING:
            result.memory[f"{name}, heap"].append(heap_kib(lab, process) - SALT * salts)
        if now > RESIDENT_SETTLING:
            result.memory[f"{name}, resident"].append(memory_kib(process))


# ---- the whole ----


def held(bond: Bonded) -> Dict[str, int]:
    """Their descriptors, without those of connections that wait: the more is going on, the more are
    kept; and of those whose end was lost the concentrator knows later."""
    return {"gateway": descriptors(bond.gateway) -
            sum(each["warm"] for each in bond.status()["concentrators"]),
            "concentrator": descriptors(bond.concentrator) -
            sum(each["warm"] for each in bond.concentrator_status()["gateways"])}


def rest(bond: Bonded, before: Dict[str, int]) -> List[str]:
    """Nothing runs: what is left all the same. Where a reset is lost with its uplink, the other end
    learns of it by what it sends again; and then the kernel waits for another path, for a minute
    (net.mptcp.close_timeout). A connection that is made in advance meanwhile may be counted before it
    waits: once to have had no more than before is enough."""
    with contextlib.suppress(TimeoutError):
        bond.wait_until_over(150)
        wait_for(lambda: all(n <= before[name] for name, n in held(bond).items()), 30)
        return []
    left = [f"flow {flow}" for flow in bond.flows()]
    left += [f"session {flow}" for flow in bond.sessions()]
    return left + [f"{name}: {before[name]} descriptors before, {n} after"
                   for name, n in held(bond).items() if n > before[name]]


def run_round(lab: Lab, port: int, flows: int, seed: int, result: Result) -> None:
    over = threading.Event()
    running = [Background(keep_exchanging, lab, port, seed * 1000 + i, over, result)
               for i in range(flows)]
    over.wait(ROUND)
    over.set()
    for each in running:
        each.result(4 * PATIENCE)  # each wait of its own has ended by then
    result.rounds += 1


def is_enough(result: Result, now: float, seconds: float) -> bool:
    sampled = min(len(result.memory[f"{name}, heap"]) for name in ("gateway", "concentrator"))
    return bool(result.left) or now > seconds * (1 if sampled >= SAMPLES_MIN else LONGER)


def soak(seconds: float, flows: int, seed: int) -> Result:
    """Ends early when something is left behind a round."""
    uplinks = [Uplink("dsl", down=50, up=10, delay=10), Uplink("lte", down=60, up=20, delay=30)]
    failures, over = plan(seed, (LONGER + 1) * seconds, len(uplinks)), threading.Event()
    result = Result()
    with Lab(uplinks) as lab, Bonded(lab, fast=True, environment=counting(lab)) as bond, \
            Server(lab.destinations[0], answer) as server:
        processes = {"gateway": bond.gateway, "concentrator": bond.concentrator}
        result.memory = {f"{name}, {kind}": [] for name in processes for kind in ("heap", "resident")}
        assert exchange(lab, server.port, 1, 1) == ""
        bond.wait_until_over()
        wait_for(lambda: bond.status()["concentrators"][0]["warm"] > 1, 20, "warm connections")
        before, begin, dials = held(bond), time.monotonic(), Dials()

        def note_dials() -> float:
            now = time.monotonic() - begin
            result.dials = kernel_counter(lab.router, "MPCapableSYNTX")
            dials.note(now, result.dials)
            return now

        failing = Background(run_failures, lab, failures, over, result)
        while not is_enough(result, time.monotonic() - begin, seconds):
            run_round(lab, server.port, flows, seed * 1000 + result.rounds, result)
            note_dials()
            result.left = rest(bond, before)
            note_memory(result, lab, processes, note_dials(), dials)
        over.set()
        failing.result()
        explain_cuts(result, bond.gateway.output())
    return result
