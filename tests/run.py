"""Builds bondway in every way that is tested, and runs the tests.

One line for each step, the details of failures only; everything else is in build/logs. The last
line counts all tests. With CI=true, a test that was skipped counts as failed.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Sequence, Set

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
LOGS = BUILD / "logs"
JOBS = len(os.sched_getaffinity(0))
KERNELS = ["6.1", "6.12"]
# Of tests/net: what other tests beside it would disturb, or be disturbed by.
MEASURED = ["attack", "bond", "handover", "overflow", "schedulers", "stalls"]
# Those that take longest, to begin with: else one of them is left alone at the end.
LONGEST = ["soak", "trouble", "uplinks", "healing", "unproxied", "messages", "scenarios", "concentrator",
           "blocked_probes", "idle", "bytes", "reload", "programs", "stripping", "destinations"]
ARCHITECTURES = ["arm64", "armhf", "mipsel", "s390x"]
# Where the order of bytes tells. Without test_record, which seals millions: test_vectors has some.
PROTOCOL_TESTS = ["test_vectors", "test_addr", "test_crypto", "test_probe_packet", "test_hello",
                  "test_key"]
CI = os.environ.get("CI") == "true"


@dataclass
class Result:
    """What a step's output and exit code say. details: lines that a person needs."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    details: List[str] = field(default_factory=list)

    def add(self, other: "Result") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.details += other.details


Reader = Callable[[str, int], Result]


# --- Readers: from the output and exit code of a command to its result ---------------------------


def settle(result: Result, output: str, code: int) -> Result:
    """A command that failed, though no test of it did, is one failure. Nothing run at all, too."""
    if not result.failed and (code != 0 or not result.passed + result.skipped):
        result.failed = 1
        result.details = output.splitlines()[-60:]
    return result


def read_command(output: str, code: int) -> Result:
    """One test, which the exit code decides."""
    return settle(Result(passed=int(code == 0)), output, code)


def read_table(output: str, code: int) -> Result:
    """Likewise, and what it prints is worth reading."""
    return settle(Result(passed=int(code == 0), details=output.splitlines()), output, code)


def read_build(output: str, code: int) -> Result:
    """No test, unless it fails."""
    if code == 0:
        return Result()
    errors = re.search(r"^(FAILED: |CMake Error)", output, re.M)
    return settle(Result(), output[errors.start() if errors else 0:], code)


def read_lint(output: str, code: int) -> Result:
    """Lines "ok CHECK", "skipped CHECK" and "FAILED CHECK", each after what it has found."""
    result, found = Result(), []
    for line in output.splitlines():
        found.append(line)
        verdict = line.split(" ")[0]
        if verdict not in ("ok", "skipped", "FAILED"):
            continue
        result.passed += verdict == "ok"
        result.skipped += verdict == "skipped"
        result.failed += verdict == "FAILED"
        result.details += found if verdict != "ok" else []
        found = []
    return settle(result, output, code)


CASES = re.compile(r"^\[  (PASSED|FAILED)  \] (\d+) test\(s\)", re.M)
OUTCOME = re.compile(r"^ *\d+/\d+ Test +#(\d+): .*?(Passed|\*\*\*\S+).*$", re.M)


def read_ctest(output: str, code: int) -> Result:
    """ctest -V. A cmocka program is as many tests as it says, any other is one."""
    result = Result()
    for outcome in OUTCOME.finditer(output):
        number = outcome[1]
        lines = re.findall(rf"^{number}: (.*)$", output, re.M)
        cases = CASES.findall("\n".join(lines))
        count = {word: sum(int(n) for each, n in cases if each == word)
                 for word in ("PASSED", "FAILED")}
        if outcome[2] == "Passed":
            result.passed += count["PASSED"] or 1
            continue
        if outcome[2] in ("***Skipped", "***Not"):
            result.skipped += 1
        else:
            result.passed += count["PASSED"]
            result.failed += count["FAILED"] or 1
        noise = re.compile(r"\[( RUN  |       OK) ")
        result.details += [outcome[0].strip()]
        result.details += [line for line in lines if not noise.match(line)][-40:]
    return settle(result, output, code)


def sizes(output: str) -> List[str]:
    return re.findall(r"^== (.* bytes)$", output, re.M)


def read_cross(output: str, code: int) -> Result:
    """ctest -V, with the program's sizes; unless it says that it cannot run here."""
    if code == 77:
        return Result(skipped=1, details=output.splitlines()[-3:])
    result = read_ctest(output, code)
    result.details += sizes(output)
    return result


