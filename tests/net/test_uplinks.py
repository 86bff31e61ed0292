"""Uplinks that come and go, and kinds of uplinks, under running flows."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from typing import Any, Dict, Iterator

import pytest

from bonded import PORT, Bonded, Host, Lab, Uplink, kernel_counter, wait_for
from protocol import IPPROTO_MPTCP
from traffic import Digest, Server, Transfer, connect, offer_paced, pair, read, take, tell_where_from

DIRECTION = pytest.mark.parametrize("direction", ["down", "up"])


def equal_uplinks(**settings: Any) -> Any:
    """Fast in both directions, so that little time passes. The first is the nearer one, so flows
    begin there."""
    return [Uplink("dsl", down=60, up=60, delay=10, **settings),
            Uplink("lte", down=60, up=60, delay=30)]


def carried(bond: Bonded, uplink: str) -> int:
    """Bytes on that uplink's established subflow of the only flow; 0 without one."""
    return sum(subflow["rx_bytes"] + subflow["tx_bytes"] for subflow in bond.flow()["subflows"]
               if subflow["uplink"] == uplink and subflow["state"] == "established")


def wait_for_use(bond: Bonded, uplink: str, deadline: float) -> None:
    """The running flow sends or receives there, a good deal."""
    start = carried(bond, uplink)
    wait_for(lambda: carried(bond, uplink) > start + 500_000, deadline, f"use of {uplink}")


NEW_ADDRESSES = {"the same address": None, "another address": "{network}.77",
                 "another network": "21.0.99.5/24"}


@DIRECTION
@pytest.mark.parametrize("replugged", NEW_ADDRESSES)
@pytest.mark.parametrize("pulled", ["dsl", "lte"])
def test_a_cable_is_pulled_and_plugged_in_again(pulled, replugged, direction):
    """Somebody trips over a cable in the middle of a transfer, that of the uplink where the flow
    began, or the other's. The transfer goes on at once. Plugged in again, perhaps with another
    address from the provider, the same flow uses it again within 5 s; and not a byte is wrong."""
    with Lab(equal_uplinks()) as lab, Bonded(lab) as bond:
        uplink = lab.uplink(pulled)
        transfer = Transfer(lab, direction)
        transfer.wait_for(2_000_000)
        for each in lab.uplinks:
            wait_for_use(bond, each.name, 30)
        uplink.carrier(False)
        wait_for(lambda: bond.uplink(pulled)["state"] == "down", 20, "notice of it")
        transfer.wait_for(4_000_000)
        assert carried(bond, pulled) == 0
        uplink.carrier(True)
        address = NEW_ADDRESSES[replugged]
        if address:
            uplink.set_address(address.format(network=uplink.address.rpartition(".")[0]))
        wait_for_use(bond, pulled, 5)
        sent, received = transfer.finish()
        assert received == sent
        bond.wait_for_log("closed why=done")


@DIRECTION
def test_an_address_that_changes_under_a_running_flow(direction):
    """The provider's forced separation at night: the cable stays, the address is another one."""
    with Lab(equal_uplinks()) as lab, Bonded(lab) as bond:
        transfer = Transfer(lab, direction)
        transfer.wait_for(2_000_000)
        for uplink in lab.uplinks:
            uplink.set_address(None)
            wait_for(lambda: bond.uplink(uplink.name)["state"] == "down", 20, "notice of it")
            transfer.wait_for(2_000_000)
            uplink.set_address(f"21.0.{uplink.number}.99")
            wait_for_use(bond, uplink.name, 5)
            transfer.wait_for(15_000_000)  # before the next blow
        sent, received = transfer.finish()
        assert received == sent


@DIRECTION
def test_addresses_that_change_all_night(direction):
    """After every change the flow is as fast as before: the window of a subflow that has joined late
    is as wide as that of the first, and what was under way on a dead one is sent again at once."""
    with Lab(equal_uplinks()) as lab, Bonded(lab, fast=True) as bond:
        transfer = Transfer(lab, direction)
        transfer.wait_for(2_000_000)
        for change in range(8):
            uplink = lab.uplinks[change % 2]
            uplink.set_address(None)
            wait_for(lambda: bond.uplink(uplink.name)["state"] == "down", 20, "notice of it")
            transfer.wait_for(2_000_000)
            uplink.set_address(f"21.0.{uplink.number}.{100 + change}")
            wait_for_use(bond, uplink.name, 5)
            transfer.wait_for(15_000_000, 6)  # a second at full speed
        sent, received = transfer.finish()
        assert received == sent


