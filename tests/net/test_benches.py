"""The instruments of tests/bench/heal, scenarios and soak, held to what is known."""

from __future__ import annotations

import os
import random
import struct
import sys
from pathlib import Path

import pytest

from bonded import ROOT, Lab
from scenario import LOSSLESS, QUEUE, RATE, RTT, Ratio, Result, Scenario, Way, draw
from soak import Result as SoakResult
from soak import Dials, exchange, explain_cuts, is_steady, plan
from traffic import SLACK, Server, offer, read, take

BENCH = Path(__file__).resolve().parent.parent / "bench"
sys.path.insert(0, str(BENCH))

from arrivals import STAMP, Arrivals, ArrivalsFile  # noqa: E402
from healing import HealLab, known_pause  # noqa: E402

RATE_BPS = 1000.0


def steady(start: float, end: float, rate: float = RATE_BPS) -> list:
    """An arrival each 10 ms."""
    count = round((end - start) * 100)
    return [(start + i / 100, round(rate / 100)) for i in range(count)]


def test_a_gap():
    """Also one that begins before one looks, and one that is not over yet."""
    arrivals = Arrivals(steady(0, 1) + steady(1.5, 3))
    assert arrivals.longest_gap(0.2, 2.9) == pytest.approx(0.51)
    assert arrivals.longest_gap(1.3, 2.9) == pytest.approx(0.51)
    assert arrivals.longest_gap(1.1, 1.3) == pytest.approx(0.51)
    assert arrivals.longest_gap(1.6, 2.9) == pytest.approx(0.01)
    assert arrivals.longest_gap(2.5, 4.0) == pytest.approx(1.01)
    assert Arrivals([(0.0, 1)]).longest_gap(0.5, 2) == 2


def test_a_recovery():
    """Fails at 1 s, nothing for 0.5 s, then half the rate for 0.5 s, then all of it."""
    arrivals = Arrivals(steady(0, 1) + steady(1.5, 2, RATE_BPS / 2) + steady(2, 5))
    assert arrivals.recovery(1.0, RATE_BPS, 4.9) == pytest.approx(0.95, abs=0.1)
    assert arrivals.recovery(1.0, RATE_BPS, 2.5) is None  # not proved yet
    assert arrivals.recovery(0.0, RATE_BPS, 0.9) is None
    assert arrivals.recovery(2.0, RATE_BPS, 4.9) == 0


def test_a_flood_is_no_recovery():
    """What had waited behind a lost segment comes at once; the rate is not back."""
    arrivals = Arrivals(steady(0, 1) + steady(1.5, 1.6, RATE_BPS / 2) + [(1.6, 600)] +
                        steady(1.6, 4, RATE_BPS / 2) + steady(4, 6))
    assert arrivals.recovery(1.0, RATE_BPS, 5.9) == pytest.approx(2.9, abs=0.15)


def test_the_lowest_rate():
    arrivals = Arrivals(steady(0, 2) + steady(2, 3, RATE_BPS / 2) + steady(3, 5))
    assert arrivals.lowest_rate(0.5, 4.5, 0.5) == pytest.approx(RATE_BPS / 2, rel=0.05)
    assert arrivals.lowest_rate(3.1, 4.5, 0.5) == pytest.approx(RATE_BPS, rel=0.05)


def test_a_file_of_stamps(tmp_path):
    """Read while it grows, by halves of stamps too."""
    path, data = tmp_path / "stamps", b"".join(STAMP.pack(i * 1000, 7) for i in range(100))
    path.write_bytes(data[:1000])
    stamps = ArrivalsFile(path)
    stamps.update()
    assert len(stamps.times) == 1000 // STAMP.size
    with open(path, "ab") as more:
        more.write(data[1000:])
    stamps.update()
    assert (stamps.total, stamps.times[-1]) == (700, pytest.approx(0.099))
    stamps.close()


@pytest.mark.parametrize("what", ["sender", "link"])
def test_stamps_of_a_pause_of_known_length(what):
    """The whole way: sender, link, receiver, file."""
    link = os.environ.get("NETLAB_LINK", ROOT / "build/tests/netlab/netlab-link")
    with HealLab() as lab:
        took, seen = known_pause(lab, Path(link).parent.parent.parent, what, 0.2)
    assert seen == pytest.approx(took, abs=0.004 * SLACK)
    assert took > 0.2


def test_scenarios_fill_the_space():
    """Each dimension has one value in each of its slices; a third loses nothing; and the same seed
    draws the same."""
    scenarios = draw(40, 1)
    assert scenarios == draw(40, 1) != draw(40, 2)
    for way in (0, 1):
        assert abs(sum(s.ways[way].loss == 0 for s in scenarios) - 40 / LOSSLESS) <= 1
    for name, (least, most) in (("rate", RATE), ("rtt", RTT), ("queue", QUEUE)):
        for way in (0, 1):
            values = sorted(getattr(s.ways[way], name) for s in scenarios)
            for i, value in enumerate(values):
                lower, upper = (least * (most / least) ** ((i + k) / 40) for k in (0, 1))
                # They are rounded, to whole ms and tenths of Mb/s.
                assert lower - 0.6 <= value <= upper + 0.6, (name, i)


