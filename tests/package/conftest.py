"""The package under test. $BONDWAY_PACKAGE: the directory of one that is built already."""

import os
import subprocess
from pathlib import Path

import pytest

from machine import BUILD, ROOT


@pytest.fixture(scope="session")
def package():
    directory = os.environ.get("BONDWAY_PACKAGE")
    if not directory:
        directory = BUILD / "package"
        build = subprocess.run([ROOT / "deploy/package"], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, timeout=300)
        assert build.returncode == 0, build.stdout[-4000:]
    found = list(Path(directory).glob("bondway_*.deb"))
    assert len(found) == 1
    return found[0]
