"""Flows that begin, and something goes wrong just then."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from typing import List

import pytest

import protocol as p
from bonded import PORT, Bonded, Host, Lab, Uplink, kernel_counter, wait_for
from test_healing import CLIENT_HELLO, WORD, wait_until_all_up
from traffic import SLACK, Server, connect, read


class Station:
    """Has the concentrator's port, welcomes whoever comes, and answers each flow. But the first OPEN
    meets a connection that has just been ended: in order, or by a reset."""

    def __init__(self, lab: Lab, key: p.Key, in_order: bool) -> None:
        self.key, self.in_order = key, in_order
        self.opens, self.heard = 0, []
        self.listening = lab.vps.socket(protocol=p.IPPROTO_MPTCP)
        self.listening.bind(("0.0.0.0", PORT))
        self.listening.listen(64)
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def __enter__(self) -> "Station":
        return self

    def __exit__(self, *_: object) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listening.accept()
                threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock: socket.socket) -> None:
        with p.Concentrator(sock, self.key, timeout=60) as c, \
                contextlib.suppress(OSError, EOFError):
            c.read_hello()
            sock.sendall(c.reply(p.WELCOME))
            if not c.buffer and not sock.recv(1, socket.MSG_PEEK):
                return
            self.opens += 1
            if self.opens == 1 and not self.in_order:
                return  # a reset, since something is unread
            mode, _, _ = c.read_open()
            sealed = mode == p.SEALED
            said = c.read_data(len(WORD)) if sealed else c.read_exactly(len(WORD))
            if self.opens == 1:
                return
            self.heard.append(said)
            sock.sendall(c.seal(p.OPENED, b"\0"))
            if sealed:
                c.send_data(b"answer")
            else:
                sock.sendall(b"answer")
            while sock.recv(65536):
                pass


@pytest.mark.parametrize("in_order, said, answered", [
    (True, WORD, True),
    (False, CLIENT_HELLO, True),
    (False, WORD, False),
], ids=["in-order", "reset-tls", "reset"])
def test_a_connection_that_waited_has_just_ended(in_order, said, answered):
    """Its idle limit came as the flow did. In order, it has told the destination nothing, and all is
    said again by another one; after a reset nobody knows, and only what is harmless is."""
    with Lab() as lab, Bonded(lab, start=False) as bond, \
            Station(lab, p.Key.parse(bond.key_file.read_text().strip()), in_order) as station:
        bond.start_gateway()
        wait_for(lambda: bond.station("vps")["warm"] > 0, 20, "one that waits")
        with connect(lab.client, lab.destinations[0].address, 80) as client:
            client.settimeout(5 * SLACK)
            client.sendall(said)
            if answered:
                assert read(client, 6) == b"answer"
            else:
                with pytest.raises(ConnectionResetError):
                    read(client, 1)
        assert station.heard == ([said] if answered else [])


class Usher(Station):
    """Answers each flow at once, and can end what waits."""

    def __init__(self, lab: Lab, key: p.Key) -> None:
        self.waiting: List[socket.socket] = []
        super().__init__(lab, key, True)

    def serve(self, sock: socket.socket) -> None:
        with p.Concentrator(sock, self.key, timeout=60) as c, \
                contextlib.suppress(OSError, EOFError):
            c.read_hello()
            sock.sendall(c.reply(p.WELCOME))
            self.waiting.append(sock)
            c.read_open()
            sock.sendall(c.seal(p.OPENED, b"\0"))
            c.send_data(b"answer")
            while sock.recv(65536):
                pass


def test_a_connection_that_waited_ends_before_the_client_has_spoken():
    """Likewise, but a moment later: nothing was said, and so nothing is lost."""
    with Lab() as lab, Bonded(lab, start=False) as bond, \
            Usher(lab, p.Key.parse(bond.key_file.read_text().strip())) as usher:
        bond.start_gateway()
        wait_for(lambda: bond.station("vps")["warm"] > 0, 20, "one that waits")
        before = list(usher.waiting)
        with connect(lab.client, lab.destinations[0].address, 80) as client:
            for sock in before:
                sock.shutdown(socket.SHUT_WR)
            client.settimeout(5 * SLACK)
            assert read(client, 6) == b"answer"
        assert bond.status()["flows"]["failed"] == 0


# Of what proves MPTCP behind the SYN, so many bytes are lost: the handshake's end, and two segments.
LOSSES = ("table inet lossy {{ chain c {{ type filter hook forward priority 0;\n"
          "ip saddr {} tcp dport {} tcp flags & syn == 0 tcp option mptcp subtype 0"
          " quota until 3100 bytes drop\n}}\n}}\n")


def test_an_uplink_that_loses_packets_does_not_strip():
    """A burst is lost behind a handshake, so both kernels fall back to plain TCP. That flow works, and
    the next one has all uplinks again: no box has been at work."""
    def hear(connection: socket.socket) -> None:
        connection.sendall(read(connection, 14000)[:6])
        read(connection, 1)

    alone = 'rules = ({ name = "alone"; scheduler = "failover"; });\n'
    uplinks = [Uplink(name, down=50, up=50, delay=30) for name in ("dsl", "lte")]
    with Lab(uplinks) as lab, Bonded(lab, alone) as bond, \
            Server(lab.destinations[0], hear) as server:
        wait_until_all_up(bond)
        wait_for(lambda: bond.uplink("dsl")["mptcp"] == "ok", 20, "notice of MPTCP")
        lab.internet.run(["nft", "-f", "-"], input=LOSSES.format(lab.uplink("dsl").address, PORT))
        for is_mptcp in False, True:
            with connect(lab.client, lab.destinations[0].address, server.port) as client:
                client.sendall(b"answer" + bytes(13994))
                assert read(client, 6) == b"answer"
                assert bond.flow()["mptcp"] == is_mptcp
                assert bond.uplink("dsl")["mptcp"] == "ok"
            bond.wait_until_over()
        assert kernel_counter(lab.vps, "MPCapableFallbackACK") == 1


def test_an_uplink_that_is_alive_and_carries_no_question():
    """It is so full that a greeting is lost again and again: by another uplink it is said once more."""
    heard = []

    def hear(connection: socket.socket) -> None:
        heard.append(read(connection, len(WORD)))
        connection.sendall(b"answer")

    alone = 'rules = ({ name = "alone"; scheduler = "failover"; });\n'
    with Lab() as lab, Bonded(lab, alone) as bond, Server(lab.destinations[0], hear) as server:
        wait_until_all_up(bond)
        dsl = lab.uplink("dsl").address
        lab.internet.run(["nft", "-f", "-"], input=(
            "table inet lossy { chain c { type filter hook forward priority 0;\n"
            f"ip saddr {dsl} tcp dport {PORT} meta length > 100 drop\n}}\n}}\n"))
        with connect(lab.client, lab.destinations[0].address, server.port) as client:
            client.settimeout(10 * SLACK)
            client.sendall(WORD)
            assert read(client, 6) == b"answer"
        assert heard == [WORD]
        assert bond.uplink("dsl")["state"] == "up"


def unread(host: Host) -> int:
    """Connections to the concentrator that have what the gateway has yet to read."""
    lines = host.run(["ss", "-HnM", "dport", f"= :{PORT}"]).stdout.splitlines()
    return sum(int(line.split()[1]) > 0 for line in lines)


def test_an_uplink_that_dies_before_its_answers_are_read():
    """There are so many that the gateway hears of its death in between: it reads what its kernel tells
    first, since a third one was pulled before. What has been answered is not said again by another uplink:
    that would be taken for a replay."""
    flows = 100

    def hear(connection: socket.socket) -> None:
        connection.sendall(read(connection, len(WORD))[:6])
        read(connection, 1)

    alone = 'rules = ({ name = "alone"; scheduler = "failover"; });\n'
    uplinks = [Uplink("dsl", delay=100), Uplink("lte", delay=30), Uplink("third")]
    with Lab(uplinks) as lab, Bonded(lab, alone) as bond, \
            Server(lab.destinations[0], hear) as server, contextlib.ExitStack() as clients:
        wait_until_all_up(bond)
        connected = [clients.enter_context(connect(lab.client, lab.destinations[0].address, server.port))
                     for _ in range(flows)]
        for client in connected:
            client.settimeout(20 * SLACK)
            client.sendall(WORD)
        wait_for(bond.sessions, 5, "greetings on their way")
        bond.gateway.send_signal(signal.SIGSTOP)
        try:
            lab.uplink("third").carrier(False)
            wait_for(lambda: unread(lab.router) == flows, 10, "their answers")
            lab.uplink("dsl").carrier(False)
        finally:
            bond.gateway.send_signal(signal.SIGCONT)
        for client in connected:
            assert read(client, 6) == WORD[:6]
