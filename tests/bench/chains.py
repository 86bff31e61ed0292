"""The chains that the benchmark compares: each a relay on the router and one on the VPS, between a
client that knows nothing of it and the destination, over one MPTCP connection on both uplinks."""

import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from benchlab import ROOT, BenchLab

sys.path.insert(0, str(ROOT / "tests" / "net"))

from bonded import Bonded  # noqa: E402
from netlab import LabError, Process, wait_for  # noqa: E402

PORT = 7171  # where the relay on the VPS listens
LOCAL_PORT = 7170  # where the one on the router does
DESTINATION_PORT = 9000
IPPROTO_MPTCP = 262

TPROXY = """table inet bench {
    chain intercept {
        type filter hook prerouting priority mangle; policy accept;
        iifname "%(lan)s" tcp dport %(port)d tproxy ip to :%(local)d meta mark set 0x62 accept
    }
}"""
REDIRECT = """table inet bench {
    chain intercept {
        type nat hook prerouting priority dstnat; policy accept;
        iifname "%(lan)s" tcp dport %(port)d redirect to :%(local)d
    }
}"""


class Chain:
    """A chain that relies on the kernel's own path manager to use the second uplink."""

    name = ""
    packages: Dict[str, str] = {}  # program: the package it comes in
    interception = TPROXY

    def __init__(self, lab: BenchLab, build: Path) -> None:
        self.lab = lab
        self.build = build
        self.gateway: Optional[Process] = None
        self.concentrator: Optional[Process] = None

    @classmethod
    def missing(cls) -> List[str]:
        """The packages without which it cannot run."""
        return [package for program, package in cls.packages.items() if not shutil.which(program)]

    def start(self) -> None:
        router, second = self.lab.router, self.lab.uplinks[1]
        router.run(["nft", "-f", "-"], input=self.interception % {
            "lan": self.lab.lan_interface, "port": DESTINATION_PORT, "local": LOCAL_PORT})
        router.ip("rule add fwmark 0x62 lookup 98", "route add local default dev lo table 98",
                  f"rule add from {second.address} lookup 99",
                  f"route add default via {second.gateway} dev {second.interface} table 99",
                  family="-4")
        self.lab.pin_congestion(router)
        router.run(["ip", "mptcp", "endpoint", "add", second.address, "dev", second.interface,
                    "subflow"])
        self.lab.vps.run(["ip", "mptcp", "limits", "set", "subflow", "4"])
        self.concentrator = self.start_concentrator()
        self.gateway = self.start_gateway()
        for process, host, port in ((self.concentrator, self.lab.vps, PORT),
                                    (self.gateway, self.lab.router, LOCAL_PORT)):
            self._wait_until_listening(process, host, port)

    def _wait_until_listening(self, process: Process, host: Any, port: int) -> None:
        def listens() -> bool:
            if process.poll() is not None:
                raise LabError(f"{self.name} ended at once:\n{process.output()}")
            return f":{port} " in host.run(["ss", "-tlnH"]).stdout

        wait_for(listens, 10, f"{self.name} to listen")

    def start_gateway(self) -> Process:
        raise NotImplementedError

    def start_concentrator(self) -> Process:
        raise NotImplementedError

    def stop(self) -> None:
        for process in (self.gateway, self.concentrator):
            if process:
                process.end()
        router = self.lab.router
        router.run(["nft", "delete table inet bench"], check=False)
        router.run(["ip", "mptcp", "endpoint", "flush"])
        for table in ("98", "99"):
            router.run(["ip", "rule", "del", "lookup", table], check=False)
            router.run(["ip", "route", "flush", "table", table], check=False)


class MinimalRelay(Chain):
    name = "minimal relay"

    def start_gateway(self) -> Process:
        return self.lab.router.popen([self.build / "tests/bench/bench-relay", "gateway",
                                      LOCAL_PORT, self.lab.vps.address, PORT])

    def start_concentrator(self) -> Process:
        return self.lab.vps.popen([self.build / "tests/bench/bench-relay", "concentrator", PORT,
                                   self.lab.destination.address, DESTINATION_PORT])


