"""Concentrators that fall silent, or are killed, while the uplinks are well: flows go to another
one, or past them."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from typing import Iterator, List, Tuple

import pytest

from bonded import Bonded, Lab, Process, wait_for
from test_events import events
from test_healing import answer, assert_holds, exchange, wait_for_state, wait_until_all_up
from test_unproxied import Echo, way
from traffic import (SLACK, Server, Transfer, connect, pair, read, tell_where_from, time_to_reset,
                     way_of)


@contextlib.contextmanager
def silenced(*processes: Process) -> Iterator[None]:
    """They are there, and the kernel answers for them; they do not."""
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def time_to_work(lab: Lab, server: Server) -> float:
    """s until a new connection works. Those before may fail, one after the other."""
    def works() -> bool:
        with contextlib.suppress(OSError, AssertionError):
            return exchange(lab, server, 1) > 0
        return False

    begin = time.monotonic()
    wait_for(works, 20, "a connection that works")
    return time.monotonic() - begin


def concentrator_in_use(lab: Lab, bond: Bonded) -> str:
    """By which one a new flow goes."""
    client, server = pair(lab.client, lab.destinations[0])
    with client, server:
        return bond.flows()[-1]["concentrator"]


def test_the_preferred_of_two_concentrators_fails():
    """It falls silent: new connections work by the other one soon. Back again, it is up, but has to
    prove itself before new flows return there; unless the other one is killed meanwhile."""
    with Lab() as lab, Bonded(lab, spare=True) as bond, \
            Server(lab.destinations[0], answer) as server:
        wait_until_all_up(bond)
        wait_for(lambda: bond.station("spare")["state"] == "up", 20, "both of them")
        assert concentrator_in_use(lab, bond) == "vps"
        with silenced(bond.concentrator):
            took = time_to_work(lab, server)
            assert concentrator_in_use(lab, bond) == "spare"
            assert bond.station("vps")["state"] == "down" and bond.station("vps")["reason"]
            wait_until_all_up(bond)  # it was not theirs
        print(f"silent: works after {took:.2f} s")
        assert took <= 2 * SLACK
        wait_for(lambda: bond.station("vps")["state"] == "up", 40, "its return")
        assert concentrator_in_use(lab, bond) == "spare"

        bond.kill_spare()
        took = time_to_work(lab, server)
        print(f"killed: works after {took:.2f} s")
        assert took <= 2 * SLACK
        wait_for(lambda: bond.station("spare")["state"] == "down", 20, "notice of it")
        assert concentrator_in_use(lab, bond) == "vps"


@pytest.mark.parametrize("when_unreachable", ["direct", "refuse"])
def test_both_concentrators_fall_silent(when_unreachable):
    """The VPS hangs. New connections do without, or are refused, as the owner wishes."""
    with Lab() as lab, Bonded(lab, f'when_unreachable = "{when_unreachable}";\n',
                              spare=True) as bond:
        wait_until_all_up(bond)
        wait_for(lambda: bond.station("spare")["state"] == "up", 20, "both of them")
        with silenced(bond.concentrator, bond.spare):
            begin = time.monotonic()
            with connect(lab.client, lab.destinations[0].address, 80):  # somebody tries
                wait_for(lambda: {c["state"] for c in bond.status()["concentrators"]} == {"down"},
                         8 * SLACK, "notice of it")
            # Not by a dial that nobody answers in the end: its kernel takes connections all the same.
            assert bond.station("spare")["reason"] == "it answers by no uplink"
            print(f"both down after {time.monotonic() - begin:.1f} s")
            if when_unreachable == "direct":
                with Server(lab.destinations[0], tell_where_from) as server, \
                        connect(lab.client, lab.destinations[0].address, server.port) as client:
                    assert read(client, 100).decode() in [each.address for each in lab.uplinks]
            else:
                with Server(lab.destinations[0], tell_where_from) as server:
                    time_to_reset(lab.client, lab.destinations[0].address, server.port)
                    assert server.peers == []
        wait_for(lambda: "up" in {c["state"] for c in bond.status()["concentrators"]}, 60,
                 "the way back")
        bond.wait_until_up()
        assert way_of(lab) == "bond"


REFUSED = "carries, but the concentrator refuses probes: is it running?"


def reasons(bond: Bonded) -> List[Tuple[str, str]]:
    return [(uplink["state"], uplink["reason"]) for uplink in bond.status()["uplinks"]]


def test_a_concentrator_that_is_killed_is_not_its_uplinks_end():
    """Its host says that nobody listens there, and so the uplinks carry: none is held for dead, and
    what is not proxied stays where it is. One that falls silent meanwhile is found all the same; and
    the concentrator, when it is back."""
    with Lab() as lab, Bonded(lab, fast=True) as bond, \
            Echo(lab.destinations[0], socket.AF_INET) as echo:
        wait_until_all_up(bond)
        assert way(lab, lab.client, echo, socket.AF_INET) == "dsl"
        transfer = Transfer(lab, "down")
        transfer.wait_for(1_000_000)
        bond.kill_concentrator()
        wait_for(lambda: reasons(bond) == 2 * [("up", REFUSED)], 5 * SLACK, "the refusals")
        wait_for(lambda: bond.station("vps")["state"] == "down", 2 * SLACK, "the concentrator")
        assert "is the concentrator running there?" in bond.station("vps")["reason"]
        assert_holds(5, lambda: reasons(bond) == 2 * [("up", REFUSED)])
        assert way(lab, lab.client, echo, socket.AF_INET) == "dsl"
        assert "dead" not in {event["what"] for event in events(bond)}

        lab.uplink("dsl").drop("both")
        wait_for_state(bond, "dsl", "dead", 10 * SLACK)
        assert bond.uplink("lte")["state"] == "up"
        wait_for(lambda: way(lab, lab.client, echo, socket.AF_INET) == "lte", 5, "the other way")
        lab.uplink("dsl").drop(None)
        wait_for(lambda: reasons(bond) == 2 * [("up", REFUSED)], 10 * SLACK, "dsl again")

        bond.start_concentrator()
        begin = time.monotonic()
        wait_for(lambda: bond.station("vps")["state"] == "up", 10, "the concentrator again")
        took = time.monotonic() - begin
        print(f"back after {took:.2f} s")
        assert took <= SLACK
        wait_for(lambda: reasons(bond) == 2 * [("up", "")], 5, "answers")
