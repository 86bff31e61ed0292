"""What bonding is worth, over some of the pairs of uplinks that tests/bench/scenarios draws: never less
than the better uplink alone, and nearly the sum where the two are alike."""

from __future__ import annotations

import pytest
from scenario import Scenario, Way, measure

ROUNDS = 5

PAIRS = {
    # Losses decide how much TCP gets out of each alone; the bond must get that out of both.
    "both lose packets": (Way(1.8, 19, 0.31, 22), Way(1.7, 10, 1.94, 61)),
    # Thought to slow the fast one, which carries less than it might, but does not.
    "the slow one helps": (Way(5.2, 8, 0.18, 138), Way(19.3, 7, 0.18, 27)),
    # Together they would carry a quarter of what the fast one does alone.
    "the slow one harms": (Way(4.0, 32, 0, 35), Way(64.6, 29, 0, 69)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_bond_is_worth_it(name):
    result = measure(Scenario(0, PAIRS[name]), "down", ROUNDS)
    print(result.of_best, result.of_sum)
    assert result.kept, result
