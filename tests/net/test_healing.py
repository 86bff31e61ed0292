"""Uplinks and concentrators that fall silent: nothing says so, and flows go on by what is left."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import socket
import time
from statistics import median
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import pytest

from bonded import PORT, Bonded, Lab, Process, Uplink, wait_for
from test_events import events
from test_unproxied import Echo, way
from test_uplinks import DIRECTION, wait_for_use
from traffic import (SLACK, Background, Counter, Server, Transfer, connect, discard, offer_all, pair,
                     pour, rates, read, reset, take, tell_where_from, time_to_reset, way_of)

TUNNEL, LOADED = 6, 15  # s


def states(bond: Bonded) -> List[str]:
    return [uplink["state"] for uplink in bond.status()["uplinks"]]


def wait_for_state(bond: Bonded, uplink: str, state: str, deadline: float) -> Dict[str, Any]:
    """What status says of it then."""
    def seen() -> Optional[Dict[str, Any]]:
        told = bond.uplink(uplink)
        return told if told["state"] == state else None

    return wait_for(seen, deadline, f"{uplink} {state}")


def wait_until_all_up(bond: Bonded, deadline: float = 20) -> None:
    wait_for(lambda: set(states(bond)) == {"up"}, deadline, "all uplinks up")


def assert_holds(seconds: float, predicate: Callable[[], bool]) -> None:
    """All that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert predicate()
        time.sleep(0.2)


def exchange(lab: Lab, server: Server, patience: float = 5) -> float:
    """A new connection of the LAN: s until the first byte of an answer."""
    begin = time.monotonic()
    with connect(lab.client, lab.destinations[0].address, server.port) as client:
        client.settimeout(patience)
        client.sendall(bytes(100))
        assert len(read(client, 1)) == 1
        took = time.monotonic() - begin
        assert len(read(client, 1023)) == 1023
    return took


def answer(connection: socket.socket) -> None:
    if read(connection, 100):
        connection.sendall(bytes(1024))


def carried(bond: Bonded, uplink: str) -> int:
    """Bytes on that uplink's established subflow of the flow that has fewest there."""
    return min(sum(path["rx_bytes"] + path["tx_bytes"] for path in flow["subflows"]
                   if path["uplink"] == uplink and path["state"] == "established")
               for flow in bond.flows())


# --- One uplink falls silent ----------------------------------------------------------------------


def busiest(lab: Lab, direction: str, transfer: Transfer) -> Any:
    """The uplink that carries most of the flow now."""
    before = [uplink.stats()[direction]["bytes"] for uplink in lab.uplinks]
    transfer.wait_for(50_000)
    after = [uplink.stats()[direction]["bytes"] for uplink in lab.uplinks]
    return max(zip(lab.uplinks, before, after), key=lambda each: each[2] - each[1])[0]


def strike(bond: Bonded, transfers: List[Transfer], uplink: Any, drop: str, paced: bool) -> float:
    """The uplink falls silent under the flows, and comes back. Returns the longest gap, in ms."""
    more = 100_000 if paced else 500_000
    failed_at = time.monotonic()
    uplink.drop(drop)
    assert wait_for_state(bond, uplink.name, "dead", 3 * SLACK)["reason"]
    assert bond.station("vps")["state"] == "up"
    for transfer in transfers:
        transfer.wait_for(more)
    gap = max(transfer.longest_gap(failed_at) for transfer in transfers)
    for flow in bond.flows():
        assert uplink.name not in [path["uplink"] for path in flow["subflows"]
                                   if path["state"] == "established"]
    back_at = time.monotonic()
    uplink.drop(None)
    wait_for(lambda: carried(bond, uplink.name) > (0 if paced else 100_000), 3 * SLACK,
             f"use of {uplink.name} again")
    took = time.monotonic() - back_at
    wait_for_state(bond, uplink.name, "up", 5)
    print(f"{uplink.name} {drop}: gap {gap * 1000:.0f} ms, back {took * 1000:.0f} ms")
    return gap * 1000


