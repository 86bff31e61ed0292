"""One round of heal: a flow through a chain, an uplink that fails under it, and comes back. What is
measured is what the receiver sees, and what the emulated links carry; no daemon is asked."""

import contextlib
import random
import signal
import socket
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import Callable, Deque, Dict, Iterator, List, NamedTuple, Optional, Tuple, Type

from arrivals import ArrivalsFile
from chains import DESTINATION_PORT, Bondway, Chain, MinimalRelay
from bonded import congestion_of_trunks
from netlab import Lab, LabError, LabUplink, Uplink, wait_for
from traffic import pair, rates

PACED = (1600, 8000)  # bytes, µs between them: 1.6 Mb/s
USE = {"down": 1_000_000, "up": 300_000}  # bytes that a bulk flow has carried on each uplink first
USE_PACED = 20_000  # that a paced one has, on the uplink that is to fail
START_PATIENCE = 15.0
HOLD = 8.0  # s that an uplink stays away at most
BACK = 6.0  # s that it has to carry its share again
SHARE, SHARE_WINDOW = 0.25, 0.5
POLL = 0.025
LATE = float("inf")  # not in the time there was

FAILURES: Dict[str, Callable[[LabUplink], None]] = {
    "healthy": lambda uplink: None,
    "silent": lambda uplink: uplink.drop("both"),
    "carrier": lambda uplink: uplink.carrier(False),
    "one-way up": lambda uplink: uplink.drop("up"),
    "one-way down": lambda uplink: uplink.drop("down"),
}


def restore(uplink: LabUplink) -> None:
    uplink.drop(None)
    uplink.carrier(True)


class BondwayDefault(Bondway):
    name = "bondway"
    encryption = "auto"


CHAINS: List[Type[Chain]] = [BondwayDefault, MinimalRelay]


class HealLab(Lab):
    """The demo's two uplinks, with what the chains need to know."""

    def __init__(self, uplinks: Optional[List[Uplink]] = None) -> None:
        super().__init__(uplinks, destinations=[0])
        self.destination = self.destinations[0]


class Cell(NamedTuple):
    failure: str
    flow: str  # bulk, paced
    way: str  # down, up

    def __str__(self) -> str:
        return " ".join(self)

    def victim(self, number: int) -> int:
        """Which uplink fails in this round: flows begin on the first, so it does twice as often."""
        return int(self.flow == "bulk" and number % 3 == 2)


class Round(NamedTuple):
    """Seconds; LATE where it was not within HOLD or BACK. None: not measured of such flows."""

    stall: float
    full_rate: Optional[float]  # until 90 % of what the survivor carries alone
    back: Optional[float]  # until the uplink that has come back carries its share
    lowest: Optional[float]  # rate meanwhile, of what the survivor carries alone


class StartFailed(Exception):
    """The flow never came to use the uplinks that it was to use."""


class Flow:
    """From one socket to another, which it closes, with stamps of the arrivals. paced: as PACED."""

    def __init__(self, lab: HealLab, build: Path, kind: str, source: socket.socket,
                 sink: socket.socket, paced: Tuple[int, int] = PACED) -> None:
        program = build / "tests/bench/bench-stream"
        path = lab.directory / "arrivals"
        with source, sink, open(path, "wb") as stamps:
            for end in (source, sink):
                end.setblocking(True)  # Python's timeouts do not
            self._receiver = subprocess.Popen([program, "receive", str(sink.fileno())],
                                              pass_fds=[sink.fileno()], stdout=stamps)
            self.sender = subprocess.Popen([program, kind, str(source.fileno()),
                                            *map(str, paced if kind == "paced" else ())],
                                           pass_fds=[source.fileno()])
        self.arrivals = ArrivalsFile(path)

    @classmethod
    def through(cls, rig: "Rig", kind: str, way: str) -> "Flow":
        """A connection of the client's that the chain relays."""
        client, server = pair(rig.lab.client, rig.lab.destination, port=DESTINATION_PORT)
        source, sink = (server, client) if way == "down" else (client, server)
        return cls(rig.lab, rig.build, kind, source, sink)

    @classmethod
    def datagrams(cls, lab: HealLab, build: Path, interval_us: int) -> "Flow":
        """Small ones, from the client by the first uplink: none is sent again when it is lost."""
        sink, source = (host.socket(kind=socket.SOCK_DGRAM)
                        for host in (lab.destination, lab.client))
        sink.bind(("", DESTINATION_PORT))
        source.connect((lab.destination.address, DESTINATION_PORT))
        return cls(lab, build, "paced", source, sink, (100, interval_us))

    def end(self) -> None:
        """The receiver first: what is still on its way is then refused, not waited for."""
        for process in (self._receiver, self.sender):
            process.kill()
            process.wait()
        self.arrivals.close()


