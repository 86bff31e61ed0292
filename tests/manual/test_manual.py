"""The manual pages and the completions of the shells, against what the program itself says: every
command, every option and every key is in them, they are well-formed, and the shells take them.

$BONDWAY: the program. What describes it was written by the same build.
"""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

BONDWAY = Path(os.environ.get("BONDWAY", "build/cli/bondway")).resolve()
MANUAL = BONDWAY.parent.parent / "manual"
PAGES = ["bondway.1", "gateway.conf.5", "concentrator.conf.5"]


def run(*words, **more):
    return subprocess.run([str(word) for word in words], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=30, **more)


def bondway(*words):
    done = run(BONDWAY, *words)
    assert done.returncode == 0, done.stdout
    return done.stdout


def commands():
    return re.findall(r"^  ([a-z]+) ", bondway("--help"), re.M)


def options_of(command):
    """{"--follow": "-f", "--json": ""}"""
    text = bondway(command, "--help")
    return {name: letter for letter, name in
            re.findall(r"^  (?:(-\w), |    )(--[a-z-]+)", text, re.M)}


def keys_of(role):
    return set(re.findall(r"^ *([a-z_0-9]+)(?: = .*)?$", bondway(role, "--keys"), re.M))


def rendered(page):
    """The page as a person sees it, in lines that are never broken."""
    done = run("mandoc", "-T", "utf8", "-O", "width=1000", MANUAL / page)
    assert done.returncode == 0, done.stdout
    return re.sub(r".\x08", "", done.stdout)


def section(text, title):
    """From a command's heading to the next."""
    found = re.search(rf"^   {re.escape(title)}(?: [^\n]*)?$(.*?)(?=^   ?\S|\Z)", text, re.M | re.S)
    assert found, f"no section {title}"
    return found[1]


def test_every_command_and_option_is_in_the_manual():
    page = rendered("bondway.1")
    assert len(commands()) >= 6
    for command in commands():
        assert re.search(rf"^ +bondway {command}\b", page, re.M)
        text = section(page, f"bondway {command}")
        for name, letter in options_of(command).items():
            if name not in ("--help", "--version"):
                label = f"{letter}, {name}" if letter else name
                assert re.search(rf"^ +{label}\b", text, re.M), f"{command} {label}"


@pytest.mark.parametrize("role", ["gateway", "concentrator"])
def test_every_key_is_in_its_page(role):
    """And no other, with the default that --keys shows."""
    page = rendered(f"{role}.conf.5")
    text = page[page.index("\nKEYS"):page.index("\nEXAMPLE")]
    shown = set(re.findall(r"^ {7}([a-z_0-9]+)\b", text, re.M))
    assert shown == keys_of(role)
    for line in re.findall(r"^ *([a-z_0-9]+ = .*)$", bondway(role, "--keys"), re.M):
        assert re.search(rf"^ +{re.escape(line)}$", text, re.M), line


@pytest.mark.parametrize("role", ["gateway", "concentrator"])
def test_the_example_is_shown_as_it_is(role):
    example = Path(__file__).parents[2] / "config" / "examples" / f"{role}.conf"
    shown = [line.strip() for line in rendered(f"{role}.conf.5").splitlines()]
    for line in example.read_text().splitlines():
        assert line.strip() in shown, line


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_well_formed(page):
    """Both programs that format manual pages find nothing to complain of."""
    done = run("mandoc", "-T", "lint", "-W", "warning", MANUAL / page)
    assert (done.returncode, done.stdout) == (0, "")
    done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", MANUAL / page],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def bash_completes(*words):
    script = (f"source {shlex.quote(str(MANUAL / 'bondway.bash'))}\n"
              f"COMP_WORDS=({' '.join(shlex.quote(word) for word in words)})\n"
              f"COMP_CWORD={len(words) - 1}\n_bondway\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"")
    done = run("bash", "--norc", "-euc", script, cwd=MANUAL)
    assert done.returncode == 0, done.stdout
    return set(done.stdout.split())


def test_bash_completes_commands_and_options():
    assert bash_completes("bondway", "") >= {*commands(), "--help", "--version"}
    for command in commands():
        assert bash_completes("bondway", command[:-1]) == {command}
        options = options_of(command)
        assert bash_completes("bondway", command, "--") == set(options)
        assert bash_completes("bondway", command, "-") >= {*options.values()} - {""}


def test_bash_completes_file_names():
    assert bash_completes("bondway", "gateway", "-c", "gateway.conf") == {"gateway.conf.5"}
    assert bash_completes("bondway", "status", "--socket", "_bon") == {"_bondway"}
    assert bash_completes("bondway", "gateway", "--check", "gateway.conf") == set()


def zsh_completes(*words):
    """What the function gives to zsh's own helpers, which are stood in for: only in an interactive
    shell do they work."""
    script = ("_describe() { print -rl -- ${(P)2} }\n_arguments() { print -rl -- \"$@\" }\n"
              f"words=({' '.join(shlex.quote(word) for word in words)}) CURRENT={len(words)}\n"
              f"source {shlex.quote(str(MANUAL / '_bondway'))}")
    done = run("zsh", "-fc", script)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def test_zsh_completes_commands_and_options():
    assert [line.split(":")[0] for line in zsh_completes("bondway", "")] == commands()
    for command in commands():
        lines = zsh_completes("bondway", command, "")
        for name, letter in options_of(command).items():
            assert any(re.search(rf"(^|\)){name}\[", line) for line in lines), name
            assert not letter or any(re.search(rf"\){letter}\[", line) for line in lines)
        for line in lines:
            # What zsh reads as its own is escaped where it is not.
            text = r"(?:[^\\:\[\]]|\\.)+"
            assert re.fullmatch(rf"(\(-\w --[a-z-]+\))?--?[a-z-]*\w\[{text}\](:{text}:(_files)?)?",
                                line), line
