"""How long a transfer, a call and new connections stand still where an uplink falls silent, and how little
is taken for a death: measured, so nothing runs beside."""

from __future__ import annotations

import time
from statistics import median
from typing import Any, List, Sequence, Tuple

from bonded import Bonded, Lab, Uplink, wait_for
from test_events import events
from test_healing import answer, assert_holds, carried, exchange, wait_for_state, wait_until_all_up
from test_uplinks import DIRECTION
from traffic import SLACK, Background, Counter, Server, Transfer, discard, pair, pour, reset

LOADED = 15  # s


# --- One uplink falls silent ----------------------------------------------------------------------


def busiest(lab: Lab, direction: str, transfer: Transfer) -> Any:
    """The uplink that carries most of the flow now."""
    before = [uplink.stats()[direction]["bytes"] for uplink in lab.uplinks]
    transfer.wait_for(50_000)
    after = [uplink.stats()[direction]["bytes"] for uplink in lab.uplinks]
    return max(zip(lab.uplinks, before, after), key=lambda each: each[2] - each[1])[0]


def strike(bond: Bonded, transfers: List[Transfer], uplink: Any, drop: str, paced: bool) -> float:
    """The uplink falls silent under the flows, and comes back. Returns the longest gap, in ms."""
    more = 100_000 if paced else 500_000
    failed_at = time.monotonic()
    uplink.drop(drop)
    assert wait_for_state(bond, uplink.name, "dead", 3 * SLACK)["reason"]
    assert bond.station("vps")["state"] == "up"
    for transfer in transfers:
        transfer.wait_for(more)
    gap = max(transfer.longest_gap(failed_at) for transfer in transfers)
    for flow in bond.flows():
        assert uplink.name not in [path["uplink"] for path in flow["subflows"]
                                   if path["state"] == "established"]
    back_at = time.monotonic()
    uplink.drop(None)
    wait_for(lambda: carried(bond, uplink.name) > (0 if paced else 100_000), 3 * SLACK,
             f"use of {uplink.name} again")
    took = time.monotonic() - back_at
    wait_for_state(bond, uplink.name, "up", 5)
    print(f"{uplink.name} {drop}: gap {gap * 1000:.0f} ms, back {took * 1000:.0f} ms")
    return gap * 1000


def run_strikes(flows: Sequence[Tuple[str, bool]]) -> None:
    with Lab() as lab, Bonded(lab, fast=True) as bond:
        wait_until_all_up(bond)
        transfers = [Transfer(lab, direction, paced=paced) for direction, paced in flows]
        direction, paced = flows[0]
        gaps = []
        for number, drop in enumerate(["both", "both", "both", "up", "down"]):
            for uplink in lab.uplinks:
                wait_for(lambda: carried(bond, uplink.name) > (0 if paced else 300_000), 30,
                         "use of both")
            uplink = (busiest(lab, direction, transfers[0]) if paced else lab.uplinks[number % 2])
            gaps.append(strike(bond, transfers, uplink, drop, paced))
        for transfer in transfers:
            sent, received = transfer.finish()
            assert received == sent
        assert median(gaps[:3]) <= 250 * SLACK, gaps
        assert max(gaps[3:]) <= 400 * SLACK, gaps


@DIRECTION
def test_a_transfer_whose_uplink_falls_silent(direction):
    """The modem has lost its line and says nothing. The transfer goes on after a blink; when the line
    is back, it is used again. Likewise when only one direction is lost."""
    run_strikes([(direction, False)])


def test_a_call_whose_uplink_falls_silent():
    """The same; a blink of sound and picture, in both directions."""
    run_strikes([("down", True), ("up", True)])


def burst(lab: Lab, server: Server) -> List[float]:
    """A second of new connections, one every 50 ms."""
    begin, opened = time.monotonic(), []
    while len(opened) < 20:
        opened.append(Background(exchange, lab, server))
        # Not a wait: this is the pace.
        time.sleep(max(0.0, begin + len(opened) * 0.05 - time.monotonic()))
    return [each.result() * 1000 for each in opened]


def test_new_connections_after_an_uplink_has_fallen_silent():
    """Somebody opens page after page at that very moment: every one of them comes."""
    with Lab() as lab, Bonded(lab, fast=True) as bond, \
            Server(lab.destinations[0], answer) as server:
        wait_until_all_up(bond)
        burst(lab, server)  # from now on enough connections are kept warm
        healthy = burst(lab, server)
        lab.uplink("dsl").drop("both")  # where they begin
        after = burst(lab, server)
        print(f"first byte {median(healthy):.0f} ms, then {median(after):.0f}, "
              f"at most {max(after):.0f}")
        assert median(after) <= median(healthy) + 150 * SLACK, (healthy, after)
        wait_for_state(bond, "dsl", "dead", 3 * SLACK)
        assert bond.status()["flows"]["failed"] == 0


# --- Nothing has failed -----------------------------------------------------------------------------


def test_a_bad_radio_under_load_is_not_dead():
    """It stutters, it loses, its queue is a second long, and it is full: but it carries."""
    with Lab([Uplink("dsl", down=40, up=40, delay=10),
              Uplink("lte", down=4, up=2, delay=40, jitter=160, loss=1, queue_ms=1000)]) as lab, \
            Bonded(lab, fast=True) as bond:
        wait_until_all_up(bond)
        others = [pair(lab.router, lab.destinations[0], uplink=lab.uplink("lte"))
                  for _ in range(10)]
        for number, (near, far) in enumerate(others):
            Background(pour, far if number % 2 else near)
            Background(discard, near if number % 2 else far, Counter())
        transfers = [Transfer(lab, "down"), Transfer(lab, "up")]
        for transfer in transfers:
            transfer.wait_for(1_000_000)
        before = lab.uplink("lte").stats()
        assert_holds(LOADED, lambda: not {"dead", "down"} & {e["what"] for e in events(bond)})
        after = lab.uplink("lte").stats()
        print("lte: " + ", ".join(
            f"{(after[way]['bytes'] - before[way]['bytes']) * 8e-6 / LOADED:.1f} Mb/s {way}"
            for way in ("down", "up")) + f", {bond.uplink('lte')}")
        assert all(after[way]["bytes"] - before[way]["bytes"] > 1_000_000 for way in ("down", "up"))
        for near, far in others:
            reset(near)
            reset(far)
        for transfer in transfers:
            sent, received = transfer.finish()
            assert received == sent
