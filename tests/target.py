"""The stack that the tests look at: what Ansible makes of INVENTORY and ARGS, which are make's."""

import os
import pwd
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCAL = "inventory/localhost.yml"
SETTINGS = {
    "STACK_NAME": "stack_name",
    "HTTP_PORT": "stack_http_port",
    "STACK_BIND_ADDRESS": "stack_bind_address",
}


def is_this_machine(environment: Mapping[str, str] = os.environ) -> bool:
    return environment.get("INVENTORY", LOCAL) in ("", LOCAL)


def filled_in(text: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the text with its templates filled in, once for each machine of the inventory.

    Raises:
        RuntimeError: Ansible cannot; the message is its own.
    """
    options = ("--no-become", "--callback", "ask", "--text", f"ask_text={text}")
    done = subprocess.run(
        (sys.executable, "tools/run_ansible.py", *options, "playbook", "playbooks/ask.yml"),
        cwd=ROOT, env={**environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{done.stderr}{done.stdout}".strip())
    return done.stdout.splitlines()


@cache
def settings() -> dict[str, str]:
    """Return SETTINGS of the stack: as the environment names them, or else as Ansible does."""
    if SETTINGS.keys() <= os.environ.keys():
        return {name: os.environ[name] for name in SETTINGS}
    text = " ".join(f"{{{{ {variable} }}}}" for variable in SETTINGS.values())
    found = dict(zip(SETTINGS, filled_in(text)[0].split(), strict=True))
    return found | {name: os.environ[name] for name in SETTINGS if name in os.environ}


def machines() -> list[str]:
    """Return the inventory's machines as testinfra takes them.

    Raises:
        RuntimeError: there is none: testinfra would look at this machine.
    """
    found = filled_in(
        f"ssh://{{{{ ansible_user | default('{pwd.getpwuid(os.geteuid()).pw_name}') }}}}"
        "@{{ ansible_host | default(inventory_hostname) }}:{{ ansible_port | default(22) }}"
    )
    if not found:
        raise RuntimeError(f"Ansible finds no machine in {os.environ['INVENTORY']}")
    return found


def ssh_config(folder: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Write ssh's settings for testinfra, which hands --ssh-extra-args to nobody.

    One connection for all: a test asks several times, and each login takes its time.

    Args:
        folder: where the socket of the connection is; with a short path, as the kernel wants.
        environment: Ansible's own settings of ssh.
    """
    lines = [f"ControlPath {folder}/%C"]
    if environment.get("ANSIBLE_HOST_KEY_CHECKING", "True") == "False":
        lines += ["StrictHostKeyChecking no", "UserKnownHostsFile /dev/null", "LogLevel ERROR"]
    if key := environment.get("ANSIBLE_PRIVATE_KEY_FILE"):
        lines += [f'IdentityFile "{key}"']
    # The user's own and the system's, which ssh leaves out where a file is named.
    lines += ["Include ~/.ssh/config", "Include /etc/ssh/ssh_config"]
    path = folder / "ssh_config"
    path.write_text("\n".join([*lines, ""]))
    return path
