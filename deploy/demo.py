"""Shows bondway at work: a home with two uplinks, a VPS and a server on the internet, all in network
namespaces of this machine; real programs over the kernel's own Multipath TCP. Only the wires are
emulated. Exits 1 when something is not as bondway promises."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "net"), str(ROOT / "tests" / "netlab")]

from bonded import Bonded, find_program  # noqa: E402
from netlab import Lab, LabError, LabUplink, wait_for  # noqa: E402

SEALED_PORT, PLAIN_PORT = 5201, 5202
# Otherwise encryption is "auto", which seals all that is not TLS.
RULES = f'rules = ({{ name = "plain"; ports = [{PLAIN_PORT}]; encryption = "never"; }});\n'
PROMISED = 96  # percent of the uplinks' sum
MB = 1_000_000


# --- Words on the screen --------------------------------------------------------------------------


class Screen:
    """What a person sees, and what of it was not as promised."""

    def __init__(self) -> None:
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        self.kept = self.broken = 0

    def paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colours else text

    def say(self, text: str = "", end: str = "\n") -> None:
        print(text, end=end, flush=True)

    def title(self, text: str) -> None:
        self.say(f"\n{self.paint('1', text)}")

    def promise(self, kept: bool, text: str) -> None:
        word = self.paint("32", "ok   ") if kept else self.paint("1;31", "WRONG")
        self.say(f"  {word}  {text}")
        if kept:
            self.kept += 1
        else:
            self.broken += 1

    def conclude(self, seconds: float) -> None:
        verdict = (f"All {self.kept} promises kept" if not self.broken else
                   f"{self.broken} of {self.kept + self.broken} promises NOT KEPT: see WRONG above")
        self.say(f"\n{self.paint('1', verdict)}, in {seconds:.0f} s.")

    def session(self, prompt: str, command: str, output: str) -> None:
        """A command as typed, and what it printed."""
        self.say(f"\n  {self.paint('36', prompt)} {self.paint('1', command)}")
        for line in output.rstrip().splitlines():
            self.say(f"  {line}".rstrip())

    def bars(self, values: Sequence[float], top: float) -> str:
        levels = " ▁▂▃▄▅▆▇█" if self._unicode else " .,:;ox#@"
        return "".join(levels[min(8, round(8 * value / top))] for value in values)


# --- Servers and clients --------------------------------------------------------------------------


def listening(host: Any, port: int) -> bool:
    return bool(host.run(["ss", "-Hltn", f"sport = :{port}"]).stdout)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Server:
    """The destination on the internet: nginx (HTTP and HTTPS) and sshd, with keys made for the
    occasion."""

    def __init__(self, lab: Lab) -> None:
        self.host = lab.destinations[0]
        self.directory = lab.directory
        self.digests: Dict[str, str] = {}
        (self.directory / "www").mkdir()
        self._start_nginx()
        self._start_sshd()

    def file(self, name: str, megabytes: int) -> None:
        """Random bytes to fetch."""
        data = os.urandom(megabytes * MB)
        (self.directory / "www" / name).write_bytes(data)
        self.digests[name] = digest_of(data)

    def url(self, name: str, scheme: str = "http", v6: bool = False) -> str:
        address = f"[{self.host.address6}]" if v6 else self.host.address
        return f"{scheme}://{address}/{name}"

    @property
    def certificate(self) -> Path:
        return self.directory / "server.pem"

    def _start_nginx(self) -> None:
        key = self.directory / "server.key"
        self.host.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                       "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2", "-subj",
                       "/CN=demo", "-addext", f"subjectAltName=IP:{self.host.address}",
                       "-keyout", key, "-out", self.certificate])
        config = self.directory / "nginx.conf"
        paths = "\n".join(f"{kind}_temp_path {self.directory}/nginx-{kind};"
                          for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config.write_text(f"""
            daemon off; user root; worker_processes 1; pid {self.directory}/nginx.pid;
            error_log stderr;
            events {{ }}
            http {{
                access_log off; {paths}
                server {{
                    listen 80; listen [::]:80; listen 443 ssl; listen [::]:443 ssl;
                    ssl_certificate {self.certificate}; ssl_certificate_key {key};
                    root {self.directory}/www;
                }}
            }}""")
        self.host.popen(["nginx", "-e", "stderr", "-c", config])
        wait_for(lambda: listening(self.host, 443), 10, "nginx listens")

    def _start_sshd(self) -> None:
        for name in ("ssh_host", "ssh_user"):
            self.host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f",
                           self.directory / name])
        public = (self.directory / "ssh_host.pub").read_text()
        (self.directory / "known_hosts").write_text(f"{self.host.address} {public}")
        options = {"HostKey": self.directory / "ssh_host",
                   "AuthorizedKeysFile": self.directory / "ssh_user.pub", "StrictModes": "no",
                   "PermitRootLogin": "prohibit-password", "PasswordAuthentication": "no",
                   "UsePAM": "yes" if root_is_locked() else "no", "PidFile": "none",
                   "PrintMotd": "no", "PrintLastLog": "no"}
        # sshd wants a directory /run/sshd: it gets one that nobody else sees.
        start = 'mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec /usr/sbin/sshd "$@"'
        self.host.popen(["unshare", "--mount", "sh", "-c", start, "sshd", "-D", "-e", "-f",
                         "/dev/null", *[word for name, value in options.items()
                                        for word in ("-o", f"{name}={value}")]], log="sshd")
        wait_for(lambda: listening(self.host, 22), 10, "sshd listens")

    def ssh(self, *command: str) -> List[str]:
        """The client's command line."""
        return ["ssh", "-F", "none", "-i", str(self.directory / "ssh_user"),
                "-o", f"UserKnownHostsFile={self.directory}/known_hosts",
                "-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes",
                "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
                f"root@{self.host.address}", *command]


