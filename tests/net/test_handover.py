"""One concentrator takes over from another, a newer program from an older one: no connection is
refused, none is cut, and what was accepted once is accepted by neither again.
BONDWAY_HANDOVERS: how many in a row (3)."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import protocol as p
from alone import PORT, accept, destination, ends_in_reset, ip, port_of, recv_exactly, wait_for
from bonded import Bonded, Lab
from traffic import Transfer, way_of

HANDOVERS = int(os.environ.get("BONDWAY_HANDOVERS", "3"))
FLOWS_PER_SECOND = 100
THREADS = 10  # who wait do not keep the others from connecting


class Flows:
    """New ones all the time, a hundred in a second, each with a question and its answer."""

    def __init__(self, conc, listening):
        self.conc, self.port = conc, port_of(listening)
        self.over, self.made, self.failed = threading.Event(), 0, []
        with conc.gateway() as gateway:
            self.token = gateway.greet().token
        self.threads = [threading.Thread(target=self.run) for _ in range(THREADS)]
        for thread in self.threads:
            thread.start()

    def run(self):
        begun, number = time.monotonic(), 0
        pause = THREADS / FLOWS_PER_SECOND
        while not self.over.wait(max(0, begun + number * pause - time.monotonic())):
            number += 1
            try:
                self.one()
                self.made += 1
            except (OSError, EOFError, AssertionError) as error:
                self.failed.append(error)

    def one(self):
        gateway = self.conc.gateway()
        reply = gateway.greet(self.token)
        if reply.type == p.CHALLENGE:  # as a gateway does: once more, with the token
            self.token = reply.token
            gateway.sock.close()
            gateway = self.conc.gateway()
            reply = gateway.greet(reply.token)
        with gateway:
            assert reply.type == p.WELCOME, reply
            assert gateway.open("127.0.0.1", self.port) == 0
            gateway.send_data(b"question")
            assert gateway.read_data(6) == b"answer"

    def finish(self):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def go_on(self):
        """Until some more have been made."""
        made = self.made
        wait_for(lambda: self.made > made + 20 or self.failed, "flows are made", 10)


class Server(threading.Thread):
    """Answers every question, until its socket is closed."""

    def __init__(self, listening):
        super().__init__(daemon=True)
        self.listening = listening
        self.start()

    def run(self):
        self.listening.settimeout(None)
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listening.accept()
                threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    @staticmethod
    def serve(sock):
        with sock, contextlib.suppress(OSError):
            sock.settimeout(5)
            if sock.recv(8) == b"question":
                sock.sendall(b"answer")
                sock.recv(1)


def carries(gateway, server, text):
    gateway.send_data(text)
    server.sendall(text)
    return recv_exactly(server, len(text)) == text and gateway.read_data(len(text)) == text


def kernel_state():
    limits = subprocess.run(["ip", "mptcp", "limits"], check=True, capture_output=True, text=True)
    return limits.stdout, Path("/proc/sys/net/mptcp/stale_loss_cnt").read_text()


def test_handovers_in_a_row(make):
    """While a hundred flows begin in each second. One of each process lives through all of them;
    each process ends by itself with its last flow, and the last one puts the kernel back."""
    kernel = kernel_state()
    make.options.update(max_dials_per_second=10000, metrics_listen="127.0.0.1:9172")
    conc = make.start()
    with destination() as listening, destination() as lasting, contextlib.ExitStack() as stack:
        Server(listening)
        flows, elders, long_lived = Flows(conc, listening), [], []
        try:
            for _ in range(HANDOVERS):
                gateway = stack.enter_context(conc.welcomed())
                assert gateway.open("127.0.0.1", port_of(lasting)) == 0
                long_lived.append((gateway, stack.enter_context(accept(lasting))))
                flows.go_on()
                elders.append(conc.take_over())
        finally:
            flows.go_on()
            flows.finish()
        assert not flows.failed, (flows.failed, flows.made)
        assert all(elder.poll() is None for elder in elders)
        for number, (gateway, server) in enumerate(long_lived):
            assert carries(gateway, server, b"still here")
            gateway.send(p.RESET, b"\0")
            assert ends_in_reset(server)
            assert elders[number].wait(5) == 0
        assert kernel_state() != kernel
        with urllib.request.urlopen("http://127.0.0.1:9172/metrics", timeout=5) as metrics:
            assert b"bondway" in metrics.read()
        assert conc.end() == 0
    assert kernel_state() == kernel


def sockets_of(process):
    directory = Path(f"/proc/{process.pid}/fd")
    return {link for link in map(os.readlink, directory.iterdir()) if link.startswith("socket:")}


def test_the_listening_sockets_stay_the_same(conc):
    """So that whoever has connected, and is not accepted yet, is accepted by the next."""
    before = sockets_of(conc.process)
    conc.take_over()
    assert len(before & sockets_of(conc.process)) == 4  # two workers, two addresses


def test_what_was_accepted_once_is_not_accepted_again(conc):
    """A HELLO that the old one has welcomed is a replay for the new one, and its token a good one."""
    with conc.gateway() as gateway:
        token = gateway.greet().token
    with conc.gateway() as first:
        flight = first.flight(token)
        first.sock.sendall(flight)
        assert first.read_reply().type == p.WELCOME
    conc.take_over()
    with conc.gateway() as again:
        again.sock.sendall(flight)
        assert ends_in_reset(again.sock)
    assert conc.ask()["refused"]["replay"] == 1
    with conc.gateway() as next_one:
        assert next_one.greet(token).type == p.WELCOME


def test_a_hello_on_the_way_is_sent_to_the_next(conc):
    """Connected to the old one, which has handed over before the HELLO comes: a CHALLENGE, with which
    the gateway gets in there. What is warm already may still be used."""
    with conc.gateway() as gateway:
        token = gateway.greet().token
    with destination() as listening, conc.welcomed() as warm, conc.gateway() as late:
        old = conc.process
        wait_for(lambda: conc.figures()["warm"] == 1, "it is welcome")
        conc.take_over()
        late.sock.sendall(late.flight(token))
        reply = late.read_reply()
        assert reply.type == p.CHALLENGE
        with conc.gateway() as second:
            assert second.greet(reply.token).type == p.WELCOME
        assert warm.open("127.0.0.1", port_of(listening)) == 0
        with accept(listening) as server:
            assert carries(warm, server, b"by the old one")
        assert old.poll() is None
        late.sock.close()
        warm.sock.close()
        assert old.wait(5) == 0


def test_another_number_of_workers(make):
    """Fewer, then more than there are listening sockets: each is served."""
    conc = make.start()
    with conc.gateway() as gateway:
        token = gateway.greet().token
    for workers in 1, 4:
        make.options["workers"] = workers
        conc.take_over()
        for host in "127.0.0.1", "::1":
            for _ in range(20):
                with conc.gateway(host=host) as gateway:
                    assert gateway.greet(token).type == p.WELCOME


def test_probes_are_answered_by_the_next(conc):
    conc.take_over()
    key = conc.gateways["home"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", PORT))
        sock.send(p.probe_request(key, bytes(12), 1, 2, 3))
        assert p.open_probe_answer(key, sock.recv(2000))[0] == 1
    with conc.gateway() as gateway:
        assert gateway.welcome().probe_port == PORT


def test_an_heir_that_fails_changes_nothing(conc, tmp_path):
    """It has a mistake in what it is told to do: the old one goes on, and accepts who has waited."""
    old = conc.process
    conc.options["user"] = "nobody-at-all"
    conc.launch("--take-over")
    assert conc.process.wait(5) == 1
    conc.process = old
    wait_for(lambda: "did not take over" in conc.log(), "it is in the log")
    with conc.welcomed():
        pass
    assert conc.ask()["gateways"]


def test_an_heir_that_fails_leaves_the_kernel_to_the_old_one(conc):
    """As that has it, or as somebody has set it since: what the heir has changed is put back."""
    at_first, stale = kernel_state(), Path("/proc/sys/net/mptcp/stale_loss_cnt")
    assert conc.end() == 0
    before = kernel_state()
    assert before != at_first
    old = conc.start().process
    for change in False, True:
        if change:
            stale.write_text("7")
            ip("mptcp", "limits", "set", "subflow", "1")
        now = kernel_state()
        conc.options["user"] = "nobody-at-all"
        conc.launch("--take-over")
        heir, conc.process = conc.process, old
        assert heir.wait(5) == 1
        assert kernel_state() == now
    assert conc.end() == 0
    assert kernel_state()[1] == before[1]


def test_an_heir_whose_metrics_are_to_be_nowhere(conc):
    """That shows before the old one has let go."""
    old = conc.process
    conc.options["metrics_listen"] = "192.0.2.1:9172"  # nobody's here
    conc.launch("--take-over")
    assert conc.process.wait(5) == 1
    assert "cannot serve metrics_listen 192.0.2.1:9172" in conc.log()
    conc.process = old
    wait_for(lambda: "did not take over" in conc.log(), "it is in the log")
    with conc.welcomed():
        pass


def test_an_heir_goes_on_without_its_metrics(conc):
    """Another program has that port, as only the old one might: it goes on without, and says so."""
    with destination() as taken:
        conc.options["metrics_listen"] = f"127.0.0.1:{port_of(taken)}"
        old = conc.take_over()
        assert old.wait(5) == 0
        assert re.search(r"cannot serve metrics_listen 127.*: Address already in use; write another, "
                         "or remove it\n.*going on without metrics", conc.log())
    with conc.welcomed():
        pass
    assert conc.ask()["gateways"]


def test_an_heir_goes_on_without_its_control_socket(conc):
    """Something else is in its place, when the old one has let go."""
    old = conc.process
    old.send_signal(signal.SIGSTOP)  # for a moment, in which the heir waits to be told
    conc.launch("--take-over")
    wait_for(lambda: Path("/proc/net/unix").read_text().count(str(conc.socket)) == 2,
             "the heir has connected")
    conc.socket.rename(conc.socket.with_name("was"))
    conc.socket.write_text("a note of somebody's")
    old.send_signal(signal.SIGCONT)
    wait_for(lambda: conc.log().count("started version=") == 2, "it runs", 10)
    assert old.wait(5) == 0
    assert f"cannot open the control socket {conc.socket}" in conc.log()
    assert f"nothing can be asked of process {conc.process.pid}" in conc.log()
    with conc.welcomed():
        pass


def test_an_heir_that_dies_in_between(conc):
    with socket.socket(socket.AF_UNIX) as heir, conc.gateway() as waiting:
        heir.connect(str(conc.socket))
        heir.sendall(b"hand over\n")
        assert heir.recv(19) == b"bondway hand over 1"
        late = conc.gateway()
        late.sock.sendall(late.flight())
        heir.close()
        wait_for(lambda: "did not take over" in conc.log(), "it is in the log")
        assert late.read_reply().type == p.CHALLENGE
        late.sock.close()
        assert waiting.greet().type == p.CHALLENGE


def heeded(conc):
    """How many times a process that has handed over has heard of a configuration."""
    return conc.log().count("running flows follow the configuration as it is now")


def hold(stack, conc, name, listening):
    """A flow of that gateway."""
    gateway = stack.enter_context(conc.welcomed(name))
    assert gateway.open("127.0.0.1", port_of(listening)) == 0
    return gateway, stack.enter_context(accept(listening))


def test_a_key_that_is_gone_ends_its_flows_everywhere(conc):
    """In each process that has handed over, also where the one behind it has ended since."""
    conc.add("office")
    conc.reload()
    with destination() as listening, contextlib.ExitStack() as stack:
        lost, kept, elders = [], [], []
        for flows in True, False, True, True:
            if flows:
                lost.append(hold(stack, conc, "home", listening))
                kept.append(hold(stack, conc, "office", listening))
            elders.append(conc.take_over())
        assert elders[1].wait(5) == 0
        home = conc.gateways.pop("home")
        conc.reload()
        for gateway, server in lost:
            assert ends_in_reset(server) and ends_in_reset(gateway.sock)
        for gateway, server in kept:
            assert carries(gateway, server, b"still here")
        assert [elder.poll() for elder in elders] == [None, 0, None, None]
        conc.gateways["home"] = home  # for the look at the log


def test_a_key_that_went_with_the_old_program(make):
    """The configuration has changed before the new one begins, and the old one was not told."""
    make.add("office")
    conc = make.start()
    with destination() as listening, contextlib.ExitStack() as stack:
        lost = hold(stack, conc, "office", listening)
        kept = hold(stack, conc, "home", listening)
        del conc.gateways["office"]
        old = conc.take_over()
        assert ends_in_reset(lost[1])
        assert carries(*kept, b"still here")
        assert old.poll() is None


def test_a_mistake_changes_nothing_for_the_old_one(conc):
    """Nor does it when the new one has ended, and nobody tells it any more."""
    with destination() as listening, contextlib.ExitStack() as stack:
        flow = hold(stack, conc, "home", listening)
        old = conc.take_over()
        wait_for(lambda: heeded(conc) == 1, "it is told")
        conc.options["nonsense"] = 1
        conc.reload()
        del conc.options["nonsense"]
        conc.reload()
        wait_for(lambda: heeded(conc) == 2, "it is told again")
        assert carries(*flow, b"still here")
        assert conc.end() == 0
        wait_for(lambda: f"send SIGHUP to {old.pid}" in conc.log(), "it is in the log")
        conc.process = old
        assert carries(*flow, b"on its own")


def test_what_is_warm_obeys_new_rules(conc):
    """At a process that has handed over."""
    with destination() as listening, conc.welcomed() as gateway:
        wait_for(lambda: conc.figures()["warm"] == 1, "it is welcome")
        conc.take_over()
        wait_for(lambda: heeded(conc) == 1, "the old one is told")
        conc.options["deny_destinations"] = ["127.0.0.1"]
        conc.reload()
        wait_for(lambda: heeded(conc) == 2, "the old one is told again")
        assert gateway.open("127.0.0.1", port_of(listening)) == 4  # denied


def test_what_is_warm_is_not_prolonged(make):
    """By PINGs, once its process has handed over: else a gateway could keep that for ever."""
    make.options["warm_timeout"] = "1s"
    conc = make.start()
    with conc.welcomed() as gateway:
        old = conc.take_over()
        end = time.monotonic() + 10
        with contextlib.suppress(EOFError, ConnectionError):
            while time.monotonic() < end:
                gateway.send(p.PING, b"12345678")
                assert gateway.read_record() == (p.PONG, b"12345678")
        assert time.monotonic() < end
        assert old.wait(5) == 0


def test_nobody_to_take_over_from(make):
    make.launch("--take-over")
    wait_for(lambda: "started version=" in make.log(), "it runs")
    assert re.search("no concentrator answers on .*: starting without one before", make.log())
    with make.welcomed():
        pass


def test_sigterm_ends_the_old_one_in_order(conc):
    with destination() as listening, conc.welcomed() as gateway:
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        with accept(listening) as server:
            old = conc.take_over()
            old.send_signal(signal.SIGTERM)
            assert carries(gateway, server, b"goes on for a while")
            old.send_signal(signal.SIGTERM)
            assert old.wait(5) == 0
            assert ends_in_reset(server)
    assert conc.socket.exists()
    assert conc.ask()["role"] == "concentrator"


def test_a_gateway_and_its_clients_notice_nothing():
    """A download goes on, over both uplinks; connections that its gateway has made in advance are
    used; new ones are the next one's."""
    with Lab() as lab, Bonded(lab) as bond:
        down = Transfer(lab, "down")
        down.wait_for(2_000_000)
        old = bond.concentrator
        bond.take_over_concentrator()
        for _ in range(8):
            assert way_of(lab) == "bond"
        down.wait_for(4_000_000)
        sent, got = down.finish()
        assert sent == got
        status = bond.status()
        assert status["flows"]["failed"] == 0 and status["flows"]["tcp_fallback"] == 0
        bond.wait_until_over()
        assert old.poll() in (None, 0)
        bond.stop_gateway()
        wait_for(lambda: old.poll() == 0, "the old one has ended", 10)
