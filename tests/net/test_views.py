"""What status and flows tell of a bond that runs, as a person or a program asks."""

from __future__ import annotations

import socket
from typing import Any

from bonded import Bonded, Lab, wait_for
from traffic import Background, address_of, offer, pair, take

NUMBER = (int, float)
UPLINK = {"name": str, "interface": str, "address": str, "state": str, "reason": str, "role": str,
          "cost": int, "rtt_ms": NUMBER, "rx_bytes": int, "tx_bytes": int, "rx_bps": int,
          "tx_bps": int, "mptcp": str}
UNKNOWN = "rtt_ms", "rtt_variation_ms", "loss_percent"  # of one that carries nothing
CONCENTRATOR = {"name": str, "address": str, "state": str, "rtt_ms": NUMBER, "warm": int}
GATEWAY_STATUS = {
    "role": str, "version": str, "uptime_s": NUMBER, "scheduler": str,
    "concentrators": [CONCENTRATOR], "uplinks": [UPLINK],
    "flows": {"active": int, "total": int, "failed": int, "direct": int, "refused": int,
              "tcp_fallback": int},
}
SUBFLOW = {"uplink": str, "role": str, "state": str, "rtt_ms": NUMBER, "rx_bytes": int,
           "tx_bytes": int}
FLOWS = [{"id": int, "client": str, "destination": str, "rule": str, "scheduler": str,
          "sealed": bool, "age_s": NUMBER, "rx_bytes": int, "tx_bytes": int,
          "subflows": [SUBFLOW]}]
CONCENTRATOR_STATUS = {
    "role": str, "version": str, "uptime_s": NUMBER, "workers": int,
    "gateways": [{"name": str, "flows": int, "total": int, "rx_bytes": int, "tx_bytes": int,
                  "refused": int, "last_seen_s": NUMBER}],
    "refused": {"hello": int, "replay": int, "policy": int, "limit": int},
}


