"""Clients, and servers, that stop reading in the middle of something. (For the concentrator, see
test_attack.py.)"""

from __future__ import annotations

import contextlib
import socket
from typing import Callable, List, Tuple

from bonded import Bonded, Lab, Uplink, memory_kib, wait_for
from crowd import allow_many_descriptors
from stalled import FLOWS, MEMORY, drain, fill, stand_still
from traffic import connect, listen, port_of, prepare

# More than fits between the gateway and a client that does not read. (What comes from the concentrator
# the gateway's kernel takes in by itself, up to 32 MiB a flow.)
DOWNLOAD = 1 << 20
# Each holds one record at least, which must be whole to be opened; how much of the buffer it fills
# beside it depends on what had come when the client stopped.
RECORD_KIB = 16
# Of an upload, the concentrator's kernel takes in up to 32 MiB.
UPLOADS = 8
SLACK_KIB = 2 << 10


def connect_all(lab: Lab, keep: Callable, n: int = FLOWS) -> Tuple[List[socket.socket], List[socket.socket]]:
    """Clients and servers, both ends of each connection at the same place."""
    clients, servers = [], []
    with listen(lab.destinations[0]) as listener:
        for _ in range(n):
            clients.append(keep(connect(lab.client, lab.destinations[0].address, port_of(listener))))
            servers.append(keep(prepare(listener.accept()[0])))
    return clients, servers


def fast_uplinks() -> List[Uplink]:
    return [Uplink("dsl", down=300, up=300, delay=1), Uplink("lte", down=300, up=300, delay=1)]


def test_who_stops_reading_costs_the_router_little_memory():
    """A buffer for each, however long it lasts; when they read on, nothing is missing."""
    allow_many_descriptors()
    with Lab(fast_uplinks(), buffer_max=128 << 10) as lab, Bonded(lab, fast=True) as bond, \
            contextlib.ExitStack() as stack:
        clients, servers = connect_all(lab, stack.enter_context)
        wait_for(lambda: bond.status()["flows"]["active"] == FLOWS, 20, "all flows")
        idle = memory_kib(bond.gateway)
        for each in clients + servers:
            each.setblocking(False)
        sent = fill(servers, DOWNLOAD)
        assert sent == [DOWNLOAD] * FLOWS
        stalled = memory_kib(bond.gateway)
        assert FLOWS * RECORD_KIB < stalled - idle <= FLOWS * MEMORY / 1024 + SLACK_KIB
        stand_still(lambda: memory_kib(bond.gateway) <= stalled + SLACK_KIB)
        drain(clients, sent)
        wait_for(lambda: memory_kib(bond.gateway) <= idle + (stalled - idle) / 2 + SLACK_KIB, 10,
                 "it is freed")
        for each in clients + servers:
            each.close()
        bond.wait_until_over(60)


def test_uploads_wait_for_a_server_that_stops_reading():
    """What nobody takes any more is neither lost nor hoarded by the programs."""
    with Lab(fast_uplinks()) as lab, Bonded(lab, fast=True) as bond, \
            contextlib.ExitStack() as stack:
        clients, servers = connect_all(lab, stack.enter_context, UPLOADS)
        daemons = (bond.gateway, bond.concentrator)
        idle = [memory_kib(each) for each in daemons]
        for each in clients + servers:
            each.setblocking(False)
        sent = fill(clients)
        most = [kib + UPLOADS * MEMORY / 1024 + SLACK_KIB for kib in idle]
        stand_still(lambda: all(memory_kib(each) <= kib for each, kib in zip(daemons, most)))
        assert fill(clients) == [0] * UPLOADS
        drain(servers, sent)
        for each in clients + servers:
            each.close()
        bond.wait_until_over(60)
