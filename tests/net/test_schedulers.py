"""Who carries a flow, and who only stands by: what each scheduler promises."""

from __future__ import annotations

from statistics import median

from bonded import Bonded, Lab, Uplink
from schedules import (PORTS, Exchanges, Leads, balance, delays_under_load, fall_silent,
                       latency_rules, plain_rates, set_weights, spread_of, stray_share,
                       wait_for_use, wait_until_known)
from traffic import SLACK, Transfer

FAILOVER = 'scheduler = "failover";\n'


def test_failover_and_back():
    """LTE is paid for by the gigabyte: as long as dsl is well, it carries nothing to speak of, neither
    way. When dsl falls silent, a download goes on by LTE after a blink, and goes back when dsl does."""
    with Lab() as lab, Bonded(lab, FAILOVER, fast=True) as bond:
        wait_until_known(bond)
        assert [u["role"] for u in bond.status()["uplinks"]] == ["active", "standby"]
        down = stray_share(lab, bond, "down", "dsl", 12_000_000)
        up = stray_share(lab, bond, "up", "dsl", 2_500_000)
        print(f"on the standby uplink: {down:.2%} down, {up:.2%} up")
        transfer, strikes = Transfer(lab, "down"), []
        assert bond.flow()["scheduler"] == "failover"
        for _ in range(3):
            wait_for_use(lab, "down", "dsl", 3_000_000)
            strikes.append(fall_silent(lab, bond, transfer, "down", "dsl"))
        sent, received = transfer.finish()
        assert received == sent
        print("; ".join(f"pause {gap * 1000:.0f} ms, back after {took * 1000:.0f} ms"
                        for gap, took in strikes))
        assert max(down, up) < 0.01
        assert median(gap for gap, _ in strikes) <= 0.25 * SLACK


def test_latency_follows_the_nearer_uplink():
    """A shell. The uplinks change places: it moves once, and stays."""
    with Lab() as lab, Bonded(lab, latency_rules(["dsl", "lte"]), fast=True) as bond:
        wait_until_known(bond)
        exchanges = Exchanges(lab.client, lab.destinations[0], PORTS["latency"])
        leads = Leads(bond, "latency")
        leads.wait_for("dsl", 10, 0.5)
        begin = leads.swap(lab, "lte", "dsl", 10 * SLACK, 2)
        moved = leads.seen[-1][0]
        print(f"moves after {moved - begin:.1f} s")
        assert exchanges.percentile(0.5, moved + 0.5) < 0.045
        exchanges.end()
        assert leads.end() == ["dsl", "lte"]


def test_latency_under_load():
    """Downloads fill both uplinks. What counts is how near they are now: dsl, the nearer
    one by itself, has the longer queue."""
    uplinks = [Uplink("dsl", down=30, up=10, delay=10, queue_ms=500),
               Uplink("lte", down=60, up=20, delay=30, queue_ms=150)]
    with Lab(uplinks) as lab, Bonded(lab, latency_rules(["dsl", "lte"]), fast=True) as bond:
        wait_until_known(bond)
        delays = delays_under_load(lab, bond, ["down"] * 3, "lte", 10 * SLACK, 4)
        print(", ".join(f"{name}: {delay * 1000:.0f} ms" for name, delay in delays.items()))
        assert delays["latency"] <= 1.2 * min(delays["dsl"], delays["lte"])


def test_spread_by_weight():
    """200 flows: three quarters on dsl, as the weights say, and each of them on one uplink."""
    with Lab() as lab, Bonded(lab, 'scheduler = "spread";\n', start=False, fast=True) as bond:
        set_weights(bond, {"dsl": 3, "lte": 1})
        bond.start_concentrator()
        bond.start_gateway()
        wait_until_known(bond)
        shares = spread_of(lab, bond, 200)
        print(shares)
        assert abs(shares.homes["dsl"] / 200 - 0.75) <= 0.05
        assert shares.several == 0 and shares.stray < 0.01


def test_flows_without_mptcp_share_the_uplinks():
    """Each has one uplink, whichever gives it more: eight downloads fill both."""
    with Lab() as lab, Bonded(lab, start=False, fast=True) as bond:
        for uplink in lab.uplinks:
            uplink.set(strip_mptcp=True)
        bond.start_concentrator()
        bond.start_gateway()
        wait_until_known(bond, "stripped")
        rates = plain_rates(lab, 8, 1, 2)
        print(" ".join(f"{rate:.1f}" for rate in rates), f"balance {balance(rates):.2f}")
        assert sum(rates) >= 0.85 * sum(uplink.spec.down for uplink in lab.uplinks)
