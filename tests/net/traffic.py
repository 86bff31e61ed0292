"""Connections and servers for the lab: threads of this process, whose sockets live in its hosts.

    client, server = pair(lab.client, destination)          # both ends of one connection
    sent = Background(offer, server, 1 << 20)
    assert take(client, 1 << 20) == sent.result()
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import hashlib
import os
import queue
import select
import socket
import struct
import threading
import time
from typing import Any, Callable, List, Optional, Sequence, Tuple

from bonded import Host, Lab, wait_for

CHUNK = 256 * 1024
# How long a read or a write may wait for the network. No test comes near it unless it fails.
PATIENCE = 60
# What is bounded in milliseconds may take so many times as long, for a slow or loaded machine.
SLACK = 3


# --- Connections ------------------------------------------------------------------------------


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def address_of(host: Host, family: int) -> str:
    return host.address6 if family == socket.AF_INET6 else host.address


def prepare(connection: socket.socket, timeout: float = PATIENCE) -> socket.socket:
    connection.settimeout(timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def connect(host: Host, address: str, port: int, uplink: Any = None) -> socket.socket:
    """A connection from the host. uplink: by this one, and bound to it (from the router)."""
    connection = prepare(host.socket(family_of(address)))
    try:
        if uplink:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE,
                                  uplink.interface.encode() + b"\0")
            connection.bind((uplink.address, 0))
        connection.connect((address, port))
    except BaseException:
        connection.close()
        raise
    return connection


def listen(host: Host, port: int = 0, family: int = socket.AF_INET,
           backlog: int = 1024) -> socket.socket:
    """On all its addresses of the family."""
    listener = prepare(host.socket(family))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(("", port))
    listener.listen(backlog)
    return listener


def port_of(listener: socket.socket) -> int:
    return listener.getsockname()[1]


def pair(client: Host, server: Host, family: int = socket.AF_INET, port: int = 0,
         uplink: Any = None) -> Tuple[socket.socket, socket.socket]:
    """One connection, from the client to the server: both of its ends."""
    with listen(server, port, family) as listener:
        near = connect(client, address_of(server, family), port_of(listener), uplink)
        try:
            return near, prepare(listener.accept()[0])
        except BaseException:
            near.close()
            raise


def reset(connection: socket.socket) -> None:
    """Closes it by a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def wait_for_reset(connection: socket.socket, deadline: float = PATIENCE) -> float:
    """Returns how long it took until the connection was reset. What comes before is thrown away;
    an orderly end is a failure."""
    start = time.monotonic()
    connection.settimeout(deadline)
    try:
        while connection.recv(CHUNK):
            pass
    except ConnectionResetError:
        return time.monotonic() - start
    except socket.timeout:
        raise AssertionError(f"not reset within {deadline} s") from None
    raise AssertionError("ended in order, not by a reset")


def time_to_reset(host: Host, address: str, port: int) -> float:
    """How long it takes until a connection to there has been reset. It may be while connect() has
    not returned yet."""
    start = time.monotonic()
    try:
        with connect(host, address, port) as connection:
            wait_for_reset(connection)
    except ConnectionResetError:
        pass
    return time.monotonic() - start


def read(connection: socket.socket, size: int) -> bytes:
    """Exactly so many bytes, fewer only at the end of the stream."""
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            break
        data += chunk
    return data


# --- Bulk -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Digest:
    """What went over a connection in one direction."""

    length: int
    sha256: str


class Counter:
    """Bytes so far."""

    total = 0


class Stamps(Counter):
    """And when they came."""

    def __init__(self) -> None:
        self.times: List[float] = []
        self._total = 0

    @property
    def total(self) -> int:  # type: ignore[override]
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        self._total = total
        self.times.append(time.monotonic())

    def longest_gap(self, since: float) -> float:
        """Of all that were not over before `since`; s."""
        times = self.times[:]
        begin = max(0, bisect.bisect(times, since) - 1)
        return max((b - a for a, b in zip(times[begin:], times[begin + 1:])), default=0.0)


