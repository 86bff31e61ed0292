"""The scripts of the OpenWrt package, under busybox, against stand-ins for the system's own: what
the router's owner writes becomes a gateway.conf that the gateway takes, whatever he writes."""

import ctypes
import ctypes.util
import os
import re
import subprocess
from pathlib import Path

import pytest

from router import CONF, FILES, GOOD, NFT, PROGRAM, keys, link, new_key

ROOT = Path(__file__).resolve().parents[2]

class Setting(ctypes.Structure):
    """How config_setting_t begins, in every version from 1.5 on."""
    _fields_ = [("name", ctypes.c_char_p), ("type", ctypes.c_short)]


GROUP, STRING, ARRAY, LIST = 1, 5, 7, 8


def libconfig():
    lib = ctypes.CDLL(ctypes.util.find_library("config"))
    for name, kind in (("config_lookup", ctypes.POINTER(Setting)),
                       ("config_setting_get_elem", ctypes.POINTER(Setting)),
                       ("config_setting_get_string", ctypes.c_char_p),
                       ("config_setting_get_int64", ctypes.c_int64),
                       ("config_setting_get_bool", ctypes.c_int)):
        getattr(lib, name).restype = kind
    return lib


def values(conf):
    """A configuration as Python's values, by libconfig, since that is what reads it."""
    lib, config = libconfig(), ctypes.create_string_buffer(1024)
    lib.config_init(config)
    assert lib.config_read_string(config, conf.encode()), conf

    def read(setting):
        kind = setting.contents.type
        if kind in (GROUP, ARRAY, LIST):
            members = [lib.config_setting_get_elem(setting, i)
                       for i in range(lib.config_setting_length(setting))]
            return ({member.contents.name.decode(): read(member) for member in members}
                    if kind == GROUP else [read(member) for member in members])
        if kind == STRING:
            return lib.config_setting_get_string(setting).decode()
        return lib.config_setting_get_int64(setting) or lib.config_setting_get_bool(setting)

    return {name: read(lib.config_lookup(config, name.encode()))
            for name in re.findall(r"^(\w+) = ", conf, re.M)}


def rendered(router):
    """What the scripts make of the configuration, good or not."""
    return router.shell(". /lib/functions.sh; . /lib/functions/network.sh; set +u\n"
                        ". /lib/functions/bondway.sh; mkdir -p $BONDWAY_RUN\n"
                        "config_load bondway; bondway_render")


# ---- rendering ----


def test_what_the_owner_writes_the_gateway_takes(router):
    router.init("start")
    conf = values(router.conf())
    assert conf["state_dir"] == "/etc/bondway"  # which outlives a reboot
    assert conf["lan_interfaces"] == ["br-lan"]
    assert conf["concentrators"] == [{"name": "vps", "address": "203.0.113.10",
                                      "key_file": "/etc/bondway/vps.key"}]
    assert conf["uplinks"] == [{"name": "wan", "interface": "pppoe-wan"},
                               {"name": "wanb", "interface": "wwan0", "cost": 10}]
    assert router.init("check").stdout == "/etc/config/bondway: well\n"


def test_the_shipped_configuration_is_off(router):
    router.config("bondway", (FILES / "bondway.config").read_text())
    router.init("start")
    assert router.instance() is None
    assert not (router.root / CONF[1:]).exists()
    # Switched on, all that it lacks is a concentrator.
    router.shell("uci set bondway.globals.enabled=1; uci commit bondway")
    done = router.init("check", check=False)
    assert done.returncode == 1 and "concentrators is empty" in done.stdout


def test_every_key_of_the_gateway_can_be_set(router):
    """Under its own name. What the sections say in another way can be said in that one, too."""
    script = (FILES / "bondway.sh").read_text()
    known = {name for line in re.findall(r"^\t*((?:\w+:\w+ ?)+)", script, re.M)
             for name in re.findall(r"\w+:(\w+)", line)}
    known |= set(re.findall(r":(\w+)", " ".join(re.findall(r"bondway_settings .*", script))))
    groups = keys()
    assert {"concentrators", "uplinks", "rules"} < set(groups)
    said = {"name", "lan_interfaces", *(group for group in groups if group)}
    assert set().union(*groups.values()) - said - known == set()