def known_pause(lab: HealLab, build: Path, what: str, length: float) -> Tuple[float, float]:
    """A flow pauses because its sender does, or because its link is silent: for how long, and for how
    long by the stamps."""
    uplink, flow = lab.uplinks[0], Flow.datagrams(lab, build, 2000)
    stop, resume = {
        "sender": (lambda: flow.sender.send_signal(signal.SIGSTOP),
                   lambda: flow.sender.send_signal(signal.SIGCONT)),
        "link": (lambda: uplink.drop("both"), lambda: uplink.drop(None))}[what]
    try:
        wait_for(lambda: flow.arrivals.update() or flow.arrivals.total > 10_000)
        begin = time.monotonic()
        stop()
        while time.monotonic() < begin + length:
            time.sleep(0.001)
        resume()
        took = time.monotonic() - begin
        if what == "link":  # what was in it is lost, and what comes next takes its time
            took += uplink.spec.delay / 1000
        wait_for(lambda: flow.arrivals.update() or flow.arrivals.times[-1] > begin + took + 0.2)
        return took, flow.arrivals.longest_gap(begin, begin + took + 0.1)
    finally:
        flow.end()


class Shares:
    """What each uplink carries of the flow, by the counters of the links."""

    def __init__(self, lab: HealLab, way: str) -> None:
        self._lab, self._way = lab, way
        self._start = self._read()
        self._recent: Deque[Tuple[float, List[int]]] = deque()

    def _read(self) -> List[int]:
        return [uplink.stats()[self._way]["bytes"] for uplink in self._lab.uplinks]

    def carried(self) -> List[int]:
        return [now - was for now, was in zip(self._read(), self._start)]

    def share(self, uplink: int) -> float:
        """The uplink's, of what was carried over SHARE_WINDOW; 0 as long as it has not passed."""
        now = time.monotonic()
        self._recent.append((now, self._read()))
        while len(self._recent) > 1 and self._recent[1][0] <= now - SHARE_WINDOW:
            self._recent.popleft()
        begin, was = self._recent[0]
        carried = [a - b for a, b in zip(self._recent[-1][1], was)]
        return carried[uplink] / max(sum(carried), 1) if begin <= now - SHARE_WINDOW else 0.0


def polls(deadline: float) -> Iterator[float]:
    """The time, every POLL, up to the deadline."""
    while (now := time.monotonic()) < deadline:
        yield now
        time.sleep(POLL)


