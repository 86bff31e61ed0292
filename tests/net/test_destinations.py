"""Destinations that refuse, reset, keep silent or may not be reached; clients that go away."""

from __future__ import annotations

import re
import socket
from typing import Any, Callable

import pytest

from bonded import Bonded, Lab, wait_for
from traffic import (PATIENCE, SLACK, Background, Counter, address_of, connect, listen, offer, pair,
                     port_of, pour, read, reset, take, time_to_reset, wait_for_reset)

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6],
                                   ids=["ipv4", "ipv6"])
ENCRYPTION = pytest.mark.parametrize("encryption", ["always", "never"])
ROUND_TRIP = 0.020  # of dsl


@FAMILIES
@ENCRYPTION
def test_a_destination_that_refuses(encryption, family):
    """Nobody listens there. The client learns it as fast as the distance allows, by a reset, and
    the log says what it was."""
    with Lab() as lab, Bonded(lab, f'encryption = "{encryption}";\n') as bond:
        destination = lab.destinations[0]
        with listen(destination, family=family) as listener:
            port = port_of(listener)
        took = time_to_reset(lab.client, address_of(destination, family), port)
        assert took < SLACK * (ROUND_TRIP + 0.100)
        bond.wait_for_log(rf"closed why=destination-refused .*:{port} ")
        assert bond.status()["flows"]["failed"] == 0  # it was no failure of ours


def test_a_destination_that_never_answers():
    """Somebody drops packets. Until the concentrator gives up, the client waits (it may give up by
    itself before); then it is reset, and the log says why."""
    with Lab() as lab, Bonded(lab, concentrator='dial_timeout = "2s";\n') as bond:
        destination = lab.destinations[0]
        destination.run(["nft", "add table inet silent; add chain inet silent input "
                         "{ type filter hook input priority 0; policy drop; }"])
        with connect(lab.client, destination.address, 81) as client:
            client.settimeout(0.5)
            with pytest.raises(socket.timeout):
                client.recv(1)
            wait_for(lambda: bond.flow()["state"] == "opening", 5, "an OPEN under way")
            took = wait_for_reset(client)
        assert took > 1
        bond.wait_for_log(r"closed why=destination-timed.out .*:81 ")


def test_a_client_that_does_not_wait_for_a_silent_destination():
    """It closes before anybody has answered: nothing of it is left, on either side."""
    with Lab() as lab, Bonded(lab) as bond:
        destination = lab.destinations[0]
        destination.run(["nft", "add table inet silent; add chain inet silent input "
                         "{ type filter hook input priority 0; policy drop; }"])
        client = connect(lab.client, destination.address, 81)
        wait_for(lambda: bond.flow()["state"] == "opening", 5, "an OPEN under way")
        reset(client)
        bond.wait_until_over(10)


DENIED = {
    "mail": ("12.0.1.2", 25),
    "documentation": ("198.51.100.7", 80),
    "loopback in 6to4": ("2002:7f00:1::", 80),
    "private in 6to4": ("2002:c0a8:4d01::1", 80),
    "private in Teredo": ("2001:0:0:0:0:0:f5ff:fffe", 80),
    "the concentrator's other address": ("2600:11::2", 22),
}


@pytest.mark.parametrize("name", DENIED)
def test_a_destination_that_is_denied(name):
    """What the concentrator must not be used for: its own network, in whatever form its addresses
    are written, and the sending of mail. The client is reset at once; both logs name the
    destination, and the concentrator's the reason."""
    address, port = DENIED[name]
    with Lab() as lab, Bonded(lab) as bond:
        assert time_to_reset(lab.client, address, port) < SLACK * (ROUND_TRIP + 0.100)
        destination = bond.wait_for_log(r"closed why=destination-denied .*destination=(\S+) ")[1]
        assert destination.endswith(f":{port}")
        bond.wait_for_concentrator_log(
            rf"denied gateway=home destination={re.escape(destination)}: [a-z]+")


# What a connection is doing when one end, the source, resets it. Each returns how to wait until the
# other end, the sink, has learnt it.


def idle(source: socket.socket, sink: socket.socket) -> Callable[[], Any]:
    source.sendall(b"!")  # all the way through, so that every part of it is idle
    assert read(sink, 1) == b"!"
    return lambda: wait_for_reset(sink)


def sending(source: socket.socket, sink: socket.socket) -> Callable[[], Any]:
    Background(pour, source)
    take(sink, 1_000_000)
    return lambda: wait_for_reset(sink)


def not_reading(source: socket.socket, sink: socket.socket) -> Callable[[], Any]:
    """What comes towards it fills every queue on the way."""
    counter = Counter()
    pouring = Background(offer, sink, 1 << 40, counter)
    read(source, 1_000_000)

    def wait() -> None:
        with pytest.raises(ConnectionResetError):
            pouring.result(PATIENCE)

    return wait


def half_closed(source: socket.socket, sink: socket.socket) -> Callable[[], Any]:
    """By the one that will reset."""
    source.sendall(b"that was all")
    source.shutdown(socket.SHUT_WR)
    assert read(sink, 100) == b"that was all"

    def wait() -> None:
        """Reading tells nothing any more; sending does."""
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            offer(sink, 1 << 40)

    return wait


def half_closed_by_the_other(source: socket.socket, sink: socket.socket) -> Callable[[], Any]:
    sink.sendall(b"that was all")
    sink.shutdown(socket.SHUT_WR)
    assert read(source, 100) == b"that was all"
    return lambda: wait_for_reset(sink)


@ENCRYPTION
@pytest.mark.parametrize("when", [idle, sending, not_reading, half_closed,
                                  half_closed_by_the_other], ids=lambda when: when.__name__)
@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_arrives_as_a_reset(who, when, encryption):
    """A program that crashes, or gives up: its peer must not take that for an orderly end of what
    it has received so far. At whichever end it happens, and whatever the connection is doing."""
    with Lab() as lab, Bonded(lab, f'encryption = "{encryption}";\n') as bond:
        client, server = pair(lab.client, lab.destinations[0])
        source, sink = (client, server) if who == "client" else (server, client)
        with sink:
            wait = when(source, sink)
            reset(source)
            wait()
        bond.wait_until_over()
        bond.wait_for_log(f"closed why={'near' if who == 'client' else 'far'}-reset ")