EVERY = {
    "globals": {"scheduler": "failover", "encryption": "always", "when_unreachable": "refuse",
                "route_unproxied": ("off", 0), "bypass": ["192.0.2.0/24", "2001:db8::/32"],
                "listen_port": ("7180", 7180), "control_socket": "/run/bondway/other.sock",
                "firewall_mark": ("0x20000000", 0x20000000),
                "direct_mark": ("0xf0", 0xf0), "routing_table": ("8000", 8000),
                "rule_priority": ("8000", 8000), "dial_timeout": "5s", "idle_timeout": "1h",
                "half_closed_timeout": "5m", "max_flows": ("100", 100), "state_dir": "/mnt/state"},
    "concentrator": {"address": "2001:db8::1", "port": ("443", 443),
                     "key_file": "/etc/bondway/vps.key"},
    "uplink": {"cost": ("5", 5), "weight": ("2", 2), "metered": ("yes", 1),
               "gateway": "192.0.2.1", "gateway6": "2001:db8::2", "interface": "eth9",
               "monthly_budget": "50GB", "budget_day": ("31", 31), "on_budget": "off"},
    "rule": {"destinations": ["198.51.100.0/24"], "ports": (["443", "8000-8100"],
                                                            [443, "8000-8100"]),
             "clients": ["192.168.1.20"], "dscp": (["46", "8"], [46, 8]), "uplinks": ["one_uplink"],
             "scheduler": "latency", "encryption": "never", "action": "proxy"},
}


def test_every_option_arrives(router):
    text = ""
    for kind, options in EVERY.items():
        text += f"\nconfig {kind} '{'globals' if kind == 'globals' else f'one_{kind}'}'\n"
        for name, value in options.items():
            written = value[0] if isinstance(value, tuple) else value
            for each in written if isinstance(written, list) else [written]:
                text += f"\t{'list' if isinstance(written, list) else 'option'} {name} '{each}'\n"
    router.config("bondway", text.replace("config globals 'globals'\n",
                                          "config globals 'globals'\n\toption enabled '1'\n"
                                          "\tlist lan 'lan'\n"))
    router.firewall_mark("0x20000000")
    said = router.init("start").stdout
    assert router.instance() is not None, said
    conf = values(router.conf())
    for kind, options in EVERY.items():
        group = conf if kind == "globals" else conf[f"{kind}s"][0]
        for name, value in options.items():
            assert group[name] == (value[1] if isinstance(value, tuple) else value), name


HOSTILE = ['"; listen_port = 1; x = "', "a\\", "\\\"", "$(touch /tmp/pwned)", "`id`", "a\nb = 1;",
           "tab\there", "'; uci set x", "% s %n", "ümläut", "*", "a  b", "#", "-n", "\\x41", "&",
           '@include "/etc/passwd"']


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(router, text):
    """One value, the same text; nothing else of the configuration changes, nothing is run."""
    quoted = text.replace("'", "'\\''")
    router.config("bondway", GOOD + f"\toption gateway '{quoted}'\n\tlist _lists '{quoted}'\n"
                  f"\nconfig rule 'bad'\n\tlist destinations '{quoted}'\n"
                  f"\tlist uplinks '{quoted}'\n\tlist ports '{quoted}'\n")
    conf = values(rendered(router))
    assert conf["uplinks"][1] == {"name": "wanb", "interface": "wwan0", "cost": 10,
                                  "gateway": text}
    assert conf["rules"] == [{"name": "bad", "destinations": [text], "uplinks": [text],
                              "ports": [text]}]
    assert set(conf) == {"lan_interfaces", "concentrators", "uplinks", "rules", "state_dir"}
    assert conf["state_dir"] == "/etc/bondway"
    assert not (router.root / "tmp/pwned").exists()


def test_a_list_may_be_one_option_with_words(router):
    router.config("bondway", GOOD + "\nconfig rule 'web'\n\toption ports '80 443'\n"
                  "\toption destinations '*'\n")
    assert values(rendered(router))["rules"] == [{"name": "web", "ports": [80, 443],
                                                  "destinations": ["*"]}]


@pytest.mark.parametrize("written, devices", [("lan", ["br-lan"]),
                                              ("lan guest", ["br-lan", "br-guest"])])