def read_size(output: str, code: int) -> Result:
    result = read_command(output, code)
    result.details += sizes(output) if code == 0 else []
    return result


SUMMARY = re.compile(r"^(?:=+ )?((?:\d+ \w+,? ?)+) in [\d.]+s", re.M)


def read_pytest(output: str, code: int) -> Result:
    result = Result()
    summaries = SUMMARY.findall(output)
    for number, word in re.findall(r"(\d+) (\w+)", summaries[-1] if summaries else ""):
        if word == "passed":
            result.passed += int(number)
        elif word in ("failed", "error", "errors"):
            result.failed += int(number)
        elif word == "skipped":
            result.skipped += int(number)
    if result.failed:
        begin = re.search(r"^=+ (FAILURES|ERRORS) =+$", output, re.M)
        result.details = output[begin.start() if begin else 0:].splitlines()[:300]
    elif result.skipped:
        result.details = re.findall(r"^SKIPPED .*$", output, re.M)
    return settle(result, output, code)


KERNEL = re.compile(r"^kernel \S+: (\d+) passed, (?:(\d+) skipped, )?(\d+) failed$", re.M)


def read_kernel(output: str, code: int) -> Result:
    """The last line of tests/kernels/run for one kernel, and what it has printed before."""
    result, verdict = Result(), KERNEL.search(output)
    if verdict:
        passed, skipped, failed = (int(number or 0) for number in verdict.groups())
        result = Result(passed, failed, skipped, output[:verdict.start()].splitlines())
    return settle(result, output, code)


# --- Steps ---------------------------------------------------------------------------------------


class Interrupted(BaseException):
    pass


# The processor is shared among sessions first, then in each (sched(7), autogroup): nice alone would
# count within one only.
PATIENT = ["sh", "-c", 'echo 10 2>/dev/null >/proc/self/autogroup; exec nice -n 10 "$@"', "sh"]


class Runner:
    """Runs commands, each a session of its own so that it can be ended as a whole."""

    def __init__(self) -> None:
        self.total = Result()
        self._prefix: List[str] = []
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._running: Set[subprocess.Popen] = set()
        self._built: Set[str] = set()

    def patient(self) -> "Runner":
        """The same, but what it runs leaves the processor to all others."""
        twin = copy.copy(self)
        twin._prefix = PATIENT
        return twin

    def call(self, log: Path, command: Sequence[object], **environment: str) -> int:
        if self._ending.is_set():
            raise Interrupted
        with open(log, "ab") as output:
            process = subprocess.Popen([str(word) for word in [*self._prefix, *command]], cwd=ROOT,
                                       stdout=output, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, start_new_session=True,
                                       env={**os.environ, **environment})
        self._running.add(process)
        code = process.wait()
        self._running.discard(process)
        if self._ending.is_set():
            raise Interrupted
        return code

    def end_running(self) -> None:
        """SIGINT, so that tests clean up; what does not heed it is ended. Nothing else begins."""
        self._ending.set()
        for number, patience in ((signal.SIGINT, 15), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            for process in list(self._running):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            for process in list(self._running):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience)
                    self._running.discard(process)

    @contextlib.contextmanager
    def step(self, label: str) -> Iterator[Result]:
        """Fill in the result: it is counted and printed at the end."""
        begin, result = time.monotonic(), Result()
        yield result
        words = [f"{number} {word}" for number, word in
                 ((result.passed, "passed"), (result.skipped, "skipped"),
                  (result.failed, "FAILED")) if number]
        head = f"{label:<28}{time.monotonic() - begin:>5.0f} s   {', '.join(words)}".rstrip()
        with self._lock:
            print("\n".join([head, *(f"    {line}" for line in result.details)]), flush=True)
            self.total.add(result)

    def run(self, label: str, read: Reader, *command: object, **environment: str) -> Result:
        """One command that is a step."""
        log = LOGS / f"{re.sub('[^a-z0-9]+', '-', label.lower())}.log"
        log.unlink(missing_ok=True)
        with self.step(label) as result:
            code = self.call(log, command, **environment)
            result.add(read(log.read_text(errors="replace"), code))
            if result.failed:
                result.details.append(f"(all of it: {log.relative_to(ROOT)})")
        return result

    def run_all(self, label: str, run: Callable[[Path], Result], paths: Sequence[Path],
                jobs: int = JOBS) -> None:
        """What run() tells of each path, so many at a time, is one step."""
        with self.step(label) as result, ThreadPoolExecutor(jobs) as pool:
            try:
                for each in pool.map(run, paths):
                    result.add(each)
            except Interrupted:
                pool.shutdown(wait=False, cancel_futures=True)
                self.end_running()
                raise

    def build(self, name: str) -> Path:
        """Builds what BUILDS calls so, once. Where that fails the run ends: nothing follows."""
        label, directory, options = BUILDS[name]
        if name not in self._built:
            result = self.run(f"build: {label}", read_build, "sh", "-ec",
                              'cmake -S . -DWERROR=ON -B "$@"\n'
                              f'cmake --build "$1" -j {JOBS}', "sh", directory, *options)
            if result.failed:
                raise SystemExit
            self._built.add(name)
        return directory


