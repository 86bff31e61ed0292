"""LuCI's views in a browser, of a gateway that runs: on a phone and on a desk, by day and by night. LuCI
itself is played by luci.html. PICTURES: a directory for what they looked like."""

import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "net"))

from bonded import ROOT, Bonded, Lab, wait_for  # noqa: E402
from browser import Browser  # noqa: E402
from test_page import DESK, PHONE, TEXT, keep  # noqa: E402
from traffic import pair  # noqa: E402

VIEWS = ROOT / "openwrt/luci-app-bondway/htdocs/luci-static/resources/view/bondway"
PAGE = Path(__file__).with_name("luci.html")
# Of the page, and of each cell, which would cut off what does not fit.
FITS = """[document.documentElement, ...document.querySelectorAll("td")].every(
    element => element.scrollWidth <= element.clientWidth)"""
SECTIONS = {
    "vps": {"type": "concentrator", "address": "203.0.113.10"},
    "wan": {"type": "uplink"},
    "wanb": {"type": "uplink", "network": "lte", "cost": "10", "metered": "1"},
    "calls": {"type": "rule", "ports": ["5060-5061"]},
    "work": {"type": "rule", "destinations": ["198.51.100.0/24", "203.0.113.0/24"],
             "ports": ["443", "8000-8100"], "clients": ["192.168.1.50", "02:00:5e:10:00:ff"],
             "action": "direct"}}


def show(browser, view, name, *texts):
    """It has these texts, and nothing sticks out."""
    source = json.dumps((VIEWS / f"{view}.js").read_text())
    for size in PHONE, DESK:
        for dark in False, True:
            browser.look(*size, dark=dark)
            browser.evaluate(f"document.documentElement.dataset.darkmode = {json.dumps(dark)};"
                             f"globalThis.shown = false; show({source}).then(() => shown = true); 0")
            wait_for(lambda: browser.evaluate("shown"), 20, view)
            for text in texts:
                assert text in browser.evaluate(TEXT)
            assert browser.evaluate(FITS), f"{name} on {size}"
            keep(browser, f"luci-{name}-{size[0]}-{'dark' if dark else 'light'}")
    assert browser.complaints() == []


def answer(browser, **answers):
    browser.evaluate(f"globalThis.ANSWERS = {json.dumps(answers)}; 0")


@pytest.fixture
def at_home():
    with Lab() as lab, Bonded(lab, uplinks={"lte": 'monthly_budget = "50GB";'}) as bond, Browser(lab.router) as browser:
        browser.open(PAGE.as_uri())
        wait_for(lambda: browser.evaluate("typeof show") == "function", 30, "LuCI's stand-in")
        yield lab, bond, browser


def test_the_status(at_home):
    lab, bond, browser = at_home
    client, server = pair(lab.client, lab.destinations[0])

    def tell():
        answer(browser, status={"status": bond.status()}, flows={"flows": bond.flows()})

    tell()
    show(browser, "status", "well", "● up\n", "dsl", "lte", "active", "vps", "This month: ", "of 50.00 GB",
         "{}:{}".format(*client.getsockname()))
    lab.uplink("dsl").drop("both")
    wait_for(lambda: bond.uplink("dsl")["state"] == "dead", 20, "dsl's death")
    tell()
    show(browser, "status", "degraded", "● degraded: 1 of 2 uplinks are up", "dead",
         "no answer for")
    client.close()
    server.close()
    bond.kill_concentrator()
    wait_for(lambda: bond.station("vps")["state"] == "down", 60, "no concentrator")
    lab.uplink("lte").carrier(False)
    wait_for(lambda: bond.uplink("lte")["state"] == "down", 20, "lte's end")
    tell()
    show(browser, "status", "down", "● down: no uplink is up", "no carrier", bond.station("vps")["reason"])
    answer(browser, status={"error": "no bondway answers"}, flows={})
    show(browser, "status", "off", "bondway does not run", "no bondway answers")


def test_the_settings(at_home):
    browser = at_home[-1]
    browser.evaluate(f"globalThis.SECTIONS = {json.dumps(SECTIONS)}; 0")
    show(browser, "settings", "settings", "as usual: bond", "203.0.113.10", "5060-5061", "any",
         "02:00:5e:10:00:ff", "Weight")


if not shutil.which("chromium"):
    pytest.skip("no chromium here", allow_module_level=True)
