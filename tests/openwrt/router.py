"""An OpenWrt router as far as our scripts see one: busybox's shell and tools, stand-ins for what
netifd, UCI and procd's shell library offer (stand-ins/), and our package installed.

    with Router(program) as router:
        router.config("bondway", "config globals 'globals'\\n\\toption enabled '1'\\n")
        router.init("start")
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Callable, Dict, List, Optional

HERE = Path(__file__).resolve().parent
FILES = HERE.parents[1] / "openwrt" / "bondway" / "files"
INIT = "/etc/init.d/bondway"
CONF = "/var/etc/bondway/gateway.conf"
NFT = "/usr/share/nftables.d/chain-pre/input/bondway.nft"
PROGRAM = Path(os.environ.get("BONDWAY", HERE.parents[1] / "build/cli/bondway")).resolve()

GOOD = """
config globals 'globals'
	option enabled '1'
	list lan 'lan'

config concentrator 'vps'
	option address '203.0.113.10'

config uplink 'wan'

config uplink 'wanb'
	option network 'lte'
	option cost '10'
"""


def new_key():
    return subprocess.run([PROGRAM, "keygen"], check=True, capture_output=True, text=True).stdout


def keys():
    """{"": {...}, "uplinks": {...}}: the gateway's own keys, by the group that holds them."""
    found, group = {"": set()}, ""
    text = subprocess.run([PROGRAM, "gateway", "--keys"], check=True, capture_output=True,
                          text=True).stdout
    for indent, name in re.findall(r"^( *)([a-z_0-9]+)(?: = .*)?$", text, re.M):
        if not indent:
            group = name
        found.setdefault(group if indent else "", set()).add(name)
    return found


def link(key, host="203.0.113.20", port=443):
    return f"bondway1://{host}:{port}/{key.strip().split(':')[1]}#home\n"


class Instance:
    """What procd has been told to run."""

    def __init__(self, lines: List[List[str]]) -> None:
        self.parameters: Dict[str, List[str]] = {words[1]: words[2:] for words in lines
                                                 if words[0] == "param"}


class Router:
    def __init__(self, program: Path) -> None:
        self.program = program
        self._place = Path(tempfile.mkdtemp(prefix="openwrt-"))
        self.root = self._place / "root"

    def __enter__(self) -> "Router":
        # What is written goes to memory, as on a router; the host's libraries shine through.
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self._place], check=True)
        for name in ("upper", "work", "root"):
            (self._place / name).mkdir()
        self._install(self._place / "upper")
        subprocess.run(["mount", "-t", "overlay", "overlay", self.root, "-o",
                        f"lowerdir=/,upperdir={self._place}/upper,workdir={self._place}/work"],
                       check=True)
        for name in ("proc", "dev", "sys"):
            subprocess.run(["mount", "--rbind", f"/{name}", self.root / name], check=True)
            subprocess.run(["mount", "--make-rslave", self.root / name], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("proc", "dev", "sys", "."):
            subprocess.run(["umount", "--recursive", "--lazy", self.root / name], check=True)
        subprocess.run(["umount", self._place], check=True)
        self._place.rmdir()

    def _install(self, upper: Path) -> None:
        def put(source: Path, name: str) -> None:
            (upper / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, upper / name)

        for name in ("etc/config", "etc/rc.d", "etc/bondway", "tmp/netifd", "var/etc", "run",
                     "busybox", "usr/lib/functions"):
            (upper / name).mkdir(parents=True)
        os.symlink("/run", upper / "var/run")
        subprocess.run(["busybox", "--install", "-s", upper / "busybox"], check=True)
        put(HERE / "stand-ins/uci", "busybox/uci")
        put(HERE / "stand-ins/rc.common", "etc/rc.common")
        put(HERE / "stand-ins/functions.sh", "usr/lib/functions.sh")
        put(HERE / "stand-ins/network.sh", "usr/lib/functions/network.sh")
        put(FILES / "bondway.sh", "usr/lib/functions/bondway.sh")
        put(FILES / "bondway.init", "etc/init.d/bondway")
        put(FILES / "bondway.config", "etc/config/bondway")
        put(FILES / "bondway.nft", NFT[1:])
        put(FILES / "bondway.rpcd", "usr/libexec/rpcd/bondway")
        put(HERE / "stand-ins/jsonfilter", "busybox/jsonfilter")
        put(self.program, "usr/sbin/bondway")

    # A person, and netifd

    def run(self, *words: str, text: Optional[str] = None,
            check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(self.command(*words), input=text, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60, env=self.environment)
        assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stdout}"
        return done

    def command(self, *words: str) -> List[str]:
        return ["chroot", str(self.root), *words]

    environment = {"PATH": "/busybox:/usr/sbin", "PROCD": "/tmp/procd"}

    def init(self, action: str, *words: str, **more: object) -> subprocess.CompletedProcess:
        """The first line of an init script names rc.common, whose first names the shell."""
        return self.run("/busybox/sh", "/etc/rc.common", INIT, action, *words, **more)

    def shell(self, script: str, check: bool = True) -> str:
        return self.run("/busybox/sh", "-euc", script, check=check).stdout

    def config(self, package: str, text: str) -> None:
        (self.root / "etc/config" / package).write_text(text)

    def firewall_mark(self, mark: str) -> None:
        """The owner writes it in the firewall's rule."""
        path = self.root / NFT[1:]
        path.write_text(path.read_text().replace("0x10000000", mark))

    def key(self, name: str, text: str) -> None:
        path = self.root / "etc/bondway" / name
        path.touch(mode=0o600)
        path.write_text(text)

    def network_up(self, name: str, device: str) -> None:
        (self.root / "tmp/netifd" / name).write_text(f"{device}\n")

    def network_down(self, name: str) -> None:
        (self.root / "tmp/netifd" / name).unlink()

    # What procd knows

    def _told(self) -> List[List[str]]:
        return [line.split("\t") for line in (self.root / "tmp/procd").read_text().splitlines()]

    def instance(self) -> Optional[Instance]:
        lines = self._told()
        return Instance(lines) if ["close"] in lines else None

    def triggers(self) -> List[List[str]]:
        return [words[1:] for words in self._told() if words[0] == "trigger"]

    def conf(self) -> str:
        return (self.root / CONF[1:]).read_text()


class Procd:
    """Does what procd does with what it has been told: starts, leaves alone, signals, ends. start: a
    function that starts a command."""

    def __init__(self, router: Router, start: Callable[[List[str]], subprocess.Popen]) -> None:
        self._router, self._start = router, start
        self.process: Optional[subprocess.Popen] = None
        self._command: List[str] = []
        self._files: List[str] = []
        self.signals = 0

    def follow(self) -> None:
        instance = self._router.instance()
        if instance is None:
            self._end()
            return
        command = instance.parameters["command"]
        files = [(self._router.root / name[1:]).read_text()
                 for name in instance.parameters["file"]]
        if self.process is None or command != self._command:
            self._end()
            self.process = self._start(self._router.command(*command))
        elif files != self._files:
            name = instance.parameters["reload_signal"][0]
            self.process.send_signal(getattr(signal, f"SIG{name}"))
            self.signals += 1
        self._command, self._files = command, files

    def _end(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            assert process.wait(30) == 0
