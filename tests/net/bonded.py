"""A lab with bondway in it: gateway on the router, concentrator on the VPS, configured and running.

    with Lab() as lab, Bonded(lab) as bond:
        lab.client.run(["curl", ...])
        bond.status()["uplinks"]

At the end both must stop in order, with exit code 0 and without a word of a sanitizer.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Set

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "netlab"))

from netlab import Host, Lab, Process, Uplink, wait_for  # noqa: E402

PORT = 7171
SPARE_PORT = 7172
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:")


def find_program(fast: bool = False) -> Path:
    """The bondway to test: $BONDWAY, or the one in the build directory. fast: $BONDWAY_FAST, for
    where speed and memory are measured, which a sanitizer would change."""
    path = Path(os.environ.get("BONDWAY", ROOT / "build" / "cli" / "bondway"))
    if fast:
        path = Path(os.environ.get("BONDWAY_FAST", path))
    if not path.is_file():
        raise FileNotFoundError(f"{path}: build it, or set BONDWAY")
    if fast and b"__asan_init" in path.read_bytes():
        raise RuntimeError(f"{path} has a sanitizer in it: set BONDWAY_FAST to one without")
    return path


def same_congestion(program: Path, lab: Lab) -> Dict[str, str]:
    """What the daemons need in their environment so that every subflow has the congestion control of
    the lab: where a namespace may not choose, netlab names it on the routes, and that reaches only
    the first one (tests/bench/congestion.c). A sanitizer does not like to be preloaded before."""
    library = program.parent.parent / "tests/bench/libbench-congestion.so"
    if not library.exists() or b"__asan_init" in program.read_bytes():
        return {}
    return {"LD_PRELOAD": str(library), "BENCH_CONGESTION": lab.congestion}


class Bonded:
    """start=False: only the files are written. gateway and concentrator take further lines of
    configuration, uplinks further keys of single uplinks by name; address6: the gateway reaches the
    concentrator over IPv6; spare: there is a second concentrator on the VPS, with a port and a key of
    its own."""

    def __init__(self, lab: Lab, gateway: str = "", concentrator: str = "", start: bool = True,
                 address6: bool = False, environment: Optional[Dict[str, str]] = None,
                 fast: bool = False, spare: bool = False,
                 uplinks: Optional[Dict[str, str]] = None) -> None:
        self.lab = lab
        self.uplink_keys = uplinks or {}
        self.program = find_program(fast)
        self.environment = {**os.environ, **same_congestion(self.program, lab),
                            **(environment or {})}
        self.directory = lab.directory
        self.gateway_socket = self.directory / "gateway.sock"
        self.concentrator_socket = self.directory / "concentrator.sock"
        self.gateway: Optional[Process] = None
        self.concentrator: Optional[Process] = None
        self.key_file = self.write("home.key", self.new_key())
        self.spare_socket = self.directory / "spare.sock"
        self.spare: Optional[Process] = None
        self.spare_key_file = self.write("spare.key", self.new_key()) if spare else None
        self.address = lab.vps.address6 if address6 else lab.vps.address
        self.configure_gateway(gateway)
        self.configure_concentrator(concentrator)
        if spare:
            self.spare_conf = self.write("spare.conf", self.concentrator_lines(
                SPARE_PORT, self.spare_socket, self.spare_key_file))
        self._start = start

    def __enter__(self) -> "Bonded":
        if self._start:
            self.start_concentrator()
            if self.spare_key_file:
                self.start_spare()
            self.start_gateway()
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        with contextlib.ExitStack() as all_of_them:
            all_of_them.callback(self.stop_concentrator, check=kind is None)
            all_of_them.callback(self.stop_spare, check=kind is None)
            self.stop_gateway(check=kind is None)

    # Files

    def new_key(self) -> str:
        """Without a sanitizer, where there is such a program: its start and end take a tenth of a second,
        for each test."""
        program = os.environ.get("BONDWAY_FAST", self.program)
        return subprocess.run([program, "keygen"], check=True, capture_output=True, text=True).stdout

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def uplink_lines(self) -> str:
        entries = [f'{{ name = "{u.name}"; interface = "{u.interface}"; cost = {10 * i}; '
                   f'{self.uplink_keys.get(u.name, "")} }}'
                   for i, u in enumerate(self.lab.uplinks)]
        return f"uplinks = ({', '.join(entries)});\n"

    def configure_gateway(self, lines: str = "", key_file: Optional[Path] = None) -> None:
        stations = [("vps", PORT, key_file or self.key_file)]
        if self.spare_key_file:
            stations.append(("spare", SPARE_PORT, self.spare_key_file))
        entries = [f'{{ name = "{name}"; address = "{self.address}"; port = {port}; '
                   f'key_file = "{key}"; }}' for name, port, key in stations]
        self.gateway_conf = self.write(
            "gateway.conf",
            f'lan_interfaces = ["{self.lab.lan_interface}"];\n'
            f'control_socket = "{self.gateway_socket}";\n'
            f'concentrators = ({", ".join(entries)});\n' + self.uplink_lines() + lines)

    @staticmethod
    def concentrator_lines(port: int, control: Path, key_file: Path) -> str:
        return (f'listen = ["0.0.0.0:{port}", "[::]:{port}"];\n'
                f'control_socket = "{control}";\n'
                f'gateways = ({{ name = "home"; key_file = "{key_file}"; }});\n')

    def configure_concentrator(self, lines: str = "") -> None:
        self.concentrator_conf = self.write(
            "concentrator.conf",
            self.concentrator_lines(PORT, self.concentrator_socket, self.key_file) + lines)

    # Daemons. wrapper: a command that runs the daemon, as `setpriv` does.

    def launch_concentrator(self, wrapper: Sequence[Any] = ()) -> Process:
        """Without waiting for anything."""
        self.concentrator = self.lab.vps.popen(
            [*wrapper, self.program, "concentrator", "-c", self.concentrator_conf],
            log="concentrator", env=self.environment)
        return self.concentrator

    def launch_gateway(self, wrapper: Sequence[Any] = ()) -> Process:
        self.gateway = self.lab.router.popen(
            [*wrapper, self.program, "gateway", "-c", self.gateway_conf, "--debug"],
            log="gateway", env=self.environment)
        return self.gateway

    def start_concentrator(self, wrapper: Sequence[Any] = ()) -> Process:
        process = self.launch_concentrator(wrapper)
        self._wait_for_start(process, self.concentrator_socket)
        return process

    def take_over_concentrator(self) -> Process:
        """By another one; the one before ends with its last flow."""
        self.concentrator = self.lab.vps.popen(
            [self.program, "concentrator", "-c", self.concentrator_conf, "--take-over"],
            log="heir", env=self.environment)
        wait_for(lambda: "started version=" in self.concentrator.output() or
                 self.concentrator.poll() is not None, 20, "the other one runs")
        assert self.concentrator.poll() is None, self.concentrator.output()
        return self.concentrator

    def start_spare(self) -> Process:
        self.spare = self.lab.vps.popen([self.program, "concentrator", "-c", self.spare_conf],
                                        log="spare", env=self.environment)
        self._wait_for_start(self.spare, self.spare_socket)
        return self.spare

    def start_gateway(self, until_up: bool = True, wrapper: Sequence[Any] = ()) -> Process:
        process = self.launch_gateway(wrapper)
        self._wait_for_start(process, self.gateway_socket)
        self.lab.pin_congestion(self.lab.router)
        if until_up:
            self.wait_until_up()
        return process

    def _wait_for_start(self, process: Process, control: Path) -> None:
        def answers() -> bool:
            assert process.poll() is None, f"it ended at once:\n{process.output()}"
            return control.exists() and self._ask(control, "status") is not None

        wait_for(answers, 20, f"an answer on {control}")

    def wait_until_up(self, deadline: float = 30) -> None:
        wait_for(lambda: self.status()["intercepting"], deadline, "interception")

    def stop_gateway(self, check: bool = True) -> None:
        process, self.gateway = self.gateway, None
        _stop(process, check)

    def stop_concentrator(self, check: bool = True) -> None:
        process, self.concentrator = self.concentrator, None
        _stop(process, check)

    def stop_spare(self, check: bool = True) -> None:
        process, self.spare = self.spare, None
        _stop(process, check)

    def kill_gateway(self) -> None:
        """SIGKILL."""
        process, self.gateway = self.gateway, None
        process.kill()
        process.wait()

    def kill_concentrator(self) -> None:
        process, self.concentrator = self.concentrator, None
        process.kill()
        process.wait()

    def kill_spare(self) -> None:
        process, self.spare = self.spare, None
        process.kill()
        process.wait()

    # What they say

    @staticmethod
    def _ask(path: Path, command: str) -> Any:
        """What `bondway COMMAND --json` prints, without a process for each time that a test looks. None:
        nobody answers."""
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            connection.connect(str(path))
            connection.sendall(command.encode() + b"\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
            return json.loads(answer) if answer else None
        return None

    def status(self) -> Dict[str, Any]:
        return self._ask(self.gateway_socket, "status")

    def concentrator_status(self) -> Dict[str, Any]:
        return self._ask(self.concentrator_socket, "status")

    def flows(self) -> List[Dict[str, Any]]:
        return self._ask(self.gateway_socket, "flows")

    def sessions(self) -> List[Dict[str, Any]]:
        """The concentrator's flows."""
        return self._ask(self.concentrator_socket, "flows")

    def flow(self) -> Dict[str, Any]:
        """The only one there is, or is about to be: a client is connected before the gateway knows."""
        flows = wait_for(self.flows, 5, "a flow")
        assert len(flows) == 1, flows
        return flows[0]

    def uplink(self, name: str) -> Dict[str, Any]:
        return next(u for u in self.status()["uplinks"] if u["name"] == name)

    def station(self, name: str) -> Dict[str, Any]:
        """A concentrator, as the gateway sees it."""
        return next(c for c in self.status()["concentrators"] if c["name"] == name)

    def wait_until_over(self, deadline: float = 30) -> None:
        """No flow is left, on either side."""
        def over() -> bool:
            gateways = self.concentrator_status()["gateways"]
            return (self.status()["flows"]["active"] == 0 and
                    sum(gateway["flows"] for gateway in gateways) == 0)

        wait_for(over, deadline, "an end of all flows")

    def wait_for_log(self, pattern: str, deadline: float = 20) -> re.Match:
        """In the gateway's log."""
        return wait_for(lambda: re.search(pattern, self.gateway.output()), deadline, pattern)

    def wait_for_concentrator_log(self, pattern: str, deadline: float = 20) -> re.Match:
        return wait_for(lambda: re.search(pattern, self.concentrator.output()), deadline, pattern)


