"""The concentrator, spoken to by an independent implementation of the protocol, in a network
namespace of its own. Destinations are on loopback, so the configuration allows that network; what
else is in use there stays denied, as everywhere."""
import contextlib
import os
import re
import socket
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from alone import (Concentrator, HELLO_TIMEOUT, PORT, accept, destination, ends_in_reset, ip, port_of,
                   recv_exactly, reset, wait_for)
import protocol as p


# ---- sessions ----

@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("suite", [p.CHACHA20_POLY1305, p.AES_128_GCM])
def test_sealed_session_carries_both_ways_and_half_closes(conc, suite, host):
    """A client sends its request and its end; the answer still arrives whole, and its end."""
    request, answer = os.urandom(300_000), os.urandom(300_000)
    with destination(host) as listening, conc.welcomed(suite=suite, host=host) as gateway:
        assert gateway.open(host, port_of(listening)) == 0
        with accept(listening) as server:
            gateway.send_data(request)
            gateway.send(p.FIN)
            assert recv_exactly(server, len(request)) == request
            assert server.recv(1) == b""
            server.sendall(answer)
            server.shutdown(socket.SHUT_WR)
            assert gateway.read_to_fin() == answer
    wait_for(lambda: conc.figures()["flows"] == 0, "the flow is over")
    figures = conc.figures()
    assert (figures["rx_bytes"], figures["tx_bytes"]) == (len(request), len(answer))
    assert figures["total"] == 1
    assert "reason=done" in conc.log()


def test_plain_session_is_raw_bytes_behind_open(conc):
    with destination() as listening, conc.welcomed() as gateway:
        assert gateway.open("127.0.0.1", port_of(listening), p.PLAIN, behind=b"early ") == 0
        with accept(listening) as server:
            gateway.sock.sendall(b"late")
            assert recv_exactly(server, 10) == b"early late"
            server.sendall(b"answer")
            server.shutdown(socket.SHUT_WR)
            assert gateway.read_exactly(6) == b"answer"
            assert gateway.sock.recv(1) == b""
            gateway.sock.shutdown(socket.SHUT_WR)
            assert server.recv(1) == b""
    wait_for(lambda: conc.figures()["flows"] == 0, "the flow is over")


def test_plain_tcp_is_served_where_mptcp_was_stripped(conc):
    with destination() as listening, conc.welcomed(mptcp=False) as gateway:
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        with accept(listening) as server:
            gateway.send_data(b"over tcp")
            assert recv_exactly(server, 8) == b"over tcp"


@pytest.mark.parametrize("mode", [p.SEALED, p.PLAIN])
def test_everything_in_the_first_flight(conc, mode):
    """HELLO, OPEN and 60 kB of data at once: all that may be held until the destination answers,
    is."""
    data = os.urandom(60_000)
    with conc.gateway() as first:
        token = first.greet().token
    with destination() as listening, conc.gateway() as gateway:
        behind = gateway.seal(p.OPEN, p.open_payload(mode, "127.0.0.1", port_of(listening)))
        if mode == p.SEALED:
            for at in range(0, len(data), 15_000):
                behind += gateway.seal(p.DATA, data[at:at + 15_000])
            behind += gateway.seal(p.FIN)
        else:
            behind += data
        assert gateway.greet(token, behind=behind).type == p.WELCOME
        assert gateway.read_record() == (p.OPENED, b"\0")
        with accept(listening) as server:
            assert recv_exactly(server, len(data)) == data


def test_more_data_than_can_be_held_waits_in_the_kernel(conc):
    """The gateway sends 1 MB before the destination has answered; nothing is lost."""
    data = os.urandom(1_000_000)
    with destination() as listening, conc.welcomed() as gateway:
        gateway.sock.sendall(gateway.seal(p.OPEN, p.open_payload(
            p.SEALED, "127.0.0.1", port_of(listening))))
        gateway.sock.settimeout(20)
        for at in range(0, len(data), 10_000):
            gateway.send(p.DATA, data[at:at + 10_000])
        with accept(listening) as server:
            assert recv_exactly(server, len(data)) == data


def test_early_end_of_a_plain_client_is_a_half_close(conc):
    """A client that says all it has to say, and ends, before the destination answers."""
    with destination() as listening, conc.welcomed() as gateway:
        gateway.sock.sendall(gateway.seal(p.OPEN, p.open_payload(
            p.PLAIN, "127.0.0.1", port_of(listening))) + b"question")
        gateway.sock.shutdown(socket.SHUT_WR)
        with accept(listening) as server:
            assert recv_exactly(server, 8) == b"question"
            assert server.recv(1) == b""
            server.sendall(b"answer")
        assert gateway.read_record() == (p.OPENED, b"\0")
        assert gateway.read_exactly(6) == b"answer"


