"""bondway top on a terminal: it redraws, follows the terminal's size, and leaves the terminal as it
was, however it ends. The daemon is a stand-in behind a Unix socket, the terminal a small one of our
own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from bonded import find_program, wait_for
from test_command_line import FLOWS, GATEWAY, daemon

ANSWERS = {"status": GATEWAY, "flows": FLOWS}
ENTER, LEAVE = "\033[?1049h", "\033[?25h\033[?1049l"


class Terminal:
    """Runs top in it. Keeps all that was written, and what stands on the screen now."""

    def __init__(self, socket: Path, columns: int = 80, lines: int = 24,
                 **environment: str) -> None:
        self._ours, self._theirs = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._theirs)
        self.written = ""
        self.process = subprocess.Popen(
            [find_program(), "top", "--socket", socket], stdin=self._theirs, stdout=self._theirs,
            stderr=subprocess.PIPE, text=True, preexec_fn=self._lead,
            env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **environment})
        self._end, self._ended = os.pipe()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _lead(self) -> None:
        """As a shell's foreground job: Ctrl-C and Ctrl-Z reach it by the terminal."""
        os.setsid()
        fcntl.ioctl(self._theirs, termios.TIOCSCTTY, 0)

    def _read(self) -> None:
        while True:
            ready, _, _ = select.select([self._ours, self._end], [], [])
            if self._ours not in ready:
                return
            with contextlib.suppress(OSError):
                self.written += os.read(self._ours, 65536).decode()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        os.close(self._ended)
        self._reader.join()
        for descriptor in self._ours, self._theirs, self._end:
            os.close(descriptor)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def frames(self) -> List[str]:
        """Each from the top left corner on; the last may not be whole."""
        return self.written.split("\033[H")[1:]

    def screen(self) -> List[str]:
        """The lines of the last whole frame, without codes."""
        frames = self.frames()
        whole = frames[-2] if len(frames) > 1 else frames[-1] if frames else ""
        return re.sub(r"\033\[[0-9;?]*[A-Za-z]", "", whole).split("\r\n")

    def wait_for(self, text: str) -> None:
        wait_for(lambda: any(text in line for line in self.screen()), 10, f"{text} on the screen")

    def assert_as_before(self) -> None:
        """The program has ended, and what it changed is back."""
        wait_for(lambda: self.written.endswith(LEAVE), 5, "the way back")
        assert self.written.count(ENTER) == self.written.count(LEAVE)
        assert termios.tcgetattr(self._theirs) == self.before
        assert self.process.stderr.read() == ""


@contextlib.contextmanager
def top(tmp_path: Path, answers: Dict[str, Any] = ANSWERS, **more: Any) -> Iterator[Terminal]:
    with daemon(tmp_path / "s", answers):
        terminal = Terminal(tmp_path / "s", **more)
        try:
            terminal.wait_for("uplinks")
            yield terminal
        finally:
            terminal.close()


@pytest.mark.parametrize("end", ["q", "\x03", signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_as_it_was(tmp_path, end):
    with top(tmp_path) as terminal:
        assert termios.tcgetattr(terminal._theirs) != terminal.before
        if isinstance(end, str):
            terminal.type(end)
        else:
            terminal.process.send_signal(end)
        assert terminal.process.wait(10) == 0
        terminal.assert_as_before()


def test_stopped_and_continued(tmp_path):
    """Ctrl-Z: the shell has the terminal as it was, until fg."""
    with top(tmp_path) as terminal:
        terminal.type("\x1a")
        wait_for(lambda: os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED | os.WNOHANG), 10,
                 "a stop")
        assert termios.tcgetattr(terminal._theirs) == terminal.before
        wait_for(lambda: terminal.written.endswith(LEAVE), 5, "the way back")
        terminal.process.send_signal(signal.SIGCONT)
        wait_for(lambda: not terminal.written.endswith(LEAVE), 5, "another frame")
        assert termios.tcgetattr(terminal._theirs) != terminal.before
        terminal.type("q")
        assert terminal.process.wait(10) == 0
        terminal.assert_as_before()


def test_it_redraws(tmp_path):
    """Every second, and what has changed is there."""
    with top(tmp_path) as terminal:
        n = len(terminal.frames())
        began = time.monotonic()
        wait_for(lambda: len(terminal.frames()) >= n + 2, 10, "two more frames")
        assert time.monotonic() - began > 0.5
        assert "\033[2J" not in terminal.written  # which would flicker


def test_it_follows_the_size(tmp_path):
    with top(tmp_path) as terminal:
        for columns, lines in (30, 5), (120, 50):
            terminal.resize(columns, lines)
            n = len(terminal.frames())
            # The next may have been drawn before, and the last is not whole.
            wait_for(lambda: len(terminal.frames()) >= n + 3, 10, "a frame of that size")
            screen = terminal.screen()
            assert len(screen) <= lines and max(map(len, screen)) <= columns
        assert "203.0.113.5:443" in "".join(terminal.screen())


@pytest.mark.parametrize("environment,colour,ascii_only", [
    ({}, True, False), ({"NO_COLOR": "1"}, False, False), ({"LC_ALL": "C"}, True, True)])
def test_colours_and_characters(tmp_path, environment, colour, ascii_only):
    uplink = {**GATEWAY["uplinks"][0], "rx_bps": 10 ** 7, "tx_bps": 10 ** 6}
    answers = {**ANSWERS, "status": {**GATEWAY, "uplinks": [uplink]}}
    with top(tmp_path, answers, **environment) as terminal:
        terminal.type("q")
        terminal.process.wait(10)
        assert bool(re.search(r"\033\[[0-9]*m", terminal.written)) == colour
        assert terminal.written.isascii() == ascii_only


def test_the_daemon_goes_away(tmp_path):
    """It is restarted: top says so, and goes on when it is back."""
    with daemon(tmp_path / "s", ANSWERS):
        terminal = Terminal(tmp_path / "s", columns=200)
        terminal.wait_for("uplinks")
    try:
        terminal.wait_for("no bondway answers at")
        (tmp_path / "s").unlink()
        with daemon(tmp_path / "s", ANSWERS):
            wait_for(lambda: "no bondway" not in terminal.screen()[0], 10, "its return")
            terminal.type("q")
            assert terminal.process.wait(10) == 0
            terminal.assert_as_before()
    finally:
        terminal.close()


def test_without_a_terminal(tmp_path):
    """One frame, plain, for a file or a pipe."""
    with daemon(tmp_path / "s", ANSWERS):
        done = subprocess.run([find_program(), "top", "--socket", tmp_path / "s"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\033" not in done.stdout and "\r" not in done.stdout
    assert done.stdout.startswith("bondway gateway 0.1.0, for 1 min\n\nuplinks")
    assert done.stdout.count("uplinks") == 1 and "\n1 flow " in done.stdout


def test_on_a_dumb_terminal(tmp_path):
    """One frame, as wide as that is, without codes."""
    with daemon(tmp_path / "s", ANSWERS):
        terminal = Terminal(tmp_path / "s", columns=60, TERM="dumb")
        try:
            assert terminal.process.wait(10) == 0
            wait_for(lambda: "flow" in terminal.written, 5, "the frame")
            lines = terminal.written.split("\r\n")
            assert "\033" not in terminal.written and max(map(len, lines)) <= 60
            assert any(len(line) > 50 for line in lines)
        finally:
            terminal.close()


def test_nobody_answers(tmp_path):
    done = subprocess.run([find_program(), "top", "--socket", tmp_path / "none"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"bondway top: no bondway answers at {tmp_path}/none: ")
