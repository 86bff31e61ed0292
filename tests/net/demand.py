"""A flow whose demand changes while it runs, and what each uplink carries of it meanwhile.

    with Demand(lab, "down", 20) as demand:        # Mb/s
        meter = Meter(lab, "down")
        demand.mbps = None                         # as much as there is
        meter.wait_for(lambda rates: sum(rates) >= 100, 6, "both uplinks")
"""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any, Callable, List, Optional, Sequence

from bonded import Lab, wait_for
from traffic import Background, Counter, discard, pair

STEP = 0.004  # s between the pieces of a paced flow
# What a delayed thread makes up for at once: more would be a burst that nobody asked for.
DEBT = 0.02
# Of the source, so that it stops soon after it is told to: its peer is near.
SEND_BUFFER = 256 << 10


class Demand:
    """A flow of the client's. mbps: what it offers; None: as much as there is."""

    def __init__(self, lab: Lab, way: str, mbps: Optional[float]) -> None:
        self.mbps = mbps
        client, server = pair(lab.client, lab.destinations[0])
        self._source, self._sink = (server, client) if way == "down" else (client, server)
        self._source.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._stop = threading.Event()
        self._received = Background(discard, self._sink, Counter())
        self._sent = Background(self._send)

    def __enter__(self) -> "Demand":
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._sent.result()
        self._source.close()
        self._received.result()
        self._sink.close()

    def _send(self) -> None:
        block, owed, before = os.urandom(64 << 10), 0.0, time.monotonic()
        while not self._stop.is_set():
            mbps, now = self.mbps, time.monotonic()
            if mbps is None:
                self._source.sendall(block)
                owed, before = 0.0, now
                continue
            owed = min(owed + (now - before) * mbps * 125e3, DEBT * mbps * 125e3)
            before = now
            self._source.sendall(block[:int(owed)])
            owed -= int(owed)
            time.sleep(STEP)  # not a wait: this is the pace


class Meter:
    """What the emulated links have carried in one direction, in the order of the uplinks."""

    def __init__(self, lab: Lab, way: str) -> None:
        self._lab, self._way = lab, way
        self._begin = self.bytes()

    def bytes(self) -> List[int]:
        return [uplink.stats()[self._way]["bytes"] for uplink in self._lab.uplinks]

    def carried_so_far(self) -> List[int]:
        """Bytes since it was made, or since carried()."""
        return [now - then for now, then in zip(self.bytes(), self._begin)]

    def carried(self) -> List[int]:
        carried, self._begin = self.carried_so_far(), self.bytes()
        return carried

    def rates(self, seconds: float) -> List[float]:
        """Mb/s, over so long from now on."""
        start, before, elapsed = time.monotonic(), self.bytes(), 0.0
        while elapsed < seconds:
            time.sleep(seconds - elapsed)  # not a wait: this is the measurement
            elapsed = time.monotonic() - start
        return [(now - then) * 8e-6 / elapsed for now, then in zip(self.bytes(), before)]

    def wait_for(self, is_so: Callable[[Sequence[float]], bool], deadline: float, what: str,
                 over: float = 0.5) -> float:
        """For rates, over half a second, of which that is so. Returns how long it took until these
        began."""
        start, seen = time.monotonic(), []

        def holds() -> bool:
            seen.append((time.monotonic() - start, self.rates(over)))
            return is_so(seen[-1][1])

        try:
            wait_for(holds, deadline, what)
        except Exception as error:
            raise AssertionError(f"{error}; Mb/s: " + ", ".join(
                f"{at:.1f} s: {' + '.join(f'{rate:.1f}' for rate in rates)}"
                for at, rates in seen)) from error
        return seen[-1][0]


def fetch(lab: Lab, way: str, size: int, count: int) -> None:
    """So many short flows at once, each of which carries so much; returns when all are over."""
    ends = [pair(lab.client, lab.destinations[0]) for _ in range(count)]
    transfers = [Background(_exchange, way, size, *each) for each in ends]
    for each in transfers:
        each.result()


def pieces(lab: Lab, way: str, size: int, interval: float, count: int) -> None:
    """A flow that asks for so much each so many seconds, as fast as it goes: a film."""
    client, server = pair(lab.client, lab.destinations[0])
    source, sink = (server, client) if way == "down" else (client, server)
    with client, server:
        Background(discard, sink, Counter())
        begin = time.monotonic()
        for number in range(1, count + 1):
            source.sendall(bytes(size))
            while time.monotonic() < begin + number * interval:
                time.sleep(STEP)  # not a wait: this is the pace


def _exchange(way: str, size: int, client: socket.socket, server: socket.socket) -> None:
    """A short question, a long answer; or the other way round."""
    with client, server:
        for source, sink, length in ((client, server, 300 if way == "down" else size),
                                     (server, client, size if way == "down" else 300)):
            sent = Background(source.sendall, bytes(length))
            left = length
            while left > 0:
                chunk = sink.recv(left)
                assert chunk, "it ended early"
                left -= len(chunk)
            sent.result()


__all__ = ["Demand", "Meter", "fetch", "pieces"]