def run_strikes(flows: Sequence[Tuple[str, bool]]) -> None:
    with Lab() as lab, Bonded(lab, fast=True) as bond:
        wait_until_all_up(bond)
        transfers = [Transfer(lab, direction, paced=paced) for direction, paced in flows]
        direction, paced = flows[0]
        gaps = []
        for number, drop in enumerate(["both", "both", "both", "up", "down"]):
            for uplink in lab.uplinks:
                wait_for(lambda: carried(bond, uplink.name) > (0 if paced else 300_000), 30,
                         "use of both")
            uplink = (busiest(lab, direction, transfers[0]) if paced else lab.uplinks[number % 2])
            gaps.append(strike(bond, transfers, uplink, drop, paced))
        for transfer in transfers:
            sent, received = transfer.finish()
            assert received == sent
        assert median(gaps[:3]) <= 250 * SLACK, gaps
        assert max(gaps[3:]) <= 400 * SLACK, gaps


@DIRECTION
def test_a_transfer_whose_uplink_falls_silent(direction):
    """The modem has lost its line and says nothing. The transfer goes on after a blink; when the line
    is back, it is used again. Likewise when only one direction is lost."""
    run_strikes([(direction, False)])


def test_a_call_whose_uplink_falls_silent():
    """The same; a blink of sound and picture, in both directions."""
    run_strikes([("down", True), ("up", True)])


def burst(lab: Lab, server: Server) -> List[float]:
    """A second of new connections, one every 50 ms."""
    begin, opened = time.monotonic(), []
    while len(opened) < 20:
        opened.append(Background(exchange, lab, server))
        # Not a wait: this is the pace.
        time.sleep(max(0.0, begin + len(opened) * 0.05 - time.monotonic()))
    return [each.result() * 1000 for each in opened]


def test_new_connections_after_an_uplink_has_fallen_silent():
    """Somebody opens page after page at that very moment: every one of them comes."""
    with Lab() as lab, Bonded(lab, fast=True) as bond, \
            Server(lab.destinations[0], answer) as server:
        wait_until_all_up(bond)
        burst(lab, server)  # from now on enough connections are kept warm
        healthy = burst(lab, server)
        lab.uplink("dsl").drop("both")  # where they begin
        after = burst(lab, server)
        print(f"first byte {median(healthy):.0f} ms, then {median(after):.0f}, "
              f"at most {max(after):.0f}")
        assert median(after) <= median(healthy) + 150 * SLACK, (healthy, after)
        wait_for_state(bond, "dsl", "dead", 3 * SLACK)
        assert bond.status()["flows"]["failed"] == 0


# --- Many fall silent -----------------------------------------------------------------------------


def three_uplinks() -> List[Uplink]:
    return [Uplink("dsl", down=20, up=20, delay=10), Uplink("lte", down=20, up=20, delay=30),
            Uplink("cable", down=20, up=20, delay=20)]


def lose_the_answer(lab: Lab, bond: Bonded, port: str) -> None:
    lab.uplink("dsl").drop("down")
    wait_for(lambda: bond.uplink("dsl")["state"] == "dead", 20, "notice of it")


def lose_the_question(lab: Lab, bond: Bonded, port: str) -> None:
    """And all that is sent again: what of this connection is more than an acknowledgement."""
    lab.internet.run(["nft", "-f", "-"], input=(
        "table inet lossy { chain c { type filter hook forward priority 0;\n"
        f"ip saddr {lab.uplink('dsl').address} tcp sport {port} meta length > 100 drop\n}}\n}}\n"))


