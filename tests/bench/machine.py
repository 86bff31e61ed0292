"""What the benches share besides the labs: the build that is measured, the machine that it runs on,
and how a verdict is told."""

import os
import platform
import resource
import subprocess
import time
from pathlib import Path

from benchlab import LabError

CONGESTION = "tests/bench/libbench-congestion.so"


def say(text: str = "") -> None:
    print(text, flush=True)


def check_build(build: Path, *programs: str) -> None:
    """What is measured must be what is installed: optimised, and without sanitizers. programs: what
    is needed besides bondway and the minimal relay."""
    for program in ("cli/bondway", "tests/bench/bench-relay", *programs):
        if not (build / program).exists():
            raise LabError(f"{build / program} is missing: "
                           f"cmake -B {build} -DTESTS=ON && cmake --build {build}")
    cache = (build / "CMakeCache.txt").read_text()
    if "SANITIZE:BOOL=ON" in cache or "CMAKE_BUILD_TYPE:STRING=Debug" in cache:
        raise LabError(f"{build} is not an optimised build: use another directory")


def show_machine(build: Path) -> None:
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                  if line.startswith("model name")), platform.machine())
    version = subprocess.run([build / "cli/bondway", "--version"], capture_output=True,
                             text=True).stdout.strip()
    say(f"{version}, Linux {platform.release()}, {os.cpu_count()} × {model}")
    load = os.getloadavg()[0]
    if load > 0.5:
        say(f"Other programs are busy (load {load:.1f}): ratios stay fair, but will vary more.")


def verdict(kept: bool, promise: str) -> bool:
    """Prints it, and returns `kept`."""
    say(f"  {'kept  ' if kept else 'BROKEN'} {promise}")
    return kept


def use_congestion(build: Path, name: str) -> None:
    """Of every subflow of the daemons that are started from here on; see congestion.c."""
    os.environ["LD_PRELOAD"] = str(build / CONGESTION)
    os.environ["BENCH_CONGESTION"] = name


def allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def cpu_seconds(process: subprocess.Popen) -> float:
    """utime + stime of all threads that the process has or had, but to the nanosecond: its CPU
    clock (clock_getcpuclockid(3), which makes the same number of a pid)."""
    return time.clock_gettime((~process.pid << 3) | 2)
