"""Somebody who is no gateway, or one that has been taken over, against a concentrator: whatever he
sends, nothing is dialled for him twice, nothing arrives that a gateway did not send, and he learns
nothing. He knows the protocol (protocol.py), and can change, cut, mix and repeat what he has heard.
What he must wait for is in attack_replays.py; what denied addresses look like, in
test_concentrator.py."""
import contextlib
import os
import socket
import time

import pytest

import protocol as p
from alone import HELLO_TIMEOUT, PORT, accept, destination, port_of, recv_exactly
from crowd import (FILLING, Attempt, allow_many_descriptors, every_bit, every_cut, noise, see_out,
                   with_bit)

SLACK = 3  # a slow machine


@pytest.fixture
def many(make):
    """A concentrator that has room for all attempts at once."""
    allow_many_descriptors()
    make.options.update(max_unauthenticated=100000, max_unauthenticated_per_source=100000,
                        max_dials_per_second=10000, max_warm=4096)
    make.add("office")
    return make.start()


def token_of(conc, name="home"):
    """Good for ten seconds, and any number of connections."""
    with conc.gateway(name) as gateway:
        return gateway.greet().token


def sent(conc, what, flight, source="", end=False):
    """One attempt: a connection, and all that it sends. end: and nothing more."""
    begun = time.monotonic()
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, p.IPPROTO_MPTCP)
    if source:
        sock.bind((source, 0))
    sock.connect((conc.host, PORT))
    sock.sendall(flight)
    if end:
        sock.shutdown(socket.SHUT_WR)
    return Attempt(what, sock, begun)


class Session:
    """What a gateway sends: a HELLO, an OPEN, data, and the end of it. token: or None. time_ms: its
    clock's."""

    def __init__(self, conc, listening, token, name="home", data=b"question", time_ms=None):
        self.key = conc.gateways[name]
        self.schedule = p.Schedule(self.key, os.urandom(32))
        sealer = p.cipher(p.CHACHA20_POLY1305, self.schedule.c2s)
        self.hello = p.hello_flight(self.schedule, p.CHACHA20_POLY1305,
                                    int(time.time() * 1000) if time_ms is None else time_ms,
                                    p.tlv(p.TOKEN_TLV, token) if token else b"")
        to = p.open_payload(p.SEALED, "127.0.0.1", port_of(listening))
        self.open = p.seal_record(sealer, 0, p.OPEN, to)
        self.data = p.seal_record(sealer, 1, p.DATA, data)
        self.fin = p.seal_record(sealer, 2, p.FIN, b"")

    @property
    def flight(self):
        return self.hello + self.open + self.data


def arrived(listening):
    """All that has come to the destination: each connection with what it has brought, to its end."""
    listening.setblocking(False)
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(Attempt("arrived", listening.accept()[0], time.monotonic()))
    see_out(found)
    return found


def nothing_arrived(listening):
    return not arrived(listening)


def carries(conc, listening, token):
    """One flow of a gateway that behaves."""
    listening.settimeout(5)
    with conc.gateway() as gateway:
        assert gateway.greet(token).type == p.WELCOME
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        with accept(listening) as server:
            gateway.send_data(b"question")
            return recv_exactly(server, 8) == b"question"


# ---- HELLO ----

def mixed(a, b):
    """Parts of two HELLOs: both were good."""
    return {
        "salt of another": b.hello[:32] + a.hello[32:],
        "fixed part of another": a.hello[:40] + b.hello[40:88] + a.hello[88:],
        "tag of another": a.hello[:72] + b.hello[72:88] + a.hello[88:],
        "extension of another": a.hello[:88] + b.hello[88:],
        "id of another gateway": a.hello[:32] + b.key.id + a.hello[40:],
        "without extension": a.hello[:88] + a.open + a.data,
        "from the middle": a.hello[1:],
        "twice its salt": a.hello[:32] + a.hello,
    }


def reflected(conc):
    """What a concentrator sends, sent to it."""
    with conc.gateway() as gateway:
        gateway.sock.sendall(gateway.flight())
        reply = b""
        while more := gateway.sock.recv(65536):
            reply += more
    return {"a reply": reply, "a reply behind our id": reply[:32] + gateway.key.id + reply[32:]}