@DIRECTION
def test_both_cables_pulled_for_a_moment(direction):
    """The modem's power strip. Nothing can flow; when one uplink is back, the flow goes on."""
    with Lab(equal_uplinks()) as lab, Bonded(lab) as bond:
        transfer = Transfer(lab, direction)
        transfer.wait_for(2_000_000)
        for uplink in lab.uplinks:
            uplink.carrier(False)
        wait_for(lambda: {u["state"] for u in bond.status()["uplinks"]} == {"down"}, 20,
                 "notice of it")
        lab.uplink("lte").carrier(True)
        transfer.wait_for(2_000_000, 60)
        sent, received = transfer.finish()
        assert received == sent


REFUSALS = ("table inet lossy {{ chain c {{ type filter hook forward priority 0;\n"
            "tcp sport {port} tcp flags & rst == rst drop\n}}\n}}\n")


def make_deaf(lab: Lab, uplink: str) -> None:
    """No connection can be dialled there any more; those that are go on."""
    lab.router.run(["nft", "add table ip deaf; add chain ip deaf output "
                    "{ type filter hook output priority 0; }; add rule ip deaf output "
                    f"oifname {uplink} tcp dport {PORT} tcp flags & (syn | ack) == syn drop"])


def test_a_dial_that_no_uplink_answers():
    """It begins when dsl is all there is, and dsl answers no dial any more. By lte, which comes back
    meanwhile, others are welcomed: that one says nothing of the concentrator, and nobody is cut off."""
    with Lab() as lab, Bonded(lab, 'dial_timeout = "3s";\n') as bond:
        lab.uplink("lte").carrier(False)
        wait_for(lambda: bond.uplink("lte")["state"] == "down", 10, "lte down")
        flows = [pair(lab.client, lab.destinations[0])]
        wait_for(lambda: bond.station("vps")["warm"] == 4, 10, "all warm connections")
        make_deaf(lab, "dsl")
        flows.append(pair(lab.client, lab.destinations[0]))  # takes one: the next is dialled
        lab.uplink("lte").carrier(True)
        wait_for(lambda: bond.uplink("lte")["state"] == "up", 10, "lte up")
        flows.append(pair(lab.client, lab.destinations[0]))  # and another, by lte
        wait_for(lambda: bond.station("vps")["warm"] == 4, 20, "the end of the first of these dials")
        assert "vps: down" not in bond.gateway.output()
        for client, server in flows:
            client.sendall(b"still there")
            assert read(server, 11) == b"still there"


def test_a_flow_that_is_dialled_when_an_uplink_comes_back():
    """It began when dsl was all there was, and dsl answers no dial any more: it goes on by lte."""
    with Lab() as lab, Bonded(lab) as bond:
        lab.uplink("lte").carrier(False)
        wait_for(lambda: bond.uplink("lte")["state"] == "down", 10, "lte down")
        flows = [pair(lab.client, lab.destinations[0])]
        wait_for(lambda: bond.station("vps")["warm"] == 4, 10, "all warm connections")
        make_deaf(lab, "dsl")
        flows += [pair(lab.client, lab.destinations[0]) for _ in range(4)]  # takes all of them
        with Server(lab.destinations[0], tell_where_from) as server:
            client = connect(lab.client, lab.destinations[0].address, server.port)
            wait_for(lambda: any(flow["state"] == "choosing" for flow in bond.flows()), 5, "its dial")
            lab.uplink("lte").carrier(True)
            assert take(client).length > 0
        assert "closed why=concentrator" not in bond.gateway.output()


@pytest.mark.parametrize("refusal", ["arrives", "is lost"])
def test_a_destination_ends_while_an_uplink_comes_back(refusal):
    """The concentrator has let the subflow join that takes the old one's place; but before it does,
    the destination ends, and then the kernel refuses it after all. All goes by the old one: the end,
    and what the client says then, at its own pace."""
    ended = threading.Event()

    def end_and_listen(connection: socket.socket) -> Digest:
        connection.sendall(b"x")
        assert ended.wait(60)
        connection.sendall(b"end")
        connection.shutdown(socket.SHUT_WR)
        return take(connection)

    with Lab([Uplink("satellite", down=60, up=60, delay=300)]) as lab, Bonded(lab) as bond, \
            Server(lab.destinations[0], end_and_listen) as server, \
            connect(lab.client, lab.destinations[0].address, server.port) as client:
        assert read(client, 1) == b"x"
        if refusal == "is lost":
            lab.internet.run(["nft", "-f", "-"], input=REFUSALS.format(port=PORT))
        before = kernel_counter(lab.vps, "MPJoinSynRx")
        for carrier, state in ((False, "down"), (True, "up")):
            lab.uplink("satellite").carrier(carrier)
            wait_for(lambda: bond.uplink("satellite")["state"] == state, 20, state)
        wait_for(lambda: kernel_counter(lab.vps, "MPJoinSynRx") > before, 20, "its successor's beginning")
        ended.set()
        assert read(client, 10) == b"end"
        sent = offer_paced(client, 600_000)  # 3 s
        assert server.result() == sent


