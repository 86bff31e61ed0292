"""A laboratory of network namespaces: clients, a router with several uplinks, a provider, a VPS
and destinations, joined by emulated links.

    client(s) -- LAN -- router ==uplinks== internet -- vps
                                              |------- destination 1, 2, ...

    with Lab(uplinks=[Uplink("dsl", down=50, up=10, delay=10)]) as lab:
        lab.client.run(["ping", "-c1", lab.vps.address])

Each uplink is a `netlab-link` process (link.c). Everything lives in namespaces of its own, named
bw-<8 hex digits>-<host>, and goes when the lab does: at the end of the `with`, or, however this
process dies, by the hand of a keeper process that holds the other end of a pipe.

Needs root, Linux, iproute2, nft and nsenter; Python 3.9 or later and nothing besides it.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import ipaddress
import json
import os
import re
import secrets
import shutil
import signal
import socket as socket_module
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NETNS = Path("/run/netns")
CLONE_NEWNET = 0x40000000
LAN_DEVICE = "br-lan"
CONGESTION = "net.ipv4.tcp_congestion_control"
NAME = re.compile(r"bw-[0-9a-f]{8}")

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The laboratory cannot do what was asked; the text says why."""


@dataclasses.dataclass
class Uplink:
    """What an uplink shall be. Rates in Mb/s, times in ms one way, loss in percent."""

    name: str  # also its interface on the router
    down: float = 0  # 0: no limit
    up: float = 0
    delay: float = 0
    jitter: float = 0
    loss: float = 0
    queue_ms: float = 100
    ppp: bool = False  # point to point: a /32 with a peer, and no gateway
    ipv6: bool = True
    metric: int = 0  # of its default routes; 0: by order, 10, 20, ...


def wait_for(predicate: Callable[[], Any], deadline: float = 5, what: str = "") -> Any:
    """Returns predicate()'s first true value; raises TimeoutError after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline} s: {what or predicate}")
        time.sleep(0.01)


# --- Namespaces -------------------------------------------------------------------------------


@contextlib.contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """Moves the calling thread into the namespace, and back again."""
    with open("/proc/thread-self/ns/net") as home, open(NETNS / namespace) as away:
        _setns(away.fileno())
        try:
            yield
        finally:
            _setns(home.fileno())


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def enter(namespace: str, command: Sequence[str]) -> List[str]:
    """The command in the namespace. nsenter becomes it, so a pid is the command's own."""
    return ["nsenter", f"--net={NETNS / namespace}", "--", *map(str, command)]


def _ip(lines: Sequence[str], namespace: str = "", *options: str) -> subprocess.Popen:
    """Starts `ip -batch` on the lines; _finish() waits for it."""
    command = ["ip", *(["-n", namespace] if namespace else []), *options, "-batch", "-"]
    process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    process.lines = lines  # type: ignore[attr-defined]
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):  # it has failed: _finish() tells why
        process.stdin.write("\n".join(lines) + "\n")
        process.stdin.close()
    return process


def _finish(*processes: subprocess.Popen) -> None:
    failures = []
    for process in processes:
        assert process.stdout
        output = process.stdout.read()
        process.stdout.close()
        if process.wait() != 0:
            failures.append(f"{' '.join(process.args)}: {output}of\n"  # type: ignore[arg-type]
                            + "\n".join(process.lines))  # type: ignore[attr-defined]
    if failures:
        raise LabError("\n".join(failures))