def with_another_secret(conc):
    home, office = conc.gateways["home"], conc.gateways["office"]
    schedule = p.Schedule(p.Key(office.id, home.secret), os.urandom(32))
    return {"the id of one, the secret of another": p.hello_flight(schedule, 1,
                                                                   int(time.time() * 1000))}


def test_no_other_hello_is_answered(many):
    """Each bit of one changed, cut at each length, of parts, of noise: the same silence, the same
    reset. The HELLO that all were made of is still good then: once."""
    with destination() as listening:
        token = token_of(many)
        good, other = (Session(many, listening, token) for _ in range(2))
        office = Session(many, listening, token_of(many, "office"), "office")
        behind = good.open + good.data
        flights = {what: hello + behind for what, hello in every_bit(good.hello)}
        flights.update(every_cut(good.hello, 1))
        flights.update(noise(200))
        flights.update({what: each + behind for what, each in mixed(good, other).items()})
        flights["id of another gateway"] = mixed(good, office)["id of another gateway"]
        flights.update(reflected(many))
        flights.update(with_another_secret(many))
        before = many.ask()["refused"]["hello"]
        attempts = [sent(many, what, flight) for what, flight in flights.items()]
        see_out(attempts)
        for attempt in attempts:
            assert not attempt.received and attempt.end == "reset", attempt
            assert 0.9 < attempt.lasted / HELLO_TIMEOUT < SLACK, attempt
        assert many.ask()["refused"]["hello"] - before == len(attempts)
        assert nothing_arrived(listening)
        begun = [sent(many, "good", good.flight + good.fin)]
        assert_served(listening, b"question")
        see_out(begun)
        assert begun[0].received and begun[0].end == "in order"
        assert carries(many, listening, token_of(many))


def assert_served(listening, data):
    """One flow arrives, with exactly these bytes, and its end; the destination ends it, too."""
    listening.settimeout(5)
    with accept(listening) as server:
        assert recv_exactly(server, len(data)) == data
        assert server.recv(1) == b""


# ---- the same HELLO again ----

def test_of_copies_at_once_one_is_welcome(many):
    """Sent at the same time, to all workers: one dial for each HELLO."""
    sessions, copies = 30, 8
    with destination() as listening:
        listening.listen(1000)
        token, attempts = token_of(many), []
        for _ in range(sessions):
            session = Session(many, listening, token)
            socks = [many.gateway(mptcp=False).sock for _ in range(copies)]
            for sock in socks:
                attempts.append(Attempt("copy", sock, time.monotonic()))
                sock.sendall(session.flight + session.fin)
        for _ in range(sessions):
            assert_served(listening, b"question")
        see_out(attempts)
        assert nothing_arrived(listening)
    assert sum(attempt.end == "in order" for attempt in attempts) == sessions
    assert all(not attempt.received for attempt in attempts if attempt.end == "reset")
    assert many.ask()["refused"]["replay"] == sessions * (copies - 1)


def challenged(attempt):
    """A CHALLENGE in full, and the end of the stream: nobody but the gateway can read it."""
    return len(attempt.received) == 80 + 27 + 16 and attempt.end == "in order"


def test_replays(many):
    """Of a whole flow, by whomever, at once and later: silence. To a concentrator that has forgotten,
    since it was killed: a CHALLENGE, that opens to the gateway alone. A token of its earlier life is
    worth nothing."""
    with destination() as listening:
        token = token_of(many)
        session = Session(many, listening, token)
        flight = session.flight + session.fin
        first = [sent(many, "first", flight)]
        assert_served(listening, b"question")
        see_out(first)
        replays = [sent(many, f"from {source}", flight, source)
                   for source in ("127.0.0.1", "127.0.0.2", "10.88.0.1") for _ in range(3)]
        see_out(replays)
        assert all(not each.received and each.end == "reset" for each in replays), replays
        many.take_over()
        replays = [sent(many, "after an upgrade", flight) for _ in range(3)]
        see_out(replays)
        assert all(not each.received and each.end == "reset" for each in replays), replays
        many.kill()
        many.start()
        replays = [sent(many, "after a crash", flight), sent(many, "with a token of the past",
                                                             Session(many, listening, token).flight)]
        see_out(replays)
        assert all(challenged(each) for each in replays), replays
        assert nothing_arrived(listening)


