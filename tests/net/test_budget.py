"""Data budgets of uplinks: kept to two hundredths, with nothing broken at the limit, over restarts."""

from __future__ import annotations

import re
import signal
import socket
import time
from typing import Any, Dict

from bonded import Bonded, Lab, Uplink, wait_for
from test_events import events, of
from test_unproxied import Echo, way
from traffic import Background, Digest, Transfer, offer, pair, take

MB = 1000 * 1000
LIMIT = 20 * MB
WITHIN = LIMIT // 50
# What an uplink may carry that nobody uses, in a few seconds: probes, ARP.
SILENCE = 20000


def lab_of_two() -> Lab:
    """The uplink with the budget is the cheaper one."""
    return Lab([Uplink("lte", down=30, up=30, delay=30, queue_ms=200),
                Uplink("dsl", down=20, up=20, delay=10)])


def budgeted(lab: Lab, on_budget: str, **options: Any) -> Bonded:
    keys = f'monthly_budget = "{LIMIT // MB}MB"; on_budget = "{on_budget}";'
    return Bonded(lab, f'state_dir = "{lab.directory}/state";\n' + options.pop("gateway", ""),
                  uplinks={"lte": keys}, **options)


def budget(bond: Bonded) -> Dict[str, Any]:
    return bond.uplink("lte")["budget"]


def carried(lab: Lab) -> int:
    """What lte's interface says itself."""
    shown = lab.router.run(["cat", "/proc/net/dev"]).stdout
    figures = re.search(r"^ *lte:(.*)$", shown, re.M)[1].split()
    return int(figures[0]) + int(figures[8])


def wait_until_up(bond: Bonded) -> None:
    wait_for(lambda: {u["state"] for u in bond.status()["uplinks"]} == {"up"}, 10, "answers")


def wait_for_state(bond: Bonded, state: str, deadline: float = 60) -> None:
    wait_for(lambda: budget(bond)["state"] == state, deadline, f"the state {state}")


def settled(lab: Lab) -> int:
    """What lte has carried when nothing more comes."""
    seen, since = carried(lab), time.monotonic()

    def calm() -> bool:
        nonlocal seen, since
        if carried(lab) - seen > SILENCE // 10:
            seen, since = carried(lab), time.monotonic()
        return time.monotonic() - since > 0.3

    wait_for(calm, 10, "silence on lte")
    return carried(lab)


def assert_whole(transfer: Transfer) -> None:
    sent, received = transfer.finish()
    assert isinstance(sent, Digest) and sent == received


def test_the_limit_is_kept_and_the_download_goes_on():
    """A download at the sum of both uplinks. At the limit it goes on over dsl alone, and so do a
    lookup by UDP and a new download; every byte arrives. A restart, in order or not, forgets
    nothing. When dsl dies, lte is used again: better a dear byte than none."""
    with lab_of_two() as lab, budgeted(lab, "standby") as bond, \
            Echo(lab.destinations[0], socket.AF_INET) as echo:
        wait_until_up(bond)
        before = carried(lab) - budget(bond)["used_bytes"]
        assert way(lab, lab.client, echo, socket.AF_INET) == "lte"
        assert (budget(bond)["limit_bytes"], budget(bond)["state"]) == (LIMIT, "ok")
        assert 1 <= budget(bond)["days_left"] <= 31
        transfer = Transfer(lab, "down")
        wait_for_state(bond, "spent")
        at_the_limit = time.monotonic()
        transfer.wait_for(5 * MB)
        used = settled(lab) - before
        assert LIMIT - WITHIN <= used <= LIMIT + WITHIN, used
        assert transfer.longest_gap(at_the_limit - 1) < 1.5
        assert way(lab, lab.client, echo, socket.AF_INET) == "dsl"
        assert bond.uplink("lte")["role"] == "off"
        assert [e["what"] for e in of(events(bond), "budget", "lte")] == ["low", "spent"]
        assert_whole(transfer)
        assert carried(lab) - before - used < SILENCE

        bond.stop_gateway()
        bond.start_gateway()
        assert abs(carried(lab) - before - budget(bond)["used_bytes"]) < SILENCE
        bond.kill_gateway()
        bond.start_gateway()
        assert abs(carried(lab) - before - budget(bond)["used_bytes"]) < SILENCE
        assert budget(bond)["state"] == "spent"

        transfer = Transfer(lab, "down")
        transfer.wait_for(2 * MB)
        assert carried(lab) - before - used < 5 * SILENCE
        lab.uplink("dsl").drop("both")
        transfer.wait_for(2 * MB)
        assert_whole(transfer)
        assert carried(lab) - before - used > MB