def _nft(namespace: str, rules: str) -> None:
    done = subprocess.run(enter(namespace, ["nft", "-f", "-"]), input=rules, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise LabError(f"nft: {done.stdout}")


def _namespaces(name: str) -> List[str]:
    return sorted(path.name for path in NETNS.glob(f"{name}-*")) if NETNS.is_dir() else []


def _processes_in(namespaces: Sequence[str]) -> List[int]:
    """The processes that live in these namespaces, by the inode of each one's namespace."""
    wanted = set()
    for namespace in namespaces:
        with contextlib.suppress(OSError):
            info = os.stat(NETNS / namespace)
            wanted.add((info.st_dev, info.st_ino))
    own = os.stat("/proc/self/ns/net")
    wanted.discard((own.st_dev, own.st_ino))
    found = []
    for entry in os.listdir("/proc") if wanted else []:
        if entry.isdigit():
            with contextlib.suppress(OSError):
                info = os.stat(f"/proc/{entry}/ns/net")
                if (info.st_dev, info.st_ino) in wanted:
                    found.append(int(entry))
    return found


def _directory_of(name: str) -> Path:
    return Path(tempfile.gettempdir()) / name


def _tear_down(name: str) -> None:
    """Ends whatever lives in the lab's namespaces, and removes these and its directory.

    It needs nothing but the name, so that it works on a lab in any state."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        namespaces = _namespaces(name)
        pids = _processes_in(namespaces)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            break
        time.sleep(0.005)
    if namespaces:
        subprocess.run(["ip", "-force", "-batch", "-"], text=True, stderr=subprocess.DEVNULL,
                       input="".join(f"netns del {each}\n" for each in namespaces))
    shutil.rmtree(_directory_of(name), ignore_errors=True)
    if _namespaces(name):
        raise LabError(f"cannot remove {', '.join(_namespaces(name))}")


def _keep(name: str) -> None:
    """The keeper: tears the lab down when its owner is gone without a word."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.read(0, 1):
        return  # the owner has seen to it
    # A command that the owner had begun may still be adding to the lab: look again.
    quiet = 0
    while quiet < 3:
        quiet = 0 if _namespaces(name) or _directory_of(name).exists() else quiet + 1
        _tear_down(name)
        time.sleep(0.1)


# --- Hosts ------------------------------------------------------------------------------------


class Process(subprocess.Popen):
    """A process in the lab, whose output goes to `log`."""

    log: Path

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self, patience: float = 5) -> int:
        """SIGTERM, and SIGKILL if that does not help. Returns its exit code."""
        if self.poll() is None:
            self.terminate()
            try:
                self.wait(patience)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.wait()


