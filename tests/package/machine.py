"""A machine to install packages on: the distribution's smallest system with systemd, booted by
systemd-nspawn with a network of its own, or in a host of the lab. What is written there goes to a layer that is thrown away.

    with Machine(base, layer) as machine:
        machine.run("systemctl", "start", "something")
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Iterator, List, Optional

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
MIRRORS = {"debian": "http://deb.debian.org/debian", "ubuntu": "http://archive.ubuntu.com/ubuntu"}


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def dependencies(package: Path) -> List[str]:
    """The names that it depends on and recommends: of alternatives, the first."""
    text = subprocess.run(["dpkg-deb", "-f", package, "Depends", "Recommends"], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    return re.findall(r"(?:[:,]) *\n? *([a-z0-9][a-z0-9.+-]*)", text)


def make_base(package: Path) -> Path:
    """A machine with what the package needs."""
    return debootstrap(["systemd", "systemd-sysv", "dbus", "iproute2", "procps",
                        *dependencies(package)])


def debootstrap(packages: List[str]) -> Path:
    """The smallest system with these, once: the directory appears in one step."""
    name = hashlib.sha256(" ".join(sorted(packages)).encode()).hexdigest()[:8]
    base = BUILD / f"base-{name}"
    if base.is_dir():
        return base
    release = platform.freedesktop_os_release()
    unfinished = base.with_name(base.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    subprocess.run(["debootstrap", "--variant=minbase", "--components=main,universe"
                    if release["ID"] == "ubuntu" else "--components=main",
                    "--include=" + ",".join(packages), release["VERSION_CODENAME"], unfinished,
                    MIRRORS[release["ID"]]],
                   check=True, stdout=subprocess.DEVNULL)
    return unfinished.rename(base)


def _enter(network: int) -> None:
    if LIBC.setns(network, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Machine:
    """layer: an empty directory's name, for what is written. namespace: the network's, where it is
    not one of its own."""

    def __init__(self, base: Path, layer: Path, namespace: str = "") -> None:
        self._layer, self._root = layer, layer / "root"
        # The right that a network of its own brings along.
        self._network = ([f"--network-namespace-path=/run/netns/{namespace}",
                          "--capability=CAP_NET_ADMIN"] if namespace else ["--private-network"])
        for name in ("upper", "work", "root"):
            (layer / name).mkdir(parents=True)
        # Not over the network: what is not on the machine is not there.
        subprocess.run(["mount", "-t", "overlay", "overlay", self._root, "-o",
                        f"lowerdir={base},upperdir={layer}/upper,workdir={layer}/work"], check=True)
        self._leader: Optional[int] = None
        self._nspawn: Optional[subprocess.Popen] = None

    def __enter__(self) -> "Machine":
        self._nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit",
             *self._network, f"--machine=bondway-{os.getpid()}-{self._layer.name}", "--directory",
             self._root],
            stdin=subprocess.DEVNULL, stdout=open(self._layer / "console", "wb"),
            stderr=subprocess.STDOUT, start_new_session=True)
        try:
            wait_for("the machine's first process", self._find_leader)
            wait_for("the machine to be up", lambda: self.say(
                "systemctl", "is-system-running", check=False) in ("running", "degraded"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._nspawn and self._nspawn.poll() is None:
            self._nspawn.send_signal(signal.SIGTERM)
            try:
                self._nspawn.wait(20)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
        subprocess.run(["umount", self._root], check=True)
        shutil.rmtree(self._layer)

    def _find_leader(self) -> bool:
        pid = self._nspawn.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert self._nspawn.poll() is None, (self._layer / "console").read_text(errors="replace")
        if len(children) == 1 and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n":
            self._leader = int(children[0])
        return self._leader is not None

    def run(self, *words: str, check: bool = True,
            text: Optional[str] = None) -> subprocess.CompletedProcess:
        """text: its standard input."""
        done = subprocess.run(["nsenter", "--target", str(self._leader), "--mount", "--uts", "--ipc",
                               "--net", "--pid", "--root", "--wd", "--", *words], input=text,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=90, env={"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive",
                                               "LC_ALL": "C.UTF-8"})
        assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stdout}"
        return done

    def say(self, *words: str, check: bool = True) -> str:
        return self.run(*words, check=check).stdout.strip()

    def write(self, path: str, text: str, owner: str = "root", mode: str = "644") -> None:
        self.run("install", "-o", owner, "-m", mode, "/dev/stdin", path, text=text)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread makes are in the machine's network."""
        with open("/proc/thread-self/ns/net") as home, open(f"/proc/{self._leader}/ns/net") as away:
            _enter(away.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def give(self, path: Path) -> str:
        """Copies a file there. Returns its name there."""
        shutil.copy(path, self._root / "opt" / path.name)
        return f"/opt/{path.name}"
