"""Many connections at once, each an attempt at something, and how each of them ended."""
import os
import resource
import select
import socket
import time
from typing import Iterator, List, Sequence, Tuple

ANY_RECORD = 16384 + 2 + 16
# Behind what was changed: if that changed a length, so much completes it.
FILLING = bytes(ANY_RECORD)


class Attempt:
    """what: its name. begun: by time.monotonic(). sock is its own."""

    def __init__(self, what: str, sock: socket.socket, begun: float) -> None:
        self.what, self.sock, self.begun = what, sock, begun
        self.received = b""
        self.end = ""  # "reset", "in order"; empty: none yet
        self.lasted = 0.0

    def __repr__(self) -> str:
        return f"{self.what}: {self.received[:40]!r} {self.end or 'no end'} {self.lasted:.2f} s"

    def receive(self) -> bool:
        """All that there is. True: it has ended."""
        try:
            while more := self.sock.recv(65536):
                self.received += more
            self.end = "in order"
        except BlockingIOError:
            return False
        except ConnectionResetError:
            self.end = "reset"
        self.lasted = time.monotonic() - self.begun
        self.sock.close()
        return True


def see_out(attempts: Sequence[Attempt], deadline: float = 20) -> None:
    """Receives from all of them, until each has ended."""
    poll, left = select.epoll(), {}
    for attempt in attempts:
        attempt.sock.setblocking(False)
        left[attempt.sock.fileno()] = attempt
        poll.register(attempt.sock, select.EPOLLIN | select.EPOLLRDHUP)
    end = time.monotonic() + deadline
    while left:
        ready = poll.poll(max(0, end - time.monotonic()))
        assert ready, f"no end within {deadline} s: {list(left.values())[:10]}"
        for number, _ in ready:
            if left[number].receive():
                del left[number]


def allow_many_descriptors() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def with_bit(data: bytes, bit: int) -> bytes:
    """With this one changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def every_bit(data: bytes) -> Iterator[Tuple[str, bytes]]:
    """The data with one bit changed, for each of its bits; and which it was."""
    return ((f"bit {bit} of {8 * len(data)}", with_bit(data, bit)) for bit in range(8 * len(data)))


def every_cut(data: bytes, first: int = 0) -> Iterator[Tuple[str, bytes]]:
    """Its beginning, of each length but its own."""
    for length in range(first, len(data)):
        yield f"{length} of {len(data)} bytes", data[:length]


def noise(longest: int) -> List[Tuple[str, bytes]]:
    """Random bytes, of each length."""
    return [(f"{length} random bytes", os.urandom(length)) for length in range(1, longest + 1)]
