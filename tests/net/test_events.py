"""What `bondway events` tells of uplinks and a concentrator that come and go."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any, Dict, List

from bonded import Bonded, Lab, wait_for

Event = Dict[str, Any]


def events(bond: Bonded, socket: Path = None) -> List[Event]:
    done = bond.lab.router.run(
        [bond.program, "events", "--json", "--socket", socket or bond.gateway_socket])
    return [json.loads(line) for line in done.stdout.splitlines()]


def of(all_events: List[Event], kind: str, name: str) -> List[Event]:
    return [event for event in all_events if (event["kind"], event["name"]) == (kind, name)]


def pull(bond: Bonded, name: str) -> None:
    bond.lab.uplink(name).carrier(False)
    wait_for(lambda: bond.uplink(name)["state"] == "down", 20, "notice of it")


def plug_in(bond: Bonded, name: str) -> None:
    bond.lab.uplink(name).carrier(True)
    wait_for(lambda: bond.uplink(name)["state"] == "up", 20, "notice of it")


def test_a_cable_is_pulled_and_plugged_in_again():
    """Whoever looks in the morning sees what happened at night; whoever follows, sees it now."""
    with Lab() as lab, Bonded(lab) as bond:
        follower = lab.router.popen([bond.program, "events", "--json", "--follow", "--socket",
                                     bond.gateway_socket], log="events")
        person = lab.router.popen([bond.program, "events", "-f", "--socket", bond.gateway_socket],
                                  log="person")
        wait_for(lambda: {bond.uplink(u.name)["state"] for u in lab.uplinks} == {"up"}, 5, "answers")
        first, up = of(events(bond), "uplink", "dsl")
        assert (first["what"], first["before"], first["reason"]) == ("probing", "", "")
        assert first["figures"]["address"] == lab.uplink("dsl").address
        assert (up["what"], up["before"], up["reason"]) == ("up", "probing", "")

        pull(bond, "dsl")
        down = wait_for(lambda: of(events(bond), "uplink", "dsl")[2:], 5, "the event")[0]
        assert (down["what"], down["before"], down["reason"]) == ("down", "up", "no carrier")
        assert 15 < down["figures"]["rtt_ms"] < 500
        wait_for(lambda: json.dumps(down, separators=(",", ":")) in follower.output(), 5,
                 "the same, followed")
        wait_for(lambda: "up -> down: no carrier (" in person.output(), 5, "the same, as text")

        plug_in(bond, "dsl")
        wait_for(lambda: of(events(bond), "uplink", "dsl")[-1]["what"] == "up", 5, "the event")
        seen = events(bond)
        assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
        assert [event["what"] for event in of(seen, "uplink", "dsl")] == [
            "probing", "up", "down", "probing", "up"]
        assert [event["what"] for event in of(seen, "uplink", "lte")] == ["probing", "up"]
        wait_for(lambda: follower.output().count("\n") == len(seen), 5, "all, followed")
        assert [json.loads(line) for line in follower.output().splitlines()] == seen

        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 0
        bond.stop_gateway()
        assert person.wait(10) == 1
        assert person.output().endswith("bondway events: the daemon has ended\n")


def test_a_concentrator_that_dies_and_returns():
    """Down with the reason that status gives, and up again."""
    with Lab() as lab, Bonded(lab) as bond:
        bond.kill_concentrator()
        wait_for(lambda: of(events(bond), "concentrator", "vps")[-1]["what"] == "down", 30,
                 "the event")
        down = of(events(bond), "concentrator", "vps")[-1]
        assert down["before"] == "up" and "refuses connections" in down["reason"]
        assert down["figures"]["address"] == f"{lab.vps.address}:7171"
        bond.start_concentrator()
        wait_for(lambda: of(events(bond), "concentrator", "vps")[-1]["what"] == "up", 30,
                 "the event")
        told = [event["what"] for event in of(events(bond), "concentrator", "vps")]
        assert told == ["up", "down", "up"]


def test_a_flapping_uplink():
    """A loose contact does not drown the rest: ten events in ten seconds, and the newest state comes
    out, however long it was held back."""
    def told() -> List[Event]:
        return of(events(bond), "uplink", "dsl")

    with Lab() as lab, Bonded(lab) as bond:
        changes = 1  # it came up
        while len(told()) > changes - 4:
            pull(bond, "dsl")
            plug_in(bond, "dsl")
            changes += 2
            # By the machine's clock, so many may be heard at most.
            seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - told()[0]["boot_s"]
            assert len(told()) <= 10 * (1 + seconds // 10 + (seconds % 10 > 9))
            assert changes < 60, "nothing was held back"
        pull(bond, "dsl")
        changes += 1
        pull(bond, "lte")
        assert of(events(bond), "uplink", "lte")[-1]["what"] == "down"  # another's are heard
        wait_for(lambda: sum(1 + event.get("held", 0) for event in told()) >= changes, 20,
                 "what was held back")
        assert told()[-1]["what"] == "down"
        assert max(event.get("held", 0) for event in told()) >= 3


def test_a_concentrators_own():
    """On the VPS, what became of the concentrator itself."""
    with Lab() as lab, Bonded(lab) as bond:
        bond.concentrator.send_signal(signal.SIGHUP)
        bond.wait_for_concentrator_log("reload: done")
        bond.concentrator_conf.write_text("nonsense = 1;\n")
        bond.concentrator.send_signal(signal.SIGHUP)
        bond.wait_for_concentrator_log("reload: nothing has changed")

        def told() -> List[str]:
            return [event["what"] for event in events(bond, bond.concentrator_socket)]

        wait_for(lambda: told() == ["started", "reloaded", "not reloaded"], 5, "all of them")