def test_off_is_off():
    """At the limit lte is as good as pulled: no flow, no lookup, not even a probe goes there, also
    when dsl dies. The flow waits for dsl. A restart without dsl asks a concentrator for the time,
    over lte, since a new month might have begun; then lte is off again."""
    with lab_of_two() as lab, budgeted(lab, "off") as bond, \
            Echo(lab.destinations[0], socket.AF_INET) as echo:
        wait_until_up(bond)
        before = carried(lab) - budget(bond)["used_bytes"]
        transfer = Transfer(lab, "up")
        wait_for_state(bond, "spent")
        transfer.wait_for(2 * MB)
        used = settled(lab)
        assert LIMIT - WITHIN <= used - before <= LIMIT + WITHIN, used - before
        lte = bond.uplink("lte")
        assert (lte["state"], lte["reason"]) == ("down", "its data budget is used up")
        assert lte["idle_probe_bytes_per_day"] == 0

        lab.uplink("dsl").carrier(False)
        wait_for(lambda: bond.uplink("dsl")["state"] == "down", 5, "notice")
        assert way(lab, lab.client, echo, socket.AF_INET) is None
        assert way(lab, lab.router, echo, socket.AF_INET) is None
        lab.uplink("dsl").carrier(True)
        transfer.wait_for(MB)
        assert_whole(transfer)
        assert carried(lab) - used < SILENCE / 10, "only ARP"

        bond.stop_gateway()
        lab.uplink("dsl").carrier(False)
        used = carried(lab)
        bond.start_gateway(until_up=False)
        wait_for(lambda: bond.uplink("lte")["state"] == "down", 10, "the time, and an end of it")
        assert 1 <= budget(bond)["days_left"] <= 31
        assert carried(lab) - used < SILENCE


def test_off_is_off_for_what_is_quiet():
    """By plain TCP, where MPTCP is stripped, a flow has one uplink for good: at the limit it ends there,
    also where it carries nothing just then."""
    with lab_of_two() as lab, budgeted(lab, "off", start=False) as bond:
        for uplink in lab.uplinks:
            uplink.set(strip_mptcp=True)
        bond.start_concentrator()
        bond.start_gateway()
        wait_until_up(bond)

        def made_by_lte() -> int:
            shown = lab.router.run(["ss", "-HtnO", "state", "established", "dst", lab.vps.address])
            return shown.stdout.count(f"{lab.uplink('lte').address}%")

        ends = [pair(lab.client, lab.destinations[0]) for _ in range(6)]
        for client, server in ends:
            sent = Background(offer, server, MB)
            assert take(client, MB) == sent.result()
        assert made_by_lte() > 0 and budget(bond)["used_bytes"] > MB
        Transfer(lab, "down", paced=True).wait_for(400_000)  # 2 s: the others are quiet
        bond.uplink_keys["lte"] = bond.uplink_keys["lte"].replace(f"{LIMIT // MB}MB", "1MB")
        bond.configure_gateway(f'state_dir = "{lab.directory}/state";\n')
        bond.gateway.send_signal(signal.SIGHUP)
        wait_for(lambda: bond.uplink("lte")["state"] == "down", 5, "an end of lte")
        wait_for(lambda: made_by_lte() == 0, 5, "an end of all flows there")
        assert len(bond.flows()) > 0


def test_a_budget_is_changed_while_the_gateway_runs():
    """By SIGHUP: with less than is used, lte is off at once; with more, or no budget, it is back. The
    count goes on, and no flow is lost."""
    with lab_of_two() as lab, budgeted(lab, "off") as bond:
        wait_until_up(bond)
        keys, transfer = bond.uplink_keys["lte"], Transfer(lab, "down")
        transfer.wait_for(4 * MB)
        used = budget(bond)["used_bytes"]

        def change(to: str) -> None:
            bond.uplink_keys["lte"] = to
            bond.configure_gateway(f'state_dir = "{lab.directory}/state";\n')
            bond.gateway.send_signal(signal.SIGHUP)

        change(keys.replace(f"{LIMIT // MB}MB", "1MB"))
        wait_for(lambda: bond.uplink("lte")["state"] == "down", 5, "an end of lte")
        assert budget(bond)["used_bytes"] >= used and budget(bond)["limit_bytes"] == MB
        change(keys)
        wait_for(lambda: bond.uplink("lte")["role"] == "active", 5, "lte")
        assert budget(bond)["used_bytes"] >= used
        change(keys.replace(f"{LIMIT // MB}MB", "1MB"))
        wait_for(lambda: bond.uplink("lte")["state"] == "down", 5, "an end of lte")
        change("")
        wait_for(lambda: bond.uplink("lte")["role"] == "active", 5, "lte")
        assert "budget" not in bond.uplink("lte")
        transfer.wait_for(2 * MB)
        assert_whole(transfer)
