"""A check that finds nothing is worth something only if it can find: each is shown a small tree that
is in order, and then with one thing wrong in it."""
import importlib.machinery
import importlib.util
from pathlib import Path

import pytest


def load():
    loader = importlib.machinery.SourceFileLoader("lint", str(Path(__file__).parent / "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("lint", loader))
    loader.exec_module(module)
    return module


lint = load()

GOOD = {
    "core/clock.h": "#ifndef CORE_CLOCK_H\n#define CORE_CLOCK_H\n\nint clock_now(void);\n\n#endif\n",
    "core/clock.c": '#include "core/clock.h"\n\nint clock_now(void)\n{\n    return 1;\n}\n',
    "gateway/flow.c": '#include "core/clock.h"\n\n'
                      "static struct flow *flow_new(struct client_of_the_lan *client,\n"
                      "                             struct destination_on_the_internet *there)\n"
                      "{\n    return 0;\n}\n",
    "gateway/uplink.c": '#include <stdio.h>\n\nvoid uplink_explain(const char *interface)\n{\n'
                        '    printf("no default route by %s; "\n'
                        '           "set gateway\\n",\n           interface);\n'
                        '    puts("no carrier");\n}\n',
    "config/examples/gateway.conf": 'listen_port = 7170;\n#scheduler = "bond";  # a default\n',
    "deploy/demo": "#!/bin/sh\necho \"$1\"\n",
    "tests/net/lab.py": "import time\n\n\ndef look(done):\n    while not done():\n"
                        "        time.sleep(0.01)\n",
    "tests/unit/wait.c": "void state_wait(void)\n{\n    usleep(2000);\n}\n",
    "README.md": "A byte: core/clock.c:clock_now, gateway/flow.c:flow_new. "
                 "Run `deploy/demo`, then `bondway status --json`;\n"
                 "[an example](config/examples/gateway.conf).\n\n"
                 "| message | remedy |\n|---|---|\n| `no carrier`, `no default route by …; set` | - |\n\n"
                 "```\nlisten_port = 7170;\n# bondway keygen > key\n```\n",
}
MANY_LINES = "    a();\n" * 60

# check, file, its text
WRONG = [
    ("includes", "core/clock.c", '#include "gateway/flow.h"\n'),
    ("includes", "core/clock.c", '#include "clock.h"\n'),
    ("includes", "gateway/flow.c", '#include "concentrator/peer.h"\n'),
    ("includes", "concentrator/peer.h", '#include "gateway/flow.c"\n'),
    ("headers", "core/clock.h", "size_t clock_size(void);\n"),
    ("headers", "core/clock.h", "struct clock { struct instant now; };\n"),
    ("format", "core/clock.c", "int clock_now(void) { return 1; }\n"),
    ("function_length", "core/clock.c", "int clock_now(void)\n{\n" + MANY_LINES + "}\n"),
    ("function_length", "tests/net/lab.py", "def look(a):\n" + MANY_LINES),
    ("shell", "deploy/demo", "#!/bin/sh\necho $1\n"),
    ("shell", "deploy/packages", "# shellcheck shell=sh\necho $1\n"),
    ("shell", "openwrt/render.sh", "# shellcheck shell=dash\necho $1\n"),
    ("shell_format", "openwrt/render.sh", "f() {\n    echo >a\n}\n"),
    ("shell_format", "openwrt/start", "#!/bin/sh /etc/rc.common\nf() {\n    echo\n}\n"),
    ("python", "tests/net/lab.py", "import time\n"),
    ("python", "tests/net/lab.py", "def look(:\n"),
    ("executable", "deploy/more", "#!/bin/sh\n"),
    ("sleeps", "tests/net/lab.py", "import time\n\ntime.sleep(1)\n"),
    ("sleeps", "tests/net/lab.py", "import time\n\nfor _ in range(9):\n    time.sleep(1)\n"),
    ("sleeps", "tests/unit/wait.c", "void test_flow(void)\n{\n    usleep(2000);\n}\n"),
    ("events", "core/clock.c", "void clock_wait(void)\n{\n    event_add(tick, NULL);\n}\n"),
    ("events", "core/clock.c", "void clock_wait(void)\n{\n    bufferevent_enable(b, EV_READ);\n}\n"),
    ("words", "core/clock.c", "/* TO" "DO: more */\n"),
    ("words", "README.md", "As iss" "ue 2 says.\n"),
    ("words", "README.md", "Built in /wo" "rk/main.\n"),
    ("byte", "README.md", "core/clock.c:clock_then\n"),
    ("byte", "README.md", "core/clocks.c:clock_now\n"),
    ("byte", "README.md", "Nothing of that kind.\n"),
    ("paths", "README.md", "Run `deploy/demonstration`.\n"),
    ("paths", "README.md", "[an example](config/examples/none.conf)\n"),
    ("paths", "core/clock.c", "/* See none" ".md. */\n"),
    ("messages", "README.md", "| message | remedy |\n|---|---|\n| `no route` | - |\n"),
    ("commands", "README.md", "Run `bondway stats`.\n"),
    ("commands", "README.md", "```\nbondway status --yaml\n```\n"),
    ("commands", "README.md", "```\n# bondway gateway -x FILE\n```\n"),
    ("keys", "README.md", "```\nlisten_ports = 7170;\n```\n"),
    ("keys", "config/examples/gateway.conf", '#schedule = "bond";\n'),
]


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "deploy/demo").chmod(0o755)
    (root / ".clang-format").write_text((lint.ROOT / ".clang-format").read_text())


def find(root, check):
    try:
        return list(lint.CHECKS[check](lint.Tree(root)))
    except lint.Skipped as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("check", lint.CHECKS)
def test_finds_nothing_where_nothing_is_wrong(tmp_path, check):
    write(tmp_path, GOOD)
    assert find(tmp_path, check) == []


@pytest.mark.parametrize("check, name, text", WRONG,
                         ids=[f"{check}-{i}" for i, (check, _, _) in enumerate(WRONG)])
def test_finds_what_is_wrong(tmp_path, check, name, text):
    write(tmp_path, {**GOOD, name: text})
    assert find(tmp_path, check)


def test_every_check_has_been_seen_to_find():
    assert {check for check, _, _ in WRONG} == set(lint.CHECKS)
