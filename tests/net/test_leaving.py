"""What is left of bondway when it goes, in whatever way: nothing, and the house stays online."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from bonded import Bonded, Lab, Process, interception, kernel_state, wait_for
from traffic import Background, offer_all, pair, read, take, way_of

def guard_of(gateway: Process) -> int:
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    names = {Path(f"/proc/{pid}/comm").read_text().strip(): int(pid) for pid in children}
    return names["bondway-guard"]


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_killed():
    """The gateway crashes (or the kernel's memory killer finds it). Within one second the LAN's new
    connections take the router's own way: the destination sees the router's uplink, not the VPS."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        before = kernel_state(lab.router)
        bond.start_concentrator()
        bond.start_gateway()
        assert way_of(lab) == "bond"
        guard = guard_of(bond.gateway)
        start = time.monotonic()
        bond.kill_gateway()
        wait_for(lambda: not interception(lab.router), 1 - (time.monotonic() - start),
                 "an end of the interception")
        assert way_of(lab) == "direct"
        wait_for(lambda: is_gone(guard), 10, "the guard's end")
        assert kernel_state(lab.router) == before
        bond.start_gateway()
        assert way_of(lab) == "bond"


def test_stopped():
    """A service manager stops both: every table, rule, route, sysctl and limit is as before."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        hosts = lab.router, lab.vps
        before = [kernel_state(host) for host in hosts]
        bond.start_concentrator()
        bond.start_gateway()
        assert way_of(lab) == "bond"
        during = [kernel_state(host) for host in hosts]
        assert all(during[0][name] != before[0][name]
                   for name in ("nft", "rules", "rules6", "routes", "routes6", "sysctls"))
        assert during[1]["limits"] != before[1]["limits"]
        bond.stop_gateway()
        bond.stop_concentrator()
        assert [kernel_state(host) for host in hosts] == before
        assert not bond.gateway_socket.exists() and not bond.concentrator_socket.exists()
        assert way_of(lab) == "direct"


@pytest.mark.parametrize("daemon", ["gateway", "concentrator"])
def test_a_stop_lets_running_flows_end(daemon):
    """An update of bondway in the middle of a download: it may finish first."""
    with Lab() as lab, Bonded(lab) as bond:
        client, server = pair(lab.client, lab.destinations[0])
        sent = Background(offer_all, server, 5_000_000)
        read(client, 1)
        process = getattr(bond, daemon)
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: "stopping" in process.output(), 20, "a word about it")
        rest = take(client)
        client.close()
        assert rest.length + 1 == sent.result().length
        assert process.wait(20) == 0


def test_the_guard_is_killed():
    """Somebody kills the guard: another one takes its place, interception goes on, and when the
    gateway dies after all, the new guard does what the old one would have done."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        before = kernel_state(lab.router)
        bond.start_concentrator()
        bond.start_gateway()
        client, far = pair(lab.client, lab.destinations[0])
        os.kill(guard_of(bond.gateway), signal.SIGKILL)
        bond.wait_for_log("guard died")
        bond.wait_until_up()
        wait_for(lambda: interception(lab.router), 10, "interception")
        assert way_of(lab) == "bond"
        far.sendall(b"still here")
        assert read(client, 10) == b"still here"
        guard = guard_of(bond.gateway)
        bond.kill_gateway()
        wait_for(lambda: is_gone(guard), 10, "the guard's end")
        assert kernel_state(lab.router) == before


def test_a_second_gateway():
    """Started twice by mistake: the second one refuses, says why, and the first does not notice."""
    with Lab() as lab, Bonded(lab) as bond:
        before = kernel_state(lab.router)
        first, socket = bond.gateway, bond.gateway_socket
        bond.gateway_socket = bond.directory / "second.sock"
        bond.configure_gateway("listen_port = 7270;\n")
        second = bond.launch_gateway()
        assert second.wait(30) == 1
        assert "another bondway gateway runs in this network namespace" in second.output()
        bond.gateway, bond.gateway_socket = first, socket
        assert kernel_state(lab.router) == before
        assert way_of(lab) == "bond"
        bond.configure_gateway()
        second = bond.launch_gateway()
        bond.gateway = first
        assert second.wait(30) == 1
        assert "Address already in use" in second.output() or "another" in second.output()
        assert way_of(lab) == "bond"
        assert kernel_state(lab.router) == before
