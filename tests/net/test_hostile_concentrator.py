"""A concentrator that is none, or that has been taken over, against a gateway: whatever it answers, a
client of the LAN gets no byte that was not sent for it, no end in order where there was none, and no
flow is dialled again and again; and the gateway goes on. It knows the protocol (protocol.py), and
can change, cut, mix and repeat what it has heard. BONDWAY_ATTACK_STRIDE: it tries each so-and-so-many-th bit and length
(5)."""
import collections
import contextlib
import os
import socket
import threading
import time

import protocol as p
from bonded import PORT, Bonded, Lab, Uplink
from crowd import FILLING, Attempt, allow_many_descriptors, noise, see_out, with_bit
from test_hostile_gateway import ORDERS

# No factor of 8, so that it comes by every bit of a byte.
STRIDE = int(os.environ.get("BONDWAY_ATTACK_STRIDE", "5"))
AT_ONCE = 400
FIRST_PORT = 20000
# The uplink tells flows from what the gateway dials in advance.
RULES = 'rules = ({ name = "flows"; ports = ("20000-65535"); uplinks = ["lte"]; });\n'


class Case:
    """What one flow is answered. answer(concentrator): the bytes, when it has read HELLO and OPEN.
    ends: and then the end of the stream; otherwise it waits for the gateway's. arrives: at the client,
    or the beginning of it. dials: how often the gateway comes for this flow."""

    def __init__(self, what, answer, ends=False, arrives=b"", dials=1):
        self.what, self.answer, self.ends = what, answer, ends
        self.arrives, self.dials = arrives, dials


class Impostor:
    """Has the concentrator's port. Answers those that come by lte as the case of their port says; all
    others as a concentrator does."""

    def __init__(self, lab, key):
        self.key, self.flows_from = key, next(u for u in lab.uplinks if u.name == "lte").address
        self.cases, self.dials = {}, collections.Counter()
        self.listening = lab.vps.socket(protocol=p.IPPROTO_MPTCP)
        self.listening.bind(("0.0.0.0", PORT))
        self.listening.listen(4096)
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, (host, _) = self.listening.accept()
                threading.Thread(target=self.serve, args=(sock, host), daemon=True).start()

    def serve(self, sock, host):
        with p.Concentrator(sock, self.key, timeout=60) as c, \
                contextlib.suppress(OSError, EOFError):
            c.read_hello()
            if host != self.flows_from:
                sock.sendall(c.reply(p.WELCOME))
            else:
                _, _, port = c.read_open()
                self.dials[port] += 1
                sock.sendall(self.cases[port].answer(c))
                if self.cases[port].ends:
                    return
            while sock.recv(65536):
                pass


def some(first, end):
    return range(first, end, STRIDE)


def welcome(c):
    return c.reply(p.WELCOME)


def opened(c, code=0):
    return welcome(c) + c.seal(p.OPENED, bytes([code]))


def good_flow(c):
    return opened(c) + c.seal(p.DATA, b"an answer") + c.seal(p.FIN)


def behind(c):
    """Whatever went wrong before: were it believed, this would arrive."""
    return c.seal(p.OPENED, b"\0") + never(c)


def never(c):
    return c.seal(p.DATA, b"never" * 20)


def of_another_connection(c):
    """A reply that was good there."""
    schedule = p.Schedule(c.key, os.urandom(32))
    return p.reply_flight(schedule, os.urandom(32), p.Reply(p.WELCOME, 0, 0, 0))


def of_another_key(c):
    schedule = p.Schedule(p.Key(c.key.id, os.urandom(32)), c.hello[:32])
    return p.reply_flight(schedule, os.urandom(32), p.Reply(p.WELCOME, 0, 0, 0))


def challenge(c):
    return c.reply(p.CHALLENGE, token=bytes(24))


def bad_replies():
    for bit in some(0, 8 * 80):
        yield Case(f"WELCOME, bit {bit}", lambda c, b=bit: with_bit(welcome(c), b) + behind(c))
    for bit in some(8 * 80, 8 * (80 + 27 + 16)):
        yield Case(f"CHALLENGE, bit {bit}",
                   lambda c, b=bit: with_bit(challenge(c), b))
    for at in some(0, 80):
        yield Case(f"WELCOME, cut at {at}", lambda c, n=at: welcome(c)[:n], ends=True)
    for at in some(80, 80 + 27 + 16):
        yield Case(f"CHALLENGE, cut at {at}", lambda c, n=at: challenge(c)[:n], ends=True)
    for what, data in noise(200)[::STRIDE]:
        yield Case(what, lambda c, d=data: d, ends=True)
    for answer in (of_another_connection, of_another_key):
        yield Case(answer.__name__, lambda c, a=answer: a(c) + behind(welcome_of(c)))
    yield Case("what it has sent", lambda c: c.hello)
    yield Case("CHALLENGE without a token", lambda c: c.reply(p.CHALLENGE))
    yield Case("CHALLENGE for ever", challenge, ends=True, dials=2)
    for kind, code in ((p.WELCOME, 1), (p.REFUSED, 0), (p.REFUSED, 1), (p.REFUSED, 99), (1, 0),
                       (9, 0)):
        yield Case(f"reply {kind}, code {code}", lambda c, r=(kind, code): c.reply(*r) + behind(c))


