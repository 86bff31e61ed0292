"""What is not proxied (UDP, ICMP, the router's own traffic) follows a healthy uplink, and the main
routing table is left alone."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import struct
import threading
import time
from typing import Iterator, List, Optional

import pytest

from bonded import Bonded, Host, Lab, kernel_state, wait_for
from test_healing import wait_until_all_up
from traffic import SLACK, address_of

OURS = "proto 171"
numbers = itertools.count(1)
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6],
                                   ids=["ipv4", "ipv6"])


class Echo:
    """Answers each datagram with the address that it came from."""

    def __init__(self, host: Host, family: int) -> None:
        self._socket = host.socket(family, socket.SOCK_DGRAM)
        self._socket.bind(("", 0))
        self.at = (address_of(host, family), self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Echo":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # not connected; but it ends the wait
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = self._socket.recvfrom(100)
                if not data:
                    return
                self._socket.sendto(peer[0].encode(), peer)


@contextlib.contextmanager
def asker(host: Host, family: int) -> Iterator[socket.socket]:
    with host.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.3)
        yield asking


def ask(lab: Lab, asking: socket.socket, echo: Echo) -> Optional[str]:
    """The uplink by which one datagram has gone; None when no answer comes."""
    names = {address: uplink.name for uplink in lab.uplinks
             for address in (uplink.address, uplink.address6)}
    try:
        asking.sendto(b"?", echo.at)
        return names[asking.recv(100).decode()]
    except OSError:
        return None


def way(lab: Lab, host: Host, echo: Echo, family: int) -> Optional[str]:
    """That of a new exchange."""
    with asker(host, family) as asking:
        return ask(lab, asking, echo)


def wait_for_way(lab: Lab, hosts: List[Host], echo: Echo, family: int, name: str,
                 deadline: float) -> None:
    for host in hosts:
        wait_for(lambda: way(lab, host, echo, family) == name, deadline,
                 f"{name} as the way from {host.name}")


def ours(host: Host) -> List[str]:
    """The rules, and the route, of what is not proxied."""
    state = kernel_state(host)
    return [line for name in ("rules", "rules6") for line in state[name]
            if line.startswith(("7179:", "7180:"))] + [
            line for name in ("routes", "routes6") for line in state[name] if "table 7179" in line]


def main_table(host: Host) -> str:
    return "".join(host.run(["ip", family, "route", "show", "table", "main"]).stdout
                   for family in ("-4", "-6"))


def prefer(lab: Lab, name: str) -> None:
    """The main table's default route is by this uplink."""
    uplink = lab.uplink(name)
    lab.router.ip(f"route add default via {uplink.gateway} dev {uplink.interface} metric 1")
    lab.router.ip(f"route add ::/0 via {uplink.gateway6} dev {uplink.interface} metric 1")
    lab.pin_congestion(lab.router)


def ping(host: Host, address: str) -> bool:
    """Does an ICMP echo request find its answer? Each is a connection of its own to conntrack."""
    v6 = ":" in address
    family, protocol = ((socket.AF_INET6, socket.IPPROTO_ICMPV6) if v6 else
                        (socket.AF_INET, socket.IPPROTO_ICMP))
    # Type, code, checksum, identifier, sequence number; the kernel itself sums up that of IPv6.
    number = next(numbers)
    request = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0xFFFF - 0x800 - number, number, 0)
    with host.socket(family, socket.SOCK_RAW, protocol) as asking:
        asking.settimeout(2)
        asking.sendto(request, (address, 0))
        with contextlib.suppress(socket.timeout):
            while True:
                packet = asking.recv(200)
                answer = packet if v6 else packet[20:]
                if answer[:2] == bytes([129 if v6 else 0, 0]) and answer[4:8] == request[4:8]:
                    return True
    return False


