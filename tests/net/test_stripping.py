"""Uplinks where MPTCP does not survive: flows go by others as fast as these are, or by plain TCP."""

from __future__ import annotations

import contextlib
import time

import pytest

from bonded import PORT, Bonded, Lab, wait_for
from test_healing import answer, exchange, wait_for_state, wait_until_all_up
from test_uplinks import wait_for_use
from traffic import (SLACK, Background, Server, Transfer, connect, offer, offer_all, pair, rates, read,
                     take, tell_where_from)


def test_an_uplink_that_strips_mptcp():
    """A carrier's box. No flow begins there, and yet status says so soon; flows keep away from it,
    as fast as the other one is. Another box is put there: it is used again."""
    with Lab() as lab, Bonded(lab, fast=True, start=False) as bond:
        lab.uplink("lte").set(strip_mptcp=True)
        bond.start_concentrator()
        bond.start_gateway()
        begin = time.monotonic()
        wait_for(lambda: bond.uplink("lte")["mptcp"] == "stripped", 5 * SLACK, "notice of it")
        print(f"stripped after {time.monotonic() - begin:.1f} s")
        assert wait_for_state(bond, "lte", "up", 5)["mptcp"] == "stripped"
        for _ in range(6):
            client, server = pair(lab.client, lab.destinations[0])
            with client, server:
                wait_for(lambda: bond.flow()["state"] == "relaying", 5, "OPENED")
                flow = bond.flow()
                assert flow["mptcp"] is True
                assert [subflow["uplink"] for subflow in flow["subflows"]] == ["dsl"]
            bond.wait_until_over()
        speed = rates([pair(lab.client, lab.destinations[0])], "down", 1, 2)[0]
        print(f"{speed:.1f} Mb/s")
        assert speed >= 0.8 * lab.uplink("dsl").spec.down
        lab.uplink("lte").set(strip_mptcp=False)
        wait_for(lambda: bond.uplink("lte")["mptcp"] == "ok", 40, "notice of the other box")
        transfer = Transfer(lab, "down")
        wait_for_use(bond, "lte", 10)
        sent, received = transfer.finish()
        assert received == sent


def test_all_uplinks_strip_mptcp():
    """No flow can be bonded; each still works, and all together use both uplinks."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        for uplink in lab.uplinks:
            uplink.set(strip_mptcp=True)
        bond.start_concentrator()
        bond.start_gateway()
        wait_for(lambda: {u["mptcp"] for u in bond.status()["uplinks"]} == {"stripped"},
                 5 * SLACK, "notice of it")
        before = [uplink.stats()["down"]["bytes"] for uplink in lab.uplinks]
        ends = [pair(lab.client, lab.destinations[0]) for _ in range(20)]
        sent = [Background(offer_all, server, 500_000) for _, server in ends]
        received = [Background(take, client) for client, _ in ends]
        assert {flow["mptcp"] for flow in bond.flows()} == {False}
        assert [each.result() for each in received] == [each.result() for each in sent]
        after = [uplink.stats()["down"]["bytes"] for uplink in lab.uplinks]
        assert all(b - a > 1_000_000 for a, b in zip(before, after)), (before, after)
        for client, server in ends:
            client.close()
            server.close()
        bond.wait_until_over()
        flows = bond.status()["flows"]
        assert (flows["tcp_fallback"], flows["failed"]) == (len(ends), 0)


def strip_behind_handshakes(lab, ways):
    """A box that lets MPTCP through a handshake, and strips it from all that follows."""
    hooks = {"up": ("postrouting", "dport"), "down": ("prerouting", "sport")}
    chains = "".join(
        f"chain {hook} {{ type filter hook {hook} priority -200;"
        f" tcp {port} {PORT} tcp flags & syn == 0 reset tcp option mptcp; }}\n"
        for hook, port in (hooks[way] for way in ways))
    lab.router.run(["nft", f"table inet box {{\n{chains}}}"])


@pytest.mark.parametrize("ways", [["up"], ["down"], ["up", "down"]], ids="-".join)
def test_all_uplinks_strip_mptcp_behind_the_handshake(ways):
    """The kernels fall back to plain TCP, each when it notices. Flows work, status says how they go,
    nothing is joined; connections that wait are not taken for a stranger's. The box is gone: MPTCP
    is found to work again."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        strip_behind_handshakes(lab, ways)
        bond.start_concentrator()
        bond.start_gateway()
        wait_for(lambda: {u["mptcp"] for u in bond.status()["uplinks"]} == {"stripped"},
                 5 * SLACK, "notice of it")
        ends = [pair(lab.client, lab.destinations[0]) for _ in range(5)]
        for client, server in ends:
            for source, sink in ((server, client), (client, server)):
                sent = Background(offer, source, 100_000)
                assert take(sink, 100_000) == sent.result()
        assert {flow["mptcp"] for flow in bond.flows()} == {False}
        wait_for(lambda: bond.station("vps")["warm"] == 4, 20, "connections that wait")
        for client, server in ends:
            client.close()
            server.close()
        bond.wait_until_over()
        log = bond.gateway.output()
        assert "join failed" not in log and "not made with our key" not in log
        assert bond.status()["flows"]["failed"] == 0
        lab.router.run(["nft", "delete", "table", "inet", "box"])
        wait_for(lambda: is_mptcp_used(lab, bond), 60, "its end, and of what has waited since before")