def offer(connection: socket.socket, size: int, counter: Optional[Counter] = None,
          stop: Optional[threading.Event] = None) -> Digest:
    """Sends `size` random bytes, or fewer when told to stop."""
    digest, sent = hashlib.sha256(), 0
    counter = counter or Counter()
    while sent < size and not (stop and stop.is_set()):
        chunk = os.urandom(min(CHUNK, size - sent))
        connection.sendall(chunk)
        digest.update(chunk)
        sent += len(chunk)
        counter.total = sent
    return Digest(sent, digest.hexdigest())


def offer_all(connection: socket.socket, size: int, counter: Optional[Counter] = None,
              stop: Optional[threading.Event] = None) -> Digest:
    """The same, and that was all: the direction ends."""
    digest = offer(connection, size, counter, stop)
    connection.shutdown(socket.SHUT_WR)
    return digest


PACED = (1600, 0.008)  # bytes, s between them: 1.6 Mb/s


def offer_paced(connection: socket.socket, size: int, counter: Optional[Counter] = None,
                stop: Optional[threading.Event] = None) -> Digest:
    """As offer_all(), but as a film or a call would, not as fast as it goes."""
    digest, sent, (step, interval) = hashlib.sha256(), 0, PACED
    begin = time.monotonic()
    while sent < size and not (stop and stop.is_set()):
        chunk = os.urandom(min(step, size - sent))
        connection.sendall(chunk)
        digest.update(chunk)
        sent += len(chunk)
        # Not a wait: this is the pace.
        time.sleep(max(0.0, begin + sent / step * interval - time.monotonic()))
    connection.shutdown(socket.SHUT_WR)
    return Digest(sent, digest.hexdigest())


def take(connection: socket.socket, size: Optional[int] = None,
         counter: Optional[Counter] = None) -> Digest:
    """Receives `size` bytes, or up to the end of the stream."""
    digest, received = hashlib.sha256(), 0
    counter = counter or Counter()
    while size is None or received < size:
        chunk = connection.recv(CHUNK if size is None else min(CHUNK, size - received))
        if not chunk:
            break
        digest.update(chunk)
        received += len(chunk)
        counter.total = received
    return Digest(received, digest.hexdigest())


def pour(connection: socket.socket) -> OSError:
    """Sends until the connection ends; returns what ended it."""
    block = os.urandom(CHUNK)
    try:
        while True:
            connection.sendall(block)
    except OSError as error:
        return error


