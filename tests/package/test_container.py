"""The container, by deploy/Containerfile from a base that is made here, since no registry is asked: it
invites a gateway, and is the concentrator of the lab's VPS, as the user that the image names. It has a
file system of its own by chroot alone, the rest is the VPS's: podman and its like shut it in further."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "net"))

from bonded import ROOT, Bonded, Lab, wait_for  # noqa: E402
from machine import make_base  # noqa: E402
from traffic import way_of  # noqa: E402

BUILD_PATIENCE = 900  # it fetches a compiler


class Images:
    """Where they are kept, and what is made of them."""

    def __init__(self, directory: Path) -> None:
        self._buildah = ["buildah", "--root", directory / "images", "--runroot", directory / "run",
                         "--storage-driver", "vfs"]

    def command(self, *words: Any) -> List[str]:
        return [str(word) for word in (*self._buildah, *words)]

    def call(self, *words: Any) -> str:
        done = subprocess.run(self.command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=BUILD_PATIENCE)
        assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout.strip()

    def build(self, base: Path) -> str:
        """Returns the container's name."""
        empty = self.call("from", "scratch")
        self.call("add", "--quiet", empty, base, "/")
        self.call("commit", "--quiet", empty, "base")
        self.call("build", "--isolation", "chroot", "--network", "host", "--build-arg",
                  "BASE=localhost/base", "--tag", "bondway", "--file", ROOT / "deploy/Containerfile",
                  ROOT)
        return self.call("from", "--pull-never", "bondway")

    def run(self, container: str, *words: Any) -> List[str]:
        return self.command("run", "--isolation", "chroot", *words[:-1], container, "--", *words[-1])


def test_it_is_a_concentrator(package, tmp_path):
    images = Images(tmp_path)
    with Lab() as lab, Bonded(lab, start=False) as bond:
        container = images.build(make_base(package))
        config = json.loads(images.call("inspect", "--type", "image", "bondway"))["OCIv1"]["config"]
        assert config["Cmd"] == ["concentrator"] and config["User"] == "bondway"
        conf = tmp_path / "etc"
        conf.mkdir()
        program = config["Entrypoint"]
        lab.vps.run(images.run(container, "--user", "root", "--volume", f"{conf}:/etc/bondway",
                               [*program, "invite", "home"]))
        assert (conf / "home.key").stat().st_uid == 7171
        concentrator = lab.vps.popen(images.run(container, "--volume", f"{conf}:/etc/bondway:ro",
                                                [*program, *config["Cmd"]]), log="container")
        wait_for(lambda: "started" in concentrator.output(), 20, "the concentrator")
        bond.configure_gateway(key_file=conf / "home.key")
        bond.start_gateway()
        assert way_of(lab) == "bond"
        said = lab.vps.run(images.run(container, "--user", "root", [*program, "status"])).stdout
        assert said.startswith("concentrator: up")
    shutil.rmtree(tmp_path)


if not shutil.which("buildah"):
    pytest.skip("no buildah here", allow_module_level=True)
