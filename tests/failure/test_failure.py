"""Every allocation, and every call of the kernel that may fail, fails: at most the flow that it was
for is lost, and neither memory nor a descriptor. While the daemon starts, it ends with a word, or
does without. The daemon has the sanitizers in it, which find what is lost."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import Callable, List

import pytest

from failing import FIXED_ADDRESSES, Failing, Hit
from session import (SANITIZER, Bonded, Host, Lab, Outcome, Process, Session, Uplink, descriptors,
                     kernel_state, wait_for)

# How many calls fail; 0: all, one after the other, as often as it takes. Else, by a chance that is
# the same each time.
CALLS = int(os.environ.get("BONDWAY_FAILURES", "8"))
# So many times a step has nothing new to fail, until it has been walked through.
DRY = 3
CHANCE = random.Random(1)
METRICS = 'metrics_listen = "127.0.0.1:{}";\n'
DAEMONS = ["gateway", "concentrator"]


def library() -> Path:
    """Beside the program without a sanitizer, from which it comes."""
    program = Path(os.environ.get("BONDWAY_FAST", os.environ["BONDWAY"]))
    return program.parent.parent / "tests/failure/libfailing.so"


class Walk:
    """Through one daemon's calls."""

    def __init__(self, lab: Lab, bond: Bonded, daemon: str) -> None:
        self.lab, self.bond, self.daemon = lab, bond, daemon
        self.failing = Failing(lab.directory / "failing", library())
        self.faults: List[str] = []
        self.n_hits = 0

    # Its processes

    def process(self) -> Process:
        return getattr(self.bond, self.daemon)

    def host(self) -> Host:
        return self.lab.router if self.daemon == "gateway" else self.lab.vps

    def launch(self) -> Process:
        plain = self.bond.environment
        self.bond.environment = {**plain, **self.failing.environment}
        try:
            return getattr(self.bond, f"launch_{self.daemon}")(FIXED_ADDRESSES)
        finally:
            self.bond.environment = plain

    def start(self) -> None:
        process = self.launch()
        wait_for(lambda: self.has_started(process), 30, f"the {self.daemon}")
        self.failing.note_modules(process.pid)

    @staticmethod
    def has_started(process: Process) -> bool:
        return re.search(r"(started|ready) version=", process.output()) is not None

    # What was found

    def new_hits(self) -> List[Hit]:
        self.failing.arm(0)
        hits = self.failing.hits()
        self.n_hits += len(hits)
        return hits

    def blame(self, hits: List[Hit], fault: str) -> None:
        cause = "; ".join(map(str, hits)) or "no call that failed"
        self.faults.append(f"{fault}, after {cause}")
        print(self.faults[-1], flush=True)

    def finish(self) -> None:
        print(f"{self.daemon}: {self.n_hits} calls have failed, at {self.failing.tried()} of the "
              f"{self.failing.places()} places where it makes some")
        assert not self.faults, "\n".join(self.faults)


# --- While it runs --------------------------------------------------------------------------------


