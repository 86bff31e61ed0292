"""What LuCI shows and may do: its views, run with stand-ins for LuCI's own modules, and the door to
the daemon that rpcd opens for them."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from router import PROGRAM, keys, link, new_key

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "openwrt/luci-app-bondway"
VIEWS = APP / "htdocs/luci-static/resources/view/bondway"
STATUS = {"status": {
    "role": "gateway", "intercepting": True, "uplinks": [
        {"name": "dsl", "interface": "pppoe-wan", "state": "up", "reason": "", "role": "active",
         "rtt_ms": 20.4, "rx_bps": 40000000, "tx_bps": 500000, "rx_bytes": 7, "tx_bytes": 8},
        {"name": "lte", "interface": "wwan0", "state": "dead", "reason": "no answer for 2 s",
         "rx_bps": 0, "tx_bps": 0}],
    "concentrators": [{"name": "vps", "address": "203.0.113.10:7171", "state": "up"}]}}
FLOWS = {"flows": [{"client": "192.168.1.5:1000", "destination": "198.51.100.1:443",
                    "scheduler": "bond", "rx_bytes": 1, "tx_bytes": 2,
                    "subflows": [{"uplink": "dsl", "role": "active"},
                                 {"uplink": "lte", "role": "standby"}]}]}


def show(view, **answers):
    done = subprocess.run(["node", ROOT / "tests/openwrt/stand-ins/luci.js", VIEWS / view,
                           json.dumps(answers)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_status_has_a_bar_for_each_uplink():
    shown = show("status.js", status=STATUS, flows=FLOWS)
    for text in ("dsl", "pppoe-wan", "no answer for 2 s", "203.0.113.10:7171",
                 "192.168.1.5:1000", "dsl, lte (standby)", "1 of 2 uplinks are up"):
        assert text in shown["text"]
    # In parts of the highest rate.
    assert re.findall(r"[\d.]+%", shown["text"]) == ["100%", "1.25%", "0%", "0%"]


def test_a_phone_shows_what_each_cell_is():
    """LuCI's themes leave out a table's titles where it is narrow, and show the cells' own."""
    titles = show("status.js", status=STATUS, flows=FLOWS)["titles"]
    uplink = ["Name", "State", "Role", "Delay", "Down", "Up", "Received / sent"]
    assert titles == [*uplink, *uplink, "Name", "Address", "State", "Note",
                      "Client", "Destination", "Scheduler", "Received / sent", "Uplinks"]


@pytest.mark.parametrize("change, text", [
    ({"uplinks": []}, "no uplink is up"), ({"concentrators": []}, "no concentrator is up"),
    ({"intercepting": False}, "Not intercepting: new connections take the router's normal way.")])
def test_what_the_whole_comes_to(change, text):
    status = {"status": {**STATUS["status"], **change}}
    assert text in show("status.js", status=status, flows=FLOWS)["text"]
    assert text not in show("status.js", status=STATUS, flows=FLOWS)["text"]


def test_the_status_of_nothing():
    shown = show("status.js", status={"error": "nothing answers"}, flows={"error": "nothing"})
    assert "bondway does not run" in shown["text"] and "nothing answers" in shown["text"]


@pytest.mark.parametrize("answer, said, left", [
    ({"joined": True}, "Joined: bondway is on.", ""),
    ({"error": "this is no join link"}, "this is no join link", "bondway1://secret")])
def test_joining_by_a_link(answer, said, left):
    shown = show("status.js", status=STATUS, flows=FLOWS, join=answer)
    assert shown["notified"] == said and shown["left"] == left
    assert ["join", "bondway1://secret"] in shown["called"]


def test_the_settings_are_the_gateways():
    """What the page sets are keys of gateway.conf, or what the scripts make such of."""
    known = {name for group in keys().values() for name in group} | {"enabled", "lan", "network"}
    shown = show("settings.js")
    assert shown["text"] == "rendered"
    assert {option.split(".")[0] for option in shown["options"]} == {"globals", "concentrator",
                                                                      "uplink", "rule"}
    assert {option.split(".")[1] for option in shown["options"]} <= known


def defaults():
    """{"globals.scheduler": "bond", "rule.action": "proxy"}: of the gateway, as UCI would have them."""
    found, group = {}, "globals"
    text = subprocess.run([PROGRAM, "gateway", "--keys"], check=True, capture_output=True,
                          text=True).stdout
    for indent, name, value in re.findall(r"^( *)([a-z_0-9]+) = (.*)$", text, re.M):
        if not indent:
            group = name[:-1]
        found[f"{group if indent else 'globals'}.{name}"] = value.strip('"')
    return found


def test_what_is_not_set_is_shown_as_what_it_is_then():
    known = defaults()
    for option, blank in show("settings.js")["options"].items():
        if blank not in (None, "any", "as above", "as its name"):
            assert blank.replace("as usual: ", "") == known[option], option


def test_it_may_do_what_it_needs_and_no_more():
    acl = json.loads((APP / "root/usr/share/rpcd/acl.d/luci-app-bondway.json").read_text())
    assert list(acl) == ["luci-app-bondway"] and "*" not in json.dumps(acl)
    rights = acl["luci-app-bondway"]
    assert rights["read"]["ubus"] == {"bondway": ["status", "flows"]}
    assert rights["write"]["ubus"] == {"bondway": ["join"]}
    menu = json.loads((APP / "root/usr/share/luci/menu.d/luci-app-bondway.json").read_text())
    for entry in menu.values():
        path = entry["action"].get("path")
        assert not path or (VIEWS.parent / f"{path}.js").is_file()


# ---- rpcd ----


def rpcd(router, *words, text=None):
    return json.loads(router.run("/busybox/sh", "/usr/libexec/rpcd/bondway", *words,
                                 text=text).stdout)


def test_rpcd_is_told_the_methods(router):
    assert rpcd(router, "list") == {"status": {}, "flows": {}, "join": {"link": "text"}}


def test_rpcd_says_that_nothing_runs(router):
    assert "no bondway runs here" in rpcd(router, "call", "status", text="{}")["error"]


def test_rpcd_joins(router):
    key = new_key()
    assert rpcd(router, "call", "join", text=json.dumps({"link": link(key)})) == {"joined": True}
    assert key == (router.root / "etc/bondway/vps2.key").read_text()
    said = rpcd(router, "call", "join", text=json.dumps({"link": 'no "link"\\'}))
    assert "this is no join link" in said["error"]