def test_the_lan_may_be_one_option_with_words(router, written, devices):
    """And what is in it is watched."""
    router.config("bondway", GOOD.replace("list lan 'lan'", f"option lan '{written}'"))
    router.init("start")
    assert values(router.conf())["lan_interfaces"] == devices
    for network in written.split():
        assert ["interface", network] in router.triggers()


def test_a_section_can_be_switched_off_or_have_another_name(router):
    router.config("bondway", GOOD + "\toption enabled '0'\n\nconfig uplink\n"
                  "\toption name 'sat-1'\n\toption network 'lte'\n")
    assert [uplink["name"] for uplink in values(rendered(router))["uplinks"]] == ["wan", "sat-1"]


def test_what_is_wrong_is_said(router):
    """In the gateway's own words."""
    router.config("bondway", GOOD.replace("'10'", "'cheap'"))
    done = router.init("check", check=False)
    assert done.returncode == 1
    assert 'bondway: section wanb: cost is "cheap"; write a whole number from 0 to 1000000\n' in done.stdout
    assert CONF not in done.stdout


@pytest.mark.parametrize("change, said", [
    (("list lan 'lan'", "list lan 'lan'\n\toption scheduler 'best'"), 'section globals: scheduler is "best"; '),
    (("203.0.113.10", "vps.example"), 'section vps: address is "vps.example"; ')])
def test_a_mistake_is_said_where_it_was_made(router, change, said):
    router.config("bondway", GOOD.replace(*change))
    done = router.init("check", check=False)
    assert done.returncode == 1 and f"bondway: {said}" in done.stdout


@pytest.mark.parametrize("change, said", [
    (("list lan 'lan'", "list lan 'lan'\n\toption schedular 'bond'"),
     'section globals: unknown key "schedular"; did you mean "scheduler"?\n'),
    (("enabled '1'", "enabeld '1'"),
     'section globals: unknown key "enabeld"; remove it (the keys here are enabled, lan, lan_interfaces, '),
    (("option cost '10'", "option budget '50GB'"),
     'section wanb: unknown key "budget"; remove it (the keys here are enabled, network, name, '),
    (("option cost '10'", "list gateways 'a'\n\tlist gateways '\"; x'"),
     'section wanb: unknown key "gateways"; did you mean "gateway"?\n'),
    (("option cost '10'", "option 5g '1'"), 'section wanb: unknown option "5g"; remove it\n'),
    (("list lan 'lan'", "list lan 'lan'\n\tlist uplinks 'wan'"),
     'section globals: unknown option "uplinks"; write a section for each: config uplink '),
    (("option address '203.0.113.10'", "option address '203.0.113.10'\n\toption network 'wan'"),
     'section vps: unknown key "network"; remove it (the keys here are enabled, name, '),
    (("config uplink 'wanb'", "config uplinks 'wanb'"), 'section wanb: unknown type "uplinks"; '),
    (("config globals 'globals'", "config global 'globals'"), 'section globals: unknown type "global"; '),
    (("config uplink 'wanb'", "config globals 'more'"), "section more: nothing reads it: ")])
def test_a_misspelt_name_is_said(router, change, said):
    """By check, and at start, which takes it no more than gateway.conf's own check would; off is no
    excuse, since it may be "enabled" that is misspelt."""
    router.config("bondway", GOOD.replace(*change))
    done = router.init("check", check=False)
    assert done.returncode == 1 and f"bondway: {said}" in done.stdout
    assert f"bondway: {said}" in router.init("start").stdout
    assert router.instance() is None


def test_the_firewall_has_another_mark(router):
    """The rule of bondway.nft lets in what bears the mark; what bears another it rejects."""
    router.config("bondway", GOOD.replace("list lan", "option firewall_mark '0x20000000'\n\tlist lan"))
    said = f"section globals: firewall_mark is 0x20000000, but 0x10000000 in {NFT}: write "
    done = router.init("check", check=False)
    assert done.returncode == 1 and said in done.stdout
    assert said in router.init("start").stdout and router.instance() is None
    router.firewall_mark("0x20000000")
    assert router.init("check").stdout == "/etc/config/bondway: well\n"


