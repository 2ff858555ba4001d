"""What `make status` and the like print for what the machine's command does, by Ansible itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from target import filled_in

ROOT = Path(__file__).resolve().parents[2]


def ask(*words: str, args: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    options = [option for word in words for option in ("--list", f"ask={word}")]
    return subprocess.run(
        (
            sys.executable, "tools/run_ansible.py", "--callback", "ask", "--no-become", *options,
            "playbook", "playbooks/ask.yml", "-e", "ansible_become=false",
        ),
        cwd=ROOT, env=os.environ | {"INVENTORY": "", "ARGS": args} | environment,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_output_stays_where_the_command_wrote_it() -> None:
    done = ask("sh", "-c", "printf 'one\n  two\n'; echo careful >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\n  two\n", "careful\n")


def test_an_unhealthy_stack_still_prints_its_json() -> None:
    done = ask("sh", "-c", """echo '{"healthy": false}'; exit 1""")
    assert done.returncode != 0
    assert done.stdout == '{"healthy": false}\n'
    assert "exit code 1" in done.stderr


def test_a_command_that_is_not_there_is_named() -> None:
    done = ask("no-such-stack", "status")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "no-such-stack status" in done.stderr


@pytest.mark.parametrize("args", ["-v", "-vvv", "--diff", "--check", "--tags nothing"])
def test_no_option_of_ansibles_puts_a_word_in_between(args: str) -> None:
    done = ask("echo", "A=1", args=args, ANSIBLE_FORCE_COLOR="1")
    assert (done.returncode, done.stdout) == (0, "A=1\n")


def test_a_change_is_none_in_check_mode(tmp_path: Path) -> None:
    made = tmp_path / "made"
    done = ask("touch", str(made), args="--check -e ask_changes=true")
    assert done.returncode == 0
    assert not made.exists()


HERE = os.environ | {"INVENTORY": "", "ARGS": ""}


@pytest.mark.parametrize(
    "args",
    [
        "-e stack_name=second -e stack_http_port=81",
        "-e 'stack_name=second stack_http_port=81'",
        '-e {"stack_name": "second", "stack_http_port": 81}',
        "--extra-vars='{stack_name: second, stack_http_port: 81}'",
    ],
)
def test_a_stacks_name_and_ports_are_what_ansible_makes_of_args(args: str) -> None:
    found = filled_in("{{ stack_name }} {{ stack_http_port }}", HERE | {"ARGS": args})
    assert found == ["second 81"]


def test_a_machine_of_another_inventory_is_not_asked_for_it() -> None:
    text = "ssh://{{ ansible_user }}@{{ ansible_host }}:{{ ansible_port }}"
    other = {"INVENTORY": "inventory/vm.yml", "STACK_HOST": "192.0.2.1", "STACK_USER": "x"}
    assert filled_in(text, HERE | other) == ["ssh://x@192.0.2.1:22"]