def _stop(process: Optional[Process], check: bool) -> None:
    """SIGTERM lets running flows end; a second one does not wait for them."""
    if process is None:
        return
    for patience in (2, 30):
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
    if check:
        output = process.output()
        assert process.poll() == 0 and not SANITIZER.search(output), (
            f"exit code {process.poll()}\n{output}")


# --- What the kernel says ----------------------------------------------------------------------


def kernel_state(host: Host) -> Dict[str, List[str]]:
    """All that a program may have left behind in the namespace."""
    commands = {
        "nft": ["nft", "list", "ruleset"],
        "rules": ["ip", "-4", "rule"], "rules6": ["ip", "-6", "rule"],
        "routes": ["ip", "-4", "route", "show", "table", "all"],
        "routes6": ["ip", "-6", "route", "show", "table", "all"],
        "endpoints": ["ip", "mptcp", "endpoint"], "limits": ["ip", "mptcp", "limits"],
        "sysctls": ["sysctl", "-a", "--ignore", "-r", r"^net\."],
    }
    return {name: sorted(line for line in host.run(command).stdout.splitlines()
                         if not line.startswith("net.netfilter.nf_conntrack_count "))
            for name, command in commands.items()}


def kernel_counter(host: Host, name: str) -> int:
    """One of /proc/net/netstat."""
    lines = [line.split() for line in host.run(["cat", "/proc/net/netstat"]).stdout.splitlines()]
    return next(int(number) for names, numbers in zip(lines[::2], lines[1::2])
                for each, number in zip(names, numbers) if each == name)


def congestion_of_trunks(host: Host) -> Set[str]:
    """The congestion controls of all connections between gateway and concentrator, at this end."""
    shown = host.run(["ss", "-Htin", "state", "established",
                      f"( sport = {PORT} or dport = {PORT} )"]).stdout
    return set(re.findall(r"^\s+(?:\S+ )*?(\w+)(?: wscale:\S+)? rto:", shown, re.M))


def interception(host: Host) -> bool:
    return host.run(["nft", "list", "table", "inet", "bondway"], check=False).returncode == 0


def memory_kib(process: Process) -> int:
    """Resident memory."""
    return _status_of(process, "VmRSS")


def descriptors(process: Process) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def wake_ups(process: Process) -> int:
    """How often it has slept, up to now. (Where others take the processor from it, it does not.)"""
    return _status_of(process, "voluntary_ctxt_switches")


def _status_of(process: Process, field: str) -> int:
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+)", text, re.M)[1])


__all__ = ["Bonded", "Host", "Lab", "PORT", "Process", "Uplink", "congestion_of_trunks",
           "descriptors", "find_program", "interception", "kernel_counter", "kernel_state", "memory_kib", "wait_for", "wake_ups"]
