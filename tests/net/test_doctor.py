"""bondway doctor where all is well. What it finds where it is not is in test_messages.py."""

from __future__ import annotations

import json
from typing import Any, Dict, List

from bonded import PORT, Bonded, Host, Lab


def doctor(bond: Bonded, host: Host, conf, *wrapper: Any) -> Dict[str, Any]:
    """Its JSON, with the exit code beside the findings."""
    done = host.run([*wrapper, bond.program, "doctor", "--json", "-c", conf], check=False)
    assert done.stderr == "", done.stderr
    return {**json.loads(done.stdout), "code": done.returncode}


def of(report: Dict[str, Any], subject: str) -> List[tuple]:
    """(level, text, remedy) of each finding about it."""
    return [(each["level"], each["text"], each["remedy"]) for each in report["findings"]
            if each["subject"] == subject]


def figures(report: Dict[str, Any], subject: str) -> Dict[str, Any]:
    return next(each["figures"] for each in report["findings"] if each["subject"] == subject)


def test_all_is_well():
    """With a gateway that runs, and without; on the VPS, too. Nothing is left behind."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        bond.start_concentrator()
        for running in False, True:
            if running:
                bond.start_gateway()
            report = doctor(bond, lab.router, bond.gateway_conf)
            assert report["code"] == 0, report
            assert (report["role"], report["version"]) == ("gateway", bond.status()["version"] if
                                                           running else report["version"])
            assert of(report, "kernel") == [("ok", "MPTCP, with a userspace path manager", ""),
                                            ("ok", "nftables, with TPROXY", "")]
            assert of(report, "lan") == [("ok", f"{lab.lan_interface} is there", "")]
            assert of(report, "gateway") == [
                ("ok", "it runs, and carries the LAN's connections", "") if running else
                ("note", "none runs now: `bondway gateway` starts one", "")]
            for uplink, rtt in ("dsl", 20), ("lte", 60):
                (level, text, _), = of(report, uplink)
                assert level == "ok" and text.endswith("MPTCP survives")
                seen = figures(report, uplink)
                assert (seen["mptcp"], seen["packet_bytes"], seen["concentrator"]) == (True, 1500,
                                                                                       "vps")
                assert rtt <= seen["rtt_ms"] < rtt + 200 and seen["probes_lost"] <= 1
            assert of(report, "vps") == [
                ("ok", f"{lab.vps.address}:{PORT} accepts our key, by 2 of 2 uplinks", "")]
        report = doctor(bond, lab.vps, bond.concentrator_conf)
        assert (report["code"], report["role"]) == (0, "concentrator")
        assert of(report, "home") == [("ok", "it has connected", "")]
        text = lab.router.run([bond.program, "doctor", "-c", bond.gateway_conf]).stdout
        assert f"\nok    lan      {lab.lan_interface} is there\n" in text
