"""Orders to libfailing.so (failing.c) in a daemon, and what it has noted."""

from __future__ import annotations

import errno
import mmap
import os
import re
import struct
import subprocess
from pathlib import Path
from typing import Dict, List, Optional, Tuple

# The layout of failing.c.
HEADER = struct.Struct("=IIIIII")
HIT = struct.Struct("=16siI24Q")
PLACE = struct.Struct("=QII")
HITS, PLACES = 8192, 32768
LEAKS_AT = 16
LEAKS_ASKED, LEAKS_NONE, LEAKS_FOUND = 1, 2, 3
PLACES_AT = HEADER.size + HITS * HIT.size

# In front of a daemon's command, so that a place has the same address in each of its processes.
FIXED_ADDRESSES = ["setarch", "--addr-no-randomize"]


class Failing:
    """One daemon's, through all of its processes."""

    def __init__(self, path: Path, library: Path) -> None:
        with open(path, "wb") as file:
            file.truncate(PLACES_AT + PLACES * PLACE.size)
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        # The sanitizer would be the first; what it does with a call comes after us. What it finds
        # is read in what it says, and has its own way of being judged.
        self.environment = {"LD_PRELOAD": str(library), "FAILING_CONTROL": str(path),
                            "ASAN_OPTIONS": "verify_asan_link_order=0:exitcode=0"}
        self._seen = 0
        self._modules: List[Tuple[int, int, int, str]] = []

    def arm(self, nth: int = 1) -> None:
        """The nth call from now on at a new place fails; 0: none."""
        self._map[0:4] = struct.pack("=I", nth)

    def ask_for_leaks(self) -> None:
        self._map[LEAKS_AT:LEAKS_AT + 4] = struct.pack("=I", LEAKS_ASKED)

    def leaks(self) -> Optional[bool]:
        """None: the daemon has not looked yet."""
        return {LEAKS_NONE: False, LEAKS_FOUND: True}.get(HEADER.unpack_from(self._map)[4])

    def places(self) -> int:
        """That any process has reached."""
        return HEADER.unpack_from(self._map)[2]

    def tried(self) -> int:
        """Places where a call has failed at least once."""
        return sum(PLACE.unpack_from(self._map, PLACES_AT + i * PLACE.size)[2] > 0
                   for i in range(PLACES))

    def hits(self) -> List["Hit"]:
        """Since the last time."""
        first, self._seen = self._seen, HEADER.unpack_from(self._map)[1]
        return [self._hit(i) for i in range(first, self._seen)]

    def _hit(self, index: int) -> "Hit":
        call, number, depth, *trace = HIT.unpack_from(
            self._map, HEADER.size + index % HITS * HIT.size)
        return Hit(call.rstrip(b"\0").decode(), number, trace[:depth], self)

    def note_modules(self, pid: int) -> None:
        """Where the process has which file; addresses are told by that."""
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        found = (re.match(r"(\w+)-(\w+) \S+ (\w+) \S+ [1-9]\d*\s+(/.*)", line) for line in lines)
        modules = [(int(m[1], 16), int(m[2], 16), int(m[3], 16), m[4]) for m in found if m]
        self._modules = modules or self._modules

    def module_of(self, address: int) -> Optional[Tuple[str, int]]:
        for begin, end, offset, path in self._modules:
            if begin <= address < end:
                return path, address - begin + offset
        return None


class Hit:
    """A call that has failed."""

    def __init__(self, call: str, number: int, trace: List[int], of: Failing) -> None:
        self.call, self.error, self._trace, self._of = call, errno.errorcode[number], trace, of

    def __str__(self) -> str:
        return f"{self.call}: {self.error} in {' < '.join(self._names())}"

    def is_of(self, library: str) -> bool:
        """Made by that library itself."""
        return self._names()[0].startswith(library)

    def _names(self) -> List[str]:
        """Of the callers, the innermost first. Without those in here."""
        asked: Dict[str, List[int]] = {}
        names: Dict[int, str] = {}
        for address in self._trace[3:]:
            path, offset = self._of.module_of(address - 1) or ("?", address)
            names[address] = os.path.basename(path).split(".so")[0]
            if os.path.basename(path) == "bondway":
                asked.setdefault(path, []).append(address)
        for path, addresses in asked.items():
            offsets = [hex(self._of.module_of(each - 1)[1]) for each in addresses]
            done = subprocess.run(["addr2line", "-sfe", path, *offsets], check=True,
                                  stdout=subprocess.PIPE, text=True).stdout.splitlines()
            for each, function, line in zip(addresses, done[::2], done[1::2]):
                names[each] = f"{function} {line.split(' ')[0]}"
        told = [names[each] for each in self._trace[3:]]
        return [each for i, each in enumerate(told) if i == 0 or each != told[i - 1]]