@contextlib.contextmanager
def waiting_by_plain_tcp():
    """Yields a lab, its bond, a server, and an uplink that connections wait on for flows."""
    with Lab() as lab, Bonded(lab, start=False) as bond, \
            Server(lab.destinations[0], answer) as server:
        for uplink in lab.uplinks:
            uplink.set(strip_mptcp=True)
        bond.start_concentrator()
        bond.start_gateway()
        wait_until_all_up(bond)
        exchange(lab, server)
        wait_for(lambda: bond.station("vps")["warm"] == 4, 20, "connections that wait")
        bond.wait_until_over()
        shown = lab.router.run(["ss", "-HtnO", "state", "established", "dst",
                                lab.vps.address]).stdout
        yield lab, bond, server, max(lab.uplinks, key=lambda each: shown.count(each.address + "%"))


@pytest.mark.parametrize("end", ["silent", "pulled", "moved"])
def test_an_uplink_ends_under_what_waits(end):
    """By plain TCP a connection that waits has one uplink for good. That falls silent, is pulled, or
    is another network: nothing that waits there is given to a flow."""
    with waiting_by_plain_tcp() as (lab, bond, server, uplink):
        if end == "silent":
            uplink.drop("both")
            wait_for_state(bond, uplink.name, "dead", 20)
        elif end == "pulled":
            uplink.carrier(False)
            wait_for_state(bond, uplink.name, "down", 20)
        else:
            uplink.set_address("21.0.99.5/24")
            wait_for(lambda: bond.uplink(uplink.name)["address"] == "21.0.99.5", 20, "notice of it")
        for _ in range(6):
            exchange(lab, server)


def test_an_uplink_dies_under_what_has_just_been_given():
    """Flows take what waited there before anybody knows. What may be said twice is said by another
    uplink as soon as this one is dead."""
    with waiting_by_plain_tcp() as (lab, bond, _, uplink), \
            Server(lab.destinations[0], tell_where_from) as server:
        uplink.drop("both")
        clients = [connect(lab.client, lab.destinations[0].address, server.port) for _ in range(4)]
        for client in clients:
            with client:
                client.settimeout(5 * SLACK)
                assert read(client, 100).decode() == lab.vps.address


def is_mptcp_used(lab, bond):
    """By the next flow."""
    client, server = pair(lab.client, lab.destinations[0])
    with client, server:
        wait_for(lambda: bond.flow()["state"] == "relaying", 5, "OPENED")
        used = bond.flow()["mptcp"]
    bond.wait_until_over()
    return used
