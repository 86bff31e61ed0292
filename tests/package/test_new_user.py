"""A new user's paths, by the README's own commands. From the source: on a machine that has what the
README says, and nothing else. By the package: two fresh machines, a VPS and a router, the package
installed on both, and the lab's internet between them. Three commands on each side; then a client
downloads a file through both, over both uplinks."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "net"))

from bonded import ROOT, Lab, interception  # noqa: E402
from machine import Machine, debootstrap, make_base, wait_for  # noqa: E402
from test_package import start  # noqa: E402
from test_programs import web_server  # noqa: E402
from test_readme import commands  # noqa: E402


def with_the_package(lines: List[str], daemon: str) -> Tuple[str, str]:
    """Of a block's lines: the one between the user, whom the package has made, and the daemon, whose
    service the README names."""
    *_, command, last = lines
    assert last == f"bondway {daemon}"
    unit, = re.findall(rf"`systemctl start (bondway-{daemon})`", (ROOT / "README.md").read_text())
    return command, unit


def install(machine: Machine, package: Path) -> None:
    """As the README has it, from the file."""
    assert "apt install ./build/package/bondway_*.deb" in (ROOT / "README.md").read_text()
    machine.run("apt-get", "install", "-y", machine.give(package))


def test_from_two_fresh_machines_to_a_download(package, tmp_path):
    on_vps, on_router = commands()
    assert on_vps[0] == "useradd --system bondway" and len(on_vps) == 3 and len(on_router) == 2
    base = make_base(package)
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab())
        vps, router = (stack.enter_context(Machine(base, tmp_path / host.name, host.namespace))
                       for host in (lab.vps, lab.router))
        install(vps, package)
        assert vps.say("id", "-un", "bondway") == "bondway"
        invite, unit = with_the_package(on_vps, "concentrator")
        said = vps.say(*invite.split())
        link, = re.findall(r"^bondway1://\S+$", said, re.M)
        start(vps, unit)

        install(router, package)
        join, unit = with_the_package(on_router, "gateway")
        found = router.run(*join.split(), text=f"{link}\n").stdout
        assert re.search(r"^ok    vps    .* accepts our key, by 2 of 2 uplinks$", found, re.M), found
        start(router, unit)
        wait_for("the interception", lambda: interception(lab.router))

        with web_server(lab.destinations[0]) as content:
            got = lab.directory / "got"
            lab.client.run(["curl", "-sS", "--fail", "-o", got,
                            f"http://{lab.destinations[0].address}/file"])
            assert hashlib.sha256(got.read_bytes()).digest() == hashlib.sha256(content).digest()
        assert router.say("bondway").startswith("gateway: up\n")
        uplinks = json.loads(router.say("bondway", "status", "--json"))["uplinks"]
        carried = {uplink["name"]: uplink["rx_bytes"] for uplink in uplinks}
        assert all(carried[name] > len(content) / 20 for name in ("dsl", "lte")), carried
        assert re.search(r"^ +home ", vps.say("bondway", "status"), re.M)


def test_from_a_clone_to_a_program(tmp_path):
    """What is built is thrown away with the machine, which has no network: nothing else comes in."""
    block, = re.findall(r"^```\n(apt install gcc .*?)^```$", (ROOT / "README.md").read_text(),
                        re.M | re.S)
    install, *build = block.replace("\\\n", " ").splitlines()
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, symlinks=True, ignore=shutil.ignore_patterns(".git", "build"))
    done = subprocess.run(["systemd-nspawn", "--quiet", "--register=no", "--keep-unit",
                           "--private-network", "--directory", debootstrap(install.split()[2:]),
                           "--volatile=overlay", f"--bind={clone}:/root/clone", "sh", "-ec",
                           "\n".join(["cd /root/clone", *build, "bondway --version",
                                      "for role in gateway concentrator; do",
                                      "bondway $role --keys | head -n 1; done"])],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:]
    for line in (r"-- Installing: \S+/man1/bondway\.1", r"bondway \d+\.\d+\.\d+",
                 r"lan_interfaces = .*", r"listen = .*"):
        assert re.search(rf"^{line}$", done.stdout, re.M), f"{line}: {done.stdout[-2000:]}"