# What keeps one gateway from taking a VPS for itself would be all that short connections measure.
NO_LIMITS = """max_dials_per_second = 100000;
max_pending_dials = 10000;
max_unauthenticated = 10000;
max_unauthenticated_per_source = 10000;
"""


class Bondway(Chain):
    encryption = ""

    def start(self) -> None:
        os.environ["BONDWAY"] = str(self.build / "cli/bondway")
        self.bond = Bonded(self.lab, f'encryption = "{self.encryption}";\n', NO_LIMITS,
                            start=False)
        self.concentrator = self.bond.start_concentrator()
        # Not the Bonded one's way, which logs everything.
        self.gateway = self.bond.gateway = self.lab.router.popen(
            [self.bond.program, "gateway", "-c", self.bond.gateway_conf])
        wait_for(self.bond.gateway_socket.exists, 10, "the gateway's control socket")
        self.bond.wait_until_up()
        self.lab.pin_congestion(self.lab.router)

    def stop(self) -> None:
        for process in (self.gateway, self.concentrator):
            if process:
                process.end(15)


class BondwayPlain(Bondway):
    name = "bondway, plain"
    encryption = "never"


class BondwaySealed(Bondway):
    name = "bondway, sealed"
    encryption = "always"


HAPROXY = """global
    maxconn 8000
    nbthread 2
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen relay
"""


class HAProxy(Chain):
    """As transparent as ours: TPROXY, and the destination told by the PROXY protocol. mptcpize
    makes it dial MPTCP; on the VPS it inherits an MPTCP listener instead, so that it dials the
    destination with plain TCP, as we do."""

    name = "HAProxy"
    packages = {"haproxy": "haproxy", "mptcpize": "mptcpize"}

    def _configure(self, side: str, lines: str) -> Path:
        path = self.lab.directory / f"haproxy-{side}.cfg"
        path.write_text(HAPROXY + lines)
        return path

    def start_gateway(self) -> Process:
        path = self._configure("gateway", f"    bind :{LOCAL_PORT} transparent\n"
                               f"    server vps {self.lab.vps.address}:{PORT} send-proxy-v2\n")
        return self.lab.router.popen(["mptcpize", "run", "haproxy", "-db", "-f", path])

    def start_concentrator(self) -> Process:
        with self.lab.vps.socket(protocol=IPPROTO_MPTCP) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("0.0.0.0", PORT))
            listener.listen(1024)
            path = self._configure("vps", f"    bind fd@{listener.fileno()} accept-proxy\n"
                                   "    server any 0.0.0.0\n")
            return self.lab.vps.popen(["haproxy", "-db", "-f", path],
                                      pass_fds=(listener.fileno(),))


class Shadowsocks(Chain):
    """mptcpize makes it dial the destination with MPTCP too, which is what slows its downloads."""

    name = "shadowsocks aes-256-gcm"
    packages = {"ss-redir": "shadowsocks-libev", "mptcpize": "mptcpize"}
    interception = REDIRECT
    options = ["-k", "bench", "-m", "aes-256-gcm", "-t", "3600", "--no-delay"]

    def start_gateway(self) -> Process:
        return self.lab.router.popen(
            ["mptcpize", "run", "ss-redir", "-s", self.lab.vps.address, "-p", PORT,
             "-b", "0.0.0.0", "-l", LOCAL_PORT, *self.options])

    def start_concentrator(self) -> Process:
        return self.lab.vps.popen(
            ["mptcpize", "run", "ss-server", "-s", "0.0.0.0", "-p", PORT, *self.options])


ALL = [MinimalRelay, BondwayPlain, BondwaySealed, HAProxy, Shadowsocks]