@pytest.mark.parametrize("lose, seconds", [(lose_the_answer, 9), (lose_the_question, 6)])
def test_a_connection_is_lost_before_it_is_welcomed(lose, seconds):
    """One that waits for flows, while others are welcomed all the time. That says nothing of the
    concentrator, although this is how it looks when that hangs, or does not know our key: nobody is
    refused, then or when its patience ends."""
    uplinks = [Uplink(name, down=50, up=50, delay=150) for name in ("dsl", "lte")]
    with Lab(uplinks) as lab, Bonded(lab) as bond, \
            Server(lab.destinations[0], tell_where_from) as server:
        def ask() -> str:
            with connect(lab.client, lab.destinations[0].address, server.port) as client:
                return read(client, 100).decode()

        def made_by_dsl() -> Set[str]:
            lines = lab.router.run(["ss", "-HtnO", "state", "established", "dst",
                                    lab.vps.address]).stdout.splitlines()
            return {line.split()[2].rpartition(":")[2] for line in lines
                    if line.split()[2].startswith(lab.uplink("dsl").address)}

        wait_for(lambda: bond.station("vps")["warm"] > 0, 20, "one that waits")
        before = made_by_dsl()
        assert ask() == lab.vps.address
        made = wait_for(lambda: made_by_dsl() - before, 20, "another in its place")
        lose(lab, bond, made.pop())
        end = time.monotonic() + seconds  # until its end
        while time.monotonic() < end:
            assert ask() == lab.vps.address
            assert bond.station("vps")["state"] == "up"
        assert "vps: down" not in bond.gateway.output()


# REMOVE_ADDR of one address, wherever it stands among the options of a packet.
REMOVALS = ("table inet lossy { chain c { type filter hook forward priority 0;\n" +
            "".join(f"tcp dport {PORT} @th,{offset * 8},20 0x1e044 counter drop\n"
                    for offset in range(20, 60, 4)) + "}\n}\n")


def test_an_answer_after_an_uplink_was_left():
    """An upload ends while the flow leaves the uplink where it began, and the word of that is lost. When
    the uplink is back, nothing may be half open there: the concentrator would send the answer there,
    again and again; the kernel acknowledges it, and passes it on to nobody."""
    with Lab() as lab, Bonded(lab) as bond:
        wait_until_all_up(bond)
        client, server = pair(lab.client, lab.destinations[0])
        dsl = lab.uplink("dsl")
        sent, received = Background(offer_all, client, 2_000_000), Background(take, server)
        wait_for_use(bond, "dsl", 20)
        port = port_of_subflow(lab, dsl)
        lab.internet.run(["nft", "-f", "-"], input=REMOVALS)
        dsl.drop("both")
        wait_for(lambda: len(bond.flow()["subflows"]) == 1, 5 * SLACK, "the end of the path")
        assert received.result() == sent.result()
        dsl.drop(None)
        wait_for(lambda: not lab.router.run(["ss", "-tnH", "state", "fin-wait-1", "src",
                                             f"{dsl.address}:{port}"]).stdout, 20, "the end of it")
        client.settimeout(5 * SLACK)
        for _ in range(50):
            server.sendall(bytes(100))
            assert read(client, 100) == bytes(100)



def test_all_uplinks_but_one_are_lost_again_and_again():
    """A night in a train, as a download and an upload see it; and then a tunnel, in which all are
    silent for so long that even the concentrator is taken for dead. What is running goes on in the
    end, and not a byte is wrong."""
    rng = random.Random(1)
    with Lab(three_uplinks()) as lab, Bonded(lab) as bond:
        transfers = [Transfer(lab, "down"), Transfer(lab, "up")]

        def wait_for_both(more: int, deadline: float = 30) -> None:
            for transfer in transfers:
                transfer.wait_for(more, deadline)

        wait_for_both(1_000_000)
        for _ in range(6):
            lost = rng.sample(lab.uplinks, 2)
            for uplink in lost:
                uplink.drop("both")
            wait_for_both(300_000)
            for uplink in lost:
                wait_for_state(bond, uplink.name, "dead", 3 * SLACK)
            for uplink in rng.sample(lost, 2):
                uplink.drop(None)
            wait_for_both(300_000)
        for uplink in lab.uplinks:
            uplink.drop("both")
        wait_for(lambda: set(states(bond)) == {"dead"}, 5 * SLACK, "notice of it")
        assert_holds(TUNNEL, lambda: [flow["state"] for flow in bond.flows()] == 2 * ["relaying"])
        lab.uplink("lte").drop(None)
        begin = time.monotonic()
        wait_for_both(300_000)
        print(f"goes on after {time.monotonic() - begin:.1f} s")
        wait_for(lambda: bond.station("vps")["state"] == "up", 30, "the concentrator")
        for uplink in lab.uplinks:
            uplink.drop(None)
        for transfer in transfers:
            sent, received = transfer.finish()
            assert received == sent


