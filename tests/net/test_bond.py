"""One flow over all uplinks at once: how fast it is, and what it looks like on the wire."""

from __future__ import annotations

import re
import secrets
import socket
from typing import List

import pytest

from bonded import PORT, Bonded, Host, Lab, Uplink, wait_for
from capture import DSS, MP_CAPABLE, MP_JOIN, Capture, Segment
from traffic import Background, address_of, pair, pour, rates, read, take

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
# A bare relay over the kernel's own MPTCP reaches 97.5 %.
SHARE = 0.96
WARM_UP, SECONDS = 3.0, 8.0
PORTS = {"always": 5001, "never": 5002}


@pytest.mark.parametrize("direction", ["down", "up"])
def test_one_flow_carries_nearly_the_sum_of_both_uplinks(direction):
    """The promise: two uplinks make one connection that is as fast as both. Held to what plain TCP
    gets out of each of them, in the same minute on the same machine. By the second transfer the
    connections that it gets have waited a while, warm: nothing of the speed may be lost by that."""
    rules = ", ".join(f'{{ name = "{name}"; ports = [{port}]; encryption = "{name}"; }}'
                      for name, port in PORTS.items())
    with Lab() as lab, Bonded(lab, f"rules = ({rules});\n", fast=True) as bond:
        destination = lab.destinations[0]
        alone = rates([pair(lab.router, destination, uplink=uplink) for uplink in lab.uplinks],
                      direction, WARM_UP, SECONDS)
        for encryption, port in PORTS.items():
            bonded, = rates([pair(lab.client, destination, port=port)], direction, WARM_UP, SECONDS)
            bond.wait_until_over()
            print(f"{encryption}, {direction}: {bonded:.1f} of {alone} Mb/s, "
                  f"{bonded / sum(alone):.1%}")
            assert bonded >= SHARE * sum(alone), encryption


@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_young_flow_uses_both_uplinks(direction):
    """One big picture on a page: the second uplink joins while the first bytes are under way already,
    and must carry its share at once. (The kernel loses what it is told of a join too early.)"""
    uplinks = [Uplink("dsl", down=60, up=60, delay=10), Uplink("lte", down=60, up=60, delay=30)]
    with Lab(uplinks) as lab, Bonded(lab) as bond:
        client, server = pair(lab.client, lab.destinations[0])
        source, sink = (server, client) if direction == "down" else (client, server)
        pouring = Background(pour, source)
        take(sink, 6_000_000)
        shares = {subflow["uplink"]: subflow["rx_bytes"] + subflow["tx_bytes"]
                  for subflow in bond.flow()["subflows"]}
        assert shares["lte"] > 500_000, shares
        client.close()
        server.close()
        pouring.result()


def joined(host: Host) -> List[bool]:
    """Of each subflow that joined a connection of the host: does it stand by?"""
    shown = host.run(["ss", "-tniH"]).stdout
    return ["b" in flags.lower() for flags in re.findall(r"tcp-ulp-mptcp flags:(\S+)", shown)
            if "j" in flags.lower()]


def test_a_flow_that_carries_little_keeps_to_one_uplink():
    """A chat, a small page: the other uplink has joined, but stands by, at the far end as well. The
    kernel would spread a single answer over both, and it would wait for the slower."""
    with Lab() as lab, Bonded(lab) as bond:
        client, server = pair(lab.client, lab.destinations[0])
        for source, sink in (client, server), (server, client):
            source.sendall(b"few words")
            assert read(sink, 9) == b"few words"
        wait_for(lambda: [subflow["role"] for subflow in bond.flow()["subflows"]
                          if subflow["state"] == "established"] == ["active", "standby"], 20,
                 "a second uplink that stands by")
        for host in lab.router, lab.vps:
            wait_for(lambda: joined(host) and all(joined(host)), 20, f"the same at {host.name}")
        client.close()
        server.close()


def exchange(client: socket.socket, server: socket.socket, text: bytes) -> None:
    """Text both ways, enough to need both uplinks."""
    for source, sink in (client, server), (server, client):
        sending = Background(source.sendall, text)
        assert read(sink, len(text)) == text
        sending.result()


def of_trunks(segments: List[Segment]) -> List[Segment]:
    return [s for s in segments if PORT in (s.source_port, s.destination_port)]


@pytest.mark.parametrize("encryption", ["always", "never"])
@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_what_the_providers_see(family, encryption):
    """A person who reads along at a provider: MPTCP with a first subflow on one uplink and a second
    that joins on the other, both in use; neither the destination nor a byte of what is sealed. (What
    is sent plain is readable, and shows that this test can see.)"""
    marker = secrets.token_hex(16).encode()
    with Lab() as lab, Bonded(lab, f'encryption = "{encryption}";\n', start=False) as bond:
        destination = lab.destinations[0]
        with Capture(lab.router, "dsl") as dsl, Capture(lab.router, "lte") as lte:
            bond.start_concentrator()
            bond.start_gateway()
            client, server = pair(lab.client, destination, family)
            exchange(client, server, 16384 * marker)
            wait_for(lambda: len(bond.flow()["subflows"]) == 2, 20, "both uplinks")
            exchange(client, server, 65536 * marker)
            client.close()
            server.close()
            bond.wait_until_over()
        first, second = of_trunks(dsl.segments()), of_trunks(lte.segments())
        assert any(s.syn and not s.ack and MP_CAPABLE in s.mptcp for s in first)
        assert any(s.syn and s.ack and MP_CAPABLE in s.mptcp for s in first)
        assert any(s.syn and not s.ack and MP_JOIN in s.mptcp for s in second)
        assert any(s.syn and s.ack and MP_JOIN in s.mptcp for s in second)
        for segments in first, second:
            assert sum(len(s.payload) for s in segments if DSS in s.mptcp) > 100_000
        seen = dsl.segments() + lte.segments()
        address = socket.inet_pton(family, address_of(destination, family))
        assert all(address not in (s.source, s.destination) for s in seen)
        assert not any(address in s.payload for s in seen)
        assert any(marker in s.payload for s in seen) == (encryption == "never")
