"""What bench-stream notes of one flow, and what can be read off it. Times are seconds of
time.monotonic(), which is the clock of the stamps; rates are bytes per second."""

import os
import struct
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import List, Optional, Tuple

STAMP = struct.Struct("=QQ")  # struct arrival in stream.c
WINDOW = 0.2  # over which a rate is taken
LASTING = 5  # windows that a recovered flow must hold the rate for
STEP = 0.01


class Arrivals:
    """times[i]: an arrival, after which totals[i] bytes have come in all."""

    def __init__(self, stamps: Optional[List[Tuple[float, int]]] = None) -> None:
        self.times: List[float] = []
        self.totals: List[int] = []
        for time, count in stamps or []:
            self.add(time, count)

    def add(self, time: float, count: int) -> None:
        self.times.append(time)
        self.totals.append(self.total + count)

    @property
    def total(self) -> int:
        return self.totals[-1] if self.totals else 0

    def between(self, start: float, end: float) -> int:
        """Bytes that came after start, up to end."""
        first, last = bisect_right(self.times, start), bisect_right(self.times, end)
        return (self.totals[last - 1] if last else 0) - (self.totals[first - 1] if first else 0)

    def rate(self, start: float, end: float) -> float:
        return self.between(start, end) / (end - start)

    def longest_gap(self, start: float, end: float) -> float:
        """The longest time without an arrival of which some lies between start and end. One that
        begins before start counts from its beginning; one that is not over by `end`, up to there."""
        first = max(bisect_right(self.times, start) - 1, 0)
        times = self.times[first:bisect_left(self.times, end) + 1]
        if not times or times[-1] < end:
            times = times + [end]
        return max((b - a for a, b in zip(times, times[1:])), default=0.0)

    def recovery(self, since: float, rate: float, now: float) -> Optional[float]:
        """How long after `since` the flow has 90 % of the rate again: the first window that has it,
        and from whose beginning on so has the mean of LASTING windows, none counted for more than
        the rate; a flood of what had waited for a lost segment is no recovery. Nor can one begin
        inside a stall. None: not by now."""
        start = since
        while start + LASTING * WINDOW <= now:
            shares = [min(1.0, self.rate(start + i * WINDOW, start + (i + 1) * WINDOW) / rate)
                      for i in range(LASTING)]
            if (shares[0] >= 0.9 and sum(shares) >= 0.9 * LASTING and
                    self.longest_gap(start, start + STEP) < 0.1):
                return start - since
            start += STEP
        return None

    def lowest_rate(self, start: float, end: float, window: float) -> float:
        """Of all windows between these."""
        lowest = self.rate(start, max(end, start + window))
        while start + window <= end:
            lowest = min(lowest, self.rate(start, start + window))
            start += STEP
        return lowest


class ArrivalsFile(Arrivals):
    """That grows while bench-stream writes to the file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._fd = os.open(path, os.O_RDONLY)
        self._rest = b""

    def update(self) -> None:
        while True:
            more = os.read(self._fd, 1 << 16)
            if not more:
                break
            data = self._rest + more
            whole = len(data) - len(data) % STAMP.size
            for microseconds, count in STAMP.iter_unpack(data[:whole]):
                self.add(microseconds / 1e6, count)
            self._rest = data[whole:]

    def close(self) -> None:
        os.close(self._fd)
