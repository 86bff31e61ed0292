"""Flows that concentrators have accepted, sent again by somebody who has heard them: at once, and at
times around all limits of protocol.md, to the one that has accepted them, to its heir, and to one
that was killed and has forgotten. All of them wait at the same time.
BONDWAY_REPLAY_SECONDS: when (0 1 29 31 61 91)."""
import contextlib
import os
import time

import pytest

import protocol as p
from alone import concentrator, destination, wait_for
from crowd import see_out
from test_hostile_gateway import Session, assert_served, challenged, nothing_arrived, sent

TIMES = [float(word) for word in
         os.environ.get("BONDWAY_REPLAY_SECONDS", "0 1 29 31 61 91").split()]
START_UP = 60  # s; until then a token is asked for
TOKEN_LIFE = 10
KEPT = 90  # s: salts
FRESH_MS = 30_000
LATE_MS = 2000  # a HELLO is judged so much later than it was made, at most
SOURCES = ("127.0.0.1", "10.88.0.1")
FATES = {"stays": lambda c: None, "is taken over from": lambda c: c.take_over(),
         "crashes": lambda c: (c.kill(), c.start())}


def wait_until(when):
    """Not for a state: time itself is what counts here."""
    wait_for(lambda: time.monotonic() >= when, "its time has come", 2 * START_UP)


class Target:
    """A concentrator at an address of its own, and what it has accepted."""

    def __init__(self, conc, fate):
        self.conc, self.fate = conc, fate
        self.flights = {}

    def accept(self, listening, what, session):
        flight = session.flight + session.fin
        attempt = sent(self.conc, what, flight)
        assert_served(listening, b"question")
        see_out([attempt])
        assert attempt.end == "in order" and len(attempt.received) > 80, (self.fate, attempt)
        self.flights[what] = flight

    def replay(self):
        return [sent(self.conc, f"{self.fate}, {what}, from {source}", flight, source)
                for what, flight in self.flights.items() for source in SOURCES]


@pytest.fixture
def targets(namespace, tmp_path):
    """One for each fate. None has met it yet."""
    with contextlib.ExitStack() as stack:
        found = []
        for number, fate in enumerate(FATES, 1):
            directory = tmp_path / str(number)
            directory.mkdir()
            conc = stack.enter_context(concentrator(directory, hosts=[f"127.0.0.{number}"]))
            found.append(Target(conc.start(), fate))
        yield found


def clock_of(conc):
    """How far its clock is from ours, ms; and a token."""
    with conc.gateway() as gateway:
        reply = gateway.greet(time_ms=0)
        assert reply.type == p.CHALLENGE
        return reply.time_ms - int(time.time() * 1000), reply.token


def accept_some(target, listening):
    """By a token, by time alone, and with clocks that are as far off as they may be."""
    offset, token = clock_of(target.conc)
    target.accept(listening, "with a token", Session(target.conc, listening, token))
    for ms in 0, FRESH_MS - 100, LATE_MS - FRESH_MS:
        now = int(time.time() * 1000) + offset
        target.accept(listening, f"{ms} ms off", Session(target.conc, listening, None,
                                                         time_ms=now + ms))


def assert_of_no_use(replays, silent):
    """No WELCOME. silent: not even a CHALLENGE, ten of which there are in a second."""
    see_out(replays)
    for each in replays:
        silence = not each.received and each.end == "reset"
        assert silence or not silent and challenged(each), each


def test_replays_at_all_times(targets):
    with destination() as listening:
        started = time.monotonic()
        wait_until(started + START_UP + 1)
        for target in targets:
            accept_some(target, listening)
        accepted = time.monotonic()
        for target in targets:
            FATES[target.fate](target.conc)
        for seconds in TIMES:
            wait_until(accepted + seconds)
            for target in targets:
                silent = target.fate != "crashes" and time.monotonic() < accepted + KEPT - 1
                assert_of_no_use(target.replay(), silent)
            assert nothing_arrived(listening)


# Each with what it is answered, by a concentrator that has been there for a while.
CLOCKS = [(LATE_MS - FRESH_MS, p.WELCOME), (FRESH_MS - 100, p.WELCOME),
          (-FRESH_MS - 100, p.CHALLENGE), (FRESH_MS + LATE_MS, p.CHALLENGE)]
YEARS = {"1970": 0, "2106": (1 << 32) * 1000, "the last": (1 << 64) - 1}


def answer(conc, **fields):
    with conc.gateway() as gateway:
        return gateway.greet(**fields).type


def test_clocks_and_tokens(conc):
    """A clock may be 30 s off, and no more; a token is good for ten seconds; one of another life never
    is."""
    _, token = clock_of(conc)
    begun = time.monotonic()
    assert answer(conc, token=token) == p.WELCOME
    wait_until(begun + TOKEN_LIFE + 0.5)
    assert answer(conc, token=token) == p.CHALLENGE
    wait_until(begun + START_UP + 1)
    offset, _ = clock_of(conc)
    for ms, expected in CLOCKS:
        assert answer(conc, time_ms=int(time.time() * 1000) + offset + ms) == expected, ms
    for year, time_ms in YEARS.items():
        assert answer(conc, time_ms=time_ms) == p.CHALLENGE, year