class Running(Walk):
    def __init__(self, lab: Lab, bond: Bonded, daemon: str) -> None:
        super().__init__(lab, bond, daemon)
        for each in ("concentrator", "gateway"):
            if each == daemon:
                self.start()
            else:
                getattr(bond, f"start_{each}")()
        bond.wait_until_up()
        self.session = Session(bond, self.arm)
        self.most_descriptors = 0
        self.is_armed = False
        for _ in range(2):
            for step in self.all_steps():
                outcome = self.session.round(step)
                assert not outcome.losses and not outcome.faults, outcome.losses + outcome.faults
                self.most_descriptors = max(self.most_descriptors, self.descriptors())
        self.is_armed = True

    def descriptors(self) -> int:
        """Without those of connections that wait, of which there are more the more is going on."""
        warm = sum(each["warm"] for each in self.bond.status()["concentrators"])
        return descriptors(self.process()) - warm

    def arm(self) -> None:
        if self.is_armed:
            self.failing.arm(CHANCE.randint(1, 40) if CALLS else 1)

    def all_steps(self) -> List[Callable[[], None]]:
        return [step for steps in self.session.steps.values() for step in steps]

    def walk(self) -> None:
        """Returns when nothing new has come for some time, or CALLS have failed."""
        dry = {name: 0 for name in self.session.steps}
        while any(count < DRY for count in dry.values()) and (not CALLS or self.n_hits < CALLS):
            for name, steps in self.session.steps.items():
                if dry[name] >= DRY:
                    continue
                before = self.n_hits
                for step in steps:
                    self.judge(self.session.round(step))
                dry[name] = 0 if self.n_hits > before else dry[name] + 1

    def judge(self, outcome: Outcome) -> None:
        hits = self.new_hits()
        faults = [*outcome.faults]
        if len(outcome.losses) > len(hits):
            faults.append(f"{len(outcome.losses)} flows lost")
        if self.process().poll() is not None:
            faults.append(f"exit code {self.process().poll()}\n{self.process().output()[-2000:]}")
        else:
            faults += self.look_behind()
        for fault in faults:
            self.blame(hits, fault)
        if faults:
            self.start_afresh()

    def look_behind(self) -> List[str]:
        """What is left of a round."""
        try:
            self.bond.wait_until_over(20)
            self.bond.wait_until_up(30)
            wait_for(lambda: self.descriptors() <= self.most_descriptors, 20,
                     f"at most {self.most_descriptors} descriptors")
            return self.look_for_leaks()
        except TimeoutError as error:
            return [str(error)]

    def look_for_leaks(self) -> List[str]:
        def has_looked() -> bool:
            self.bond.status(), self.bond.concentrator_status()  # each wakes a daemon up
            return self.failing.leaks() is not None

        self.failing.ask_for_leaks()
        wait_for(has_looked, 20, "a look for leaks")
        return [f"memory is lost\n{self.process().output()[-4000:]}"] if self.failing.leaks() else []

    def start_afresh(self) -> None:
        """So that what comes has causes of its own."""
        getattr(self.bond, f"kill_{self.daemon}")()
        self.start()
        self.bond.wait_until_up(60)


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_call_that_fails_costs_one_flow_at_most(daemon: str) -> None:
    with Lab(uplinks=[Uplink("dsl", delay=2), Uplink("lte", delay=4)]) as lab, \
            Bonded(lab, METRICS.format(9171), METRICS.format(9172), start=False) as bond:
        running = Running(lab, bond, daemon)
        with running.session:
            running.walk()
        running.finish()


# --- While it starts ------------------------------------------------------------------------------


class Starting(Walk):
    def walk(self) -> None:
        """One start after the other, and in each another call fails, until none is left."""
        before = kernel_state(self.host())
        faults = self.start_once(0)
        assert not faults, faults
        while True:
            faults = self.start_once(CHANCE.randint(1, 400) if CALLS else 1)
            hits = self.new_hits()
            faults += self.lost(hits)
            left = kernel_state(self.host())
            faults += [f"left behind in {name}: {set(lines) ^ set(before[name])}"
                       for name, lines in left.items() if lines != before[name]]
            before = left
            for fault in faults:
                self.blame(hits, fault)
            if not hits and not CALLS or CALLS and self.n_hits >= CALLS:
                return

    def start_once(self, nth: int) -> List[str]:
        """The nth new call fails. Returns what must not be."""
        self.failing.arm(nth)
        self.started = process = self.launch()
        setattr(self.bond, self.daemon, None)
        try:
            wait_for(lambda: process.poll() is not None or self.has_started(process), 30)
        except TimeoutError:
            process.kill()
            return [f"it hangs\n{process.output()[-2000:]}"]
        if process.poll() is not None:
            well = process.poll() > 0 and self.has_complained(process)
        else:
            self.failing.note_modules(process.pid)
            self.failing.arm(0)
            well = process.end(20) == 0
        return [] if well else [f"exit code {process.poll()}\n{process.output()[-2000:]}"]

    def lost(self, hits: List[Hit]) -> List[str]:
        """What libcrypto loses when it gets no memory to set itself up, who calls it cannot help."""
        found = set(SANITIZER.findall(self.started.output()))
        excused = found <= {"ERROR: LeakSanitizer"} and all(hit.is_of("libcrypto") for hit in hits)
        return [] if not found or excused else [self.started.output()[-4000:]]

    @staticmethod
    def has_complained(process: Process) -> bool:
        return any(" info " not in line and " debug " not in line
                   for line in process.output().splitlines())


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_start_that_fails_says_so_and_leaves_nothing(daemon: str) -> None:
    with Lab(uplinks=[Uplink("dsl", delay=2), Uplink("lte", delay=4)]) as lab, \
            Bonded(lab, METRICS.format(9171), METRICS.format(9172), start=False) as bond:
        if daemon == "gateway":
            bond.start_concentrator()
        starting = Starting(lab, bond, daemon)
        starting.walk()
        starting.finish()
