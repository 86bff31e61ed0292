"""Strangers in great numbers, descriptors that run out, peers that do not read: what becomes of
those who behave. BONDWAY_ATTACK_SECONDS: how long each attack lasts (3)."""
import collections
import contextlib
import json
import os
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import protocol as p
from alone import PORT, accept, destination, port_of, recv_exactly, wait_for
from bonded import find_program
from stalled import FLOWS, MEMORY, NO_NET_ADMIN, drain, fill, stand_still

SECONDS = float(os.environ.get("BONDWAY_ATTACK_SECONDS", "3"))
# On loopback there is no round trip; a gateway has one.
ROUND_TRIP = 0.020


@contextlib.contextmanager
def flood(idle, rate):
    """Its figures, once it is over."""
    figures = {}
    process = subprocess.Popen([sys.executable, "-B", Path(__file__).with_name("flood.py"),
                                str(PORT), str(idle), str(rate)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        yield figures
        figures.update(json.loads(process.communicate("\n")[0]))
    finally:
        process.kill()
        process.wait()


def token_of(conc, name="home"):
    """Good for ten seconds, and any number of connections."""
    with conc.gateway(name) as gateway:
        return gateway.greet().token


def flow(conc, listening, token, name="home"):
    """One flow that carries something; how long it took to be there."""
    begun = time.monotonic()
    with conc.gateway(name) as gateway:
        assert gateway.greet(token).type == p.WELCOME
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        took = time.monotonic() - begun
        with accept(listening) as server:
            gateway.send_data(b"question")
            assert recv_exactly(server, 8) == b"question"
    return took


class Flows:
    """Made one after the other, for a while."""

    def __init__(self, conc, listening, seconds):
        self.took, self.failed, self.tried = [], [], 0
        end, token_end = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            self.tried += 1
            try:
                if time.monotonic() > token_end:
                    token = token_of(conc)
                    token_end = time.monotonic() + 5
                self.took.append(flow(conc, listening, token))
            except OSError as error:
                self.failed.append(error)

    def p95(self):
        return sorted(self.took)[len(self.took) * 95 // 100]


def assert_less_than_doubled(quiet, under):
    """The time that a flow takes to be there."""
    assert under.p95() < 2 * (quiet.p95() + ROUND_TRIP)


def test_a_flood_of_strangers(make):
    """Ten thousand that say nothing, two thousand in a second that send garbage: a gateway hardly
    notices."""
    make.program = find_program(fast=True)
    make.options.update(hello_timeout="5s", max_dials_per_second=10000)
    conc = make.start()
    with destination() as listening:
        quiet = Flows(conc, listening, SECONDS / 3)
        with flood(idle=10000, rate=2000) as figures:
            wait_for(lambda: conc.ask()["refused"]["limit"] > 100, "the lobby is full", 10)
            under = Flows(conc, listening, SECONDS)
    print(f"{figures}; {len(under.failed)} of {under.tried} failed; "
          f"p95 {1000 * quiet.p95():.1f} ms, {1000 * under.p95():.1f} in the flood")
    assert figures["garbage"] > 0.8 * 2000 * figures["seconds"], "no flood"
    assert not quiet.failed
    assert len(under.failed) <= under.tried / 100, under.failed
    assert_less_than_doubled(quiet, under)


# ---- descriptors ----

def carries(gateway, server, text=b"still here"):
    gateway.send_data(text)
    return recv_exactly(server, len(text)) == text


def test_few_descriptors(make):
    """64 of them: there is room for so many flows, and the start says for how many. Those run; the
    next is refused, in words; and comes in as soon as one has ended."""
    make.options["workers"] = 1
    make.wrapper = ["prlimit", "--nofile=64:64"]
    conc = make.start()
    room = int(re.search(r"room: max_sessions=(\d+) by=descriptors", conc.log())[1])
    assert 5 <= room < 32
    with destination() as listening, contextlib.ExitStack() as stack:
        flows = []
        token = token_of(conc)
        for _ in range(room):
            gateway = stack.enter_context(conc.gateway())
            assert gateway.greet(token).type == p.WELCOME
            assert gateway.open("127.0.0.1", port_of(listening)) == 0
            flows.append((gateway, stack.enter_context(accept(listening))))
        with conc.gateway() as late:
            reply = late.greet(token)
            assert (reply.type, reply.code) == (p.REFUSED, 3)
        assert all(carries(*each) for each in flows)
        assert "cannot accept" not in conc.log()
        flows[0][0].send(p.RESET, b"\0")
        wait_for(lambda: conc.figures()["flows"] == room - 1, "one has ended", 1)
        with conc.gateway() as next_one:
            assert next_one.greet(token).type == p.WELCOME
            assert next_one.open("127.0.0.1", port_of(listening)) == 0


def test_too_few_descriptors(make):
    make.wrapper = ["prlimit", "--nofile=32:32"]
    make.launch()
    assert make.process.wait(5) == 1
    assert re.search(r"32 descriptors are too few for 2 workers and 2 listen addresses: raise the "
                     r"limit \(ulimit -n, .*\) to \d+ at least", make.log())


def used_descriptors(conc):
    return len(os.listdir(f"/proc/{conc.process.pid}/fd"))


def test_no_descriptors_left(make):
    """Taken away while it runs, as the system's do when others take them: flows go on, status
    answers; who comes waits, and is served within a second of their coming free."""
    make.options["workers"] = 1
    conc = make.start()
    pid, (soft, hard) = conc.process.pid, resource.prlimit(conc.process.pid, resource.RLIMIT_NOFILE)
    with destination() as listening, conc.welcomed() as gateway:
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        with accept(listening) as server:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used_descriptors(conc), hard))
            with conc.gateway() as waiting:
                waiting.sock.sendall(waiting.flight())
                wait_for(lambda: "cannot accept: Too many open files" in conc.log(), "it is said")
                assert carries(gateway, server)
                assert conc.figures()["flows"] == 1
                assert conc.figures()["flows"] == 1  # more than once
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
                waiting.sock.settimeout(2)
                begun = time.monotonic()
                assert waiting.read_reply().type == p.CHALLENGE
                assert time.monotonic() - begun < 1.5


# ---- gateways ----

class Noisy(threading.Thread):
    """A gateway that dials what never answers, as fast as it may and faster; leaves connections
    unused; and sends what it must not."""

    def __init__(self, conc, token):
        super().__init__()
        self.conc, self.token, self.over = conc, token, threading.Event()
        self.refused = 0
        self.start()

    def run(self):
        kept = collections.deque()
        while not self.over.is_set():
            gateway = self.conc.gateway("noisy")
            kept.append(gateway)
            with contextlib.suppress(OSError, EOFError):
                if gateway.greet(self.token).type != p.WELCOME:
                    self.refused += 1
                elif len(kept) % 3 == 0:
                    gateway.send(p.OPEN, p.open_payload(p.SEALED, "10.66.0.1", 80))
                elif len(kept) % 3 == 1:
                    gateway.send(p.DATA, b"out of turn")
            if len(kept) > 1000:
                kept.popleft().sock.close()
        for gateway in kept:
            gateway.sock.close()


def test_a_noisy_gateway_disturbs_no_other(make):
    make.program = find_program(fast=True)
    make.options.update(max_dials_per_second=10000, max_pending_dials=64)
    make.add("noisy", max_flows=100)
    conc = make.start()
    with destination() as listening:
        quiet = Flows(conc, listening, SECONDS / 3)
        noisy = Noisy(conc, token_of(conc, "noisy"))
        try:
            wait_for(lambda: noisy.refused, "it is refused", 20)
            under = Flows(conc, listening, SECONDS / 3)
        finally:
            noisy.over.set()
            noisy.join()
    assert not quiet.failed and not under.failed
    assert_less_than_doubled(quiet, under)


# ---- who does not read ----

IDLE_MEMORY = 4 << 10


@pytest.fixture
def small_buffers(namespace):
    """Of the kernel's, to send from, so that they are soon full. (Those to receive into stay as they
    are: with windows of 16 KiB, Linux 6.18's MPTCP does not always go on after them.)"""
    setting = Path("/proc/sys/net/ipv4/tcp_wmem")
    before = setting.read_text()
    setting.write_text("4096 65536 131072")
    yield
    setting.write_text(before)


def memory_of(conc):
    text = Path(f"/proc/{conc.process.pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+)", text, re.M)[1]) << 10