def keepalive_timer(port):
    """When the concentrator asks whether the gateway at this port is still there; s. 0: another timer
    comes first."""
    shown = subprocess.run(["ss", "-Htno", f"dport = :{port}"], stdout=subprocess.PIPE, text=True,
                           check=True).stdout
    found = re.search(r"timer:\(keepalive,([\d.]+)(sec|ms|min)", shown)
    return float(found[1]) * {"ms": 0.001, "sec": 1, "min": 60}[found[2]] if found else 0


def test_a_gateway_that_says_nothing_is_asked_soon(conc):
    """Its uplink may have died with what it said last. One that has spoken may be silent for long."""
    with destination() as listening, conc.welcomed() as gateway:
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        port = gateway.sock.getsockname()[1]
        wait_for(lambda: keepalive_timer(port) > 60, "an idle connection")
        wait_for(lambda: 0 < keepalive_timer(port) <= 10, "a closer watch", 30)
        gateway.send_data(b"hello")
        with accept(listening) as far:
            assert recv_exactly(far, 5) == b"hello"
            wait_for(lambda: keepalive_timer(port) > 60, "an end of that", 30)


@contextlib.contextmanager
def losses():
    """Yields what begins one: drop("tcp dport 1234")."""
    def nft(*words):
        subprocess.run(["nft", *words], check=True)

    nft("add table inet losses")
    nft("add chain inet losses in { type filter hook input priority 0; }")
    try:
        yield lambda what: nft(f"add rule inet losses in {what} drop")
    finally:
        nft("delete table inet losses")


def test_a_gateway_that_died_before_it_heard_of_opened_is_given_up(conc):
    """What it had sent behind OPEN is no sign that it lives."""
    with destination() as listening, conc.welcomed() as gateway, losses() as drop:
        port = gateway.sock.getsockname()[1]
        drop(f"tcp dport {port}")
        gateway.send(p.OPEN, p.open_payload(p.SEALED, "127.0.0.1", port_of(listening)))
        gateway.send_data(b"hello")
        with accept(listening) as far:
            assert recv_exactly(far, 5) == b"hello"
            drop(f"tcp sport {port}")
            far.settimeout(120)  # the kernel would go on to send OPENED for 900
            assert ends_in_reset(far)


def test_a_reset_of_the_destination_arrives_as_reset(conc):
    with destination() as listening, conc.welcomed() as gateway:
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        reset(accept(listening))
        assert gateway.read_record()[0] == p.RESET


def test_truncation_resets_the_destination(conc):
    """A gateway that dies ends its stream without FIN: the destination must not take that for an
    end in order."""
    with destination() as listening, conc.welcomed() as gateway:
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        with accept(listening) as server:
            gateway.sock.close()
            assert ends_in_reset(server)


# ---- hello ----

def test_first_contact_is_challenged_then_welcome(conc):
    with conc.gateway() as gateway:
        reply = gateway.greet()
        assert (reply.type, reply.code, len(reply.token)) == (p.CHALLENGE, 0, 24)
        assert abs(reply.time_ms - time.time() * 1000) < 2000
        started = time.monotonic()
        assert gateway.sock.recv(1) == b"", "end of stream behind CHALLENGE"
        assert time.monotonic() - started < 0.5, "the end comes with the record, not by deadline"
    with conc.gateway() as gateway:
        assert gateway.greet(reply.token).type == p.WELCOME


def test_a_router_without_a_clock_gets_in(conc):
    with conc.gateway() as gateway:
        gateway.offset_ms = -int(time.time() * 1000)
        assert gateway.welcome().type == p.WELCOME


def test_a_token_is_for_one_gateway(make):
    make.add("other")
    conc = make.start()
    with conc.gateway("other") as gateway:
        token = gateway.greet().token
    with conc.gateway("home") as gateway:
        assert gateway.greet(token).type == p.CHALLENGE


def test_challenges_are_limited(conc):
    """Ten in a second at most; then silence, as for every failure."""
    answered = 0
    for _ in range(25):
        with conc.gateway(timeout=0.3) as gateway:
            with contextlib.suppress(socket.timeout):
                answered += gateway.greet().type == p.CHALLENGE
    assert 10 <= answered < 25


def replayed(conc):
    with conc.gateway() as gateway:
        token = gateway.greet().token
    gateway = conc.gateway()
    flight = gateway.flight(token)
    gateway.sock.sendall(flight)
    assert gateway.read_reply().type == p.WELCOME
    gateway.sock.close()
    return flight


def flight(key, **fields):
    return p.hello_flight(p.Schedule(key, os.urandom(32)), 1, int(time.time() * 1000), **fields)