BUILDS = {
    "plain": ("gcc", BUILD, ["-DSANITIZE=OFF", "-DFUZZ=OFF", "-DTESTS=ON"]),
    "asan": ("gcc, ASan and UBSan", BUILD / "asan",
             ["-DCMAKE_C_COMPILER=gcc", "-DSANITIZE=ON", "-DTESTS=ON"]),
    "tsan": ("gcc, TSan", BUILD / "tsan",
             ["-DCMAKE_C_COMPILER=gcc", "-DCMAKE_C_FLAGS=-fsanitize=thread", "-DTESTS=ON"]),
    "clang": ("clang", BUILD / "clang", ["-DCMAKE_C_COMPILER=clang", "-DTESTS=ON"]),
    "fuzz": ("clang, libFuzzer", BUILD / "fuzz", ["-DCMAKE_C_COMPILER=clang", "-DFUZZ=ON"]),
    "coverage": ("clang, libFuzzer, coverage", BUILD / "coverage",
                 ["-DCMAKE_C_COMPILER=clang", "-DFUZZ=ON",
                  "-DCMAKE_C_FLAGS=-fprofile-instr-generate -fcoverage-mapping"]),
}
PYTEST = [sys.executable, "-B", "-m", "pytest", "-q", "-ra", "--tb=short", "-p",
          "no:cacheprovider"]
CTEST = ["ctest", "-V", "--no-tests=error", "--test-dir"]


def run_lint(runner: Runner) -> None:
    program = runner.build("plain") / "cli" / "bondway"
    runner.run("lint", read_lint, ROOT / "tests/lint/run", BONDWAY=str(program))
    runner.run("lint, held to its word", read_pytest, *PYTEST, ROOT / "tests/lint")
    runner.run("manual", read_pytest, *PYTEST, ROOT / "tests/manual", BONDWAY=str(program))


def run_unit(runner: Runner) -> None:
    for name in ("asan", "clang"):
        run_unit_of(runner, name)


def run_unit_of(runner: Runner, name: str) -> None:
    directory = runner.build(name)
    runner.run(f"unit: {BUILDS[name][0]}", read_ctest, *CTEST, directory, "-L", "^unit$", "-j", JOBS)


def run_portable(runner: Runner) -> None:
    """What is quick of run_cross(), and finds most of what it does."""
    cross = ROOT / "tests/cross/run"
    runner.run("the router's program", read_size, cross, "native")
    runner.run("musl", read_command, cross, "musl")
    runner.run("unit: big-endian (s390x)", read_cross, cross, "s390x", *PROTOCOL_TESTS)


def run_cross(runner: Runner) -> None:
    for architecture in ARCHITECTURES:
        runner.run(f"unit: {architecture}", read_cross, ROOT / "tests/cross/run", architecture)


def lab(runner: Runner) -> Dict[str, str]:
    """What the tests with namespaces find in their environment."""
    plain, asan = runner.build("plain"), runner.build("asan")
    # A link that is to be exact is not to be slowed down by a sanitizer.
    return {"BONDWAY": str(asan / "cli/bondway"), "BONDWAY_FAST": str(plain / "cli/bondway"),
            "NETLAB_LINK": str(plain / "tests/netlab/netlab-link"),
            "NETLAB_PROBE": str(plain / "tests/netlab/netlab-probe")}


def run_net(runner: Runner) -> None:
    run_net_alone(runner)
    run_programs(runner)


def run_net_alone(runner: Runner) -> None:
    """What others beside it would spoil."""
    environment = lab(runner)
    runner.run("net: the lab itself", read_pytest, *PYTEST, ROOT / "tests/netlab", **environment)
    runner.run("net: modules", read_ctest, *CTEST, runner.build("asan"), "-L", "^net$",
               "-E", "^(netlab|net_.*)$", "-j", JOBS)
    runner.run("net: speed and stalls", read_pytest, *PYTEST, *net_tests(MEASURED), **environment)


