"""Uplinks that fall silent: nothing says so, and flows go on by what is left. (How fast: test_stalls.)"""

from __future__ import annotations

import random
import re
import socket
import time
from typing import Any, Callable, Dict, List, Optional, Set

import pytest

from bonded import PORT, Bonded, Lab, Uplink, wait_for
from test_events import events
from test_uplinks import DIRECTION, wait_for_use
from traffic import (SLACK, Background, Server, Transfer, connect, offer_all, pair, read, take,
                     tell_where_from)

TUNNEL = 6  # s


def states(bond: Bonded) -> List[str]:
    return [uplink["state"] for uplink in bond.status()["uplinks"]]


def wait_for_state(bond: Bonded, uplink: str, state: str, deadline: float) -> Dict[str, Any]:
    """What status says of it then."""
    def seen() -> Optional[Dict[str, Any]]:
        told = bond.uplink(uplink)
        return told if told["state"] == state else None

    return wait_for(seen, deadline, f"{uplink} {state}")


def is_known_to_be_up(uplink: Dict[str, Any]) -> bool:
    """By its probes: when it falls silent before one was answered, they may as well be blocked."""
    return uplink["state"] == "up" and uplink["reason"] != "waits for the first answer"


def wait_until_all_up(bond: Bonded, deadline: float = 20) -> None:
    wait_for(lambda: all(map(is_known_to_be_up, bond.status()["uplinks"])), deadline,
             "all uplinks up")


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


LOST_ON_DSL = {"question": "ip saddr {} tcp dport {}", "answer": "ip daddr {} tcp sport {}"}
WORD, CLIENT_HELLO, EARLY_DATA = b"question", b"\x16\x03\x01\0\3\1\0\0", b"\x17\x03\x03\0\1x"


def die_and_return(lab: Lab, bond: Bonded, uplink: str) -> None:
    lab.uplink(uplink).drop("both")
    wait_for_state(bond, uplink, "dead", 20)
    lab.uplink(uplink).drop(None)
    wait_until_all_up(bond)


@pytest.mark.parametrize("lost, said, just_back, heard_times, answered", [
    ("question", WORD, False, 1, True),
    ("answer", WORD, False, 1, False),
    ("answer", WORD, True, 1, True),
    ("answer", CLIENT_HELLO, False, 2, True),
    ("answer", CLIENT_HELLO + EARLY_DATA, False, 1, False),
], ids=["question", "answer", "answer-just-back", "answer-tls", "answer-early-data"])
def test_an_uplink_dies_under_a_greeting(lost, said, just_back, heard_times, answered):
    """A flow with a connection of its own has one uplink until it is welcomed. When that dies, all is
    said again by another one; but what a client has said is not said twice to its destination, unless
    it is harmless as a ClientHello is. On an uplink that has just been dead, the rest waits."""
    heard: List[bytes] = []

    def hear(connection: socket.socket) -> None:
        heard.append(read(connection, 8))
        connection.sendall(b"answer")

    uplinks = [Uplink(name, down=50, up=50, delay=50) for name in ("dsl", "lte")]
    alone = 'rules = ({ name = "alone"; scheduler = "failover"; });\n'
    with Lab(uplinks) as lab, Bonded(lab, alone) as bond, \
            Server(lab.destinations[0], hear) as server:
        wait_until_all_up(bond)
        if just_back:
            die_and_return(lab, bond, "dsl")
        lab.internet.run(["nft", "-f", "-"], input=(
            "table inet lossy { chain c { type filter hook forward priority 0;\n"
            f"{LOST_ON_DSL[lost].format(lab.uplink('dsl').address, PORT)} meta length > 100 drop\n"
            "}\n}\n"))
        with connect(lab.client, lab.destinations[0].address, server.port) as client:
            client.sendall(said)
            wait_for(lambda: server.peers if lost == "answer" else
                     "opening" in [flow["state"] for flow in bond.flows()], 5, "HELLO and OPEN")
            lab.uplink("dsl").drop("both")
            if answered:
                client.settimeout(2 * SLACK)
                assert read(client, 6) == b"answer"
            else:
                with pytest.raises(ConnectionResetError):
                    read(client, 1)
        assert heard == heard_times * [said[:8]]


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


def lost_removals(lab: Lab) -> int:
    listing = lab.internet.run(["nft", "list", "table", "inet", "lossy"]).stdout
    return sum(int(n) for n in re.findall(r"packets (\d+)", listing))


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
        wait_for(lambda: lost_removals(lab) > 0, 5, "the loss of its word")
        assert is_at_concentrator(lab, lte, port)
        begin = time.monotonic()
        wait_for(lambda: not is_at_concentrator(lab, lte, port), 20 * SLACK, "notice of it")
        print(f"after {time.monotonic() - begin:.0f} s")
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