def changed(key, at):
    out = bytearray(flight(key))
    out[at] ^= 1
    return bytes(out)


def failing_flights(conc):
    key = conc.gateways["home"]
    return {
        "one byte": b"x",
        "cut short": flight(key)[:-1],
        "noise": os.urandom(2000),
        "unknown id": flight(p.Key.new()),
        "wrong secret": flight(p.Key(key.id, os.urandom(32))),
        "changed salt": changed(key, 0),
        "changed tag": changed(key, 87),
        "flags": flight(key, flags=1),
        "type": flight(key, kind=2),
        "zeros": flight(key, zeros=bytes(17) + b"\1"),
        "extension cut short": flight(key, ext=p.tlv(p.PADDING_TLV, bytes(9)))[:-1],
        "unknown extension": flight(key, ext=p.tlv(0x80, b"")),
        "broken extension": flight(key, ext=b"\1\0\x09"),
        "replay": replayed(conc),
    }


def resets_at(sock):
    """When its reset comes; no byte may come before."""
    try:
        assert sock.recv(1) is None, "neither a byte nor an end in order may come"
    except ConnectionResetError:
        pass
    return time.monotonic()


@pytest.mark.parametrize("half_close", [False, True], ids=["", "eof"])
def test_every_failure_looks_the_same(conc, half_close):
    """No byte, and a reset at the same moment: a stranger learns nothing."""
    flights = failing_flights(conc)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(flights)) as threads:
        ends = {}
        for cause, flight in flights.items():
            gateway = stack.enter_context(conc.gateway())
            started = time.monotonic()
            gateway.sock.sendall(flight)
            if half_close:
                gateway.sock.shutdown(socket.SHUT_WR)
            ends[cause] = started, threads.submit(resets_at, gateway.sock)
        lasted = {cause: end.result() - started for cause, (started, end) in ends.items()}
    assert all(0.9 < t / HELLO_TIMEOUT < 1.2 for t in lasted.values()), lasted
    assert conc.ask()["refused"] == {"hello": len(flights) - 1, "replay": 1, "policy": 0,
                                     "limit": 0}


def test_silence_is_held_until_the_deadline(conc):
    with conc.gateway() as gateway:
        started = time.monotonic()
        assert 0.9 < (resets_at(gateway.sock) - started) / HELLO_TIMEOUT < 1.2
    assert conc.ask()["refused"]["hello"] == 1


def test_hello_byte_by_byte(conc):
    with conc.gateway() as gateway:
        token = gateway.greet().token
    with conc.gateway() as gateway:
        gateway.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in gateway.flight(token):
            gateway.sock.sendall(bytes([byte]))
        assert gateway.read_reply().type == p.WELCOME


@pytest.mark.parametrize("fields, code", [({"version": 2}, 1), ({"suite": 9}, 2)])
def test_unknown_version_or_suite_is_refused(conc, fields, code):
    with conc.gateway() as gateway:
        reply = gateway.welcome(**fields)
        assert (reply.type, reply.code) == (p.REFUSED, code)
        assert gateway.sock.recv(1) == b""
    assert conc.figures()["refused"] == 1
    assert conc.ask()["refused"]["policy"] == 1


@pytest.mark.parametrize("kind, value", [(p.PADDING_TLV, bytes(900)), (0x7f, b"to be skipped")])
def test_extensions_that_may_be_skipped(conc, kind, value):
    with conc.gateway() as gateway:
        token = gateway.greet().token
    with conc.gateway() as gateway:
        gateway.sock.sendall(p.hello_flight(gateway.schedule, 1, gateway.now_ms(),
                                            p.tlv(kind, value) + p.tlv(p.TOKEN_TLV, token)))
        assert gateway.read_reply().type == p.WELCOME


# ---- waiting for OPEN ----

def test_ping_while_warm(conc):
    with conc.welcomed() as gateway:
        for payload in (b"12345678", b"abcdefgh"):
            gateway.send(p.PING, payload)
            assert gateway.read_record() == (p.PONG, payload)


@pytest.mark.parametrize("record", [(p.DATA, b"x"), (p.FIN, b""), (p.OPENED, b"\0"), (9, b""),
                                    (p.PING, b"short"), (p.OPEN, b"\0\4\0"),
                                    (p.OPEN, p.open_payload(7, "127.0.0.1", 1))])
def test_what_comes_out_of_turn_ends_the_connection(conc, record):
    with conc.welcomed() as gateway:
        gateway.send(*record)
        assert ends_in_reset(gateway.sock)