def root_is_locked() -> bool:
    """A locked root logs in by key only where PAM has the last word."""
    with contextlib.suppress(OSError), open("/etc/shadow") as shadow:
        return any(line.startswith("root:!") for line in shadow)
    return False


class Download(threading.Thread):
    """curl on the client, watched: when how many bytes came, and which."""

    def __init__(self, lab: Lab, url: str, *options: object) -> None:
        super().__init__(daemon=True)
        self._process = lab.client.popen(["curl", "-sSf", "--max-time", "60", *options, url],
                                         stdout=subprocess.PIPE)
        self._hash = hashlib.sha256()
        self.begin = time.monotonic()
        self.samples: List[Tuple[float, int]] = []  # seconds since the begin, bytes
        self.size = 0
        self.start()

    def run(self) -> None:
        assert self._process.stdout
        while data := os.read(self._process.stdout.fileno(), 1 << 16):
            self._hash.update(data)
            self.size += len(data)
            self.samples.append((self.now(), len(data)))

    def now(self) -> float:
        return time.monotonic() - self.begin

    def wait_for(self, size: int) -> None:
        """Until so many bytes have come, or no more will."""
        wait_for(lambda: self.size >= size or not self.is_alive(), 60, f"{size} bytes")

    def finish(self) -> str:
        """Its checksum."""
        self.join(70)
        code = self._process.wait(5)
        return self._hash.hexdigest() if code == 0 else f"curl failed: {self._process.output()}"

    @property
    def mbps(self) -> float:
        return self.size * 8 / self.samples[-1][0] / 1e6 if self.samples else 0

    @property
    def longest_pause(self) -> float:
        times = [when for when, _ in self.samples]
        return max((b - a for a, b in zip(times, times[1:])), default=0)

    def rates(self, step: float) -> List[float]:
        """Mb/s in each `step` seconds."""
        bins = [0.0] * (int(self.samples[-1][0] / step) + 1 if self.samples else 1)
        for when, count in self.samples:
            bins[int(when / step)] += count * 8 / 1e6 / step
        return bins


# --- The demo -------------------------------------------------------------------------------------


