"""Flows of which one direction has ended, while the other goes on: a client has said all it has to say,
and reads a long answer. They outlive uplinks as others do."""

from __future__ import annotations

import threading

from bonded import Bonded, Lab, Uplink, wait_for
from test_healing import (carried, port_of_subflow, reset_by_the_far_end, wait_for_state,
                          wait_until_all_up)
from test_uplinks import wait_for_use
from traffic import SLACK, Background, Counter, offer_all, pair, take

UPLINKS = [Uplink("dsl", down=30, up=30, delay=10), Uplink("lte", down=30, up=30, delay=30)]


class Answer:
    """What the client gets once it has ended."""

    def __init__(self, lab: Lab) -> None:
        client, server = pair(lab.client, lab.destinations[0])
        self._stop, self._counter = threading.Event(), Counter()
        said = offer_all(client, 100)
        assert take(server) == said
        self._sent = Background(offer_all, server, 1 << 40, None, self._stop)
        self._received = Background(take, client, None, self._counter)

    def wait_for(self, more: int, deadline: float = 30) -> None:
        """For so many bytes more to arrive."""
        goal = self._counter.total + more
        wait_for(lambda: self._counter.total >= goal, deadline, f"{more} bytes more")

    def finish(self) -> None:
        self._stop.set()
        assert self._received.result() == self._sent.result()


def test_uplinks_come_back_one_after_the_other():
    """Sealed, a record tells that a direction has ended, and the connection stays open, so that uplinks
    may join: each is used again. Were the flow left with those it began with, it would hang as soon
    as each has failed once."""
    with Lab(UPLINKS) as lab, Bonded(lab, fast=True) as bond:
        wait_until_all_up(bond)
        answer = Answer(lab)
        for uplink in lab.uplinks:
            wait_for_use(bond, uplink.name, 20)
        for uplink in lab.uplinks:
            uplink.drop("both")
            wait_for_state(bond, uplink.name, "dead", 5 * SLACK)
            answer.wait_for(500_000)
            uplink.drop(None)
            wait_for(lambda: carried(bond, uplink.name) > 300_000, 5 * SLACK,
                     f"use of {uplink.name} again")
        answer.finish()


def test_a_path_that_has_ended_is_not_counted_on():
    """Plain, the connection itself has begun to end: the kernel does not tell of paths that it loses
    then, and takes no others. One that falls silent may be the last, and is not given up."""
    with Lab(UPLINKS) as lab, Bonded(lab, 'encryption = "never";\n', fast=True) as bond:
        wait_until_all_up(bond)
        answer = Answer(lab)
        for uplink in lab.uplinks:
            wait_for_use(bond, uplink.name, 20)
        dsl, lte = lab.uplinks
        reset_by_the_far_end(lab, dsl, port_of_subflow(lab, dsl))
        answer.wait_for(100_000)
        lte.drop("both")
        wait_for_state(bond, "lte", "dead", 5 * SLACK)
        lte.drop(None)
        answer.wait_for(500_000)
        answer.finish()