def net_tests(names: Sequence[str]) -> List[Path]:
    return [ROOT / "tests/net" / f"test_{name}.py" for name in names]


def run_programs(runner: Runner) -> None:
    others = set((ROOT / "tests/net").glob("test_*.py")) - set(net_tests(MEASURED))
    failures = (ROOT / "tests/failure").glob("test_*.py")
    run_side_by_side(runner, "net: programs", [*sorted(others), *failures], lab(runner))


def run_openwrt(runner: Runner) -> None:
    files = sorted((ROOT / "tests/openwrt").glob("test_*.py"))
    run_side_by_side(runner, "openwrt", files, lab(runner))


def run_side_by_side(runner: Runner, label: str, files: Sequence[Path],
                     environment: Dict[str, str]) -> None:
    """Files of tests, twice JOBS at a time: each has namespaces of its own, and mostly waits."""
    def run(path: Path) -> Result:
        log = LOGS / f"{path.stem}.log"
        log.unlink(missing_ok=True)
        code = runner.call(log, [*PYTEST, path], **environment)
        return read_pytest(log.read_text(errors="replace"), code)

    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    ordered = sorted(files, key=lambda path: places.get(path.stem, len(places)))
    runner.run_all(label, run, ordered, 2 * JOBS)


# How much of each, where nobody says: more than a usual run has time for.
ATTACKS = {"BONDWAY_ATTACK_SECONDS": "20", "BONDWAY_ATTACK_STRIDE": "1",
           "BONDWAY_STALLED_FLOWS": "1000", "BONDWAY_STALLED_SECONDS": "300"}


def run_attack(runner: Runner) -> None:
    """Attacks at full length, with those that wait for a limit of time, or for a quiet machine."""
    environment = {**lab(runner),
                   **{name: os.environ.get(name, value) for name, value in ATTACKS.items()}}
    net = ROOT / "tests/net"
    run_side_by_side(runner, "attack: what is sent, and when",
                     [net / "attack_replays.py", net / "test_hostile_concentrator.py",
                      net / "test_hostile_gateway.py"], environment)
    for what, name in (("in numbers", "test_attack.py"), ("who stops reading", "test_readers.py"),
                       ("what time tells", "attack_timing.py")):
        runner.run(f"attack: {what}", read_pytest, *PYTEST, net / name, **environment)


def run_failure(runner: Runner) -> None:
    """Every call that may fail does. In a usual run, some by chance, which run_net() has."""
    runner.run("failure", read_pytest, *PYTEST, ROOT / "tests/failure",
               **{**lab(runner), "BONDWAY_FAILURES": "0"})


# Those in which the concentrator's threads meet, and no time is short.
THREADED = ["concentrator", "hostile_gateway", "metrics", "reload"]


def run_threads(runner: Runner) -> None:
    """Data races, where there are threads."""
    directory = runner.build("tsan")
    runner.run("unit: TSan", read_ctest, *CTEST, directory, "-R", "^test_(log|replay)$")
    files = net_tests(THREADED)
    # At its exit it would wait a second for other threads.
    run_side_by_side(runner, "net: TSan", files,
                     {**lab(runner), "BONDWAY": str(directory / "cli/bondway"),
                      "TSAN_OPTIONS": "atexit_sleep_ms=0"})


def run_fuzz(runner: Runner) -> None:
    directory = runner.build("fuzz") / "tests/fuzz"
    seconds = int(os.environ.get("FUZZ_SECONDS", "30"))

    def fuzz(program: Path) -> Result:
        name, log = program.name, LOGS / f"{program.name}.log"
        corpus = directory / "corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        code = runner.call(log, [program, f"-max_total_time={seconds}", "-timeout=10",
                                 "-rss_limit_mb=1024", f"-artifact_prefix={LOGS / name}-", corpus,
                                 directory / "seeds" / name[len("fuzz_"):]])
        return read_command(log.read_text(errors="replace"), code)

    programs = [path for path in sorted(directory.glob("fuzz_*")) if path.suffix == ""
                and os.access(path, os.X_OK) and path.is_file()]
    runner.run_all("fuzz", fuzz, programs)