@pytest.mark.parametrize("mark", ["0x10000000", "268435456"])
def test_the_firewall_has_that_mark(router, mark):
    router.config("bondway", GOOD.replace("list lan", f"option firewall_mark '{mark}'\n\tlist lan"))
    assert router.init("check").stdout == "/etc/config/bondway: well\n"


@pytest.mark.parametrize("mark", ["many", "0x"])
def test_what_is_no_mark_is_said(router, mark):
    router.config("bondway", GOOD.replace("list lan", f"option firewall_mark '{mark}'\n\tlist lan"))
    done = router.init("check", check=False)
    assert done.returncode == 1 and "section globals: firewall_mark is " in done.stdout


def test_what_other_tools_keep_there_is_no_mistake(router):
    router.config("bondway", GOOD + "\toption _comment 'of a tool'\n\tlist _tags 'a'\n"
                  "\toption enabled '1'\n\toption name 'lte'\n")
    assert router.init("check").stdout == "/etc/config/bondway: well\n"


def test_what_can_hardly_be_meant_is_said(router):
    router.config("bondway", GOOD + "\nconfig rule 'all'\n\tlist ports '1-65535'\n"
                                    "\nconfig rule 'web'\n\tlist ports '443'\n")
    done = router.init("check")
    assert 'bondway: section web: warning: ' in done.stdout and '"all" (section all)' in done.stdout
    assert done.stdout.endswith("/etc/config/bondway: well\n")


def asked(router, *words):
    """What the program has been asked, with the configuration that it was given then; it leaves with 3."""
    program = router.root / "usr/sbin/bondway"
    program.unlink()
    program.write_text('#!/busybox/sh\necho "$@"\ncat "$3"\nexit 3\n')
    program.chmod(0o755)
    done = router.init(*words, check=False)
    assert done.returncode == 3
    assert [path.name for path in (router.root / "var/etc/bondway").iterdir()] == []
    return done.stdout


@pytest.mark.parametrize("words", [["doctor"], ["doctor", "--json"], ["report"]])
def test_doctor_and_report_look_at_what_the_owner_has_written(router, words):
    """Though it is switched off, and nothing has been rendered before."""
    router.config("bondway", GOOD.replace("enabled '1'", "enabled '0'"))
    line, conf = asked(router, *words).split("\n", 1)
    assert line.split()[:2] == [words[0], "-c"] and line.split()[3:] == words[1:]
    assert values(conf)["uplinks"][1]["interface"] == "wwan0"


def test_doctor_and_report_say_what_is_wrong(router):
    router.config("bondway", GOOD.replace("'10'", "'cheap'"))
    done = router.init("doctor", check=False)
    assert done.returncode == 1 and 'section wanb: cost is "cheap"' in done.stdout
    done = router.init("report", check=False)
    assert 'cost = "cheap";' in done.stdout and 'cost is "cheap"' in done.stdout


# ---- procd ----


def test_procd_runs_it(router):
    router.init("start")
    told = router.instance().parameters
    assert told["command"] == ["/usr/sbin/bondway", "gateway", "--syslog", "-c", CONF]
    assert told["file"] == [CONF, "/etc/bondway/vps.key"]  # what is compared
    assert told["reload_signal"] == ["HUP"]
    assert told["respawn"][2] == "0"  # for ever
    assert ["config.change", "bondway"] in router.triggers()
    for network in ("lan", "wan", "lte"):
        assert ["interface", network] in router.triggers()
    assert (router.root / CONF[1:]).stat().st_mode & 0o077 == 0


def test_a_mistake_changes_nothing(router):
    router.init("start")
    before = router.conf()
    router.config("bondway", GOOD.replace("'10'", "'cheap'"))
    router.init("reload")
    assert router.conf() == before
    assert router.instance() is not None
    assert 'cost = "cheap"' in (router.root / f"{CONF[1:]}.refused").read_text()


def test_a_mistake_at_first_starts_nothing(router):
    router.config("bondway", GOOD.replace("'10'", "'cheap'"))
    router.init("start")
    assert router.instance() is None
    assert ["config.change", "bondway"] in router.triggers()  # corrected, it starts


def test_a_network_that_is_down_keeps_its_interface(router):
    """Nothing changes with it, so nothing is reloaded: the gateway sees that by itself."""
    router.init("start")
    before = router.conf()
    router.network_down("wan")
    router.init("reload")
    assert router.conf() == before


