"""Does the time of the reset tell why a HELLO was bad? For HELLOs of one length, bad in different ways.

In each round every cause has its turn, in random order, and is compared with one cause of the same
round: what else the machine does meets all of them alike. Of these differences the interval that holds
their true median is known without any assumption on the noise (order statistics, as in a sign test;
beyond it once in 16,000). There are rounds until every interval is narrow enough to show what
must not be; one of them is of two equal causes, and shows what noise does.
BONDWAY_TIMING_SECONDS: how long it may try (120)."""
import math
import os
import random
import statistics
import time

import pytest

import protocol as p
from alone import wait_for
from crowd import allow_many_descriptors, see_out
from test_hostile_gateway import sent

SECONDS = float(os.environ.get("BONDWAY_TIMING_SECONDS", "120"))
START_UP = 60  # s; until then a HELLO needs a token, and is longer than others
SIGMAS = 4
LEAST_ROUNDS = 100
# An interval narrower than this tells; the reset's timers count in milliseconds.
RESET_WIDTH = 0.0005  # s
REFERENCE, EQUAL = "a changed tag", "a changed tag, again"


def changed(flight, at):
    return flight[:at] + bytes([flight[at] ^ 1]) + flight[at + 1:]


class Causes:
    """makers: by cause, what makes a flight of it."""

    def __init__(self, conc):
        self.key = conc.gateways["home"]
        with conc.gateway() as gateway:
            self.offset_ms = gateway.greet(time_ms=0).time_ms - int(time.time() * 1000)
        self.accepted = self.flight(self.key)
        see_out([sent(conc, "accepted", self.accepted, end=True)])
        self.makers = {
            REFERENCE: lambda: changed(self.flight(self.key), 87),
            EQUAL: lambda: changed(self.flight(self.key), 87),
            "a changed salt": lambda: changed(self.flight(self.key), 0),
            "an unknown id": lambda: self.flight(p.Key.new()),
            "another secret": lambda: self.flight(p.Key(self.key.id, os.urandom(32))),
            "another type": lambda: self.flight(self.key, kind=2),
            "flags": lambda: self.flight(self.key, flags=1),
            "noise": lambda: os.urandom(88),
            "a replay": lambda: self.accepted,
        }

    def flight(self, key, **fields):
        now_ms = int(time.time() * 1000) + self.offset_ms
        return p.hello_flight(p.Schedule(key, os.urandom(32)), 1, now_ms, **fields)

    def shuffled(self):
        return random.sample(list(self.makers), len(self.makers))


def interval(values):
    """Where the true median is."""
    values = sorted(values)
    reach = SIGMAS * math.sqrt(len(values)) / 2
    low = max(0, math.floor(len(values) / 2 - reach))
    high = min(len(values) - 1, math.ceil(len(values) / 2 + reach))
    return values[low], values[high]


class Comparison:
    """Of each cause with the reference."""

    def __init__(self):
        self.rounds = []  # by cause, its figure

    def intervals(self):
        causes = [cause for cause in self.rounds[0] if cause != REFERENCE]
        return {cause: interval([each[cause] - each[REFERENCE] for each in self.rounds])
                for cause in causes}

    def is_sharp(self, width):
        return len(self.rounds) >= LEAST_ROUNDS and all(
            high - low < width for low, high in self.intervals().values())

    def until_sharp(self, one_round, width):
        end = time.monotonic() + SECONDS
        while len(self.rounds) % LEAST_ROUNDS or not self.rounds or not self.is_sharp(width()):
            assert time.monotonic() < end, f"the machine is too noisy to tell: {self.intervals()}"
            self.rounds.append(one_round())

    def typical(self):
        return statistics.median(each[REFERENCE] for each in self.rounds)

    def assert_equal(self, tolerance):
        for cause, (low, high) in self.intervals().items():
            print(f"{cause}: between {low:.9f} and {high:.9f} s, of {self.typical():.6f}")
        for cause, (low, high) in self.intervals().items():
            assert low - tolerance <= 0 <= high + tolerance, f"{cause} shows: {low}..{high}"


@pytest.fixture
def causes(make):
    allow_many_descriptors()
    make.options.update(workers=1, hello_timeout="200ms", max_unauthenticated=100000,
                        max_unauthenticated_per_source=100000)
    conc = make.start()
    wait_for(lambda: conc.ask()["uptime_s"] > START_UP + 1, "its start lies behind it", 2 * START_UP)
    conc.causes = Causes(conc)
    return conc


def test_when_the_reset_comes(causes):
    def one_round():
        attempts = [sent(causes, cause, causes.causes.makers[cause]())
                    for cause in causes.causes.shuffled()]
        see_out(attempts)
        assert not any(attempt.received for attempt in attempts)
        return {attempt.what: attempt.lasted for attempt in attempts}

    comparison = Comparison()
    comparison.until_sharp(one_round, lambda: RESET_WIDTH)
    comparison.assert_equal(0)