@FAMILIES
def test_it_follows_the_cheapest_and_then_the_next(family):
    """A call, a game, a name lookup of the router: they take dsl, whatever the main table prefers.
    The cable is pulled: new ones take lte at once, and what runs goes on there, for the kernel
    forgets the old address. Put back, dsl is used again after 30 s, and not before."""
    with Lab() as lab, Bonded(lab) as bond, Echo(lab.destinations[0], family) as echo, \
            asker(lab.client, family) as old:
        both = [lab.client, lab.router]
        prefer(lab, "lte")
        wait_for_way(lab, both, echo, family, "dsl", 5)
        wait_for(lambda: ask(lab, old, echo) == "dsl", 5, "dsl for what is to run on")
        assert all(ping(host, echo.at[0]) for host in both)
        lab.router.ip("route del default metric 1", "route del ::/0 metric 1")

        lab.uplink("dsl").carrier(False)
        pulled = time.monotonic()
        wait_for_way(lab, both, echo, family, "lte", 2 * SLACK)
        took = time.monotonic() - pulled
        wait_for(lambda: ask(lab, old, echo) == "lte", 5, "lte for what ran before")
        ran_on = time.monotonic() - pulled
        assert all(ping(host, echo.at[0]) for host in both)
        print(f"new exchanges after {took:.2f} s, the old one after {ran_on:.2f} s")

        lab.uplink("dsl").carrier(True)
        back = time.monotonic()
        wait_for(lambda: bond.uplink("dsl")["state"] == "up", 20, "dsl")
        assert way(lab, lab.client, echo, family) == "lte"
        wait_for_way(lab, both, echo, family, "dsl", 60)
        assert time.monotonic() - back >= 30
        wait_for(lambda: ask(lab, old, echo) == "dsl", 5, "dsl for what ran before")


@FAMILIES
def test_without_any_uplink_the_main_table_decides(family):
    """Nothing of ours is in the way of a way that only the main table knows."""
    with Lab() as lab, Bonded(lab) as bond, Echo(lab.destinations[0], family) as echo:
        assert len(ours(lab.router)) == 6
        for uplink in lab.uplinks:
            uplink.carrier(False)
        wait_for(lambda: ours(lab.router) == [], 5, "an end of our rules")
        lab.uplink("lte").carrier(True)
        wait_for_way(lab, [lab.client, lab.router], echo, family, "lte", 5)
        bond.wait_for_log("IPv4 follows the main routing table")


@FAMILIES
def test_the_main_table_and_what_a_user_put_there(family):
    """A network that the user leads elsewhere still goes there, and so does what a rule of theirs
    says; the table is the same before, during and after."""
    with Lab() as lab, Bonded(lab, start=False) as bond, \
            Echo(lab.destinations[0], family) as one, Echo(lab.destinations[1], family) as two:
        lte = lab.uplink("lte")
        gateway = lte.gateway6 if family == socket.AF_INET6 else lte.gateway
        version = "-6" if family == socket.AF_INET6 else "-4"
        lab.router.ip(f"route add {two.at[0]} via {gateway} dev lte", family=version)
        lab.pin_congestion(lab.router)  # which starting the gateway would do to the route
        before = main_table(lab.router)
        bond.start_concentrator()
        bond.start_gateway()
        hosts = [lab.client, lab.router]
        wait_for_way(lab, hosts, one, family, "dsl", 5)
        wait_for_way(lab, hosts, two, family, "lte", 5)
        assert main_table(lab.router) == before
        lab.router.ip(f"route add default via {gateway} dev lte table 99",
                      f"rule add to {one.at[0]} lookup 99 priority 7000", family=version)
        wait_for_way(lab, hosts, one, family, "lte", 5)
        lab.router.ip(f"rule del to {one.at[0]} lookup 99 priority 7000", family=version)
        wait_for_way(lab, hosts, one, family, "dsl", 5)
        bond.stop_gateway()
        assert main_table(lab.router) == before
        assert ours(lab.router) == []


def ways(bond: Bonded) -> List[str]:
    """All that were taken so far, over IPv4."""
    return re.findall(r"IPv4 follows uplink=(\w+)", bond.gateway.output())


def wait_for_states(bond: Bonded, *states: str) -> None:
    wait_for(lambda: tuple(u["state"] for u in bond.status()["uplinks"]) == states, 30,
             f"uplinks {states}")