@DIRECTION
def test_a_subflow_that_has_waited_is_replaced(direction):
    """The only uplink is silent: TCP waits ever longer before it sends again, and would wait on when
    it is back. A new subflow there does not; the old one is gone."""
    with Lab([Uplink("lte", down=20, up=20, delay=30)]) as lab, Bonded(lab) as bond:
        wait_until_all_up(bond)
        transfer, lte = Transfer(lab, direction, paced=True), lab.uplink("lte")
        transfer.wait_for(100_000)
        port = port_of_subflow(lab, lte)
        lte.drop("both")
        wait_for_state(bond, "lte", "dead", 5 * SLACK)
        lte.drop(None)
        wait_for(lambda: port_of_subflow(lab, lte) != port and
                 [each["uplink"] for each in bond.flow()["subflows"]] == ["lte"], 5 * SLACK,
                 "another subflow")
        transfer.wait_for(100_000)
        sent, received = transfer.finish()
        assert received == sent


def reset_by_the_far_end(lab: Lab, uplink: Uplink, port: int) -> None:
    lab.vps.run(["ss", "-K", "dst", uplink.address, "dport", "=", f":{port}"])


def reset_by_a_box(lab: Lab, uplink: Uplink, port: int) -> None:
    """Both ends get a reset without a word of MPTCP."""
    lab.internet.run(["nft", "-f", "-"], input=(
        "table inet rude { chain c { type filter hook forward priority 0;\n"
        f"tcp sport {port} reject with tcp reset\ntcp dport {port} reject with tcp reset\n}}\n}}\n"))


@pytest.mark.parametrize("strike_down", [reset_by_the_far_end, reset_by_a_box])
def test_a_subflow_that_is_reset(strike_down):
    """The same by an error: another takes its place a second later."""
    uplinks = [Uplink("dsl", down=30, up=30, delay=10), Uplink("lte", down=30, up=30, delay=30)]
    with Lab(uplinks) as lab, Bonded(lab) as bond:
        wait_until_all_up(bond)
        transfer = Transfer(lab, "down")
        for uplink in lab.uplinks:
            wait_for_use(bond, uplink.name, 20)
        lte = lab.uplink("lte")
        port = port_of_subflow(lab, lte)
        strike_down(lab, lte, port)
        lost = wait_for(lambda: [e for e in events(bond) if e["kind"] == "path"], 5, "notice of it")
        begin = time.monotonic()
        assert (lost[0]["name"], lost[0]["what"]) == ("lte", "lost") and lost[0]["reason"]
        wait_for(lambda: carried(bond, "lte") > 100_000, 2 * SLACK, "another subflow")
        print(f"again after {time.monotonic() - begin:.1f} s")
        assert port_of_subflow(lab, lte) != port
        told = [(e["name"], e["what"]) for e in events(bond) if e["kind"] == "path"]
        assert told[-2:] == [("lte", "lost"), ("lte", "joined")]
        assert [e for e in events(bond) if e["what"] in ("dead", "down")] == []
        sent, received = transfer.finish()
        assert received == sent


def is_at_concentrator(lab: Lab, uplink: Uplink, port: int) -> bool:
    """The subflow from there."""
    return f"{uplink.address}:{port}" in lab.vps.run(
        ["ss", "-tnOH", "state", "established", f"( sport = :{PORT} )"]).stdout


def test_the_word_of_a_paths_end_is_lost():
    """The gateway has given a path up, and says so in a packet that gets lost; so the concentrator
    keeps sending there, more and more seldom. It notices that nobody is there any more; the kernel
    alone would take a quarter of an hour."""
    with Lab() as lab, Bonded(lab) as bond:
        wait_until_all_up(bond)
        transfer = Transfer(lab, "down")
        lte = lab.uplink("lte")
        wait_for_use(bond, "lte", 20)
        port = port_of_subflow(lab, lte)
        lab.internet.run(["nft", "-f", "-"], input=REMOVALS)
        lte.drop("both")
        wait_for_state(bond, "lte", "dead", 3 * SLACK)
        wait_for(lambda: len(bond.flow()["subflows"]) == 1, 5, "the end of the path")
        assert sum(int(n) for n in re.findall(r"packets (\d+)", lab.internet.run(
            ["nft", "list", "table", "inet", "lossy"]).stdout)) > 0
        assert is_at_concentrator(lab, lte, port)
        begin = time.monotonic()
        wait_for(lambda: not is_at_concentrator(lab, lte, port), 20 * SLACK, "notice of it")
        print(f"after {time.monotonic() - begin:.0f} s")
        sent, received = transfer.finish()
        assert received == sent