class Host:
    """A namespace of the lab. `address` and `address6` are where others reach it."""

    def __init__(self, lab: "Lab", name: str, address: str = "", address6: str = "") -> None:
        self.lab = lab
        self.name = name
        self.namespace = f"{lab.name}-{name}"
        self.address = address
        self.address6 = address6

    def run(self, command: Sequence[Any], check: bool = True, timeout: float = 60,
            **options: Any) -> subprocess.CompletedProcess:
        """Runs the command to its end and returns it with its output, as text."""
        if "stdout" not in options:
            options.setdefault("capture_output", True)
        options.setdefault("text", True)
        done = subprocess.run(enter(self.namespace, command), timeout=timeout, **options)
        if check and done.returncode != 0:
            raise LabError(f"{self.name}: {' '.join(map(str, command))}: "
                           f"exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def popen(self, command: Sequence[Any], log: str = "", **options: Any) -> Process:
        """Starts the command. Its output goes to a file of its own, Process.log, unless
        `stdout` or `stderr` say otherwise. The lab ends it when it goes."""
        path = self.lab.new_log(f"{self.name}-{log or Path(str(command[0])).name}")
        options.setdefault("stdin", subprocess.DEVNULL)
        with open(path, "wb") as file:
            options.setdefault("stdout", file)
            options.setdefault("stderr", subprocess.STDOUT
                               if options["stdout"] is file else file)
            process = Process(enter(self.namespace, command), **options)
        process.log = path
        self.lab.adopt(process)
        return process

    def socket(self, family: int = socket_module.AF_INET,
               kind: int = socket_module.SOCK_STREAM, protocol: int = 0) -> socket_module.socket:
        """A socket of this process that lives in the namespace."""
        with _inside(self.namespace):
            return socket_module.socket(family, kind, protocol)

    def inside(self) -> contextlib.AbstractContextManager:
        """`with host.inside():` the calling thread is in the namespace."""
        return _inside(self.namespace)

    def ip(self, *lines: str, family: str = "") -> None:
        """Runs lines of `ip -batch`; family: "-4" or "-6" where a line does not tell."""
        _finish(_ip(lines, self.namespace, *filter(None, [family])))

    def sysctl(self, key: str, value: Union[str, int]) -> None:
        _write_sysctls(self.namespace, {key: value})


# --- Links ------------------------------------------------------------------------------------


class Link:
    """A running netlab-link, spoken to over its control socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def command(self, line: str) -> str:
        with socket_module.socket(socket_module.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self._path))
            connection.sendall(line.encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                chunk = connection.recv(4096)
                if not chunk:
                    raise LabError(f"netlab-link gave no answer to: {line}")
                answer += chunk
        text = answer.decode().strip()
        if text.startswith("error"):
            raise LabError(f"netlab-link: {text} (asked: {line})")
        return text

    def set(self, **settings: Any) -> None:
        """rate (Mb/s), delay, jitter, queue_ms (ms), queue_bytes, loss (percent), strip_mptcp;
        each for both directions, or with _up or _down for one. Takes effect at once."""
        words: Dict[str, List[str]] = {"up": [], "down": []}
        for key, value in settings.items():
            base, _, direction = key.rpartition("_")
            if direction not in words:
                base, direction = key, ""
            if base not in _SETTINGS:
                raise LabError(f"no such setting: {key} (there are: {', '.join(_SETTINGS)}, "
                               "each alone or with _up or _down)")
            for each in [direction] if direction else words:
                words[each].append(_SETTINGS[base](value))
        for direction, parts in words.items():
            if parts:
                self.command(f"set {direction} {' '.join(parts)}")

    def drop(self, direction: Optional[str]) -> None:
        """Loses everything in silence: "up", "down" or "both"; None heals."""
        if direction not in ("up", "down", "both", None):
            raise LabError("drop is one of up, down, both, None")
        for each in ("up", "down"):
            self.command(f"set {each} drop={'on' if direction in (each, 'both') else 'off'}")

    def carrier(self, on: bool) -> None:
        """Pulls the cable out of the router, or puts it back."""
        self.command(f"carrier {'on' if on else 'off'}")

    def seed(self, number: int) -> None:
        """Which packets are lost from here on, by their number, is drawn from this one."""
        self.command(f"seed {number}")

    def stats(self) -> Dict[str, Any]:
        """Settings and counters of both directions, as netlab-link prints them."""
        return json.loads(self.command("stats"))


_SETTINGS: Dict[str, Callable[[Any], str]] = {
    "rate": lambda mbps: f"rate={round(float(mbps) * 1e6)}",
    "delay": lambda ms: f"delay={float(ms):.6f}ms",
    "jitter": lambda ms: f"jitter={float(ms):.6f}ms",
    "loss": lambda percent: f"loss={float(percent):.6f}",
    "queue_ms": lambda ms: f"queue={float(ms):.6f}ms",
    "queue_bytes": lambda count: f"queue={int(count)}B",
    "strip_mptcp": lambda on: f"mptcp={'strip' if on else 'pass'}",
}


class LabUplink(Link):
    """An uplink of a running lab."""

    def __init__(self, lab: "Lab", spec: Uplink, number: int) -> None:
        super().__init__(lab.directory / f"{spec.name}.link")
        self.lab = lab
        self.spec = spec
        self.number = number
        self.name = self.interface = spec.name
        self.far_interface = f"up-{spec.name}"
        self.metric = spec.metric or number * 10
        self.address: Optional[str] = f"21.0.{number}.2"
        self.prefix_length = 24
        self.gateway = f"21.0.{number}.1"  # the peer, where it is point to point
        self.address6: Optional[str] = f"2600:21:0:{number}::2" if spec.ipv6 else None
        self.gateway6 = f"2600:21:0:{number}::1"

    @property
    def command_line(self) -> List[str]:
        lab = self.lab
        return [*(["--tun"] if self.spec.ppp else []), str(self._path),
                f"{lab.router.namespace}:{self.interface}",
                f"{lab.internet.namespace}:{self.far_interface}"]

    def shape(self) -> None:
        spec = self.spec
        self.set(rate_down=spec.down, rate_up=spec.up, delay=spec.delay, jitter=spec.jitter,
                 loss=spec.loss, queue_ms=spec.queue_ms)

    def _mac(self, side: int) -> str:
        return f"02:62:77:00:{self.number:02x}:{side:02x}"

    def _far_address(self, length: int) -> List[str]:
        """What the far end must have to reach `address`."""
        if self.spec.ppp:
            return [f"addr add {self.gateway}/32 peer {self.address} dev {self.far_interface}"]
        return [f"addr add {self.gateway}/{length} dev {self.far_interface}",
                # Silence beyond the modem does not silence the modem: it still answers ARP.
                f"neigh replace {self.address} lladdr {self._mac(2)} dev {self.far_interface}"]

    def _near_address(self, length: int) -> List[str]:
        """As netifd leaves an interface: its address, and a default route with a metric."""
        device = f"dev {self.interface}"
        if self.spec.ppp:
            return [f"addr add {self.address}/32 peer {self.gateway} {device}",
                    f"route add default {device} proto static metric {self.metric}"]
        return [f"addr add {self.address}/{length} {device}",
                f"neigh replace {self.gateway} lladdr {self._mac(1)} {device}",
                f"route add default via {self.gateway} {device} proto static "
                f"metric {self.metric}"]

    def far_lines(self) -> List[str]:
        device = f"dev {self.far_interface}"
        lines = [f"link set {self.far_interface} up"]
        if not self.spec.ppp:
            lines.insert(0, f"link set {self.far_interface} address {self._mac(1)}")
        lines += self._far_address(self.prefix_length)
        if self.address6:
            lines.append(f"addr add {self.gateway6}/64 {device} nodad")
            if not self.spec.ppp:
                lines.append(f"neigh replace {self.address6} lladdr {self._mac(2)} {device}")
        return lines

    def near_lines(self) -> List[str]:
        device = f"dev {self.interface}"
        lines = [f"link set {self.interface} up"]
        if not self.spec.ppp:
            lines.insert(0, f"link set {self.interface} address {self._mac(2)}")
        lines += self._near_address(self.prefix_length)
        if self.address6:
            via = "" if self.spec.ppp else f"via {self.gateway6} "
            lines.append(f"addr add {self.address6}/64 {device} nodad")
            if not self.spec.ppp:
                lines.append(f"neigh replace {self.gateway6} lladdr {self._mac(1)} {device}")
            lines.append(f"route add ::/0 {via}{device} proto static "
                         f"metric {self.metric}")
        return lines

    def set_address(self, address: Optional[str]) -> None:
        """Gives the router another IPv4 address here, as a provider does: "21.0.1.77",
        "21.0.99.2/24" (whose first host becomes the gateway), or None for none at all."""
        self.lab.router.ip(f"addr flush dev {self.interface}", family="-4")
        self.lab.internet.ip(f"addr flush dev {self.far_interface}", family="-4")
        self.address = None
        if address is not None:
            plain, _, length = address.partition("/")
            if length and not self.spec.ppp:
                self.prefix_length = int(length)
                network = ipaddress.ip_network(address, strict=False)
                self.gateway = str(next(network.hosts()))
            self.address = plain
            self.lab.internet.ip(*self._far_address(self.prefix_length))
            self.lab.router.ip(*self._near_address(self.prefix_length))
            self.lab.pin_congestion(self.lab.router, self.lab.internet)
        self.lab.save()


# --- The laboratory ---------------------------------------------------------------------------


def _write_sysctls(namespace: str, values: Dict[str, Union[str, int]]) -> None:
    with _inside(namespace):
        for key, value in values.items():
            Path("/proc/sys", key.replace(".", "/")).write_text(str(value))


def _read_sysctl(namespace: str, key: str) -> str:
    with _inside(namespace):
        return Path("/proc/sys", key.replace(".", "/")).read_text().strip()


def _name_congestion(routes: str, congestion: str) -> List[str]:
    """The lines of `ip -details route show` that can carry TCP to another host, as commands
    that add the congestion control to each."""
    lines = []
    for line in routes.splitlines():
        if line.startswith("unicast ") and " congctl " not in line and "fe80::" not in line:
            line = re.sub(r" (linkdown|dead|onlink|pref medium)(?= |$)", "", line).strip()
            lines.append(f"route replace {line} congctl {congestion}")
    return lines


def demo_uplinks() -> List[Uplink]:
    """A DSL line and an LTE stick, as the demo has them."""
    return [Uplink("dsl", down=50, up=10, delay=10, queue_ms=100),
            Uplink("lte", down=60, up=20, delay=30, queue_ms=200)]


class Lab:
    """Clients, router, uplinks, VPS and destinations. Use it in a `with`, or up() and down().

    destinations: for each host, the extra delay (ms one way) that it is away from the internet.
    congestion: the congestion control that every namespace uses.
    """

    def __init__(self, uplinks: Optional[Sequence[Uplink]] = None, clients: int = 1,
                 destinations: Sequence[float] = (0, 0), congestion: str = "cubic",
                 buffer_max: int = 16 << 20, name: str = "") -> None:
        self.name = name or f"bw-{secrets.token_hex(4)}"
        self.directory = _directory_of(self.name)
        self._specs = list(demo_uplinks() if uplinks is None else uplinks)
        self._destination_delays = list(destinations)
        self.congestion = congestion
        self._buffer_max = buffer_max
        self._processes: List[subprocess.Popen] = []
        self._logs = 0
        self._keeper: Optional[subprocess.Popen] = None

        self.clients = [Host(self, "client" if i == 0 else f"client{i + 1}",
                             f"192.168.77.{10 + i}", f"fd00:77::{10 + i}")
                        for i in range(clients)]
        self.client = self.clients[0]
        self.router = Host(self, "router", "192.168.77.1", "fd00:77::1")
        self.internet = Host(self, "internet", "11.0.0.1", "2600:11::1")
        self.vps = Host(self, "vps", "11.0.0.2", "2600:11::2")
        self.destinations = [Host(self, f"dst{i}", f"12.0.{i}.2", f"2600:12:0:{i}::2")
                             for i in range(1, len(self._destination_delays) + 1)]
        self.uplinks = [LabUplink(self, spec, i + 1) for i, spec in enumerate(self._specs)]
        self.lan_interface = LAN_DEVICE
        self._check()

    def _check(self) -> None:
        names = [spec.name for spec in self._specs]
        for name in names:
            if not re.fullmatch(r"[a-z][a-z0-9-]{0,11}", name) or name in ("lo", LAN_DEVICE):
                raise LabError(f"not a name for an uplink: {name!r}")
        if len(set(names)) != len(names):
            raise LabError("two uplinks have the same name")
        if not NAME.fullmatch(self.name):
            raise LabError(f"not a name for a lab: {self.name}")

    @property
    def hosts(self) -> List[Host]:
        return [*self.clients, self.router, self.internet, self.vps, *self.destinations]

    def host(self, name: str) -> Host:
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"no host {name} (there are: {', '.join(h.name for h in self.hosts)})")

    def uplink(self, name: str) -> LabUplink:
        for uplink in self.uplinks:
            if uplink.name == name:
                return uplink
        raise LabError(f"no uplink {name} "
                       f"(there are: {', '.join(u.name for u in self.uplinks)})")

    def __enter__(self) -> "Lab":
        return self.up()

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is not None:
            self._show_logs()
        self.down()

    # Raising

    def up(self) -> "Lab":
        if os.geteuid() != 0:
            raise LabError("network namespaces need root")
        self.directory.mkdir(mode=0o700)
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(HERE / "netlab.py"), "--keep", self.name],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            self._raise()
        except BaseException:
            self._show_logs()
            self.down()
            raise
        return self

    def leave(self) -> None:
        """Lets the lab outlive this process. Lab.attach(name).down() ends it."""
        self._dismiss_keeper()
        self._processes.clear()

    def _raise(self) -> None:
        _finish(_ip([f"netns add {host.namespace}" for host in self.hosts]))
        for host in self.hosts:
            _write_sysctls(host.namespace, self._sysctls(host))
            # Refused with EPERM: pin_congestion() will see to it.
            with contextlib.suppress(PermissionError):
                _write_sysctls(host.namespace, {CONGESTION: self.congestion})
        self._start_links()
        _finish(_ip(self._veth_lines()))
        _finish(*[_ip(self._lines_for(host), host.namespace) for host in self.hosts])
        _nft(self.router.namespace, self._masquerade())
        _nft(self.internet.namespace, _INGRESS_FILTER)
        for uplink in self.uplinks:
            uplink.shape()
        self.pin_congestion()
        self.save()

    def pin_congestion(self, *hosts: Host) -> None:
        """Where the kernel keeps the congestion control that was asked for to the host's own
        namespace (tcp_allowed_congestion_control), routes name it instead. Routes that others
        add later, such as a daemon's own tables, need this call again; else it does nothing."""
        for host in hosts or self.hosts:
            if _read_sysctl(host.namespace, CONGESTION) != self.congestion:
                for family in ("-4", "-6"):
                    shown = host.run(["ip", family, "-details", "route", "show", "table", "all"])
                    host.ip(*_name_congestion(shown.stdout, self.congestion), family=family)

    def _sysctls(self, host: Host) -> Dict[str, Union[str, int]]:
        values: Dict[str, Union[str, int]] = {
            "net.ipv4.tcp_rmem": f"4096 131072 {self._buffer_max}",
            "net.ipv4.tcp_wmem": f"4096 65536 {self._buffer_max}",
        }
        forwards = int(host in (self.router, self.internet))
        # As on OpenWrt. With 1, netfilter handles bridged packets before the bridge has delivered
        # them, and the socket that TPROXY gave them is lost on the way up.
        for key in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
            if Path("/proc/sys/net/bridge", key).exists():
                values[f"net.bridge.{key}"] = 0
        for scope in ("all", "default"):
            values[f"net.ipv6.conf.{scope}.accept_dad"] = 0
            values[f"net.ipv6.conf.{scope}.accept_ra"] = 0
            # Loose on the router, as several uplinks need it.
            values[f"net.ipv4.conf.{scope}.rp_filter"] = 2 if host is self.router else 0
            if forwards:
                values[f"net.ipv4.conf.{scope}.forwarding"] = 1
                values[f"net.ipv6.conf.{scope}.forwarding"] = 1
        return values

    def _delayed(self) -> List[Tuple[Host, float]]:
        return [(host, delay) for host, delay in
                zip(self.destinations, self._destination_delays) if delay]

    def _start_links(self) -> None:
        commands = [uplink.command_line for uplink in self.uplinks]
        for host, _ in self._delayed():
            commands.append([str(self.directory / f"{host.name}.link"),
                             f"{host.namespace}:eth0", f"{self.internet.namespace}:{host.name}"])
        program = str(find_link_program(self.directory)) if commands else ""
        links = []
        for command in commands:
            with open(self.new_log("netlab-link"), "wb") as log:
                links.append(subprocess.Popen([program, *command], stdin=subprocess.DEVNULL,
                                              stdout=subprocess.PIPE, stderr=log,
                                              start_new_session=True))
            self.adopt(links[-1])
        for link in links:
            assert link.stdout
            with link.stdout:
                if link.stdout.readline() != b"ready\n":
                    raise LabError(f"{' '.join(link.args)} failed")  # type: ignore[arg-type]
        for host, delay in self._delayed():
            Link(self.directory / f"{host.name}.link").set(delay=delay)

    def _veth_lines(self) -> List[str]:
        def pair(near: Host, near_device: str, far: Host, far_device: str) -> str:
            # Made in place: it never shows in the namespace that we are in.
            return (f"link add {near_device} netns {near.namespace} type veth "
                    f"peer name {far_device} netns {far.namespace}")

        delayed = [host for host, _ in self._delayed()]
        lines = [pair(client, "eth0", self.router, f"lan{i + 1}")
                 for i, client in enumerate(self.clients)]
        lines.append(pair(self.vps, "eth0", self.internet, "vps"))
        lines += [pair(host, "eth0", self.internet, host.name)
                  for host in self.destinations if host not in delayed]
        return lines

    def _lines_for(self, host: Host) -> List[str]:
        if host is self.router:
            return self._router_lines()
        if host is self.internet:
            return self._internet_lines()
        length = 24
        gateway = str(next(ipaddress.ip_network(f"{host.address}/{length}", False).hosts()))
        network6 = ipaddress.ip_network(f"{host.address6}/64", False)
        return ["link set lo up", "link set eth0 up",
                f"addr add {host.address}/{length} dev eth0",
                f"addr add {host.address6}/64 dev eth0 nodad",
                f"route add default via {gateway}",
                f"route add default via {network6[1]}"]

    def _router_lines(self) -> List[str]:
        lines = ["link set lo up", f"link add {LAN_DEVICE} type bridge forward_delay 0",
                 f"link set {LAN_DEVICE} up"]
        for i in range(len(self.clients)):
            lines += [f"link set lan{i + 1} master {LAN_DEVICE}", f"link set lan{i + 1} up"]
        lines += [f"addr add {self.router.address}/24 dev {LAN_DEVICE}",
                  f"addr add {self.router.address6}/64 dev {LAN_DEVICE} nodad"]
        for uplink in self.uplinks:
            lines += uplink.near_lines()
        return lines

    def _internet_lines(self) -> List[str]:
        lines = ["link set lo up"]
        for host in [self.vps, *self.destinations]:
            network = ipaddress.ip_network(f"{host.address}/24", False)
            network6 = ipaddress.ip_network(f"{host.address6}/64", False)
            lines += [f"link set {host.name} up",
                      f"addr add {network[1]}/24 dev {host.name}",
                      f"addr add {network6[1]}/64 dev {host.name} nodad"]
        for uplink in self.uplinks:
            lines += uplink.far_lines()
        return lines

    def _masquerade(self) -> str:
        """Traffic of the LAN that nobody relays leaves as a home router's would."""
        uplinks = ", ".join(f'"{uplink.interface}"' for uplink in self.uplinks)
        if not uplinks:
            return ""
        return f"""table inet netlab {{
            chain srcnat {{
                type nat hook postrouting priority srcnat; policy accept;
                oifname {{ {uplinks} }} ip saddr 192.168.77.0/24 masquerade
                oifname {{ {uplinks} }} ip6 saddr fd00:77::/64 masquerade
            }}
        }}"""

    # Keeping and ending

    def new_log(self, label: str) -> Path:
        """A path for another log file in the lab's directory."""
        self._logs += 1
        return self.directory / f"{self._logs:02}-{label}.log"

    def adopt(self, process: subprocess.Popen) -> None:
        """The lab ends this process when it goes."""
        self._processes.append(process)

    def _show_logs(self) -> None:
        for path in sorted(self.directory.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()
            if lines:
                print(f"--- {path.name}", *lines[-20:], sep="\n", file=sys.stderr)

    def down(self) -> None:
        """Ends what was started, last first, and removes everything. Calling it again is fine."""
        if not (self._keeper or self.directory.exists() or _namespaces(self.name)):
            return
        while self._processes:
            process = self._processes.pop()
            if isinstance(process, Process):
                process.end()
            else:
                process.kill()
                process.wait()
        _tear_down(self.name)
        self._dismiss_keeper()

    def _dismiss_keeper(self) -> None:
        if self._keeper is None:
            return
        keeper, self._keeper = self._keeper, None
        assert keeper.stdin
        with contextlib.suppress(BrokenPipeError), keeper.stdin:
            keeper.stdin.write(b".")
        keeper.wait()

    # What another process needs to find it again

    def save(self) -> None:
        state = {
            "uplinks": [dataclasses.asdict(spec) for spec in self._specs],
            "addresses": [[u.address, u.prefix_length, u.gateway] for u in self.uplinks],
            "clients": len(self.clients),
            "destinations": self._destination_delays,
            "congestion": self.congestion,
        }
        path = self.directory / "state.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(state))
        new.replace(path)

    @classmethod
    def attach(cls, name: str) -> "Lab":
        """The running lab of that name, whoever raised it."""
        try:
            state = json.loads((_directory_of(name) / "state.json").read_text())
        except FileNotFoundError:
            raise LabError(f"no lab {name}") from None
        lab = cls([Uplink(**spec) for spec in state["uplinks"]], state["clients"],
                  state["destinations"], state["congestion"], name=name)
        for uplink, kept in zip(lab.uplinks, state["addresses"]):
            uplink.address, uplink.prefix_length, uplink.gateway = kept
        return lab


# A provider lets nobody send from an address that it would not route back the same way.
_INGRESS_FILTER = """table inet netlab {
    chain ingress {
        type filter hook prerouting priority raw; policy accept;
        iifname "up-*" ip6 saddr fe80::/10 accept
        iifname "up-*" fib saddr . iif oif missing counter drop
    }
}"""


def running_labs() -> List[str]:
    """The names of the labs that are up, ours or not."""
    found = set()
    if NETNS.is_dir():
        for path in NETNS.iterdir():
            match = NAME.match(path.name)
            if match and path.name[match.end():].startswith("-"):
                found.add(match.group())
    return sorted(found)


def find_link_program(build_directory: Path) -> Path:
    """The compiled emulator: $NETLAB_LINK, or the build tree's, or one compiled here and now."""
    given = os.environ.get("NETLAB_LINK")
    if given:
        return Path(given)
    built = ROOT / "build/tests/netlab/netlab-link"
    if os.access(built, os.X_OK):
        return built
    program = build_directory / "netlab-link"
    sources = [str(HERE / f"{name}.c") for name in ("link", "lane", "control", "strip")]
    done = subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE", "-O2",
                           f"-I{ROOT}", "-o", str(program), *sources],
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise LabError(f"cannot compile netlab-link: {done.stdout}")
    return program


if __name__ == "__main__" and sys.argv[1:2] == ["--keep"]:
    _keep(sys.argv[2])
