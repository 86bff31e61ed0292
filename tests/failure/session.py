"""A session that uses all of bondway, over and over, while single calls of one daemon fail."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "net"))

from bonded import (SANITIZER, Bonded, Host, Lab, Process, Uplink, descriptors,  # noqa: E402
                    kernel_state, wait_for)
from traffic import Background, Server, connect, read  # noqa: E402

PART = 48 * 1024
FLOWS = 4
# What a flow may take to end, in one way or another. A call that fails may cost it a path.
PATIENCE = 10
METRICS_PORT = {"gateway": 9171, "concentrator": 9172}


def echo(connection: socket.socket) -> None:
    while True:
        data = connection.recv(65536)
        if not data:
            return
        connection.sendall(data)


class Flow:
    """One connection of a client, with an echo at its end, in a thread of its own. It goes halfway,
    waits to be told, and goes on to its end."""

    def __init__(self, lab: Lab, port: int) -> None:
        self.loss = ""  # how it was lost; "": not
        self.fault = ""  # what must not be, lost or not
        self._lab, self._port = lab, port
        self.halfway, self.go_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _exchange(self, connection: socket.socket) -> None:
        sent = os.urandom(PART)
        sender = Background(connection.sendall, sent)
        got = read(connection, PART)
        sender.result()  # who sends may learn of a reset, and who reads then does not
        if len(got) < PART:
            self.fault = f"ended in order, {PART - len(got)} bytes too early"
        elif got != sent:
            self.fault = "other bytes than were sent"

    def _talk(self) -> None:
        with connect(self._lab.client, self._lab.destinations[0].address, self._port) as connection:
            connection.settimeout(PATIENCE)
            self._exchange(connection)
            self.halfway.set()
            self.go_on.wait()
            self._exchange(connection)
            connection.shutdown(socket.SHUT_WR)
            if connection.recv(1):
                self.fault = "bytes that nobody has sent"

    def _run(self) -> None:
        try:
            self._talk()
        except socket.timeout:
            self.fault = "hangs"
        except OSError as error:
            self.loss = str(error)
        self.loss = self.loss or self.fault
        self.halfway.set()

    def join(self) -> None:
        self.go_on.set()
        self._thread.join()


class Session:
    """With both daemons running. arm() is called whenever a call may fail."""

    def __init__(self, bond: Bonded, arm: Callable[[], None] = lambda: None) -> None:
        self.bond, self.lab, self.arm = bond, bond.lab, arm
        self.steps: Dict[str, List[Callable[[], None]]] = {
            "relay": [lambda: None], "ask": [self.ask],
            "reload": [self.reload_gateway, self.reload_concentrator],
            "fail over": [self.cut, self.put_back]}
        self._server = Server(self.lab.destinations[0], echo)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.__exit__()

    # What happens to the flows halfway

    def ask(self) -> None:
        """An answer may be that memory is short, or a connection that ends; but it comes."""
        sides = [("gateway", self.bond.gateway_socket, self.lab.router),
                 ("concentrator", self.bond.concentrator_socket, self.lab.vps)]
        for name, path, host in sides:
            for command in ("status", "flows", "events"):
                self.arm()
                subprocess.run([self.bond.program, command, "--json", "--socket", path],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               timeout=PATIENCE)
            for page in ("metrics", "status.json"):
                self.arm()
                self._get(host, METRICS_PORT[name], page)

    @staticmethod
    def _get(host: Host, port: int, page: str) -> None:
        with contextlib.suppress(ConnectionError), connect(host, "127.0.0.1", port) as connection:
            connection.settimeout(2 * PATIENCE)
            connection.sendall(f"GET /{page} HTTP/1.1\r\n\r\n".encode())
            while connection.recv(65536):
                pass

    def _reload(self, process: Process) -> None:
        def said() -> int:
            return process.output().count("reload")

        for _ in range(3):
            before = said()
            self.arm()
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: said() > before, PATIENCE, "a word about the reload")

    def reload_gateway(self) -> None:
        self._reload(self.bond.gateway)

    def reload_concentrator(self) -> None:
        self._reload(self.bond.concentrator)

    def _wait_for_uplink(self, up: bool) -> None:
        name = self.lab.uplinks[1].name

        def is_so() -> bool:
            status = self.bond.status() or {}
            states = [u["state"] for u in status.get("uplinks", []) if u["name"] == name]
            return len(states) == 1 and (states[0] == "up") == up

        wait_for(is_so, 30, f"{name} {'up' if up else 'down'}")

    def cut(self) -> None:
        self.lab.uplinks[1].carrier(False)
        self._wait_for_uplink(up=False)

    def put_back(self) -> None:
        self.lab.uplinks[1].carrier(True)
        self._wait_for_uplink(up=True)

    # A round: flows begin, something happens, they end

    def round(self, step: Callable[[], None]) -> "Outcome":
        self.arm()
        flows = [Flow(self.lab, self._server.port) for _ in range(FLOWS)]
        for flow in flows:
            flow.halfway.wait()
        faults = []
        try:
            step()
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            faults.append(str(error))
        for flow in flows:
            flow.join()
        return Outcome(losses=[flow.loss for flow in flows if flow.loss],
                       faults=faults + [f"a flow: {flow.fault}" for flow in flows if flow.fault])


class Outcome:
    def __init__(self, losses: List[str], faults: List[str]) -> None:
        self.losses, self.faults = losses, faults


__all__ = ["SANITIZER", "Bonded", "Host", "Lab", "Outcome", "Process", "Session", "Uplink",
           "descriptors", "kernel_state", "wait_for"]