# --- Two concentrators ----------------------------------------------------------------------------


@contextlib.contextmanager
def silenced(*processes: Process) -> Iterator[None]:
    """They are there, and the kernel answers for them; they do not."""
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def time_to_work(lab: Lab, server: Server) -> float:
    """s until a new connection works. Those before may fail, one after the other."""
    def works() -> bool:
        with contextlib.suppress(OSError, AssertionError):
            return exchange(lab, server, 1) > 0
        return False

    begin = time.monotonic()
    wait_for(works, 20, "a connection that works")
    return time.monotonic() - begin


def concentrator_in_use(lab: Lab, bond: Bonded) -> str:
    """By which one a new flow goes."""
    client, server = pair(lab.client, lab.destinations[0])
    with client, server:
        return bond.flows()[-1]["concentrator"]


def test_the_preferred_of_two_concentrators_fails():
    """It falls silent: new connections work by the other one soon. Back again, it is up, but has to
    prove itself before new flows return there; unless the other one is killed meanwhile."""
    with Lab() as lab, Bonded(lab, spare=True) as bond, \
            Server(lab.destinations[0], answer) as server:
        wait_until_all_up(bond)
        wait_for(lambda: bond.station("spare")["state"] == "up", 20, "both of them")
        assert concentrator_in_use(lab, bond) == "vps"
        with silenced(bond.concentrator):
            took = time_to_work(lab, server)
            assert concentrator_in_use(lab, bond) == "spare"
            assert bond.station("vps")["state"] == "down" and bond.station("vps")["reason"]
            wait_until_all_up(bond)  # it was not theirs
        print(f"silent: works after {took:.2f} s")
        assert took <= 2 * SLACK
        wait_for(lambda: bond.station("vps")["state"] == "up", 40, "its return")
        assert concentrator_in_use(lab, bond) == "spare"

        bond.kill_spare()
        took = time_to_work(lab, server)
        print(f"killed: works after {took:.2f} s")
        assert took <= 2 * SLACK
        wait_for(lambda: bond.station("spare")["state"] == "down", 20, "notice of it")
        assert concentrator_in_use(lab, bond) == "vps"


@pytest.mark.parametrize("when_unreachable", ["direct", "refuse"])
def test_both_concentrators_fall_silent(when_unreachable):
    """The VPS hangs. New connections do without, or are refused, as the owner wishes."""
    with Lab() as lab, Bonded(lab, f'when_unreachable = "{when_unreachable}";\n',
                              spare=True) as bond:
        wait_until_all_up(bond)
        wait_for(lambda: bond.station("spare")["state"] == "up", 20, "both of them")
        with silenced(bond.concentrator, bond.spare):
            begin = time.monotonic()
            with connect(lab.client, lab.destinations[0].address, 80):  # somebody tries
                wait_for(lambda: {c["state"] for c in bond.status()["concentrators"]} == {"down"},
                         8 * SLACK, "notice of it")
            # Not by a dial that nobody answers in the end: its kernel takes connections all the same.
            assert bond.station("spare")["reason"] == "it answers by no uplink"
            print(f"both down after {time.monotonic() - begin:.1f} s")
            if when_unreachable == "direct":
                with Server(lab.destinations[0], tell_where_from) as server, \
                        connect(lab.client, lab.destinations[0].address, server.port) as client:
                    assert read(client, 100).decode() in [each.address for each in lab.uplinks]
            else:
                with Server(lab.destinations[0], tell_where_from) as server:
                    time_to_reset(lab.client, lab.destinations[0].address, server.port)
                    assert server.peers == []
        wait_for(lambda: "up" in {c["state"] for c in bond.status()["concentrators"]}, 60,
                 "the way back")
        bond.wait_until_up()
        assert way_of(lab) == "bond"


