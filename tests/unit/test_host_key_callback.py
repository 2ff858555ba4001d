"""A machine whose host key ssh does not know: the run ends with the command that helps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.callback.host_key import advice

ROOT = Path(__file__).resolve().parents[2]
UNKNOWN = "Failed to connect to the host via ssh: Host key verification failed."


def test_unknown_key_gives_the_command_to_run_once() -> None:
    text = advice(UNKNOWN, "-p 2222 admin@192.0.2.1")
    assert text
    assert "ssh -p 2222 admin@192.0.2.1 true" in text
    assert "ANSIBLE_HOST_KEY_CHECKING=False" in text


def test_changed_key_is_never_answered_by_switching_the_check_off() -> None:
    text = advice(f"@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @ {UNKNOWN}", "vm")
    assert text
    assert "remove the old key" in text
    assert "HOST_KEY_CHECKING" not in text


@pytest.mark.parametrize("message", ["Connection refused", "Permission denied (publickey)"])
def test_other_failures_are_left_alone(message: str) -> None:
    assert advice(f"Failed to connect to the host via ssh: {message}", "vm") is None


def test_run_prints_the_advice_with_the_machine_s_address(tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho 'Host key verification failed.' >&2\nexit 255\n")
    ssh.chmod(0o755)
    playbook = tmp_path / "play.yml"
    playbook.write_text("- hosts: vm\n  gather_facts: true\n  tasks: []\n")
    values = {"STACK_HOST": "192.0.2.1", "STACK_SSH_PORT": "2222", "STACK_USER": "admin"}
    done = subprocess.run(
        (
            *(sys.executable, Path(sys.executable).with_name("ansible-playbook"), playbook),
            *("-i", ROOT / "inventory/vm.yml", "-e", f"ansible_ssh_executable={ssh}"),
        ),
        env=os.environ | values | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode != 0
    assert "ssh -p 2222 admin@192.0.2.1 true" in done.stderr, done.stdout + done.stderr