class Demo:
    def __init__(self, lab: Lab, screen: Screen, seconds: int) -> None:
        self.lab = lab
        self.screen = screen
        self.seconds = seconds  # of each measurement, after the first two
        self.server = Server(lab)
        self.bond: Bonded = Bonded(lab, gateway=RULES, start=False)

    # Speed

    def measure(self, port: int, upload: bool,
                meanwhile: Callable[[], Any] = lambda: None) -> float:
        """Mb/s of one TCP connection from or to the client, as the receiver sees them."""
        host = self.server.host
        server = host.popen(["iperf3", "-s", "-1", "-J", "-p", port])
        wait_for(lambda: listening(host, port), 10, "iperf3 listens")
        client = self.lab.client.popen(
            ["iperf3", "-J", "-c", host.address, "-p", port, "-t", self.seconds + 2,
             *([] if upload else ["-R"])])
        meanwhile()
        client.wait(self.seconds + 30)
        server.wait(20)
        report = json.loads((server if upload else client).output())
        if "error" in report:
            raise LabError(f"iperf3: {report['error']}")
        steady = [each["sum"] for each in report["intervals"]
                  if each["sum"]["start"] > 1.9 and each["sum"]["seconds"] > 0.9]
        steady = steady[:self.seconds]
        return (sum(each["bytes"] for each in steady) * 8 / 1e6
                / sum(each["seconds"] for each in steady))

    @contextlib.contextmanager
    def default_route_by(self, uplink: LabUplink) -> Iterator[None]:
        """As a router does that uses one uplink and keeps the other for a rainy day."""
        route = f"default via {uplink.gateway} dev {uplink.interface} metric 1"
        self.lab.router.ip(f"route add {route}")
        self.lab.pin_congestion(self.lab.router)
        try:
            yield
        finally:
            self.lab.router.ip(f"route del {route}")

    def show_speed(self) -> None:
        say = self.screen.say
        self.screen.title("One TCP connection of a client, in Mb/s")
        say(f"  {'':<28}{'download':>10}{'upload':>17}")
        alone = [0.0, 0.0]
        for uplink in self.lab.uplinks:
            say(f"  {uplink.name + ' alone, without bondway':<28}", end="")
            with self.default_route_by(uplink):
                for i, upload in enumerate((False, True)):
                    rate = self.measure(SEALED_PORT, upload)
                    alone[i] += rate
                    say(f"{rate:>{(10, 17)[i]}.1f}", end="")
            say()
        say(f"  {'the sum':<28}{alone[0]:>10.1f}{alone[1]:>17.1f}")
        self.start_bond()
        worst = min(percent for label, port in (("bonded, sealed", SEALED_PORT),
                                                ("bonded, plain", PLAIN_PORT))
                    for percent in self.show_bonded(label, port, alone))
        self.screen.promise(worst >= PROMISED,
                            f"at least {PROMISED} % of the sum everywhere (worst: {worst:.1f} %)")

    def show_bonded(self, label: str, port: int, alone: Sequence[float]) -> Iterator[float]:
        self.screen.say(f"  {label:<28}", end="")
        for sum_alone, upload in zip(alone, (False, True)):
            rate = self.measure(port, upload, lambda: self.check_mode(port))
            percent = 100 * rate / sum_alone
            self.screen.say(f"{rate:>{(10, 11)[upload]}.1f} {percent:>3.0f} %", end="")
            yield percent
        self.screen.say()

    def check_mode(self, port: int) -> None:
        """That the flow is sealed or plain, as its row says."""
        flow = self.flow_to(port)
        if flow["sealed"] != (port == SEALED_PORT):
            self.screen.promise(False, f"port {port}: sealed is {flow['sealed']}")

    def flow_to(self, port: int) -> Dict[str, Any]:
        """The flow to that port that carries the data, once it does so over every uplink."""
        def find() -> Optional[Dict[str, Any]]:
            for flow in self.bond.flows():
                busy = {each["uplink"] for each in flow["subflows"]
                        if each["state"] == "established"
                        and each["rx_bytes"] + each["tx_bytes"] > 50_000}
                if flow["destination"].endswith(f":{port}") \
                        and len(busy) == len(self.lab.uplinks):
                    return flow
            return None
        return wait_for(find, 10, f"a flow to port {port} over all uplinks")

    # bondway

    def start_bond(self) -> None:
        self.bond.start_concentrator()
        self.bond.start_gateway()

    def bondway(self, command: str) -> str:
        """What it prints on the router."""
        return self.lab.router.run([self.bond.program, command, "--socket",
                                    self.bond.gateway_socket], check=False).stdout

    def show_cable(self) -> None:
        screen, dsl = self.screen, self.lab.uplinks[0]
        screen.title(f"A download of 100 MB by curl; {dsl.name}'s cable is pulled in the middle of it")
        self.server.file("big", 100)
        download = Download(self.lab, self.server.url("big"))
        download.wait_for(20 * MB)
        for command in ("status", "flows"):
            screen.session("router#", f"bondway {command}", self.bondway(command))
        download.wait_for(30 * MB)
        dsl.carrier(False)
        pulled = download.now()
        download.wait_for(50 * MB)
        screen.session("router#", "bondway status | head -n 7",
                       "\n".join(self.bondway("status").splitlines()[:7]))
        dsl.carrier(True)
        back = download.now()
        again = self.time_until_used(download, dsl.name)
        checksum = download.finish()

        self.draw(download, {pulled: "pulled", back: "put back"})
        screen.promise(checksum == self.server.digests["big"],
                       "every byte arrived, in order: the checksums are equal")
        screen.promise(download.longest_pause < 2,
                       f"the longest pause was {download.longest_pause:.2f} s")
        screen.promise(again is not None and again < 5,
                       f"{dsl.name} carried this download again after {again:.1f} s"
                       if again is not None else f"{dsl.name} was not used again")

    def draw(self, download: Download, marks: Dict[float, str]) -> None:
        """Its speed over time, with marks below."""
        step, below = 0.2, ""
        top = sum(uplink.spec.down for uplink in self.lab.uplinks)
        self.screen.say(f"\n  {self.screen.bars(download.rates(step), top)}  "
                        f"(full height: {top:.0f} Mb/s)")
        for when, what in marks.items():
            below = f"{below:<{int(when / step)}}^ {what} at {when:.1f} s "
        self.screen.say(f"  {below}\n")

    def time_until_used(self, download: Download, uplink: str) -> Optional[float]:
        """Seconds from now until the running download uses the uplink; None: it never does."""
        begin = time.monotonic()
        before = self.bond.uplink(uplink)["rx_bytes"]
        wait_for(lambda: not download.is_alive()
                 or self.bond.uplink(uplink)["rx_bytes"] > before + MB, 30)
        return time.monotonic() - begin if download.is_alive() else None

    # Programs

    def show_programs(self) -> None:
        self.screen.title("Other programs, none of which knows of bondway")
        self.server.file("page", 20)
        self.fetch("curl, HTTPS", self.server.url("page", "https"), 443, False,
                   "--cacert", self.server.certificate)
        self.fetch("curl, HTTP over IPv6", self.server.url("page", v6=True), 80, True)
        self.use_ssh()

    def fetch(self, label: str, url: str, port: int, sealed: bool, *options: object) -> None:
        download = Download(self.lab, url, *options)
        flow = self.flow_to(port)
        equal = download.finish() == self.server.digests["page"]
        how = "sealed" if flow["sealed"] else "plain"
        why = {True: "sealed", False: "plain, since TLS has sealed it already"}[flow["sealed"]]
        self.screen.promise(equal and flow["sealed"] == sealed,
                            f"{label:<22}20 MB, checksum {'ok' if equal else 'WRONG'}, "
                            f"{download.mbps:.0f} Mb/s; {why}"
                            + ("" if flow["sealed"] == sealed else f" ({how} is not right)"))

    def use_ssh(self) -> None:
        done = self.lab.client.run(self.server.ssh("echo ${SSH_CLIENT%% *}"), check=False)
        came_from = done.stdout.strip()
        self.screen.promise(came_from == self.lab.vps.address,
                            f"{'ssh, a command':<22}the server sees a client at "
                            f"{came_from or done.stderr}, the VPS")
        data = os.urandom(10 * MB)
        done = self.lab.client.run(self.server.ssh("sha256sum"), check=False, text=False,
                                   input=data)
        equal = done.stdout.split()[:1] == [digest_of(data).encode()]
        self.screen.promise(equal, f"{'ssh, a file there':<22}10 MB, checksum "
                            f"{'ok' if equal else 'WRONG'}")

    def run(self) -> None:
        self.show_speed()
        self.show_cable()
        self.show_programs()