@pytest.mark.parametrize("stalls", ["gateway", "destination"])
def test_who_stops_reading_costs_little_memory(make, small_buffers, stalls):
    """Many flows at once; then all go on, and nothing is lost."""
    make.program = find_program(fast=True)
    make.options.update(max_dials_per_second=10000, workers=1)
    make.wrapper = NO_NET_ADMIN
    conc = make.start()
    token, before = token_of(conc), memory_of(conc)
    with destination() as listening, contextlib.ExitStack() as stack:
        gateways, servers = [], []
        for _ in range(FLOWS):
            gateway = stack.enter_context(conc.gateway())
            assert gateway.greet(token).type == p.WELCOME
            assert gateway.open("127.0.0.1", port_of(listening), p.PLAIN) == 0
            gateways.append(gateway.sock)
            servers.append(stack.enter_context(accept(listening)))
        for sock in gateways + servers:
            sock.setblocking(False)
        idle = memory_of(conc)
        assert idle - before <= FLOWS * IDLE_MEMORY
        sources, sinks = (servers, gateways) if stalls == "gateway" else (gateways, servers)
        sent = fill(sources)
        stalled = memory_of(conc)
        assert stalled - idle <= FLOWS * MEMORY
        assert conc.figures()["flows"] == FLOWS
        stand_still(lambda: memory_of(conc) <= stalled + (1 << 20))
        assert fill(sources) == [0] * FLOWS
        drain(sinks, sent)
        wait_for(lambda: memory_of(conc) <= idle + (stalled - idle) / 2 + (4 << 20), "it is freed")


# ---- what else fails ----

def test_a_log_that_cannot_be_written(make):
    """The disk is full: nothing else is written there."""
    log, make.log_file = make.log_file, Path("/dev/full")
    make.launch()
    make.log_file = log
    wait_for(make.socket.exists, "it runs")
    with destination() as listening, make.welcomed() as gateway:
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        with accept(listening) as server:
            assert carries(gateway, server)


def test_a_control_socket_that_is_abused(conc):
    """Clients who ask for nothing, for half of something, for far too much, and who do not read:
    flows go on, and after two seconds the next one is answered."""
    with destination() as listening, conc.welcomed() as gateway, contextlib.ExitStack() as stack:
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        server = stack.enter_context(accept(listening))
        for request in (b"", b"stat", b"x" * 200_000, b"events follow\n" * 10):
            for _ in range(8):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                with contextlib.suppress(OSError):  # there is a queue, and it is soon full
                    client.connect(str(conc.socket))
                    client.send(request)
        assert carries(gateway, server)
        assert conc.figures()["flows"] == 1
        assert carries(gateway, server)