def test_warm_connections_wait_for_the_warm_timeout(make):
    make.options["warm_timeout"] = "1s"
    conc = make.start()
    with conc.welcomed() as gateway:
        started = time.monotonic()
        wait_for(lambda: conc.figures()["warm"] == 1, "it is counted as warm")
        assert gateway.sock.recv(1) == b""
        assert 1.5 < time.monotonic() - started < 3
    wait_for(lambda: conc.figures()["warm"] == 0, "it is no longer counted")


def test_too_many_warm_connections(make):
    """A burst of dials is welcome; those that then lie about beyond the limit are closed."""
    make.options["max_warm"] = 2
    conc = make.start()
    with contextlib.ExitStack() as stack:
        gateways = [stack.enter_context(conc.welcomed()) for _ in range(4)]
        wait_for(lambda: conc.figures()["warm"] == 2, "two of them are left", 5)
        with destination() as listening:
            opened = 0
            for gateway in gateways:
                with contextlib.suppress(EOFError, ConnectionError):
                    opened += gateway.open("127.0.0.1", port_of(listening)) == 0
            assert opened == 2


# ---- destinations ----

def test_refused(conc):
    with destination() as listening:
        port = port_of(listening)
    with conc.welcomed() as gateway:
        started = time.monotonic()
        assert gateway.open("127.0.0.1", port) == 1
        assert time.monotonic() - started < 0.1
        assert gateway.sock.recv(1) == b""
        assert time.monotonic() - started < 0.5, "the end comes with the record, not by deadline"
    wait_for(lambda: "reason=refused" in conc.log(), "the log says why")


def test_unreachable(conc):
    with conc.welcomed() as gateway:
        assert gateway.open("10.99.0.1", 80) == 2


def test_silent_destination_times_out(make):
    make.options["dial_timeout"] = "500ms"
    conc = make.start()
    with conc.welcomed() as gateway:
        started = time.monotonic()
        assert gateway.open("10.66.0.1", 80) == 3
        assert 0.4 < time.monotonic() - started < 1.5


# Somebody in each range that is denied, and what a VPS has beside it: its own addresses (10.88.0.1
# is one here) and what its provider tells it alone.
INSIDE = ["0.0.0.0", "10.0.0.5", "10.88.0.1", "100.64.0.1", "100.100.100.200", "127.0.1.1",
          "168.63.129.16", "169.254.169.254", "172.16.0.1", "192.0.0.192", "192.0.2.1",
          "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1",
          "255.255.255.255"]
INSIDE6 = ["::", "::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "64:ff9b:1::808:808",
           "::ffff:0:808:808"]


def spellings(host):
    """An IPv4 address, and it in every form that IPv6 has for it."""
    a, b, c, d = (int(part) for part in host.split("."))
    teredo = f"{255 - a:02x}{255 - b:02x}:{255 - c:02x}{255 - d:02x}"
    words = f"{a:02x}{b:02x}:{c:02x}{d:02x}"
    return [host, f"::ffff:{words}", f"::{words}", f"64:ff9b::{words}", f"2002:{words}::1",
            f"2001:0:808:808:8000:1234:{teredo}"]


def test_no_way_inside(make):
    """Whatever the range, and however its address is written: denied, and the log says so, not once
    for each but once for each burst."""
    make.options.update(allow_destinations=[], workers=1)
    conc = make.start()
    with conc.gateway() as gateway:
        token = gateway.greet().token
    tried = [way for host in INSIDE for way in spellings(host)] + INSIDE6
    for host in tried:
        with conc.gateway() as gateway:
            assert gateway.greet(token).type == p.WELCOME
            assert gateway.open(host, 80) == 4, host
            assert gateway.sock.recv(1) == b""
    assert conc.ask()["refused"]["policy"] == len(tried)
    told = conc.log().count("egress: denied gateway=home destination=")
    assert 10 <= told < len(tried) / 4


def test_networks_and_ports_of_one_gateway(make):
    make.add("office", deny_destinations=["127.0.0.9"], ports=["1024-65535"])
    conc = make.start()
    with destination() as listening, destination("127.0.0.9") as other:
        for name, host, port, code in [("office", "127.0.0.1", port_of(listening), 0),
                                       ("office", "127.0.0.9", port_of(other), 4),
                                       ("home", "127.0.0.9", port_of(other), 0),
                                       ("office", "127.0.0.1", 80, 4),
                                       ("home", "127.0.0.1", 80, 1)]:
            with conc.welcomed(name) as gateway:
                assert gateway.open(host, port) == code
    assert "not in this gateway's ports" in conc.log()


def test_own_address_and_mail_are_denied(make):
    """A public address that happens to be ours; and port 25 anywhere."""
    ip("address", "add", "1.2.3.4/32", "dev", "lo")
    try:
        conc = make.start()
        for host, port in ("1.2.3.4", 80), ("5.6.7.8", 25):
            with conc.welcomed() as gateway:
                assert gateway.open(host, port) == 4
        assert "an address of this concentrator" in conc.log()
        assert "port 25" in conc.log()
    finally:
        ip("address", "delete", "1.2.3.4/32", "dev", "lo")


