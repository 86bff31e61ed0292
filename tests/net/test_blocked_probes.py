"""Uplinks where UDP is blocked or rejected, and TCP is not: the truth of it is found out, and told."""

from __future__ import annotations

from bonded import PORT, Bonded, Lab, wait_for
from test_events import events
from test_healing import wait_for_state, wait_until_all_up
from test_uplinks import wait_for_use
from traffic import SLACK, Transfer, way_of

BLOCKED = ("add table inet blocked; add chain inet blocked input "
           "{{ type filter hook input priority 0; }}; "
           "add rule inet blocked input udp dport {port} drop")
BLOCKED_REASON = "answers no probes: is UDP let through?"


def test_udp_is_blocked_on_the_way():
    """Somebody has opened the port for TCP only. No probe is ever answered: that is said, and it is
    not taken for the end of the uplinks."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.vps.run(["nft", BLOCKED.format(port=PORT)])
        bond.start_concentrator()
        bond.start_gateway()
        transfer = Transfer(lab, "down")
        for uplink in lab.uplinks:
            wait_for_use(bond, uplink.name, 10)
        wait_for(lambda: {u["reason"] for u in bond.status()["uplinks"]} == {BLOCKED_REASON}, 5 * SLACK,
                 "the reason")
        for uplink in lab.uplinks:
            assert bond.uplink(uplink.name)["state"] == "up"
            wait_for_use(bond, uplink.name, 10)
        assert bond.station("vps")["state"] == "up"
        assert way_of(lab) == "bond"
        sent, received = transfer.finish()
        assert received == sent
        assert "dead" not in {event["what"] for event in events(bond)}


def block_udp(lab, uplink):
    lab.vps.run(["nft", BLOCKED.format(port=f"{PORT} ip saddr {uplink.address}")])


def test_a_provider_begins_to_block_udp():
    """Its probes are answered no more, in the middle of a download; TCP goes on as before. At first it
    looks dead, and flows leave it; then a connection that is made to find out tells the truth. When it
    dies in earnest, it is dead again."""
    with Lab() as lab, Bonded(lab, fast=True) as bond:
        wait_until_all_up(bond)
        transfer = Transfer(lab, "down")
        wait_for_use(bond, "lte", 10)
        block_udp(lab, lab.uplink("lte"))
        wait_for(lambda: bond.uplink("lte")["state"] == "dead", 5 * SLACK, "the death")
        wait_for(lambda: (bond.uplink("lte")["state"], bond.uplink("lte")["reason"]) ==
                 ("up", BLOCKED_REASON), 20 * SLACK, "the truth")
        wait_for_use(bond, "lte", 10)
        lab.uplink("lte").drop("both")
        wait_for(lambda: bond.uplink("lte")["state"] == "dead", 30 * SLACK, "the death in earnest")
        sent, received = transfer.finish()
        assert received == sent


REJECTED = ("add table inet rejecting; add chain inet rejecting input "
            "{{ type filter hook input priority 0; }}; "
            "add rule inet rejecting input udp dport {port} ip saddr {source} "
            "reject with icmp port-unreachable")


def test_a_firewall_begins_to_reject_udp():
    """Not silently, as above: it says so. The uplink is never held for dead, and a connection that is
    made to find out tells that it is not the concentrator's end. When it dies in earnest, it is
    dead."""
    with Lab() as lab, Bonded(lab, fast=True) as bond:
        wait_until_all_up(bond)
        transfer = Transfer(lab, "down")
        wait_for_use(bond, "lte", 10)
        lte = lab.uplink("lte")
        lab.vps.run(["nft", REJECTED.format(port=PORT, source=lte.address)])
        wait_for(lambda: bond.uplink("lte")["reason"] == BLOCKED_REASON, 10 * SLACK, "the truth")
        wait_for_use(bond, "lte", 10)
        assert bond.station("vps")["state"] == "up"
        assert not {"dead", "down"} & {event["what"] for event in events(bond)}
        lte.drop("both")
        wait_for_state(bond, "lte", "dead", 10 * SLACK)
        sent, received = transfer.finish()
        assert received == sent


def test_an_uplink_dies_where_udp_is_blocked():
    """And nothing runs: connections that are made to find out, now and then, are all that tells of it,
    and of its return."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.vps.run(["nft", BLOCKED.format(port=PORT)])
        bond.start_concentrator()
        bond.start_gateway()
        wait_for(lambda: bond.uplink("dsl")["reason"] == BLOCKED_REASON, 10 * SLACK, "the reason")
        lab.uplink("dsl").drop("both")
        wait_for_state(bond, "dsl", "dead", 100)
        bond.wait_for_log("unproxied: IPv4 follows uplink=lte")
        lab.uplink("dsl").drop(None)
        wait_for_state(bond, "dsl", "up", 100)
        assert bond.uplink("lte")["state"] == "up"