def test_a_network_that_comes_up_corrects_the_guess(router):
    router.network_down("wan")
    router.init("start")
    assert values(router.conf())["uplinks"][0]["interface"] == "wan"
    router.network_up("wan", "pppoe-wan")
    router.init("reload")
    assert values(router.conf())["uplinks"][0]["interface"] == "pppoe-wan"


def test_switched_off_or_stopped_nothing_is_left(router):
    router.init("start")
    router.config("bondway", GOOD.replace("enabled '1'", "enabled '0'"))
    router.init("reload")
    assert router.instance() is None
    router.config("bondway", GOOD)
    router.init("start")
    router.init("stop")
    assert [path.name for path in (router.root / "var/etc/bondway").iterdir()] == []


# ---- joining ----


def test_a_link_is_all_it_takes(router):
    router.config("bondway", (FILES / "bondway.config").read_text())
    key = new_key()
    router.init("join", text=link(key))
    assert values(router.conf())["concentrators"] == [
        {"name": "vps", "address": "203.0.113.20", "port": 443,
         "key_file": "/etc/bondway/vps.key"}]
    path = router.root / "etc/bondway/vps.key"
    assert path.read_text() == key and path.stat().st_mode & 0o777 == 0o600
    assert router.instance() is not None
    assert (router.root / "etc/rc.d/S95bondway").exists()


@pytest.mark.parametrize("form", ["{}\r\n  {}", '"{}{}"', "'{}{}'", "<{}{}>", "> {}\n> {}\n",
                                  "\N{LEFT DOUBLE QUOTATION MARK}{}{}\N{RIGHT DOUBLE QUOTATION MARK}",
                                  "The link: {}\N{NO-BREAK SPACE}{}"])
def test_a_link_as_it_is_pasted_and_an_ipv6_address(router, form):
    text = link(new_key(), "[2001:db8::5]")
    router.init("join", text=form.format(text[:30], text[30:]))
    assert values(router.conf())["concentrators"][1]["address"] == "2001:db8::5"


@pytest.mark.parametrize("answer, address", [
    ("Name:\tvps.example\nAddress: 2001:db8::9\n\nName:\tvps.example\nAddress: 203.0.113.9\n",
     "203.0.113.9"),
    ("Name:\tvps.example\nAddress: 2001:db8::9\n", "2001:db8::9"),
    ("** server can't find vps.example: NXDOMAIN\n", None)])
def test_a_name_for_an_address(router, answer, address):
    """As nslookup answers on OpenWrt: behind the server's own address. A function, since busybox's shell
    has an nslookup in itself."""
    with open(router.root / "usr/lib/functions.sh", "a") as functions:
        functions.write("nslookup() {\n[ \"$*\" = vps.example ] || return 1\ncat << 'END'\n"
                        f"Server:\t\t127.0.0.1\nAddress:\t127.0.0.1:53\n\n{answer}END\n}}\n")
    before = (router.root / "etc/config/bondway").read_text()
    done = router.init("join", text=link(new_key(), "vps.example"), check=False)
    if address:
        assert values(router.conf())["concentrators"][1]["address"] == address
    else:
        assert done.returncode != 0 and "cannot find the address of the link's host" in done.stdout
        assert (router.root / "etc/config/bondway").read_text() == before


def test_joined_again_it_is_the_same_concentrator(router):
    router.init("join", text=link(new_key(), "203.0.113.10", 7171))
    key = new_key()
    router.init("join", text=link(key, "203.0.113.10", 7171))
    assert len(values(router.conf())["concentrators"]) == 1
    assert (router.root / "etc/bondway/vps.key").read_text() == key


@pytest.mark.parametrize("text", ["", "hello", "bondway1://203.0.113.10:7171/", "bondway1:abc",
                                  "bondway1://203.0.113.10:7171/short#home",
                                  "bondway1://$(id):7171/abc#home",
                                  "bondway1://203.0.113.10:99999/abc#home",
                                  "bondway1://-debug:7171/abc#home"])
def test_what_is_no_link_changes_nothing(router, text):
    before = (router.root / "etc/config/bondway").read_text()
    done = router.init("join", text=text, check=False)
    assert done.returncode != 0
    assert (router.root / "etc/config/bondway").read_text() == before
    assert not (router.root / "tmp/.uci/bondway").exists()
    assert [path.name for path in (router.root / "etc/bondway").iterdir()] == ["vps.key"]