class Background:
    """function(*args) in a thread. result() waits for what it returns, or raises what it raised."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._result: Any = None
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, args=(function, args), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[..., Any], args: Any) -> None:
        try:
            self._result = function(*args)
        except BaseException as error:
            self._error = error

    def result(self, timeout: float = 2 * PATIENCE) -> Any:
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"not within {timeout} s")
        if self._error:
            raise self._error
        return self._result


class Transfer:
    """A flow of the client's that runs until it is told to stop. patience: how long a read or a write
    may wait. paced: as offer_paced()."""

    def __init__(self, lab: Lab, direction: str, family: int = socket.AF_INET,
                 patience: float = PATIENCE, paced: bool = False) -> None:
        client, server = pair(lab.client, lab.destinations[0], family)
        client.settimeout(patience)
        server.settimeout(patience)
        source, sink = (server, client) if direction == "down" else (client, server)
        self._stop = threading.Event()
        self._counter = Stamps()
        self._sent = Background(offer_paced if paced else offer_all, source, 1 << 40, None, self._stop)
        self._received = Background(take, sink, None, self._counter)

    def wait_for(self, more: int, deadline: float = 30) -> None:
        """For so many bytes more to arrive."""
        goal = self._counter.total + more
        wait_for(lambda: self._counter.total >= goal, deadline, f"{more} bytes more")

    def longest_gap(self, since: float) -> float:
        """Between arrivals; s. since: by time.monotonic()."""
        return self._counter.longest_gap(since)

    def finish(self) -> Tuple[Digest, Digest]:
        """What was sent, and what has arrived."""
        self._stop.set()
        return self._sent.result(), self._received.result()


def discard(connection: socket.socket, counter: Counter) -> None:
    """Receives up to the end of the stream, without a look at it (MSG_TRUNC, tcp(7)): for what is
    too fast for take()."""
    buffer = bytearray(CHUNK)
    with contextlib.suppress(OSError):
        while True:
            count = connection.recv_into(buffer, CHUNK, socket.MSG_TRUNC)
            if not count:
                break
            counter.total += count


def goodput(receivers: List[socket.socket], warm_up: float, seconds: float) -> List[float]:
    """Mb/s that each receives over `seconds`, after `warm_up` seconds. All at once."""
    counters = [Counter() for _ in receivers]
    for receiver, counter in zip(receivers, counters):
        Background(discard, receiver, counter)
    start = time.monotonic() + warm_up
    times: List[float] = []
    totals: List[List[int]] = []
    while not times or times[-1] < seconds:
        time.sleep(warm_up if not times else 0.05)  # not a wait: this is the measurement
        times.append(time.monotonic() - start)
        totals.append([counter.total for counter in counters])
    return [_slope(times, each) * 8e-6 for each in zip(*totals)]


def rates(ends: List[Tuple[socket.socket, socket.socket]], direction: str, warm_up: float,
          seconds: float) -> List[float]:
    """Of connections, given by their (client, server): Mb/s, all at once. They are over then."""
    for client, server in ends:
        Background(pour, server if direction == "down" else client)
    result = goodput([client if direction == "down" else server for client, server in ends],
                     warm_up, seconds)
    for client, server in ends:
        client.close()
        server.close()
    return result


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the straight line through these points. The two at the ends alone would tell less: behind
    each lost packet a stream waits, and then leaps."""
    x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
    return (sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y)) /
            sum((a - x_mean) ** 2 for a in x))


# --- Servers ----------------------------------------------------------------------------------


class Server:
    """Listens on a host; runs handler(connection) in a thread of its own for each connection, and
    closes the connection behind it."""

    def __init__(self, host: Host, handler: Callable[[socket.socket], Any], port: int = 0,
                 family: int = socket.AF_INET) -> None:
        self._handler = handler
        self._listener = listen(host, port, family)
        self.port = port_of(self._listener)
        self.peers: List[str] = []  # the addresses of those who have connected, in order
        self._connections: List[socket.socket] = []
        self._results: "queue.Queue[Any]" = queue.Queue()
        self._wake, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: Any) -> None:
        os.close(self._woken)
        self._thread.join()
        os.close(self._wake)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            ready, _, _ = select.select([self._listener, self._wake], [], [])
            if self._wake in ready:
                return
            connection, peer = self._listener.accept()
            self.peers.append(peer[0])
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with prepare(connection):
                result = self._handler(connection)
        except Exception as error:  # result() raises it
            result = error
        self._results.put(result)

    def result(self, timeout: float = PATIENCE) -> Any:
        """What a handler returned, in the order in which they ended; or what it raised."""
        result = self._results.get(timeout=timeout)
        if isinstance(result, Exception):
            raise result
        return result


def tell_where_from(connection: socket.socket) -> None:
    """Tells the client as whom the server sees it."""
    connection.sendall(connection.getpeername()[0].encode())


def speak_ssh(connection: socket.socket) -> bytes:
    """As a server does to whom something else was said, which it returns. It is less than a
    concentrator's answer."""
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    said = connection.recv(65536)
    if said:
        connection.sendall(b"Invalid SSH identification string.\r\n")
    return said


def way_of(lab: Lab) -> str:
    """Which way a new connection of the LAN takes: "bond", or "direct" by an uplink."""
    names = {lab.vps.address: "bond", **{uplink.address: "direct" for uplink in lab.uplinks}}
    with Server(lab.destinations[0], tell_where_from) as server, \
            connect(lab.client, lab.destinations[0].address, server.port) as client:
        return names[read(client, 100).decode()]
