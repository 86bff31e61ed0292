"""The status page of a gateway that runs, in a browser: on a phone and on a desk, by day and by night,
with uplinks that are well and dead, and when the gateway is gone. PICTURES: a directory for what it
looked like."""

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "net"))

from bonded import Bonded, Lab, wait_for  # noqa: E402
from browser import Browser  # noqa: E402
from traffic import pair  # noqa: E402

PORT = 9171
PHONE, DESK = (390, 844), (1280, 800)
CONFIG = f'metrics_listen = "127.0.0.1:{PORT}";\n'
TEXT = "document.body?.innerText"
# What does not fit sticks out, or is cut off: of everything that has words in it, its right edge.
WIDEST = """Math.max(...[...document.querySelectorAll("h1, h2, span, div, dt, dd, td, text")]
    .filter(e => e.textContent).map(e => e.getBoundingClientRect().right))"""
SHARP = """[...document.querySelectorAll("canvas")].every(
    c => c.width === Math.floor(c.clientWidth * devicePixelRatio))"""
LAST_DAY = "budget({ budget: { used_bytes: 1e9, limit_bytes: 5e10, days_left: 1 } })[0][1]"
GROUND = "getComputedStyle(document.body).backgroundColor"


def shows(browser, text):
    wait_for(lambda: text in (browser.evaluate(TEXT) or ""), 30, f"{text} on the page")


def keep(browser, name):
    if "PICTURES" in os.environ:
        browser.picture(Path(os.environ["PICTURES"]) / f"{name}.png")


def test_it_shows_what_there_is():
    with Lab() as lab, Bonded(lab, CONFIG, uplinks={"lte": 'monthly_budget = "50GB";'}) as bond, \
            Browser(lab.router) as browser:
        client, server = pair(lab.client, lab.destinations[0])
        browser.look(*PHONE, dark=False)
        browser.open(f"http://127.0.0.1:{PORT}/")
        for text in ("dsl", "lte", "live", "of 50.0 GB", "Flows: 1 now",
                     "{}:{}".format(*client.getsockname())):
            shows(browser, text)
        assert browser.evaluate("document.title") == "bondway: up"
        assert browser.evaluate(LAST_DAY) == "1.00 GB of 50.0 GB, 1 day to go"
        colours = set()
        for size in PHONE, DESK:
            for dark in False, True:
                browser.look(*size, dark=dark)
                colours.add(browser.evaluate(GROUND))
                wait_for(lambda: browser.evaluate(SHARP), 10, "graphs of that size")
                assert browser.evaluate(WIDEST) <= size[0]
                keep(browser, f"well-{size[0]}-{'dark' if dark else 'light'}")
        assert len(colours) == 2

        lab.uplink("dsl").drop("both")
        shows(browser, "1 of 2 uplinks up")
        shows(browser, "no answer for")
        keep(browser, "dead")
        lab.uplink("dsl").drop(None)
        wait_for(lambda: browser.evaluate("document.title") == "bondway: up", 60, "dsl back")
        client.close()
        server.close()
        assert browser.complaints() == []

        bond.kill_concentrator()
        shows(browser, "no concentrator")
        shows(browser, "vps: ")  # and why
        keep(browser, "alone")
        bond.kill_gateway()
        shows(browser, "the gateway does not answer")
        assert "ago" in browser.evaluate("document.getElementById('age').textContent")
        # What it has is still drawn anew for another screen.
        browser.look(*PHONE, dark=True)
        wait_for(lambda: browser.evaluate(SHARP), 10, "graphs of that size")
        assert browser.evaluate(WIDEST) <= PHONE[0]
        keep(browser, "gone")


if not shutil.which("chromium"):
    pytest.skip("no chromium here", allow_module_level=True)
