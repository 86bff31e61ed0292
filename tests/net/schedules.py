"""What the schedulers promise, measured: for test_schedulers.py, and for tests/bench/schedulers."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from bonded import Bonded, Host, Lab, wait_for
from traffic import (Background, Counter, Server, Transfer, connect, discard, goodput, pair, pour,
                     read)

Ends = Tuple[socket.socket, socket.socket]


def wait_until_known(bond: Bonded, mptcp: str = "ok", deadline: float = 20) -> None:
    """All uplinks are up, and it is known of each whether MPTCP survives there."""
    wait_for(lambda: {(u["state"], u["mptcp"]) for u in bond.status()["uplinks"]} == {("up", mptcp)},
             deadline, "knowledge of all uplinks")


def loads(lab: Lab, way: str) -> Dict[str, int]:
    """Bytes that each uplink has carried that way."""
    return {uplink.name: uplink.stats()[way]["bytes"] for uplink in lab.uplinks}


def lead(flow: Dict[str, Any]) -> str:
    """The uplink that is active in it; with "+" between them where several are."""
    return "+".join(sorted(path["uplink"] for path in flow["subflows"] if path["role"] == "active" and
                           path["state"] == "established"))


@contextlib.contextmanager
def bulk(lab: Lab, ways: Sequence[str]) -> Iterator[None]:
    """Flows that take all that they get."""
    ends = [pair(lab.client, lab.destinations[0]) for _ in ways]
    try:
        for way, (client, server) in zip(ways, ends):
            source, sink = (server, client) if way == "down" else (client, server)
            Background(discard, sink, Counter())
            Background(pour, source)
        yield
    finally:
        for each in ends:
            for end in each:
                end.close()


# --- failover -------------------------------------------------------------------------------------


def stray_share(lab: Lab, bond: Bonded, way: str, preferred: str, size: int) -> float:
    """Of the bytes of a bulk flow, those which the other uplinks carry, until its own has carried so
    many."""
    with bulk(lab, [way]):
        before = loads(lab, way)
        wait_for_use(lab, way, preferred, size)
        carried = {name: now - before[name] for name, now in loads(lab, way).items()}
        assert lead(bond.flow()) == preferred
    bond.wait_until_over()
    return 1 - carried[preferred] / sum(carried.values())


def wait_for_use(lab: Lab, way: str, name: str, size: int) -> None:
    """That uplink has carried so much more, which takes a while when others had much under way."""
    goal = loads(lab, way)[name] + size
    wait_for(lambda: loads(lab, way)[name] >= goal, 30, f"{size} bytes by {name}")


def fall_silent(lab: Lab, bond: Bonded, transfer: Transfer, way: str,
                name: str) -> Tuple[float, float]:
    """The uplink that carries a transfer falls silent, and comes back. Returns the longest pause, and
    how long it took until it carries the transfer again, in s."""
    uplink = lab.uplink(name)
    failed_at = time.monotonic()
    uplink.drop("both")
    wait_for(lambda: bond.uplink(name)["state"] == "dead", 10, f"{name} dead")
    transfer.wait_for(500_000)
    gap = transfer.longest_gap(failed_at)
    back_at = time.monotonic()
    uplink.drop(None)
    wait_for_use(lab, way, name, 200_000)
    took = time.monotonic() - back_at
    wait_for(lambda: [lead(flow) for flow in bond.flows()] == [name], 10, f"{name} in the lead")
    return gap, took


# --- latency --------------------------------------------------------------------------------------

REQUEST, ANSWER = 100, 1000  # bytes
PACE = 0.02  # s between requests


def answer(connection: socket.socket) -> None:
    while len(read(connection, REQUEST)) == REQUEST:
        connection.sendall(bytes(ANSWER))


class Exchanges:
    """Requests and answers over one flow, one after the other, until it is told to stop."""

    def __init__(self, client: Host, server: Host, port: int) -> None:
        self._server = Server(server, answer, port)
        self._connection = connect(client, server.address, self._server.port)
        self._stop = threading.Event()
        self.took: List[Tuple[float, float]] = []  # (when it was over, how long it took), s
        self._run = Background(self._exchange)

    def _exchange(self) -> None:
        while not self._stop.is_set():
            begin = time.monotonic()
            self._connection.sendall(bytes(REQUEST))
            if len(read(self._connection, ANSWER)) != ANSWER:
                return
            self.took.append((time.monotonic(), time.monotonic() - begin))
            # Not a wait: this is the pace.
            self._stop.wait(max(0.0, begin + PACE - time.monotonic()))

    def percentile(self, share: float, since: float) -> float:
        """Of those that were over after `since`; s."""
        took = sorted(each for over, each in self.took if over >= since)
        return took[min(len(took) - 1, int(len(took) * share))]

    def end(self) -> None:
        self._stop.set()
        self._run.result()
        self._connection.close()
        self._server.__exit__()


PORTS = {"dsl": 7001, "lte": 7002, "latency": 7003}


def latency_rules(uplinks: Sequence[str]) -> str:
    """Flows to one port for each uplink alone, and to one whose scheduler is latency."""
    rules = [f'{{ name = "{name}"; ports = [{PORTS[name]}]; uplinks = ["{name}"]; }}'
             for name in uplinks]
    rules.append(f'{{ name = "latency"; ports = [{PORTS["latency"]}]; scheduler = "latency"; }}')
    return f"rules = ({', '.join(rules)});\n"


class Leads:
    """Which uplink leads the only flow of a rule, watched until it is told to stop."""

    def __init__(self, bond: Bonded, rule: str) -> None:
        self._bond, self._rule = bond, rule
        self.seen: List[Tuple[float, str]] = []  # each change: (when, who)
        self._stop = threading.Event()
        self._run = Background(self._watch)

    def _watch(self) -> None:
        while not self._stop.is_set():
            now = [lead(flow) for flow in self._bond.flows() if flow["rule"] == self._rule]
            if now and now[0] and now[0] != self.now():
                self.seen.append((time.monotonic(), now[0]))
            self._stop.wait(0.05)  # not a wait: this is how finely it looks

    def now(self) -> Optional[str]:
        return self.seen[-1][1] if self.seen else None

    def wait_for(self, uplink: str, deadline: float, seconds: float) -> None:
        """For that one to lead, and to have led for so long."""
        wait_for(lambda: self.now() == uplink and time.monotonic() >= self.seen[-1][0] + seconds,
                 deadline, f"{uplink} in the lead")

    def swap(self, lab: Lab, near: str, far: str, deadline: float, seconds: float) -> float:
        """One uplink is nearer from now on, the other farther. Returns when that was, after that one
        has led for so many seconds."""
        begin = time.monotonic()
        lab.uplink(far).set(delay=30)
        lab.uplink(near).set(delay=10)
        self.wait_for(near, deadline, seconds)
        return begin

    def end(self) -> List[str]:
        self._stop.set()
        self._run.result()
        return [who for _, who in self.seen]


def delays_under_load(lab: Lab, bond: Bonded, ways: Sequence[str], nearer: str, deadline: float,
                      seconds: float) -> Dict[str, float]:
    """While bulk flows fill the uplinks, which makes one of them the nearer one, and as soon as the
    scheduler latency has seen that: the 95th percentile of exchanges over each uplink alone, and of those
    with that scheduler, all at the same time; s."""
    with contextlib.ExitStack() as ends:
        ends.enter_context(bulk(lab, ways))
        exchanges = {}
        for name, port in PORTS.items():
            exchanges[name] = Exchanges(lab.client, lab.destinations[0], port)
            ends.callback(exchanges[name].end)
        leads = Leads(bond, "latency")
        ends.callback(leads.end)
        leads.wait_for(nearer, deadline, 2)
        begin = time.monotonic()
        while time.monotonic() < begin + seconds:
            time.sleep(0.1)  # not a wait: this is the measurement
        return {name: each.percentile(0.95, begin) for name, each in exchanges.items()}


# --- spread ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Shares:
    homes: Dict[str, int]  # of each uplink: how many flows had it
    several: int  # flows that used more than one
    stray: float  # the share of the bytes that were not on the flow's own uplink


def tell(connection: socket.socket) -> None:
    """So much, and then it waits for the end."""
    connection.sendall(bytes(TOLD))
    connection.recv(1)


TOLD = 40_000  # bytes; less than this is the noise of a subflow's beginning
NOISE = 4_000


AT_ONCE = 8


def ask(lab: Lab, port: int) -> socket.socket:
    client = connect(lab.client, lab.destinations[0].address, port)
    assert len(read(client, TOLD)) == TOLD
    return client


def set_weights(bond: Bonded, weights: Dict[str, int]) -> None:
    """In the gateway's configuration, before it starts."""
    text = bond.gateway_conf.read_text()
    for name, weight in weights.items():
        text = text.replace(f'name = "{name}";', f'name = "{name}"; weight = {weight};')
    bond.gateway_conf.write_text(text)