def test_denied_by_configuration_and_allowed_for_one_gateway(make):
    make.options["allow_destinations"] = []
    make.options["deny_destinations"] = ["127.0.0.9"]
    make.add("office", allow_destinations=["127.0.0.0/8"])
    conc = make.start()
    with destination() as listening:
        with conc.welcomed("home") as gateway:
            assert gateway.open("127.0.0.1", port_of(listening)) == 4
        with conc.welcomed("office") as gateway:
            assert gateway.open("127.0.0.1", port_of(listening)) == 0
        with conc.welcomed("office") as gateway:
            assert gateway.open("127.0.0.9", port_of(listening)) == 4


@pytest.mark.parametrize("end", [lambda sock: sock.close(), reset], ids=["close", "reset"])
def test_a_gateway_that_gives_up_ends_the_dial(conc, end):
    gateway = conc.gateway()
    assert gateway.welcome().type == p.WELCOME
    gateway.send(p.OPEN, p.open_payload(p.SEALED, "10.66.0.1", 80))
    wait_for(lambda: conc.figures()["flows"] == 1, "it dials")
    assert [flow["state"] for flow in conc.ask("flows")] == ["dialing"]
    end(gateway.sock)
    wait_for(lambda: conc.figures()["flows"] == 0, "the dial has ended")


@pytest.mark.parametrize("mode", [p.SEALED, p.PLAIN])
def test_a_reset_behind_a_full_buffer_ends_the_dial(conc, mode):
    """The gateway's client has sent more than is held, so nobody reads; its reset is seen."""
    gateway = conc.gateway(mptcp=False)
    assert gateway.welcome().type == p.WELCOME
    gateway.send(p.OPEN, p.open_payload(mode, "10.66.0.1", 80))
    for _ in range(20):
        gateway.send(p.DATA, bytes(10_000))
    wait_for(lambda: conc.figures()["flows"] == 1, "it dials")
    reset(gateway.sock)
    wait_for(lambda: conc.figures()["flows"] == 0, "the dial has ended")


def test_a_failed_dial_is_told_behind_a_full_buffer(make):
    make.options["dial_timeout"] = "500ms"
    conc = make.start()
    with conc.welcomed() as gateway:
        gateway.send(p.OPEN, p.open_payload(p.SEALED, "10.66.0.1", 80))
        for _ in range(20):
            gateway.send(p.DATA, bytes(10_000))
        assert gateway.read_record() == (p.OPENED, b"\3")


# ---- limits ----

def test_max_flows(make):
    make.gateways.clear()
    make.add("home", max_flows=1)
    conc = make.start()
    with destination() as listening, conc.welcomed() as gateway:
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        with conc.gateway() as second:
            reply = second.welcome()
            assert (reply.type, reply.code) == (p.REFUSED, 3)
        gateway.send(p.RESET, b"\0")
        wait_for(lambda: conc.figures()["flows"] == 0, "the first has ended")
        with conc.welcomed() as third:
            assert third.open("127.0.0.1", port_of(listening)) == 0
    assert conc.ask()["refused"]["limit"] == 1


def test_pending_dials(make):
    make.options["max_pending_dials"] = 1
    conc = make.start()
    with destination() as listening, conc.welcomed() as first:
        first.send(p.OPEN, p.open_payload(p.SEALED, "10.66.0.1", 80))
        wait_for(lambda: conc.figures()["flows"] == 1, "it dials")
        with conc.welcomed() as second:
            assert second.open("127.0.0.1", port_of(listening)) == 5


def gets_in(conc):
    try:
        with conc.welcomed():
            return True
    except ConnectionResetError:
        return False


def is_turned_away(conc):
    """At once; perhaps before connect() has returned."""
    try:
        with conc.gateway() as gateway:
            return ends_in_reset(gateway.sock)
    except ConnectionResetError:
        return True


def test_unauthenticated_connections_of_one_source(make):
    """Strangers that say nothing take the places of their source, and nobody else's; where a
    gateway has come in, a burst of connections is no flood."""
    make.options["max_unauthenticated_per_source"] = 4
    conc = make.start()
    with contextlib.ExitStack() as stack:
        strangers = [stack.enter_context(conc.gateway()) for _ in range(4)]
        assert is_turned_away(conc)
        assert conc.ask()["refused"]["limit"] == 1
        with conc.gateway(host="::1") as other:
            assert other.welcome().type == p.WELCOME
        strangers.pop().sock.close()
        wait_for(lambda: gets_in(conc), "the place is free again")
        refused = conc.ask()["refused"]["limit"]
        for _ in range(10):
            stack.enter_context(conc.gateway())
        assert gets_in(conc)
        assert conc.ask()["refused"]["limit"] == refused