# --- Beginning and end ----------------------------------------------------------------------------


def introduce(screen: Screen, lab: Lab) -> None:
    screen.title("A home with two uplinks, and the internet")
    first, second = (f"══ {u.name}: {u.spec.down:.0f} Mb/s down, {u.spec.up:.0f} up, "
                     f"{2 * u.spec.delay:.0f} ms ══" for u in lab.uplinks)
    screen.say(f"  client ── router  {first} internet ── VPS     bondway concentrator\n"
               f"            bondway {second}          └─ server  nginx, sshd, iperf3\n"
               f"            gateway\n"
               "  All of it in network namespaces; of the machines only the wires are emulated.")


def explain(lab: Lab, bond: Bonded, server: Server, screen: Screen) -> None:
    netlab, bondway = "tests/netlab/netlab", f"{bond.program} status --socket {bond.gateway_socket}"
    screen.title(f"The lab {lab.name} is still up, with bondway running in it")
    for words, purpose in [
            (f"{netlab} exec {lab.name} client bash", "a shell on the client"),
            (f"curl -o /dev/null {server.url('big')}", "... a download there"),
            (f"{netlab} exec {lab.name} router {bondway}", "what bondway says"),
            (f"{netlab} set {lab.name} dsl carrier=off", "pull a cable; =on puts it back"),
            (f"tail -f {bond.gateway.log if bond.gateway else ''}", "the gateway's log"),
            (f"{netlab} down {lab.name}", "the end of it")]:
        screen.say(f"  {purpose}\n      {words}")


