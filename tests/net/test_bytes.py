"""Every byte arrives, once and in order, whatever the load; and nothing is left over afterwards."""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from typing import Any, Tuple

import pytest

from bonded import Bonded, Lab, Uplink, descriptors, memory_kib, wait_for
from traffic import (Background, Counter, Digest, Server, connect, offer_all, pair, read, take)

# For the long transfer; a quick look needs less.
TRANSFER_MIB = int(os.environ.get("TRANSFER_MIB", "1024"))
FLOWS = 300


def fast_uplinks() -> Any:
    return [Uplink("fiber", down=300, up=300, delay=5), Uplink("cable", down=300, up=300, delay=10)]


@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_gibibyte(direction):
    """A big file, over two uplinks whose packets overtake each other all the time."""
    size = TRANSFER_MIB << 20
    with Lab(fast_uplinks()) as lab, Bonded(lab, fast=True) as bond:
        client, server = pair(lab.client, lab.destinations[0])
        source, sink = (server, client) if direction == "down" else (client, server)
        sent = Background(offer_all, source, size)
        assert take(sink) == sent.result()
        assert sent.result().length == size
        carried = [subflow["rx_bytes" if direction == "down" else "tx_bytes"]
                   for subflow in bond.flow()["subflows"]]
        assert len(carried) == 2 and min(carried) > size / 20, carried


def test_both_directions_at_once():
    """Uploads and downloads on one connection do not wait for each other, or mix."""
    with Lab(fast_uplinks()) as lab, Bonded(lab) as bond:
        client, server = pair(lab.client, lab.destinations[0])
        up, down = (Background(offer_all, end, 20 << 20) for end in (client, server))
        received = Background(take, server)
        assert take(client) == down.result()
        assert received.result() == up.result()
        bond.wait_for_log("closed why=done")


def serve_mixed(connection: socket.socket) -> Tuple[Digest, Digest]:
    """Asked for so many bytes, behind so many that come."""
    coming, going = struct.unpack("!II", read(connection, 8))
    received = take(connection, coming)
    return received, offer_all(connection, going)


def run_flow(lab: Lab, port: int, up: int, down: int) -> Tuple[Digest, Digest]:
    with connect(lab.client, lab.destinations[0].address, port) as client:
        client.sendall(struct.pack("!II", up, down))
        sent = offer_all(client, up)
        return sent, take(client)


def test_three_hundred_flows_at_once():
    """A house full of devices. Three hundred connections of all sizes, also empty ones, at once:
    each gets its own bytes, and when they are over neither daemon has a flow, a socket or (says
    LeakSanitizer at the end of this test) a byte of memory more than before."""
    sizes = random.Random(1)
    with Lab(fast_uplinks()) as lab, Bonded(lab) as bond, \
            Server(lab.destinations[0], serve_mixed) as server:
        run_flow(lab, server.port, 1, 1)
        bond.wait_until_over()
        server.result()
        wait_for(lambda: bond.status()["concentrators"][0]["warm"] > 1, 20, "warm connections")
        idle = [descriptors(process) for process in (bond.gateway, bond.concentrator)]
        flows = [Background(run_flow, lab, server.port, *(sizes.choice(SIZES) for _ in "ud"))
                 for _ in range(FLOWS)]
        ends = [flow.result() for flow in flows]
        assert sorted(map(repr, ends)) == sorted(repr(server.result()) for _ in flows)
        bond.wait_until_over()
        counts = bond.status()["flows"]
        assert (counts["total"], counts["failed"]) == (FLOWS + 1, 0)
        for process, before in zip((bond.gateway, bond.concentrator), idle):
            wait_for(lambda: descriptors(process) <= before, 30,
                     f"{before} descriptors ({descriptors(process)} now)")


SIZES = (0, 1, 1000, 16383, 16384, 65536, 100_000, 1_000_000)


@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_reader_that_stops(direction):
    """A video is paused: its sender must be stopped too, not buffered for without end. 200 MB are
    offered; the daemons' memory stays where it was, and after the pause all of it arrives."""
    size = 200_000_000
    with Lab(fast_uplinks()) as lab, Bonded(lab, fast=True) as bond:
        client, server = pair(lab.client, lab.destinations[0])
        source, sink = (server, client) if direction == "down" else (client, server)
        before = [memory_kib(process) for process in (bond.gateway, bond.concentrator)]
        counter = Counter()
        sent = Background(offer_all, source, size, counter)
        wait_until_still(counter)
        assert 0 < counter.total < size
        for process, kib in zip((bond.gateway, bond.concentrator), before):
            assert memory_kib(process) < kib + 1024
        assert take(sink) == sent.result()


def wait_until_still(counter: Counter, seconds: float = 1.0) -> None:
    """Until it has not changed for a second."""
    last = (counter.total, time.monotonic())

    def still() -> bool:
        nonlocal last
        if counter.total != last[0]:
            last = (counter.total, time.monotonic())
        return counter.total > 0 and time.monotonic() - last[1] > seconds

    wait_for(still, 60, "a sender that is held back")