def is_open(gateway):
    """Nothing has come, and no end either."""
    gateway.sock.setblocking(False)
    try:
        gateway.sock.recv(1)
    except BlockingIOError:
        return True
    except ConnectionResetError:
        pass
    return False


def test_who_has_waited_longest_leaves(make):
    """More strangers than there are places: the first ones go, whoever is new has his time."""
    make.options.update(max_unauthenticated=20, workers=1, hello_timeout="20s")
    conc = make.start()
    with contextlib.ExitStack() as stack:
        strangers = [stack.enter_context(conc.gateway(mptcp=False)) for _ in range(60)]
        wait_for(lambda: conc.ask()["refused"]["limit"] == 40, "forty have left")
        for stranger in strangers[:40]:
            assert ends_in_reset(stranger.sock)
        assert all(is_open(stranger) for stranger in strangers[40:])
    with conc.welcomed():
        pass
    assert "cut off after the longest wait" in conc.log()


# ---- probes ----

@contextlib.contextmanager
def prober(host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((host, PORT))
        yield sock


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_probes_are_answered_by_every_worker(conc, host):
    key = conc.gateways["home"]
    with conc.gateway(host=host) as gateway:
        assert gateway.welcome().probe_port == PORT
    for seq in range(8):  # each from another port, which picks the worker
        with prober(host) as sock:
            probe_nonce = os.urandom(4) + struct.pack(">Q", seq)
            sock.send(p.probe_request(key, probe_nonce, seq, 123, 2))
            answer = sock.recv(2000)
            assert len(answer) == 68 and answer[:20] == key.id + probe_nonce
            *same, server_ms = p.open_probe_answer(key, answer)
            assert same == [seq, 123, 2]
            assert abs(server_ms - time.time() * 1000) < 2000


def test_probes_answer_from_the_address_that_was_asked(make):
    make.options["listen"] = [f"0.0.0.0:{PORT}"]
    conc = make.start()
    key = conc.gateways["home"]
    for host in "127.0.0.1", "127.0.0.5", "10.88.0.1":
        with prober(host) as sock:  # connected: takes answers from there only
            sock.send(p.probe_request(key, bytes(12), 1, 2, 3))
            assert p.open_probe_answer(key, sock.recv(2000))[0] == 1


def test_a_padded_probe_is_answered_without_padding(conc):
    """Its size is what a gateway wants to know of; nobody gets back more than he has sent."""
    good = p.probe_request(conc.gateways["home"], bytes(12), 1, 2, 3)
    with prober() as sock:
        for size in 1, 1000, 1472 - 68:
            sock.send(good + bytes(size))
            assert p.open_probe_answer(conc.gateways["home"], sock.recv(2000))[0] == 1


def test_what_is_no_probe_stays_unanswered(conc):
    key = conc.gateways["home"]
    good = p.probe_request(key, bytes(12), 1, 2, 3)
    with prober() as sock:
        for packet in (b"", b"x", os.urandom(68), good[:-1],
                       good[:-1] + bytes([good[-1] ^ 1]),
                       p.probe_request(p.Key.new(), bytes(12), 1, 2, 3)):
            sock.send(packet)
        sock.send(good)
        assert p.open_probe_answer(key, sock.recv(2000))[0] == 1
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(2000)


def test_probes_of_a_new_gateway_are_answered_after_reload(conc):
    conc.add("office")
    conc.reload()
    wait_for(lambda: is_answered(conc.gateways["office"]), "the new key is known")


def test_udp_port_taken(make):
    """Flows do without probes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", PORT))
        conc = make.start()
        assert "cannot answer probes" in conc.log()
        with conc.gateway() as gateway:
            reply = gateway.welcome()
            assert (reply.type, reply.probe_port) == (p.WELCOME, 0)


# ---- the daemon ----

def test_status(conc):
    with destination() as listening, conc.welcomed() as gateway:
        to = f"127.0.0.1:{port_of(listening)}"
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        gateway.send_data(b"123")
        with accept(listening) as server:
            assert recv_exactly(server, 3) == b"123"
            server.sendall(b"4567")
            assert gateway.read_data(4) == b"4567"
            status = conc.ask()
            flow, = conc.ask("flows")
    assert status["role"] == "concentrator" and status["workers"] == 2
    assert status["version"] and status["uptime_s"] > 0
    home, = status["gateways"]
    assert home["last_seen_s"] < 5
    del home["last_seen_s"]
    assert home.pop("keys") == [{"id": conc.gateways["home"].id.hex(), "flows": 1, "warm": 0,
                                 "last_seen_s": pytest.approx(2.5, abs=2.5)}]
    assert home == {"name": "home", "flows": 1, "warm": 0, "total": 1, "rx_bytes": 3,
                    "tx_bytes": 4, "refused": 0}
    assert status["refused"] == {"hello": 0, "replay": 0, "policy": 0, "limit": 0}
    assert flow["destination"] == to
    assert (flow["gateway"], flow["sealed"], flow["rx_bytes"]) == ("home", True, 3)


def test_reload_adds_and_removes_gateways(make):
    make.add("office")
    conc = make.start()
    with destination() as listening, conc.welcomed("home") as home, \
            conc.welcomed("office") as office:
        assert home.open("127.0.0.1", port_of(listening)) == 0
        assert office.open("127.0.0.1", port_of(listening)) == 0
        with accept(listening) as first, accept(listening) as second:
            del conc.gateways["office"]
            conc.add("cabin")
            conc.reload()
            assert ends_in_reset(office.sock)
            home.send_data(b"still here")
            ready = first if first.recv(1, socket.MSG_PEEK) == b"s" else second
            assert recv_exactly(ready, 10) == b"still here"
        with conc.welcomed("cabin"):
            pass
    assert [g["name"] for g in conc.ask()["gateways"]] == ["home", "cabin"]


def test_another_key_ends_the_sessions_of_the_old_one(conc):
    with conc.welcomed() as old:
        conc.gateways["home"] = p.Key(conc.gateways["home"].id, os.urandom(32))
        conc.reload()
        assert ends_in_reset(old.sock)
        with conc.welcomed():
            pass


def is_answered(key):
    with prober() as sock:
        sock.settimeout(0.2)
        sock.send(p.probe_request(key, bytes(12), 1, 2, 3))
        with contextlib.suppress(socket.timeout):
            return p.open_probe_answer(key, sock.recv(2000))[0] == 1


def test_a_new_key_takes_the_old_ones_place(make):
    """Both are one gateway, with the limits of one. When the old one goes, what it has begun ends, and
    nothing else; what the gateway has had stays its own."""
    old, new = make.gateways["home"], p.Key.new()
    make.extra["home"] = {"max_flows": 2}
    conc = make.start()

    def flows():
        return [(key["id"], key["flows"]) for key in conc.figures()["keys"]]

    with destination() as listening, conc.welcomed(key=old) as first:
        port = port_of(listening)
        assert first.open("127.0.0.1", port) == 0
        conc.new_keys["home"] = new
        conc.reload()
        wait_for(lambda: is_answered(new) and is_answered(old), "probes of either are answered")
        assert conc.figures()["keys"][1]["last_seen_s"] is None
        with accept(listening), conc.welcomed(key=new) as second:
            assert second.open("127.0.0.1", port) == 0
            with accept(listening) as server:
                assert flows() == [(old.id.hex(), 1), (new.id.hex(), 1)]
                for key in old, new:
                    with conc.gateway(key=key) as third:
                        reply = third.welcome()
                        assert (reply.type, reply.code) == (p.REFUSED, 3)
                conc.gateways["home"] = conc.new_keys.pop("home")
                conc.reload()
                assert ends_in_reset(first.sock)
                second.send_data(b"still here")
                assert recv_exactly(server, 10) == b"still here"
                wait_for(lambda: conc.figures()["flows"] == 1, "the old key's flow is over")
                assert flows() == [(new.id.hex(), 1)] and conc.figures()["total"] == 2
                wait_for(lambda: not is_answered(old), "the old key is forgotten")


def test_keys_do_not_mix(make):
    """An id with another one's secret, be it the same gateway's, and a HELLO for the second time: all
    are strangers."""
    old, new = make.gateways["home"], make.new_keys.setdefault("home", p.Key.new())
    office = make.add("office")
    conc = make.start()
    with conc.welcomed(key=new) as good, contextlib.ExitStack() as stack:
        strangers = [stack.enter_context(conc.gateway(key=p.Key(id_of.id, secret_of.secret)))
                     for id_of, secret_of in [(old, new), (new, old), (new, office), (office, old)]]
        for stranger in strangers:
            stranger.sock.sendall(stranger.flight())
        again = stack.enter_context(conc.gateway(key=new))
        again.schedule = good.schedule
        again.sock.sendall(again.flight())
        assert all(ends_in_reset(each.sock) for each in [*strangers, again])
    assert conc.ask()["refused"] == {"hello": 4, "replay": 1, "policy": 0, "limit": 0}


def test_invalid_reload_changes_nothing(conc):
    with conc.welcomed() as gateway:
        conc.options["no_such_option"] = 1
        conc.reload()
        wait_for(lambda: "nothing has changed" in conc.log(), "the log says so")
        assert "no_such_option" in conc.log()
        gateway.send(p.PING, b"12345678")
        assert gateway.read_record() == (p.PONG, b"12345678")
        with conc.welcomed():
            pass


def test_timeouts_change_for_running_flows(conc):
    with destination() as listening, conc.welcomed() as gateway:
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        gateway.send(p.FIN)
        with accept(listening) as server:
            assert server.recv(1) == b""
            conc.options["half_closed_timeout"] = "1s"
            conc.reload()
            assert ends_in_reset(gateway.sock)
    assert "has changed" not in conc.log()


def test_what_needs_a_restart_is_said(conc):
    conc.options.update(workers=3, packet_scheduler="default")
    conc.reload()
    for option in "workers", "packet_scheduler":
        wait_for(lambda: f"{option} has changed: that takes effect after a restart" in conc.log(),
                 "said")
    assert "listen has changed" not in conc.log()


def test_sigterm_lets_flows_end(conc):
    """Running flows go on for a while, everything else ends; when the last flow has ended, so has
    the concentrator."""
    with destination() as listening, conc.welcomed() as running, conc.welcomed() as warm:
        assert running.open("127.0.0.1", port_of(listening)) == 0
        with accept(listening) as server:
            with conc.gateway() as late:
                token = late.greet().token
            with conc.gateway() as late:
                conc.process.terminate()
                wait_for(lambda: "stopping" in conc.log(), "it stops")
                assert ends_in_reset(warm.sock)
                reply = late.greet(token)
                assert (reply.type, reply.code) == (p.REFUSED, 4)
            running.send_data(b"goes on")
            assert recv_exactly(server, 7) == b"goes on"
            assert conc.process.poll() is None
            running.send(p.FIN)
            server.close()
        assert running.read_to_fin() == b""
        assert conc.process.wait(2) == 0


def test_second_signal_ends_at_once(conc):
    with destination() as listening, conc.welcomed() as gateway:
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        with accept(listening) as server:
            conc.process.terminate()
            wait_for(lambda: "stopping" in conc.log(), "it stops")
            conc.process.terminate()
            assert conc.process.wait(2) == 0
            assert ends_in_reset(server)
    assert not conc.socket.exists()


def test_port_taken(make):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", PORT))
        taken.listen()
        make.launch()
        assert make.process.wait(5) == 1
    errors = [line for line in make.log().splitlines() if " error " in line]
    assert len(errors) == 1 and f"127.0.0.1:{PORT}" in errors[0]


def test_a_second_concentrator_does_not_share_the_port(conc, tmp_path):
    (tmp_path / "second").mkdir()
    second = Concentrator(tmp_path / "second").launch()
    assert second.process.wait(5) == 1
    assert f"cannot listen on 127.0.0.1:{PORT}" in second.log()


def test_no_such_address(make):
    make.options["listen"] = ["192.0.2.77:7171"]
    make.launch()
    assert make.process.wait(5) == 1
    assert "192.0.2.77:7171" in make.log() and "no such address" in make.log()


def test_bad_configuration(make):
    make.options["workers"] = "many"
    make.launch()
    assert make.process.wait(5) == 2
    assert f"{make.config}:" in make.log()


def mptcp_limits():
    words = subprocess.run(["ip", "mptcp", "limits"], check=True, capture_output=True,
                           text=True).stdout.split()
    return dict(zip(words[::2], map(int, words[1::2])))


def test_kernel_limits_are_raised_and_put_back(conc):
    assert mptcp_limits() == {"add_addr_accepted": 0, "subflows": 8}
    assert conc.end() == 0
    assert mptcp_limits() == {"add_addr_accepted": 0, "subflows": 2}


def test_mptcp_switched_off(make):
    """Says so, with the remedy, and serves plain TCP."""
    switch = Path("/proc/sys/net/mptcp/enabled")
    switch.write_text("0")
    try:
        conc = make.start()
        assert "sysctl -w net.mptcp.enabled=1" in conc.log()
        with conc.welcomed(mptcp=False):
            pass
    finally:
        switch.write_text("1")


def test_userspace_path_manager_is_reported(make):
    setting, kernel, userspace = Path("/proc/sys/net/mptcp/path_manager"), "kernel", "userspace"
    if not setting.exists():  # Linux before 6.15 has the number only
        setting, kernel, userspace = setting.with_name("pm_type"), "0", "1"
    setting.write_text(userspace)
    try:
        conc = make.start()
        assert f"sysctl -w net.mptcp.{setting.name}={kernel}" in conc.log()
    finally:
        setting.write_text(kernel)