class Rig:
    """A chain that runs in a lab of its own; flow after flow goes through it."""

    def __init__(self, kind: Type[Chain], build: Path, lab: Optional[HealLab] = None) -> None:
        self.lab = lab or HealLab()
        self.build = build
        self.chain = kind(self.lab, build)  # type: ignore[arg-type]
        self.random = random.Random(1)
        # The minimal relay may hold on to a connection whose ends are gone.
        self.patience = 20 if issubclass(kind, Bondway) else 1

    def __enter__(self) -> "Rig":
        self.lab.up()
        try:
            self.chain.start()
        except BaseException:
            self.lab.down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.chain.stop()
        finally:
            self.lab.down()

    def alone(self, way: str) -> List[float]:
        """What plain TCP carries over each uplink, bytes per second."""
        return [rates([pair(self.lab.router, self.lab.destination, uplink=uplink)], way,
                      2.0, 4.0)[0] * 1e6 / 8 for uplink in self.lab.uplinks]

    def settle(self) -> None:
        """As if nothing had happened: no flow is left, every uplink is known to be well, and the
        kernel has forgotten what it knew of the ways."""
        for uplink in self.lab.uplinks:
            restore(uplink)
        if not any(self._is_settled() for _ in polls(time.monotonic() + self.patience)):
            self.chain.stop()
            self.chain.start()
        for host in (self.lab.router, self.lab.vps):
            host.run(["ip", "tcp_metrics", "flush"], check=False)

    def _is_settled(self) -> bool:
        if isinstance(self.chain, Bondway):
            status = self.chain.bond.status()
            return (status["flows"]["active"] == 0 and
                    all(uplink["state"] == "up" for uplink in status["uplinks"]) and
                    all(each["state"] == "up" and each["warm"] for each in status["concentrators"]))
        return not self.lab.router.run(["ss", "-HtnM", "state", "established"]).stdout.strip()

    def round(self, cell: Cell, number: int, alone: List[float]) -> Round:
        victim = cell.victim(number)
        flow = Flow.through(self, cell.flow, cell.way)
        try:
            shares = Shares(self.lab, cell.way)
            self._wait_for_use(flow, cell, shares, victim)
            return Strike(flow, cell, self.lab.uplinks[victim], victim,
                          alone[1 - victim]).run(shares)
        finally:
            flow.end()
            self.settle()

    def _wait_for_use(self, flow: Flow, cell: Cell, shares: Shares, victim: int) -> None:
        for _ in polls(time.monotonic() + START_PATIENCE):
            carried = shares.carried()
            if (min(carried) >= USE[cell.way] if cell.flow == "bulk" else
                    carried[victim] >= USE_PACED):
                break
        else:
            raise StartFailed(f"{cell}: carried {carried}")
        sender = self.lab.vps if cell.way == "down" else self.lab.router
        if congestion_of_trunks(sender) != {self.lab.congestion}:
            raise LabError(f"the subflows have {congestion_of_trunks(sender)}, not all "
                           f"{self.lab.congestion}: nothing can be compared")
        # At any moment of what TCP does, and of what the daemons do by the clock.
        for _ in polls(time.monotonic() + self.random.uniform(0.2, 0.9)):
            flow.arrivals.update()


class Strike:
    """What happens to a running flow when the uplink fails and comes back. rate: what the other one
    carries alone."""

    def __init__(self, flow: Flow, cell: Cell, uplink: LabUplink, number: int,
                 rate: float) -> None:
        self._arrivals, self._cell, self._uplink = flow.arrivals, cell, uplink
        self._number, self._rate = number, rate

    def run(self, shares: Shares) -> Round:
        failed_at = time.monotonic()
        FAILURES[self._cell.failure](self._uplink)
        stall, full_rate = (self._hold_bulk if self._cell.flow == "bulk" else
                            self._hold_paced)(failed_at)
        back, lowest = self._give_back(shares, full_rate)
        return Round(stall, full_rate, back, lowest)

    def _hold_bulk(self, failed_at: float) -> Tuple[float, float]:
        """The stall is over once the rate is back: pauses after that are TCP's own."""
        full_rate, now = None, failed_at
        for now in polls(failed_at + HOLD):
            self._arrivals.update()
            full_rate = self._arrivals.recovery(failed_at, self._rate, now)
            if full_rate is not None:
                break
        end = now if full_rate is None else failed_at + max(1.0, full_rate)
        return self._stall(failed_at, end), LATE if full_rate is None else full_rate

    def _hold_paced(self, failed_at: float) -> Tuple[float, None]:
        """Until a second has passed without a pause worth the name."""
        now = failed_at
        for now in polls(failed_at + HOLD):
            self._arrivals.update()
            if now > failed_at + 1 and self._arrivals.longest_gap(now - 1, now) < 0.1:
                break
        return self._stall(failed_at, now), None

    def _stall(self, failed_at: float, end: float) -> float:
        gap = self._arrivals.longest_gap(failed_at, end)
        return LATE if gap >= HOLD else gap

    def _give_back(self, shares: Shares, full_rate: Optional[float]
                   ) -> Tuple[Optional[float], Optional[float]]:
        back_at = time.monotonic()
        restore(self._uplink)
        if self._cell.flow == "paced":
            return None, None
        back = LATE
        for now in polls(back_at + BACK):
            if shares.share(self._number) >= SHARE:
                back = now - back_at
                break
        for _ in polls(time.monotonic() + 1):
            self._arrivals.update()
        if full_rate == LATE:  # it was below that before, too
            return back, None
        return back, self._arrivals.lowest_rate(back_at, time.monotonic(), 0.5) / self._rate


@contextlib.contextmanager
def rigs(kinds: List[Type[Chain]], build: Path) -> Iterator[List[Rig]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Rig(kind, build)) for kind in kinds]