def test_who_fills_the_cache_is_alone(make):
    """One gateway may have so many salts in it as it may dial, and be challenged, while they are kept:
    then it is challenged, and the other one does not notice."""
    make.options.update(max_dials_per_second=1, max_warm=4096)
    make.add("office")
    conc = make.start()
    token = token_of(conc)  # a challenge
    for _ in range(90 * (1 + 10) - 1):
        with conc.gateway() as gateway:
            assert gateway.greet(token).type == p.WELCOME
    with conc.gateway() as gateway:
        assert gateway.greet(token).type == p.CHALLENGE
    with conc.welcomed("office"):
        pass


def test_a_token_for_each_bit(many):
    """Those are no tokens: a CHALLENGE, ten in a second, and silence for the rest."""
    with destination() as listening:
        token = token_of(many)
        attempts = [sent(many, what, Session(many, listening, changed).flight)
                    for what, changed in every_bit(token)]
        see_out(attempts)
        assert nothing_arrived(listening)
    assert all(challenged(each) or not each.received and each.end == "reset" for each in attempts)
    assert any(challenged(each) for each in attempts)


# ---- slowly ----

def test_byte_by_byte(many):
    """A whole flow, one byte in each packet, is as good as any."""
    with destination() as listening:
        session = Session(many, listening, token_of(many))
        attempt = sent(many, "byte by byte", b"")
        attempt.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in session.flight + session.fin:
            attempt.sock.sendall(bytes([byte]))
        assert_served(listening, b"question")
        see_out([attempt])
    assert attempt.end == "in order"


def test_who_never_comes_to_an_end(many):
    """Bytes of a HELLO, one after the other: that wins no time."""
    attempt = sent(many, "slow", b"")
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while True:
            attempt.sock.send(b"x")
            time.sleep(HELLO_TIMEOUT / 20)  # not a wait: this is the pace
    assert 0.9 < (time.monotonic() - attempt.begun) / HELLO_TIMEOUT < SLACK
    attempt.sock.close()


def test_who_dials_too_much(make):
    """A scan of ports through the concentrator: so many in a second, and no more; it says so. Another
    gateway does not notice."""
    make.options["max_dials_per_second"] = 10
    make.add("office")
    conc = make.start()
    with destination() as listening:
        token, begun, codes = token_of(conc), time.monotonic(), []
        for _ in range(60):
            with conc.gateway() as gateway:
                assert gateway.greet(token).type == p.WELCOME
                codes.append(gateway.open("127.0.0.1", port_of(listening)))
        seconds = time.monotonic() - begun
        assert set(codes) == {0, 5}
        assert 10 <= codes.count(0) <= 10 * (seconds + 2)
        with conc.welcomed("office") as gateway:
            assert gateway.open("127.0.0.1", port_of(listening)) == 0


# ---- records ----

class Tokens:
    """A good one, whenever it is asked for."""

    def __init__(self, conc):
        self.conc, self.until = conc, 0

    def __call__(self):
        if time.monotonic() > self.until:
            self.token, self.until = token_of(self.conc), time.monotonic() + 5
        return self.token


def bad_opens(conc, listening, tokens):
    """By what is wrong: a flight, and whether nothing follows."""
    for bit in range(8 * len(Session(conc, listening, tokens()).open)):
        s = Session(conc, listening, tokens())
        yield f"bit {bit}", s.hello + with_bit(s.open, bit) + s.data + FILLING, False
    for at in range(len(s.open)):
        s = Session(conc, listening, tokens())
        yield f"cut at {at}", s.hello + s.open[:at], True
    for what, behind in {"of another": lambda s: Session(conc, listening, tokens()).open + s.data,
                         "data before": lambda s: s.data + s.open, "none": lambda s: s.data,
                         "a length of zero": lambda s: bytes(2)}.items():
        s = Session(conc, listening, tokens())
        yield what, s.hello + behind(s) + FILLING, False


