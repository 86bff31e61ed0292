"""Flows that begin, and something goes wrong just then."""

from __future__ import annotations

import contextlib
import socket
import threading
import pytest

import protocol as p
from bonded import PORT, Bonded, Lab, wait_for
from test_healing import CLIENT_HELLO, WORD
from traffic import SLACK, connect, read


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