def welcome_of(c):
    """With a sealer; what it says is not sent."""
    welcome(c)
    return c


def bad_openeds():
    for bit in some(8 * 80, 8 * (80 + 20)):
        yield Case(f"OPENED, bit {bit}", lambda c, b=bit:
                   with_bit(opened(c), b) + never(c))
    for at in some(80, 80 + 20):
        yield Case(f"OPENED, cut at {at}", lambda c, n=at: opened(c)[:n], ends=True)
    for code in (1, 2, 3, 4, 5, 6, 7, 255):
        yield Case(f"OPENED {code}", lambda c, n=code: opened(c, n) + never(c))
    for kind, payload in ((p.DATA, b"never"), (p.DATA, b""), (p.FIN, b""), (p.RESET, b"\0"),
                          (p.OPEN, b""), (p.OPENED, b""), (p.OPENED, b"\0\0"), (9, b"")):
        yield Case(f"record {kind} {payload!r} instead of OPENED",
                   lambda c, r=(kind, payload): welcome(c) + c.seal(*r) + behind(c))
    yield Case("a length of zero", lambda c: welcome(c) + bytes(2) + behind(c))
    yield Case("no OPENED", welcome, ends=True)


def in_order(c, order):
    return opened(c) + order(*(c.seal(p.DATA, text) for text in (b"one", b"two", b"three")))


LENGTH_BITS = 16


def bad_data():
    for bit in some(0, 8 * (2 + 1 + 5 + 16)):
        yield Case(f"DATA, bit {bit}", lambda c, b=bit:
                   opened(c) + with_bit(c.seal(p.DATA, b"never"), b) + FILLING * (b < LENGTH_BITS))
    for at in some(0, 2 + 1 + 5 + 16):
        yield Case(f"DATA, cut at {at}",
                   lambda c, n=at: opened(c) + c.seal(p.DATA, b"never")[:n], ends=True)
    for what, (order, arrives) in ORDERS.items():
        yield Case(what, lambda c, o=order: in_order(c, o), ends=True, arrives=arrives)
    for kind in p.OPEN, p.OPENED, 9:
        yield Case(f"record {kind}", lambda c, k=kind: opened(c) + c.seal(k, b"\0"))
    yield Case("RESET", lambda c: opened(c) + c.seal(p.RESET, b"\0"))
    yield Case("in the clear", lambda c: opened(c) + b"never")
    yield Case("data behind the end", lambda c: good_flow(c) + c.seal(p.DATA, b"never"),
               arrives=b"an answer")


def flows_of(lab, impostor, cases):
    """Each case on a port of its own: what its client got."""
    attempts = []
    for port, case in enumerate(cases, FIRST_PORT + len(impostor.cases)):
        impostor.cases[port] = case
        sock = lab.client.socket()
        begun = time.monotonic()
        sock.settimeout(5)
        sock.connect((lab.destinations[0].address, port))
        attempts.append(Attempt(case.what, sock, begun))
    see_out(attempts, 30)
    return attempts


def assert_no_harm(lab, impostor, cases):
    for begin in range(0, len(cases), AT_ONCE):
        batch = cases[begin:begin + AT_ONCE]
        first = FIRST_PORT + len(impostor.cases)
        for number, (case, got) in enumerate(zip(batch, flows_of(lab, impostor, batch))):
            assert case.arrives.startswith(got.received) and got.end == "reset", got
            assert impostor.dials[first + number] == case.dials, got


def test_no_other_answer_is_believed():
    """Each bit of WELCOME, OPENED and DATA changed, cut at each length, other replies, other records,
    other orders: the client is reset, whatever it was. A good flow is still one, behind all of them."""
    allow_many_descriptors()
    with Lab([Uplink("dsl"), Uplink("lte")]) as lab, \
            Bonded(lab, 'encryption = "always";\n' + RULES, start=False) as bond, \
            Impostor(lab, p.Key.parse(bond.key_file.read_text().strip())) as impostor:
        bond.start_gateway()
        assert_no_harm(lab, impostor, [*bad_replies(), *bad_openeds(), *bad_data()])
        good, = flows_of(lab, impostor, [Case("good", good_flow)])
        assert (good.received, good.end) == (b"an answer", "in order")
        assert bond.status()["intercepting"]
