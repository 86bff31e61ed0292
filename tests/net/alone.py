"""A concentrator alone in a network namespace, spoken to by protocol.py; and destinations for it, on
loopback. Its fixtures are in conftest.py."""
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path

import bonded
import protocol as p

PROGRAM = os.environ.get("BONDWAY", str(Path(__file__).parents[2] / "build" / "cli" / "bondway"))
PORT = 7171
HELLO_TIMEOUT = 1.0


def wait_for(predicate, what, deadline=5.0):
    return bonded.wait_for(predicate, deadline, what)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Concentrator:
    """One that runs, on a configuration that can be changed."""

    def __init__(self, directory, hosts=("127.0.0.1", "[::1]")):
        self.host = hosts[0]
        self.program = PROGRAM
        self.wrapper = []  # a command that runs it
        self.directory = directory
        self.config = directory / "concentrator.conf"
        self.socket = directory / "control.sock"
        self.log_file = directory / "log"
        self.options = {
            "listen": [f"{host}:{PORT}" for host in hosts],
            "workers": 2,
            "control_socket": str(self.socket),
            "hello_timeout": f"{int(HELLO_TIMEOUT * 1000)}ms",
            "allow_destinations": ["127.0.0.0/8", "::1", "10.66.0.0/16", "10.99.0.0/16"],
        }
        self.gateways = {}
        self.new_keys = {}  # of some of them: a second one
        self.extra = {}
        self.add("home")
        self.process = None

    def add(self, name, **options):
        self.gateways[name] = p.Key.new()
        self.extra[name] = options
        return self.gateways[name]

    def write(self):
        entries = []
        for name, key in self.gateways.items():
            path = self.directory / f"{name}.key"
            path.touch(mode=0o600)
            keys = [key, self.new_keys[name]] if name in self.new_keys else [key]
            path.write_text("".join(each.text() + "\n" for each in keys))
            fields = {"name": name, "key_file": str(path), **self.extra[name]}
            entries.append("{ " + " ".join(f"{k} = {json.dumps(v)};" for k, v in fields.items())
                           + " }")
        lines = [f"{name} = {json.dumps(value)};" for name, value in self.options.items()]
        self.config.write_text("\n".join(lines) + f"\ngateways = ( {', '.join(entries)} );\n")

    def launch(self, *options):
        self.write()
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([*self.wrapper, self.program, "concentrator", "-c",
                                             str(self.config), *options], stderr=log,
                                            stdin=subprocess.DEVNULL)
        return self

    def start(self, *options):
        started = self.log().count("started version=")
        self.launch(*options)
        wait_for(lambda: self.log().count("started version=") > started or
                 self.process.poll() is not None, "the concentrator runs", 10)
        assert self.process.poll() is None, self.log()
        return self

    def take_over(self):
        """By another process; returns the one before, which may still have flows."""
        before = self.process
        self.start("--take-over")
        return before

    def kill(self):
        self.process.kill()
        self.process.wait()

    def log(self):
        return self.log_file.read_text() if self.log_file.exists() else ""

    def ask(self, command="status"):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(str(self.socket))
            s.sendall(command.encode() + b"\n")
            answer = b""
            while more := s.recv(65536):
                answer += more
        return json.loads(answer)

    def figures(self, name="home"):
        return next(g for g in self.ask()["gateways"] if g["name"] == name)

    def reload(self):
        self.write()
        seen = self.log().count("reload:")
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.log().count("reload:") > seen, "the reload is in the log")

    def gateway(self, name="home", host=None, key=None, **options):
        return p.Gateway((host or self.host, PORT), key or self.gateways[name], **options)

    @contextlib.contextmanager
    def welcomed(self, name="home", **options):
        with self.gateway(name, **options) as gateway:
            reply = gateway.welcome()
            assert (reply.type, reply.code) == (p.WELCOME, 0)
            yield gateway

    def end(self):
        """Its exit code, once it has been asked to go."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextlib.contextmanager
def concentrator(directory, **options):
    """One that still may be configured, and started; ends well, whatever happened."""
    c = Concentrator(directory, **options)
    try:
        yield c
    finally:
        if c.process and c.process.poll() is None:
            c.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                c.process.wait(2)
            if c.process.poll() is None:
                c.process.terminate()
            assert c.process.wait(5) == 0, c.log()
        log = c.log()
        assert "Sanitizer" not in log and "runtime error" not in log, log
        for key in c.gateways.values():
            assert key.text()[9:] not in log and key.secret.hex() not in log


@contextlib.contextmanager
def destination(host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.bind((host, 0))
        listening.listen()
        listening.settimeout(5)
        yield listening


def accept(listening):
    conn, _ = listening.accept()
    conn.settimeout(5)
    return conn


def port_of(listening):
    return listening.getsockname()[1]


def recv_exactly(sock, n):
    out = b""
    while len(out) < n:
        more = sock.recv(n - len(out))
        assert more, f"end after {len(out)} of {n} bytes"
        out += more
    return out


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def ends_in_reset(sock):
    try:
        while sock.recv(65536):
            pass
        return False
    except ConnectionResetError:
        return True
