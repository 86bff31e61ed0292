"""A lab with bondway in it: gateway on the router, concentrator on the VPS, configured and running.

    with Lab() as lab, Bonded(lab) as bond:
        lab.client.run(["curl", ...])
        bond.status()["uplinks"]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "netlab"))

from netlab import Lab, Process, wait_for  # noqa: E402

PORT = 7171


def find_program() -> Path:
    """The bondway to test: $BONDWAY, or the one in the build directory."""
    path = Path(os.environ.get("BONDWAY", ROOT / "build" / "cli" / "bondway"))
    if not path.is_file():
        raise FileNotFoundError(f"{path}: build it, or set BONDWAY")
    return path


class Bonded:
    """start=False: only the files are written. gateway and concentrator take further lines of
    configuration; address6: the gateway reaches the concentrator over IPv6."""

    def __init__(self, lab: Lab, gateway: str = "", concentrator: str = "", start: bool = True,
                 address6: bool = False, environment: Optional[Dict[str, str]] = None) -> None:
        self.lab = lab
        self.program = find_program()
        self.environment = {**os.environ, **(environment or {})}
        self.directory = lab.directory
        self.gateway_socket = self.directory / "gateway.sock"
        self.concentrator_socket = self.directory / "concentrator.sock"
        self.gateway: Optional[Process] = None
        self.concentrator: Optional[Process] = None
        self.key_file = self.write("home.key", self.new_key())
        self.address = lab.vps.address6 if address6 else lab.vps.address
        self.configure_gateway(gateway)
        self.configure_concentrator(concentrator)
        self._start = start

    def __enter__(self) -> "Bonded":
        if self._start:
            self.start_concentrator()
            self.start_gateway()
        return self

    def __exit__(self, *_: Any) -> None:
        for process in (self.gateway, self.concentrator):
            if process:
                process.end(15)

    def new_key(self) -> str:
        return subprocess.run([self.program, "keygen"], check=True, capture_output=True,
                              text=True).stdout

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def uplink_lines(self) -> str:
        entries = [f'{{ name = "{u.name}"; interface = "{u.interface}"; cost = {10 * i}; }}'
                   for i, u in enumerate(self.lab.uplinks)]
        return f"uplinks = ({', '.join(entries)});\n"

    def configure_gateway(self, lines: str = "", key_file: Optional[Path] = None) -> None:
        self.gateway_conf = self.write(
            "gateway.conf",
            f'lan_interfaces = ["{self.lab.lan_interface}"];\n'
            f'control_socket = "{self.gateway_socket}";\n'
            f'concentrators = ({{ name = "vps"; address = "{self.address}"; port = {PORT}; '
            f'key_file = "{key_file or self.key_file}"; }});\n' + self.uplink_lines() + lines)

    def configure_concentrator(self, lines: str = "") -> None:
        self.concentrator_conf = self.write(
            "concentrator.conf",
            f'listen = ["0.0.0.0:{PORT}", "[::]:{PORT}"];\n'
            f'control_socket = "{self.concentrator_socket}";\n'
            f'gateways = ({{ name = "home"; key_file = "{self.key_file}"; }});\n' + lines)

    def start_concentrator(self) -> Process:
        self.concentrator = self.lab.vps.popen(
            [self.program, "concentrator", "-c", self.concentrator_conf], log="concentrator",
            env=self.environment)
        self._wait_for_start(self.concentrator, self.concentrator_socket)
        return self.concentrator

    def start_gateway(self, until_up: bool = True) -> Process:
        self.gateway = self.lab.router.popen(
            [self.program, "gateway", "-c", self.gateway_conf, "--debug"], log="gateway",
            env=self.environment)
        self._wait_for_start(self.gateway, self.gateway_socket)
        self.lab.pin_congestion(self.lab.router)
        if until_up:
            self.wait_until_up()
        return self.gateway

    def _wait_for_start(self, process: Process, socket: Path) -> None:
        def answers() -> bool:
            assert process.poll() is None, f"it ended at once:\n{process.output()}"
            return socket.exists() and self._ask(socket, "status") is not None

        wait_for(answers, 10, f"an answer on {socket}")

    def wait_until_up(self, deadline: float = 10) -> None:
        wait_for(lambda: self.status()["intercepting"], deadline, "interception")

    def _ask(self, socket: Path, command: str) -> Any:
        done = subprocess.run([self.program, command, "--json", "--socket", socket],
                              capture_output=True, text=True)
        return json.loads(done.stdout) if done.stdout else None

    def status(self) -> Dict[str, Any]:
        return self._ask(self.gateway_socket, "status")

    def concentrator_status(self) -> Dict[str, Any]:
        return self._ask(self.concentrator_socket, "status")

    def flows(self) -> List[Dict[str, Any]]:
        return self._ask(self.gateway_socket, "flows")

    def uplink(self, name: str) -> Dict[str, Any]:
        return next(u for u in self.status()["uplinks"] if u["name"] == name)