def check_machine() -> None:
    """The usual reasons why this cannot run here, each by its name."""
    if os.geteuid() != 0:
        raise LabError("network namespaces need root: run deploy/demo")
    if not Path("/proc/sys/net/mptcp").is_dir():
        raise LabError(f"this kernel ({os.uname().release}) has no Multipath TCP: "
                       "bondway needs Linux 5.19 or later, built with CONFIG_MPTCP")
    if not Path("/dev/net/tun").exists():
        raise LabError("no /dev/net/tun, which the emulated links need: try modprobe tun; "
                       "a container must be given it")
    if subprocess.run(["unshare", "--net", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        raise LabError("root may not make network namespaces here: a container must be privileged")
    find_program()


def on_signal(_number: int, _frame: object) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def run(screen: Screen, options: argparse.Namespace) -> int:
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab(destinations=[0]))
        try:
            introduce(screen, lab)
            demo = Demo(lab, screen, options.seconds)
            demo.run()
        except KeyboardInterrupt:
            screen.say("\ninterrupted: taking the lab down")
            return 130
        screen.conclude(time.monotonic() - begin)
        if options.keep:
            explain(lab, demo.bond, demo.server, screen)
            lab.leave()
            stack.pop_all()
    return int(screen.broken > 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy/demo", description=__doc__)
    parser.add_argument("--keep", action="store_true",
                        help="leave the lab up, with bondway running, to play with")
    parser.add_argument("--seconds", type=int, default=8, metavar="N",
                        help="how long each speed is measured; default 8")
    options = parser.parse_args()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    screen = Screen()
    try:
        check_machine()
        return run(screen, options)
    except (LabError, FileNotFoundError, TimeoutError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