def test_no_other_open_is_obeyed(many):
    """Behind a good HELLO each bit of it changed, cut at each length, of another, out of turn: nothing
    is dialled, and the connection ends."""
    with destination() as listening:
        tokens = Tokens(many)
        attempts = [sent(many, what, flight, end=end)
                    for what, flight, end in bad_opens(many, listening, tokens)]
        see_out(attempts)
        assert nothing_arrived(listening)
        for attempt in attempts:
            assert len(attempt.received) in (0, 80), attempt  # WELCOME, or a reset that outran it
            assert attempt.end == ("in order" if "cut" in attempt.what else "reset"), attempt
        assert carries(many, listening, tokens())


class Flow:
    """One that runs: the gateway's end, and the destination's. back: a record to the gateway."""

    def __init__(self, conc, listening, token):
        listening.settimeout(5)
        self.gateway = conc.gateway()
        assert self.gateway.greet(token).type == p.WELCOME
        assert self.gateway.open("127.0.0.1", port_of(listening)) == 0
        self.server = accept(listening)
        self.gateway.send_data(b"before")
        assert recv_exactly(self.server, 6) == b"before"
        self.server.sendall(b"back")
        self.back = self.gateway.read_exactly(2 + 1 + 4 + 16)

    def data(self, text):
        return self.gateway.seal(p.DATA, text)

    def attempt(self, what, data):
        """Of the destination: the gateway's end sends this, and its stream ends, without FIN."""
        with contextlib.suppress(OSError):  # a reset may be quicker
            self.gateway.sock.sendall(data)
            self.gateway.sock.shutdown(socket.SHUT_WR)
        return Attempt(what, self.server, time.monotonic())


# By how it is wrong: what of three records is sent, and what of that may arrive.
ORDERS = {
    "no end": (lambda one, two, three: one + two + three, b"onetwothree"),
    "the first one lost": (lambda one, two, three: two + three, b""),
    "one in the middle lost": (lambda one, two, three: one + three, b"one"),
    "one twice": (lambda one, two, three: one + one + two, b"one"),
    "in reverse order": (lambda one, two, three: two + one + three, b""),
    "a length of zero": (lambda one, two, three: one + bytes(2) + two, b"one"),
    "in the clear": (lambda one, two, three: one + b"two" + two, b"one"),
}


def attacked_flows(flow):
    """By Flow.attempt(): each with what may arrive."""
    for bit in range(8 * len(flow().data(b"never"))):
        f = flow()
        yield f.attempt(f"bit {bit}", with_bit(f.data(b"never"), bit)), b""
    for at in range(len(f.data(b"never"))):
        f = flow()
        yield f.attempt(f"cut at {at}", f.data(b"never")[:at]), b""
    for what, (order, expected) in ORDERS.items():
        f = flow()
        records = [f.data(text) for text in (b"one", b"two", b"three")]
        yield f.attempt(what, order(*records)), expected
    f = flow()
    yield f.attempt("sent back", f.back), b""
    f, g = flow(), flow()
    yield f.attempt("of another", g.data(b"never")), b""


def test_no_other_byte_arrives(many):
    """In flows that run, each bit of a record changed, cut at each length, records lost, twice, in
    another order, sent back: what came before may arrive, nothing else; and then the destination is
    reset, for an end that is not sealed is none."""
    with destination() as listening, contextlib.ExitStack() as stack:
        listening.listen(1000)
        tokens = Tokens(many)

        def flow():
            f = Flow(many, listening, tokens())
            stack.callback(f.gateway.sock.close)
            stack.callback(f.server.close)
            return f

        attempts = list(attacked_flows(flow))
        see_out([attempt for attempt, _ in attempts])
        for attempt, may_arrive in attempts:
            assert may_arrive.startswith(attempt.received) and attempt.end == "reset", attempt
        assert attempt_named("no end", attempts).received == b"onetwothree"
        assert carries(many, listening, tokens())


def attempt_named(what, attempts):
    return next(attempt for attempt, _ in attempts if attempt.what == what)