@pytest.mark.parametrize("port", [443, 99999])
def test_what_is_not_committed_stays_so(router, port):
    """Whether the link would do or not."""
    router.shell("uci set bondway.wanb.cost=30")
    before = router.shell("uci changes bondway")
    done = router.init("join", text=link(new_key(), port=port), check=False)
    assert done.returncode != 0 and "changes that are not committed" in done.stdout
    assert router.shell("uci changes bondway") == before
    assert "option cost '10'" in (router.root / "etc/config/bondway").read_text()
    assert [path.name for path in (router.root / "etc/bondway").iterdir()] == ["vps.key"]
    router.shell("uci commit bondway")
    router.init("join", text=link(new_key()))
    assert values(router.conf())["uplinks"][1]["cost"] == 30


# ---- the package ----


def test_the_firewall_takes_the_hole():
    rule = (FILES / "bondway.nft").read_text()
    text = f"table inet fw4 {{ chain input {{ type filter hook input priority 0; policy drop;\n{rule}\n}}\n}}\n"
    done = subprocess.run(["nft", "-c", "-f", "-"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    # The mark is the gateway's.
    mark = re.search(r"^firewall_mark = (\w+)", subprocess.run(
        [PROGRAM, "gateway", "--keys"], capture_output=True, text=True).stdout, re.M)[1]
    assert f"meta mark & {mark} == {mark}" in rule


def maintainer_script(router, name, **environment):
    """Runs what the package's Makefile has for that; returns what it asked of init scripts."""
    makefile = (FILES.parent / "Makefile").read_text()
    script = re.search(rf"^define Package/bondway/{name}\n(.*?)^endef", makefile, re.M | re.S)[1]
    asked = router.root / "tmp/asked"
    asked.write_text("")
    for service in ("firewall", "rpcd", "bondway"):
        path = router.root / "etc/init.d" / service
        path.write_text(f'#!/busybox/sh\necho "{service} $1" >> /tmp/asked\n')
        path.chmod(0o755)
    exports = "".join(f"export {key}={value}\n" for key, value in environment.items())
    router.shell("set +u\n" + exports + script.replace("$$", "$"))
    return asked.read_text().splitlines()


def test_the_scripts_of_the_package(router):
    for folder in ("etc", "staging/etc", "var/etc", "run"):
        (router.root / folder / "bondway").mkdir(parents=True, exist_ok=True)
    installed = ["firewall reload", "rpcd reload"]
    assert maintainer_script(router, "postinst") == installed
    # With opkg it has been stopped before, with apk the old one still runs.
    assert maintainer_script(router, "postinst", PKG_UPGRADE=1) == installed + ["bondway restart"]
    # An upgrade keeps the keys; who builds an image keeps his own.
    assert maintainer_script(router, "postrm", PKG_UPGRADE=1) == []
    assert (router.root / "etc/bondway/vps.key").exists()
    assert maintainer_script(router, "postinst", IPKG_INSTROOT="/staging") == []
    assert maintainer_script(router, "postrm", IPKG_INSTROOT="/staging") == []
    assert (router.root / "etc/bondway/vps.key").exists()
    assert not (router.root / "staging/etc/bondway").exists()
    assert maintainer_script(router, "postrm") == installed
    for folder in ("etc", "var/etc", "run"):
        assert not (router.root / folder / "bondway").exists()


def test_everything_is_in_the_package():
    makefile = (FILES.parent / "Makefile").read_text()
    for path in FILES.iterdir():
        assert f"./files/{path.name}" in makefile, path.name
    # Who has set another mark there keeps it.
    conffiles = re.search(r"^define Package/bondway/conffiles\n(.*?)^endef", makefile, re.M | re.S)[1]
    assert NFT in conffiles.splitlines()
    version = re.search(r"project\(bondway VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())
    assert f"PKG_VERSION:={version[1]}" in makefile
    assert version[1] in (ROOT / "deploy/debian/changelog").read_text()


if os.geteuid() != 0:
    pytest.skip("only root can mount and change the root", allow_module_level=True)