def run_coverage(runner: Runner) -> None:
    """Of the parsers, by the fuzzers' first inputs, and what fuzz has found here."""
    runner.run("coverage", read_table, ROOT / "tests/fuzz/coverage",
               runner.build("coverage") / "tests/fuzz", BUILDS["fuzz"][1] / "tests/fuzz/corpus")


def program(name: str, path: str, *arguments: object) -> Callable[[Runner], None]:
    """The step of a program that needs the plain build: the demo, a bench."""
    def run(runner: Runner) -> None:
        runner.build("plain")
        runner.run(name, read_command, ROOT / path, *arguments)

    return run


def run_package(runner: Runner) -> None:
    runner.build("plain")  # for the lab
    runner.run("package", read_pytest, *PYTEST, ROOT / "tests/package")


def run_browser(runner: Runner) -> None:
    runner.run("browser", read_pytest, *PYTEST, ROOT / "tests/browser", **lab(runner))


def run_kernels(runner: Runner) -> None:
    runner.build("plain")
    for version in KERNELS:
        runner.run(f"kernel: {version}", read_kernel, ROOT / "tests/kernels/run", version)


STEPS: Dict[str, Callable[[Runner], None]] = {
    "lint": run_lint, "unit": run_unit, "portable": run_portable, "cross": run_cross,
    "fuzz": run_fuzz, "coverage": run_coverage, "net": run_net, "openwrt": run_openwrt,
    "demo": program("demo", "deploy/demo", "--seconds", 14),  # a percent takes so long to tell
    "bench": program("bench", "tests/bench/run"),
    "heal": program("heal", "tests/bench/heal"),
    "scenarios": program("scenarios", "tests/bench/scenarios", "--json", LOGS / "scenarios.json"),
    "overflow": program("overflow", "tests/bench/overflow"),
    "schedulers": program("schedulers", "tests/bench/schedulers"),
    "soak": program("soak", "tests/bench/soak", "--minutes", os.environ.get("SOAK_MINUTES", "60")),
    "attack": run_attack, "failure": run_failure, "threads": run_threads, "package": run_package,
    "browser": run_browser, "kernels": run_kernels,
}
USUAL = ["lint", "unit", "portable", "fuzz", "net", "openwrt", "demo"]


def run_usual(runner: Runner) -> None:
    """These, in the order that takes least time: what only computes beside tests that mostly wait."""
    def compute() -> None:
        patient = runner.patient()
        patient.build("clang")
        run_portable(patient)
        run_fuzz(patient)

    run_lint(runner)
    run_unit_of(runner, "asan")
    run_net_alone(runner)
    with ThreadPoolExecutor(1) as beside:
        computed = beside.submit(compute)
        try:
            run_programs(runner)
            run_openwrt(runner)
            computed.result()
        except Interrupted:
            runner.end_running()
            raise
    run_unit_of(runner, "clang")
    STEPS["demo"](runner)


def give_back() -> None:
    """What root has built belongs to whom the tree belongs."""
    owner = ROOT.stat()
    if owner.st_uid != 0:
        for directory, _, files in os.walk(BUILD):
            shutil.chown(directory, owner.st_uid, owner.st_gid)
            for name in files:
                os.chown(os.path.join(directory, name), owner.st_uid, owner.st_gid,
                         follow_symlinks=False)


def on_signal(number: int, _frame: object) -> None:
    for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/run", description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", choices=[[], *STEPS],
                        help=f"of {', '.join(STEPS)}; without any: {', '.join(USUAL)}")
    steps = [STEPS[name] for name in parser.parse_args().steps] or [run_usual]
    for name in ("BONDWAY", "BONDWAY_FAST", "NETLAB_LINK", "NETLAB_PROBE", "CC", "CFLAGS",
                 "PYTHONPATH", "PYTEST_ADDOPTS"):
        os.environ.pop(name, None)
    os.environ.update(PYTHONDONTWRITEBYTECODE="1", UBSAN_OPTIONS="print_stacktrace=1")
    LOGS.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)

    runner, interrupted = Runner(), False
    try:
        for step in steps:
            step(runner)
    except SystemExit:
        pass
    except Interrupted:
        runner.end_running()
        interrupted = True
    give_back()
    total = runner.total
    if total.skipped:
        print(f"{total.skipped} skipped")
    failed = total.failed + (total.skipped if CI else 0)
    if interrupted:
        print("interrupted", file=sys.stderr)
    print(f"{total.passed} passed, {failed} failed")
    return 130 if interrupted else int(failed > 0 or total.passed == 0)


if __name__ == "__main__":
    sys.exit(main())
