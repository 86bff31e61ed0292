"""Rules: which flows they match, and what becomes of these: another scheduler, fewer uplinks, the
router's own way, a reset."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest

from bonded import Bonded, Host, Lab, kernel_state, wait_for
from traffic import (Server, Transfer, address_of, connect, listen, pair, prepare, read,
                     tell_where_from)

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6],
                                   ids=["ipv4", "ipv6"])


def card_of(host: Host) -> str:
    shown = host.run(["ip", "-o", "link", "show", "eth0"]).stdout
    return re.search(r"link/ether (\S+)", shown)[1]


@contextlib.contextmanager
def flow_of(bond: Bonded, client: Host, server: Host, port: int, family: int,
            dscp: int = 0) -> Iterator[Dict[str, Any]]:
    """A connection, as `bondway flows` shows it."""
    with listen(server, port, family) as listener, prepare(client.socket(family)) as near:
        if family == socket.AF_INET6:
            near.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
        else:
            near.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
        near.connect((address_of(server, family), port))
        near.sendall(b"first words")
        with prepare(listener.accept()[0]) as far:
            read(far, 11)
            own = near.getsockname()[1]
            yield next(f for f in bond.flows() if f["client"].endswith(f":{own}"))


@FAMILIES
def test_what_a_rule_can_match(family):
    """By port, by destination, by the client's address or card, by the mark of its packets: the
    first that matches counts, what it leaves open is as usual, and `bondway flows` names it."""
    with Lab(clients=3) as lab:
        one, two, three = lab.clients
        near, far = lab.destinations[:2]
        rules = f"""rules = (
            {{ name = "ports"; ports = (22, "8000-8100"); encryption = "never"; }},
            {{ name = "place"; destinations = ["{near.address}", "{near.address6}/128"];
               ports = [9000]; uplinks = ["lte"]; }},
            {{ name = "card"; clients = ["{card_of(two)}"]; scheduler = "failover"; }},
            {{ name = "net"; clients = ["{three.address}/31", "{three.address6}/128"]; }},
            {{ name = "calls"; dscp = [10, 46]; encryption = "always"; }} );
            """
        with Bonded(lab, rules) as bond:
            for client, server, port, dscp, rule in (
                    (one, near, 22, 0, "ports"), (one, far, 8100, 0, "ports"),
                    (two, far, 8000, 46, "ports"), (one, near, 9000, 0, "place"),
                    (one, far, 9000, 0, ""), (two, far, 9000, 46, "card"),
                    (three, near, 9001, 46, "net"), (one, far, 8101, 46, "calls"),
                    (one, far, 8101, 10, "calls"), (one, far, 8101, 11, "")):
                with flow_of(bond, client, server, port, family, dscp) as flow:
                    assert flow["rule"] == rule, (client.name, server.name, port, dscp)
                    assert flow["sealed"] == (rule != "ports")
                    assert flow["scheduler"] == ("failover" if rule == "card" else "bond")
                    if rule == "place":
                        assert {s["uplink"] for s in flow["subflows"]} == {"lte"}


# --- Without the concentrator -----------------------------------------------------------------


class Ways:
    """As whom new connections of the client arrive at each destination: "dsl", "lte", "bond"; None:
    not at all."""

    def __init__(self, lab: Lab, family: int) -> None:
        self._lab, self._family = lab, family
        self._servers = [Server(host, tell_where_from, family=family) for host in lab.destinations]
        self._names = {address_of(lab.vps, family): "bond"}
        for uplink in lab.uplinks:
            self._names[address_of(uplink, family)] = uplink.name

    def __enter__(self) -> "Ways":
        return self

    def __exit__(self, *_: Any) -> None:
        for server in self._servers:
            server.__exit__()

    def _ask(self, host: Host, server: Server) -> Optional[str]:
        try:
            with prepare(self._lab.client.socket(self._family), 5) as near:
                near.connect((address_of(host, self._family), server.port))
                source = read(near, 100).decode()
                return self._names.get(source, source)
        except OSError:
            return None

    def now(self) -> List[Optional[str]]:
        return [self._ask(*both) for both in zip(self._lab.destinations, self._servers)]

    def wait_for(self, *expected: str, deadline: float = 10) -> None:
        wait_for(lambda: self.now() == list(expected), deadline, f"{expected} as the ways")


def check_strictly(host: Host, *interfaces: str) -> None:
    """Where packets come from, as RFC 3704 has it."""
    host.run(["sysctl", "-qw", *(f"net.ipv4.conf.{name}.rp_filter=1" for name in interfaces)])


def bank_and_shop(lab: Lab) -> str:
    """The third destination is a rule's that has nothing beside lte, the second one's has dsl."""
    _, bank, shop = lab.destinations
    return f"""rules = (
        {{ name = "bank"; destinations = ["{bank.address}", "{bank.address6}"]; action = "direct";
           uplinks = ["lte", "dsl"]; }},
        {{ name = "shop"; destinations = ["{shop.address}", "{shop.address6}"]; action = "direct";
           uplinks = ["lte"]; }},
        {{ name = "smtp"; ports = [25]; action = "refuse"; }} );
        """


@FAMILIES
def test_a_bank_that_wants_one_address(family):
    """Its flows leave by lte, with lte's own address, although everything else prefers dsl and the
    reverse path is checked; they are none of ours. When the cable of lte is pulled, new ones take
    the next uplink of the rule, or, where there is none, the router's normal way; back, they take
    lte again. What is proxied notices nothing. At the end nothing is left behind."""
    with Lab(destinations=(0, 0, 0)) as lab:
        check_strictly(lab.router, "all", "dsl", "lte")
        lab.pin_congestion()
        before = kernel_state(lab.router)
        with Ways(lab, family) as ways, Bonded(lab, bank_and_shop(lab)) as bond:
            assert ways.now() == ["bond", "lte", "lte"]
            download = Transfer(lab, "down", family)
            download.wait_for(1_000_000)
            lab.uplink("lte").carrier(False)
            ways.wait_for("bond", "dsl", "dsl")
            lab.uplink("lte").carrier(True)
            ways.wait_for("bond", "lte", "lte", deadline=20)
            assert [flow["rule"] for flow in bond.flows()] == [""]
            sent, received = download.finish()
            assert sent == received
        assert kernel_state(lab.router) == before


def test_a_direct_flow_stays_where_it_is():
    """It has begun by lte; that dsl goes and comes is nothing to it, nor that lte answers no probes
    for a while: it waits, as it would without us, since another address would be its end. New ones
    do not wait."""
    with Lab(destinations=(0, 0, 0)) as lab, Ways(lab, socket.AF_INET) as ways, \
            Bonded(lab, bank_and_shop(lab)) as bond:
        near, far = pair(lab.client, lab.destinations[1])
        with near, far:
            assert far.getpeername()[0] == lab.uplink("lte").address
            lab.uplink("dsl").carrier(False)
            ways.wait_for("bond", "lte", "lte")
            lab.uplink("dsl").carrier(True)
            wait_for(lambda: bond.uplink("dsl")["state"] == "up", 20, "dsl")
            near.sendall(b"still here")
            assert read(far, 10) == b"still here"
            lab.uplink("lte").drop("both")
            wait_for(lambda: bond.uplink("lte")["state"] == "dead", 20, "lte's end")
            ways.wait_for("bond", "dsl", "dsl")
            near.sendall(b"and after")
            lab.uplink("lte").drop(None)
            assert read(far, 9) == b"and after"


def by_nftables(bond: Bonded) -> Tuple[int, int]:
    flows = bond.status()["flows"]
    return flows["direct"], flows["refused"]


@FAMILIES
def test_what_is_refused(family):
    """The client learns it at once, as of a port where nobody listens. It is refused, and what is
    direct is direct, without a concentrator, too. Both are counted, over a reload and the loss of
    our table."""
    with Lab(destinations=(0, 0, 0)) as lab, Ways(lab, family) as ways, \
            Bonded(lab, bank_and_shop(lab)) as bond:
        def refused(host: Host) -> bool:
            with listen(host, 25, family), pytest.raises(ConnectionRefusedError):
                connect(lab.client, address_of(host, family), 25)
            return True

        assert refused(lab.destinations[0])
        assert ways.now() == ["bond", "lte", "lte"]
        # The bank's rule comes first.
        connect_and_close(lab, lab.destinations[1], family, 25)
        assert by_nftables(bond) == (3, 1)
        bond.gateway.send_signal(signal.SIGHUP)
        bond.wait_for_log("reload: done")
        lab.router.run(["nft", "delete", "table", "inet", "bondway"])
        bond.wait_for_log("putting it back")
        assert by_nftables(bond) == (3, 1)
        bond.kill_concentrator()
        wait_for(lambda: not bond.status()["intercepting"], 20, "the end of interception")
        ways.wait_for("dsl", "lte", "lte")
        assert refused(lab.destinations[0])
        assert bond.status()["flows"]["total"] == 1


def connect_and_close(lab: Lab, host: Host, family: int, port: int) -> None:
    near, far = pair(lab.client, host, family, port)
    near.close()
    far.close()