def test_one_falls_silent():
    """Nobody says so; but the other one is answered meanwhile."""
    with Lab() as lab, Bonded(lab) as bond, Echo(lab.destinations[0], socket.AF_INET) as echo:
        wait_until_all_up(bond)
        lab.uplink("dsl").drop("both")
        # Idle, it is asked every 10 s. It is left as soon as that is known.
        wait_for_states(bond, "dead", "up")
        wait_for_way(lab, [lab.client], echo, socket.AF_INET, "lte", 0.5 * SLACK)
        assert ways(bond) == ["dsl", "lte"]


def test_all_fall_silent():
    """The whole VPS is away for a while. None is better than the other then, or when it comes back,
    by one of them a little before the other: what goes direct meanwhile is not moved, which would
    end it."""
    with Lab() as lab, Bonded(lab) as bond, Echo(lab.destinations[0], socket.AF_INET) as echo:
        wait_until_all_up(bond)
        for _ in range(4):
            lab.vps.run(["nft", "add table inet away; add chain inet away input "
                         "{ type filter hook input priority 0; policy drop; }"])
            wait_for_states(bond, "dead", "dead")
            assert way(lab, lab.client, echo, socket.AF_INET) == "dsl"
            lab.vps.run(["nft", "delete table inet away"])
            wait_for_states(bond, "up", "up")
        assert ways(bond) == ["dsl"]


def silence(host: Host, *towards: str) -> None:
    """No ICMP error of the host's leaves it for these addresses; towards any other one, they do."""
    drops = "".join(f"ip daddr {address} icmp type destination-unreachable drop\n"
                    for address in towards)
    host.run(["nft", "-f", "-"], input=(
        "table inet silent { chain c { type filter hook output priority 0; }; }\n"
        "flush table inet silent\n"
        f"table inet silent {{ chain c {{ {drops} }}\n }}\n"))


def test_the_concentrator_is_killed_again_and_again():
    """Its host refuses six probes from an address, and then one a second: killed once more, it leaves
    the uplinks without a word for a moment, in which they look dead, and then refuses one before the
    other. That is no reason to move; but it is when the other stays silent."""
    with Lab() as lab, Bonded(lab) as bond, Echo(lab.destinations[0], socket.AF_INET) as echo:
        wait_until_all_up(bond)
        dsl, lte = (uplink.address for uplink in lab.uplinks)
        silence(lab.vps, dsl, lte)
        bond.kill_concentrator()
        wait_for_states(bond, "dead", "dead")
        silence(lab.vps, dsl)
        wait_for_states(bond, "dead", "up")
        silence(lab.vps)
        wait_for_states(bond, "up", "up")
        assert way(lab, lab.client, echo, socket.AF_INET) == "dsl"
        assert ways(bond) == ["dsl"]
        lab.uplink("dsl").drop("both")
        wait_for_states(bond, "dead", "up")
        wait_for_way(lab, [lab.client], echo, socket.AF_INET, "lte", 6 * SLACK)


def test_killed():
    """Within a second nothing is left, and the main table decides again."""
    with Lab() as lab, Bonded(lab) as bond, Echo(lab.destinations[0], socket.AF_INET) as echo:
        hosts = [lab.client, lab.router]
        prefer(lab, "lte")
        before = main_table(lab.router)
        wait_for_way(lab, hosts, echo, socket.AF_INET, "dsl", 5)
        assert len(ours(lab.router)) == 6
        bond.kill_gateway()
        wait_for(lambda: ours(lab.router) == [], 1 * SLACK, "an end of what is ours")
        wait_for_way(lab, hosts, echo, socket.AF_INET, "lte", 5)
        assert main_table(lab.router) == before


def test_not_asked_for():
    """route_unproxied = false: the main table decides, and there is nothing of it."""
    with Lab() as lab, Bonded(lab, "route_unproxied = false;\n"), \
            Echo(lab.destinations[0], socket.AF_INET) as echo:
        prefer(lab, "lte")
        wait_for_way(lab, [lab.client, lab.router], echo, socket.AF_INET, "lte", 5)
        assert ours(lab.router) == []
        lab.uplink("lte").carrier(False)
        lab.uplink("lte").carrier(True)
        assert ours(lab.router) == []