def test_what_is_promised_of_a_scenario():
    a, b, far = Way(10, 20, 0, 100), Way(30, 60, 0, 100), Way(30, 90, 0, 100)
    alike, unlike = Scenario(0, (a, b)), Scenario(0, (a, far))
    assert alike.alike and not unlike.alike
    for scenario, least in ((alike, 36), (unlike, 29.1)):
        for bonded, kept in ((least + 0.1, True), (least - 0.1, False)):
            assert Result(scenario, ([10, 10], [30, 30]), [bonded, bonded]).kept == kept


def test_how_certain_a_ratio_is():
    """It holds 99 times in 100, or nearly so where what is divided is not normal; and what both have
    in common does not count."""
    chance, held = random.Random(1), 0
    for _ in range(1000):
        wholes = [chance.uniform(5, 20) for _ in range(6)]
        parts = [0.9 * each + chance.gauss(0, 1) for each in wholes]
        ratio = Ratio.of(parts, wholes)
        held += abs(ratio.value - 0.9) <= ratio.error
        assert ratio.is_certain(0.9) == (abs(ratio.value - 0.9) > ratio.error)
    assert 975 <= held <= 1000
    assert Ratio.of([9, 18, 4.5], [10, 20, 5]).error == pytest.approx(0)
    assert not Ratio.of([9], [10]).is_certain(0.1)


def test_when_a_scenario_has_been_measured_enough():
    """When all that is promised is certain, or one promise is surely broken."""
    alike = Scenario(0, (Way(10, 20, 0, 100), Way(30, 60, 0, 100)))
    steady, shaky = [38, 38.1, 37.9], [30, 45, 39]
    alone = ([10, 10, 10], [30, 30, 30])
    assert Result(alike, alone, steady).certain and not Result(alike, alone, shaky).certain
    slow = Result(alike, alone, [32, 32.1, 31.9])  # more than the better one, far from the sum
    assert slow.certain and not slow.kept
    assert Result(alike, alone, [20, 29, 10]).certain is False


def test_memory_that_grows():
    """Noise of a few hundred kB is none; 10 kB with each sample are, under it, too; and of three nobody
    can tell."""
    noise = random.Random(1)
    flat = [20_000 + noise.uniform(-200, 200) for _ in range(100)]
    assert is_steady(flat)
    growing = [each + 10 * i for i, each in enumerate(flat)]
    assert not is_steady(growing)
    assert is_steady([20_000, 21_000, 22_000]) and not is_steady([20_000, 21_000, 22_000, 23_000])


def test_who_was_cut_and_who_was_not_heard():
    log = ("info flow 7: closed why=concentrator-rejected client=192.168.77.10:4001 destination=12.0.1.2:1 "
           "mode=sealed rx_bytes=0 tx_bytes=0 duration_ms=6001\n"
           "info flow 8: closed why=far-reset client=192.168.77.10:4002 destination=12.0.1.2:1 "
           "mode=sealed rx_bytes=0 tx_bytes=0 duration_ms=6001\n")
    result = SoakResult(flows=250, cut=["from port 4001: reset", "from port 4002: reset"])
    explain_cuts(result, log)
    lines = log.splitlines()
    assert result.cut == ["from port 4002: reset | " + lines[1].partition(": ")[2]]
    assert result.unheard == ["from port 4001: reset | " + lines[0].partition(": ")[2]]
    assert not result.kept
    result.cut.clear()
    assert result.kept
    result.flows = 249
    assert not result.kept


def test_salts_that_are_kept():
    """Those of the last 90 s: of the dials between two looks, a part."""
    dials = Dials()
    dials.note(60, 600)
    dials.note(120, 720)
    assert [dials.salts(at) for at in (30, 60, 120, 150, 210, 300)] == [300, 600, 420, 120, 0, 0]


def test_a_plan_of_failures():
    """One after the other, of each uplink; the same seed plans the same."""
    failures = plan(1, 300, 2)
    assert failures == plan(1, 300, 2) != plan(2, 300, 2)
    assert all(a.begin < a.end < b.begin for a, b in zip(failures, failures[1:]))
    assert min([each.uplink for each in failures].count(uplink) for uplink in (0, 1)) > 10


def change_a_bit(connection):
    """As soak's other end, but for one bit, either way."""
    coming, going = struct.unpack("!II", read(connection, 8))
    digest = bytearray.fromhex(take(connection, coming).sha256)
    digest[0] ^= coming % 2
    connection.sendall(digest)
    digest = bytearray.fromhex(offer(connection, going).sha256)
    digest[0] ^= going % 2
    connection.sendall(digest)


def test_a_bit_that_is_changed():
    with Lab() as lab, Server(lab.destinations[0], change_a_bit) as server:
        assert exchange(lab, server.port, 100, 100) == ""
        assert "101 bytes up" in exchange(lab, server.port, 101, 100)
        assert "101 bytes down" in exchange(lab, server.port, 100, 101)
