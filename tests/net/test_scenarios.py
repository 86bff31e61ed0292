"""What bonding is worth, over one of the pairs of uplinks that tests/bench/scenarios draws: never less
than the better uplink alone, and nearly the sum where the two are alike."""

from __future__ import annotations

from scenario import Scenario, Way, measure

ROUNDS = 5


def test_uplinks_that_lose_packets_are_worth_their_sum():
    """Two slow lines, one of which loses a packet in fifty. Losses decide how much TCP gets out of each
    alone; the bond must get that out of both."""
    result = measure(Scenario(0, (Way(1.8, 19, 0.31, 22), Way(1.7, 10, 1.94, 61))), "down", ROUNDS)
    print(result.of_best, result.of_sum)
    assert result.kept, result