REFUSED = "carries, but the concentrator refuses probes: is it running?"


def reasons(bond: Bonded) -> List[Tuple[str, str]]:
    return [(uplink["state"], uplink["reason"]) for uplink in bond.status()["uplinks"]]


def test_a_concentrator_that_is_killed_is_not_its_uplinks_end():
    """Its host says that nobody listens there, and so the uplinks carry: none is held for dead, and
    what is not proxied stays where it is. One that falls silent meanwhile is found all the same; and
    the concentrator, when it is back."""
    with Lab() as lab, Bonded(lab, fast=True) as bond, \
            Echo(lab.destinations[0], socket.AF_INET) as echo:
        wait_until_all_up(bond)
        assert way(lab, lab.client, echo, socket.AF_INET) == "dsl"
        transfer = Transfer(lab, "down")
        transfer.wait_for(1_000_000)
        bond.kill_concentrator()
        wait_for(lambda: reasons(bond) == 2 * [("up", REFUSED)], 5 * SLACK, "the refusals")
        wait_for(lambda: bond.station("vps")["state"] == "down", 2 * SLACK, "the concentrator")
        assert "is the concentrator running there?" in bond.station("vps")["reason"]
        assert_holds(5, lambda: reasons(bond) == 2 * [("up", REFUSED)])
        assert way(lab, lab.client, echo, socket.AF_INET) == "dsl"
        assert "dead" not in {event["what"] for event in events(bond)}

        lab.uplink("dsl").drop("both")
        wait_for_state(bond, "dsl", "dead", 10 * SLACK)
        assert bond.uplink("lte")["state"] == "up"
        wait_for(lambda: way(lab, lab.client, echo, socket.AF_INET) == "lte", 5, "the other way")
        lab.uplink("dsl").drop(None)
        wait_for(lambda: reasons(bond) == 2 * [("up", REFUSED)], 10 * SLACK, "dsl again")

        bond.start_concentrator()
        begin = time.monotonic()
        wait_for(lambda: bond.station("vps")["state"] == "up", 10, "the concentrator again")
        took = time.monotonic() - begin
        print(f"back after {took:.2f} s")
        assert took <= SLACK
        wait_for(lambda: reasons(bond) == 2 * [("up", "")], 5, "answers")


# --- What the way does to MPTCP and to probes -------------------------------------------------------


def test_an_uplink_that_strips_mptcp():
    """A carrier's box. No flow begins there, and yet status says so soon; flows keep away from it,
    as fast as the other one is. Another box is put there: it is used again."""
    with Lab() as lab, Bonded(lab, fast=True, start=False) as bond:
        lab.uplink("lte").set(strip_mptcp=True)
        bond.start_concentrator()
        bond.start_gateway()
        begin = time.monotonic()
        wait_for(lambda: bond.uplink("lte")["mptcp"] == "stripped", 5 * SLACK, "notice of it")
        print(f"stripped after {time.monotonic() - begin:.1f} s")
        assert wait_for_state(bond, "lte", "up", 5)["mptcp"] == "stripped"
        for _ in range(6):
            client, server = pair(lab.client, lab.destinations[0])
            with client, server:
                wait_for(lambda: bond.flow()["state"] == "relaying", 5, "OPENED")
                flow = bond.flow()
                assert flow["mptcp"] is True
                assert [subflow["uplink"] for subflow in flow["subflows"]] == ["dsl"]
            bond.wait_until_over()
        speed = rates([pair(lab.client, lab.destinations[0])], "down", 1, 2)[0]
        print(f"{speed:.1f} Mb/s")
        assert speed >= 0.8 * lab.uplink("dsl").spec.down
        lab.uplink("lte").set(strip_mptcp=False)
        wait_for(lambda: bond.uplink("lte")["mptcp"] == "ok", 40, "notice of the other box")
        transfer = Transfer(lab, "down")
        wait_for_use(bond, "lte", 10)
        sent, received = transfer.finish()
        assert received == sent