def assert_shape(value: Any, shape: Any, where: str = "") -> None:
    """All the keys of the shape, of its types; lists not empty. More keys do no harm."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        for key, inner in shape.items():
            assert key in value, f"{where}.{key}"
            assert_shape(value[key], inner, f"{where}.{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list) and value, where
        for each in value:
            assert_shape(each, shape[0], where + "[]")
    else:
        is_bool = isinstance(value, bool)
        assert isinstance(value, shape) and is_bool == (shape is bool), f"{where}: {value!r}"


def status_that_has_counted(bond: Bonded, down: int, up: int) -> Any:
    status = bond.status()
    rx_bytes, tx_bytes = (sum(uplink[key] for uplink in status["uplinks"])
                          for key in ("rx_bytes", "tx_bytes"))
    return status if rx_bytes > down and tx_bytes > up else None


def test_status_and_flows_of_a_running_transfer():
    """A program that watches: every field that is promised, and figures that agree with what was
    sent."""
    with Lab() as lab, Bonded(lab) as bond:
        destination = lab.destinations[0]
        client, server = pair(lab.client, destination)
        up, down = 1_000_000, 5_000_000
        for source, sink, size in (client, server, up), (server, client, down):
            sending = Background(offer, source, size)
            assert take(sink, size) == sending.result()

        flows = bond.flows()
        assert_shape(flows, FLOWS)
        flow, = flows
        assert flow["client"] == "{}:{}".format(*client.getsockname())
        assert flow["destination"] == "{}:{}".format(destination.address, server.getsockname()[1])
        assert (flow["rx_bytes"], flow["tx_bytes"]) == (down, up)
        assert (flow["rule"], flow["scheduler"], flow["sealed"]) == ("", "bond", True)
        subflows = {subflow["uplink"]: subflow for subflow in flow["subflows"]}
        assert set(subflows) == {"dsl", "lte"}
        for subflow in subflows.values():
            assert (subflow["role"], subflow["state"]) == ("active", "established")
        # Sealing, and what was sent twice, comes on top.
        assert down < sum(subflow["rx_bytes"] for subflow in subflows.values()) < down * 1.1
        assert up < sum(subflow["tx_bytes"] for subflow in subflows.values()) < up * 1.2
        assert 20 <= subflows["dsl"]["rtt_ms"] < 500 and 60 <= subflows["lte"]["rtt_ms"] < 800

        # An uplink's counters are read now and then.
        status = wait_for(lambda: status_that_has_counted(bond, down, up), 5, "the uplinks' counters")
        assert_shape(status, GATEWAY_STATUS)
        assert status["role"] == "gateway" and status["flows"]["active"] == 1
        for uplink, known in zip(status["uplinks"], lab.uplinks):
            assert (uplink["name"], uplink["interface"]) == (known.name, known.interface)
            assert uplink["address"] == known.address
            assert (uplink["state"], uplink["reason"]) == ("up", "")
            assert (uplink["role"], uplink["mptcp"]) == ("active", "ok")
            assert uplink["rx_bytes"] > 100_000 and uplink["tx_bytes"] > 10_000
        concentrator, = status["concentrators"]
        assert (concentrator["name"], concentrator["state"]) == ("vps", "up")
        assert concentrator["address"] == f"{lab.vps.address}:7171"
        assert 20 <= concentrator["rtt_ms"] < 200

        status = bond.concentrator_status()
        assert_shape(status, CONCENTRATOR_STATUS)
        gateway, = status["gateways"]
        assert (gateway["name"], gateway["flows"], gateway["total"]) == ("home", 1, 1)
        assert (gateway["rx_bytes"], gateway["tx_bytes"]) == (up, down)
        assert status["refused"] == {"hello": 0, "replay": 0, "policy": 0, "limit": 0}


def test_what_is_not_known_is_not_shown():
    """An uplink that has died has no round trip and no loss, and its concentrator has those of the
    others; a concentrator that is gone has none."""
    def dead_dsl() -> Any:
        now = bond.status()
        return now if now["uplinks"][0]["state"] == "dead" else None

    with Lab() as lab, Bonded(lab) as bond:
        wait_for(lambda: all(u["loss_percent"] == 0 for u in bond.status()["uplinks"]), 20,
                 "answers by both uplinks")
        lab.uplink("dsl").drop("both")
        status = wait_for(dead_dsl, 60, "dsl's death")
        dsl, lte = status["uplinks"]
        for key in UNKNOWN:
            assert dsl[key] is None and lte[key] is not None, key
        assert status["concentrators"][0]["rtt_ms"] == lte["rtt_ms"] >= 60
        lab.uplink("lte").drop("both")
        wait_for(lambda: bond.station("vps")["state"] == "down", 60, "notice of it")
        assert bond.station("vps")["rtt_ms"] is None


def test_views_for_a_person():
    """The same as text, for one who looks: the uplinks, the concentrator, the flow."""
    with Lab() as lab, Bonded(lab) as bond:
        client, server = pair(lab.client, lab.destinations[0], socket.AF_INET6)
        wait_for(lambda: bond.flow()["state"] == "relaying", 20, "the relay")
        status = lab.router.run([bond.program, "status", "--socket", bond.gateway_socket]).stdout
        for word in "dsl", "lte", "up", "vps", lab.vps.address:
            assert word in status, status
        flows = lab.router.run([bond.program, "flows", "--socket", bond.gateway_socket]).stdout
        assert address_of(lab.destinations[0], socket.AF_INET6) in flows
        assert address_of(lab.client, socket.AF_INET6) in flows
        client.close()
        server.close()


def test_a_rule_shows():
    """Which rule has matched a flow, and what it made of it."""
    rules = 'rules = ({ name = "backup"; ports = [873]; encryption = "never"; });\n'
    with Lab() as lab, Bonded(lab, rules) as bond:
        client, server = pair(lab.client, lab.destinations[0], port=873)
        flow = bond.flow()
        assert (flow["rule"], flow["sealed"]) == ("backup", False)
        client.close()
        server.close()
