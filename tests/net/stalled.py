"""Connections whose readers stand still. BONDWAY_STALLED_FLOWS: how many (300); BONDWAY_STALLED_SECONDS:
for how long (1)."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from typing import Callable, List, Optional, Sequence

FLOWS = int(os.environ.get("BONDWAY_STALLED_FLOWS", "300"))
SECONDS = float(os.environ.get("BONDWAY_STALLED_SECONDS", "1"))
DEADLINE_S = 20
# A lost packet is no end: it is sent again after 0.2 s, and if that is lost, too, after 0.6 s.
QUIET_S = 2
MEMORY = (64 << 10) + 512  # of a program, for each: one buffer
# The kernel's buffers stay small then.
NO_NET_ADMIN = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
PATTERN = bytes(range(251)) * 300


def fill(sources: Sequence[socket.socket], most: Optional[int] = None) -> List[int]:
    """Writes `most` to each; or to all until none takes any more for QUIET_S. How much each has taken;
    what is written is its place in the stream, over and over."""
    quiet_s = QUIET_S if most is None else DEADLINE_S
    sent, poll = [0] * len(sources), select.poll()
    places = {source.fileno(): i for i, source in enumerate(sources)}
    for number in places:
        poll.register(number, select.POLLOUT)
    while places and (ready := poll.poll(1000 * quiet_s)):
        for number, _ in ready:
            i = places[number]
            size = 65536 if most is None else min(65536, most - sent[i])
            with contextlib.suppress(BlockingIOError):
                sent[i] += sources[i].send(PATTERN[sent[i] % 251:][:size])
            if sent[i] == most:
                poll.unregister(number)
                del places[number]
    return sent


def stand_still(is_flat: Callable[[], bool]) -> None:
    """For so long nobody reads; how much memory that takes is looked at now and then."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert is_flat()
        time.sleep(min(1, SECONDS))  # not a wait: this is the attack


def drain(sinks: Sequence[socket.socket], expected: Sequence[int]) -> None:
    """Reads all from all, and compares."""
    for sink, n in zip(sinks, expected):
        sink.setblocking(True)
        sink.settimeout(20)
        at = 0
        while at < n:
            more = sink.recv(65536)
            assert more and more == PATTERN[at % 251:][:len(more)]
            at += len(more)