def test_all_uplinks_strip_mptcp():
    """No flow can be bonded; each still works, and all together use both uplinks."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        for uplink in lab.uplinks:
            uplink.set(strip_mptcp=True)
        bond.start_concentrator()
        bond.start_gateway()
        wait_for(lambda: {u["mptcp"] for u in bond.status()["uplinks"]} == {"stripped"},
                 5 * SLACK, "notice of it")
        before = [uplink.stats()["down"]["bytes"] for uplink in lab.uplinks]
        ends = [pair(lab.client, lab.destinations[0]) for _ in range(20)]
        sent = [Background(offer_all, server, 500_000) for _, server in ends]
        received = [Background(take, client) for client, _ in ends]
        assert {flow["mptcp"] for flow in bond.flows()} == {False}
        assert [each.result() for each in received] == [each.result() for each in sent]
        after = [uplink.stats()["down"]["bytes"] for uplink in lab.uplinks]
        assert all(b - a > 1_000_000 for a, b in zip(before, after)), (before, after)
        for client, server in ends:
            client.close()
            server.close()
        bond.wait_until_over()
        flows = bond.status()["flows"]
        assert (flows["tcp_fallback"], flows["failed"]) == (len(ends), 0)


BLOCKED = ("add table inet blocked; add chain inet blocked input "
           "{{ type filter hook input priority 0; }}; "
           "add rule inet blocked input udp dport {port} drop")


def test_udp_is_blocked_on_the_way():
    """Somebody has opened the port for TCP only. No probe is ever answered: that is said, and it is
    not taken for the end of the uplinks."""
    reason = "answers no probes: is UDP let through?"
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.vps.run(["nft", BLOCKED.format(port=PORT)])
        bond.start_concentrator()
        bond.start_gateway()
        transfer = Transfer(lab, "down")
        for uplink in lab.uplinks:
            wait_for_use(bond, uplink.name, 10)
        wait_for(lambda: {u["reason"] for u in bond.status()["uplinks"]} == {reason}, 5 * SLACK,
                 "the reason")
        for uplink in lab.uplinks:
            assert bond.uplink(uplink.name)["state"] == "up"
            wait_for_use(bond, uplink.name, 10)
        assert bond.station("vps")["state"] == "up"
        assert way_of(lab) == "bond"
        sent, received = transfer.finish()
        assert received == sent
        assert "dead" not in {event["what"] for event in events(bond)}


def block_udp(lab, uplink):
    lab.vps.run(["nft", BLOCKED.format(port=f"{PORT} ip saddr {uplink.address}")])


def test_a_provider_begins_to_block_udp():
    """Its probes are answered no more, in the middle of a download; TCP goes on as before. At first it
    looks dead, and flows leave it; then a connection that is made to find out tells the truth. When it
    dies in earnest, it is dead again."""
    reason = "answers no probes: is UDP let through?"
    with Lab() as lab, Bonded(lab, fast=True) as bond:
        wait_until_all_up(bond)
        transfer = Transfer(lab, "down")
        wait_for_use(bond, "lte", 10)
        block_udp(lab, lab.uplink("lte"))
        wait_for(lambda: bond.uplink("lte")["state"] == "dead", 5 * SLACK, "the death")
        wait_for(lambda: (bond.uplink("lte")["state"], bond.uplink("lte")["reason"]) ==
                 ("up", reason), 20 * SLACK, "the truth")
        wait_for_use(bond, "lte", 10)
        lab.uplink("lte").drop("both")
        wait_for(lambda: bond.uplink("lte")["state"] == "dead", 30 * SLACK, "the death in earnest")
        sent, received = transfer.finish()
        assert received == sent


REJECTED = ("add table inet rejecting; add chain inet rejecting input "
            "{{ type filter hook input priority 0; }}; "
            "add rule inet rejecting input udp dport {port} ip saddr {source} "
            "reject with icmp port-unreachable")


def test_a_firewall_begins_to_reject_udp():
    """Not silently, as above: it says so. The uplink is never held for dead, and a connection that is
    made to find out tells that it is not the concentrator's end. When it dies in earnest, it is
    dead."""
    with Lab() as lab, Bonded(lab, fast=True) as bond:
        wait_until_all_up(bond)
        transfer = Transfer(lab, "down")
        wait_for_use(bond, "lte", 10)
        lte = lab.uplink("lte")
        lab.vps.run(["nft", REJECTED.format(port=PORT, source=lte.address)])
        wait_for(lambda: bond.uplink("lte")["reason"] == "answers no probes: is UDP let through?",
                 10 * SLACK, "the truth")
        wait_for_use(bond, "lte", 10)
        assert bond.station("vps")["state"] == "up"
        assert not {"dead", "down"} & {event["what"] for event in events(bond)}
        lte.drop("both")
        wait_for_state(bond, "lte", "dead", 10 * SLACK)
        sent, received = transfer.finish()
        assert received == sent


# --- Nothing has failed -----------------------------------------------------------------------------


def test_a_bad_radio_under_load_is_not_dead():
    """It stutters, it loses, its queue is a second long, and it is full: but it carries."""
    with Lab([Uplink("dsl", down=40, up=40, delay=10),
              Uplink("lte", down=4, up=2, delay=40, jitter=160, loss=1, queue_ms=1000)]) as lab, \
            Bonded(lab, fast=True) as bond:
        wait_until_all_up(bond)
        others = [pair(lab.router, lab.destinations[0], uplink=lab.uplink("lte"))
                  for _ in range(10)]
        for number, (near, far) in enumerate(others):
            Background(pour, far if number % 2 else near)
            Background(discard, near if number % 2 else far, Counter())
        transfers = [Transfer(lab, "down"), Transfer(lab, "up")]
        for transfer in transfers:
            transfer.wait_for(1_000_000)
        before = lab.uplink("lte").stats()
        assert_holds(LOADED, lambda: not {"dead", "down"} & {e["what"] for e in events(bond)})
        after = lab.uplink("lte").stats()
        print("lte: " + ", ".join(
            f"{(after[way]['bytes'] - before[way]['bytes']) * 8e-6 / LOADED:.1f} Mb/s {way}"
            for way in ("down", "up")) + f", {bond.uplink('lte')}")
        assert all(after[way]["bytes"] - before[way]["bytes"] > 1_000_000 for way in ("down", "up"))
        for near, far in others:
            reset(near)
            reset(far)
        for transfer in transfers:
            sent, received = transfer.finish()
            assert received == sent


def port_of_subflow(lab: Lab, uplink: Uplink) -> int:
    """The router's port of the subflow on that uplink which has carried most."""
    text = lab.router.run(["ss", "-tniOH", "state", "established", f"( dport = :{PORT} )"]).stdout
    lines = [line for line in text.splitlines() if f" {uplink.address}%" in line
             or f" {uplink.address}:" in line]
    carried = {line: max(int(n) for n in re.findall(r"bytes_(?:received|sent):(\d+)", line) or [0])
               for line in lines}
    most = max(carried, key=carried.get)
    return int(re.search(rf"{re.escape(uplink.address)}\S*:(\d+)", most)[1])


@DIRECTION
def test_a_subflow_that_dies_alone(direction):
    """The carrier's NAT has forgotten one connection on lte, and nothing else: for that flow another
    subflow takes its place, and the uplink itself is well all the time."""
    uplinks = [Uplink("dsl", down=30, up=30, delay=10), Uplink("lte", down=30, up=30, delay=30)]
    with Lab(uplinks) as lab, Bonded(lab) as bond:
        wait_until_all_up(bond)
        transfer = Transfer(lab, direction)
        for uplink in lab.uplinks:
            wait_for_use(bond, uplink.name, 20)
        port = port_of_subflow(lab, lab.uplink("lte"))
        lab.internet.run(["nft", "-f", "-"], input=(
            "table inet forgetful { chain c { type filter hook forward priority 0;\n"
            f"tcp sport {port} drop\ntcp dport {port} drop\n}}\n}}\n"))
        mute = wait_for(lambda: [e for e in events(bond) if e["kind"] == "path"], 20, "notice of it")
        assert (mute[0]["name"], mute[0]["what"]) == ("lte", "mute")
        wait_for_use(bond, "lte", 10)
        assert [e for e in events(bond) if e["what"] in ("dead", "down")] == []
        sent, received = transfer.finish()
        assert received == sent