@DIRECTION
def test_a_point_to_point_uplink(direction):
    """PPPoE: an address with a peer, and no gateway to send to. It comes back with another one."""
    with Lab(equal_uplinks(ppp=True)) as lab, Bonded(lab) as bond:
        transfer = Transfer(lab, direction)
        for uplink in lab.uplinks:
            wait_for_use(bond, uplink.name, 30)
        ppp = lab.uplink("dsl")
        ppp.carrier(False)
        wait_for(lambda: bond.uplink("dsl")["state"] == "down", 20, "notice of it")
        transfer.wait_for(2_000_000)
        ppp.carrier(True)
        ppp.set_address("21.0.1.66")
        wait_for_use(bond, "dsl", 5)
        sent, received = transfer.finish()
        assert received == sent


@DIRECTION
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def test_a_concentrator_with_an_ipv6_address(family, direction):
    """Where the provider gives good IPv6 and poor IPv4: the trunks are IPv6, the LAN's connections
    either."""
    with Lab(equal_uplinks()) as lab, Bonded(lab, address6=True) as bond:
        transfer = Transfer(lab, direction, family)
        for uplink in lab.uplinks:
            wait_for_use(bond, uplink.name, 30)
            assert ":" in bond.uplink(uplink.name)["address"]
        sent, received = transfer.finish()
        assert received == sent


def joined(lab: Lab, uplink: str) -> int:
    """Subflows that the kernel has there."""
    subflows = lab.router.run(["ss", "-tnH", "state", "established", "dport", f"= :{PORT}",
                               "src", lab.uplink(uplink).address]).stdout
    return len(subflows.splitlines())


def is_answered(uplink: Dict[str, Any]) -> bool:
    return uplink["state"] in ("up", "degraded") and "answers no probes" not in (uplink["reason"] or "")


def test_another_program_destroys_the_sockets_of_an_uplink():
    """Those of probes, too: its next return is seen all the same."""
    with Lab() as lab, Bonded(lab) as bond:
        lte = lab.uplink("lte")
        wait_for(lambda: bond.uplink("lte")["state"] == "up", 20, "lte")
        lab.router.run(["ss", "-K", "src", lte.address, "dport", f"= :{PORT}"])
        lte.drop("both")
        wait_for(lambda: bond.uplink("lte")["state"] == "dead", 40, "its death")
        lte.drop(None)
        wait_for(lambda: is_answered(bond.uplink("lte")), 20, "answers to its probes")


def fill_the_queue_of_events(host: Host) -> None:
    """With those of other connections. The kernel keeps some 2500 for each who listens."""
    with host.socket(protocol=IPPROTO_MPTCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        for _ in range(1500):
            with host.socket(protocol=IPPROTO_MPTCP) as one:
                one.connect(listener.getsockname())
                listener.accept()[0].close()


@contextlib.contextmanager
def told_nothing(bond: Bonded, uplink: Uplink) -> Iterator[None]:
    """The gateway is away for a moment, and more happens than the kernel keeps for it; on the uplink
    nothing does before that."""
    bond.gateway.send_signal(signal.SIGSTOP)
    try:
        uplink.drop("both")
        fill_the_queue_of_events(bond.lab.router)
        uplink.drop(None)
        yield
    finally:
        bond.gateway.send_signal(signal.SIGCONT)


def test_what_the_kernel_does_not_tell():
    """What has joined meanwhile is found all the same, and what has ended is replaced. The uplink is not
    blamed."""
    own = 'rules = ({ name = "own"; ports = [873]; scheduler = "latency"; });\n'
    with Lab([Uplink("dsl"), Uplink("lte", delay=1000)]) as lab, Bonded(lab, own) as bond:
        def uses_both() -> bool:
            return {path["uplink"] for path in bond.flow()["subflows"]} == {"dsl", "lte"}

        wait_for(lambda: joined(lab, "lte") > 0, 20, "what waits for flows")
        before = joined(lab, "lte")
        client, server = pair(lab.client, lab.destinations[0], port=873)
        with told_nothing(bond, lab.uplink("lte")):
            assert joined(lab, "lte") == before
            wait_for(lambda: joined(lab, "lte") > before, 20, "the join")
        bond.wait_for_log("the kernel has dropped MPTCP events")
        wait_for(uses_both, 5, "its being found")
        with told_nothing(bond, lab.uplink("lte")):
            lab.router.run(["ss", "-tK", "src", lab.uplink("lte").address, "dport", f"= :{PORT}"])
            wait_for(lambda: joined(lab, "lte") == 0, 10, "the end of all")
        wait_for(uses_both, 20, "another one")
        assert bond.uplink("lte")["mptcp"] == "ok"
        client.close()
        server.close()