def spread_of(lab: Lab, bond: Bonded, count: int) -> Shares:
    """So many flows, a few at a time, each of which receives a little and then stays."""
    homes: Dict[str, int] = {uplink.name: 0 for uplink in lab.uplinks}
    several, away, total = 0, 0, 0
    with Server(lab.destinations[0], tell) as server, contextlib.ExitStack() as open_ones, \
            ThreadPoolExecutor(AT_ONCE) as pool:
        for client in pool.map(lambda _: ask(lab, server.port), range(count)):
            open_ones.enter_context(client)
        for flow in bond.flows():
            carried = {path["uplink"]: path["rx_bytes"] for path in flow["subflows"]}
            home = max(carried, key=lambda name: carried[name])
            homes[home] += 1
            several += sum(size > NOISE for size in carried.values()) > 1
            away += sum(carried.values()) - carried[home]
            total += sum(carried.values())
    return Shares(homes, several, away / total)


# --- Without MPTCP --------------------------------------------------------------------------------


def balance(rates: List[float]) -> float:
    """How even they are: 1 where all are the same, 1/n where one has everything (Jain et al. 1984)."""
    return sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates))


def plain_rates(lab: Lab, count: int, warm_up: float, seconds: float) -> List[float]:
    """Mb/s of so many downloads at once."""
    ends = [pair(lab.client, lab.destinations[0]) for _ in range(count)]
    for _, server in ends:
        Background(pour, server)
    try:
        return goodput([client for client, _ in ends], warm_up, seconds)
    finally:
        for client, server in ends:
            client.close()
            server.close()
