"""A router is idle most of the day, and small."""

from __future__ import annotations

import time

from bonded import Bonded, Lab, memory_kib, wake_ups

SECONDS = 10


def test_an_idle_gateway_sleeps():
    """Nobody is at home. The gateway wakes less than once a second, and takes less than 6 MB. (Just
    after its concentrator's start, it renews its token now and then: that is over by then.)"""
    with Lab() as lab, Bonded(lab, fast=True) as bond:
        quietest = SECONDS * 10
        deadline = time.monotonic() + 150
        while quietest >= SECONDS and time.monotonic() < deadline:
            before = wake_ups(bond.gateway)
            time.sleep(SECONDS)  # not a wait: this is the measurement
            quietest = min(quietest, wake_ups(bond.gateway) - before)
        assert quietest < SECONDS
        assert memory_kib(bond.gateway) < 6 * 1024
