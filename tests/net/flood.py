"""A flood of strangers: as many connections as asked for that say nothing, each from an address of
its own, dialled again when they are cut off; and beside them, in each second, others that bring
garbage for a HELLO. Runs until its standard input ends, then prints what it did, as JSON.

usage: flood.py PORT IDLE RATE      RATE: dials in a second, of each kind
"""
import errno
import json
import os
import resource
import select
import socket
import sys
import time
from collections import deque

HELLO = 88
GARBAGE_KEPT = 2000  # so many of these are left open, the latest


class Flood:
    def __init__(self, port: int, idle: int, rate: int) -> None:
        self.port, self.idle, self.rate = port, idle, rate
        self.epoll = select.epoll()
        self.sockets = {}  # silent ones, by descriptor
        self.garbage = deque()
        self.next_source = 0
        self.figures = {"dialed": 0, "cut_off": 0, "garbage": 0, "most_idle": 0}

    def dial(self) -> socket.socket:
        """From 127.1.0.0 on, which is never the gateway's source."""
        self.next_source = (self.next_source + 1) % 60000
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((f"127.{1 + self.next_source // 250 // 250}.{self.next_source // 250 % 250}."
                   f"{1 + self.next_source % 250}", 0))
        assert sock.connect_ex(("127.0.0.1", self.port)) in (0, errno.EINPROGRESS)
        return sock

    def add_idle(self) -> None:
        sock = self.dial()
        self.sockets[sock.fileno()] = sock
        self.epoll.register(sock, select.EPOLLIN | select.EPOLLRDHUP)
        self.figures["dialed"] += 1
        self.figures["most_idle"] = max(self.figures["most_idle"], len(self.sockets))

    def add_garbage(self) -> None:
        sock = self.dial()
        try:
            sock.send(os.urandom(HELLO))
            self.figures["garbage"] += 1
        except OSError:  # not yet connected: as good as silent
            pass
        self.garbage.append(sock)
        if len(self.garbage) > GARBAGE_KEPT:
            self.garbage.popleft().close()

    def drop_ended(self) -> None:
        for fd, _ in self.epoll.poll(0, 4096):
            self.epoll.unregister(fd)
            self.sockets.pop(fd).close()
            self.figures["cut_off"] += 1

    def run(self) -> None:
        begun, made = time.monotonic(), 0
        while not select.select([sys.stdin], [], [], 0.002)[0]:
            self.drop_ended()
            due = int((time.monotonic() - begun) * self.rate) - made
            for _ in range(min(due, self.rate // 10)):
                if len(self.sockets) < self.idle:
                    self.add_idle()
                self.add_garbage()
            made += due
        self.figures["seconds"] = time.monotonic() - begun


def main() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    flood = Flood(*(int(word) for word in sys.argv[1:]))
    flood.run()
    print(json.dumps(flood.figures))


if __name__ == "__main__":
    main()
