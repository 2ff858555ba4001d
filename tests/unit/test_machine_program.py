"""The stack's command as one file: the same bytes each time, found again by its settings."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from plugins.lookup.machine_program import PACKAGE, build

ROOT = Path(__file__).resolve().parents[2]
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Send it
      ansible.builtin.script:
        cmd: "{{ __stack_program_call }} history"
        executable: "{{ ansible_python_interpreter | quote }}"
      register: sent
    - name: Install it
      ansible.builtin.copy: {src: "{{ __stack_program }}", dest: "{{ app }}", mode: "0755"}
    - name: Install it again
      ansible.builtin.copy: {src: "{{ __stack_program }}", dest: "{{ app }}", mode: "0755"}
      register: again
    - name: Show both
      ansible.builtin.copy:
        content: "{{ {'sent': sent.stdout, 'again': again.changed} | to_json }}"
        dest: "{{ app }}.json"
        mode: "0644"
"""


def test_same_sources_give_the_same_bytes_whenever_and_wherever(tmp_path: Path) -> None:
    copy = shutil.copytree(PACKAGE, tmp_path / "a folder" / "machine")
    (copy / "__pycache__").mkdir(exist_ok=True)
    (copy / "__pycache__/lock.cpython-312.pyc").write_bytes(b"cached")
    (copy / "lock.py").touch()
    (copy / "lock.py").chmod(0o600)
    assert build(copy, "/etc/app/stack.json") == build(PACKAGE, "/etc/app/stack.json")


def test_program_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(build(PACKAGE, "/etc/app/stack.json"))
    with zipfile.ZipFile(tmp_path / "app") as archive:
        names = set(archive.namelist())
    assert names == {"__main__.py", *(f"machine/{path.name}" for path in PACKAGE.glob("*.py"))}


def test_program_reads_the_settings_that_it_was_made_for(tmp_path: Path) -> None:
    path = tmp_path / "it's etc" / "stack.json"
    folders = {name: str(path.parent) for name in ("stack_dir", "log_dir", "metrics_dir")}
    path.parent.mkdir()
    path.write_text(json.dumps({"stack": "app", **folders}))
    (path.parent / "history.jsonl").write_text('{"what": "deploy"}\n')
    (tmp_path / "app").write_bytes(build(PACKAGE, str(path)))
    command = [sys.executable, "-I", str(tmp_path / "app"), "history"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[1].split() == ["-", "deploy", *"-----"]


def test_help_lists_every_command(tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(build(PACKAGE, "nowhere"))
    command = [sys.executable, "-I", str(tmp_path / "app"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("usage: app ")
    people, _, runs = done.stdout.partition("for the runs of Ansible")
    assert "\n  status  " in people
    assert "\n  roll-back  " in runs


def test_ansible_sends_it_and_installs_it_once_from_a_folder_of_any_name(tmp_path: Path) -> None:
    checkout = tmp_path / "a checkout"
    for name in ("plugins", "inventory", "src/machine"):
        shutil.copytree(ROOT / name, checkout / name)
    for name in ("ansible.cfg", "VERSION"):
        shutil.copy(ROOT / name, checkout)
    (checkout / "playbooks").mkdir()
    (checkout / "playbooks/play.yml").write_text(PLAY)
    (tmp_path / "history.jsonl").write_text('{"what": "deploy"}\n')
    given = {
        "stack_name": "app",
        "stack_dir": str(tmp_path),
        "app": str(tmp_path / "app"),
        "ansible_python_interpreter": sys.executable,
    }
    command = [
        str(ROOT / ".venv/bin/ansible-playbook"),
        "-e",
        json.dumps(given),
        "playbooks/play.yml",
    ]
    environment = os.environ | {"ANSIBLE_LOCAL_TEMP": str(tmp_path / "local tmp")}
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = json.loads((tmp_path / "app.json").read_text())
    assert shown["sent"].splitlines()[1].split()[1] == "deploy"
    assert shown["again"] is False
    # Nothing of it stays on the controller.
    assert list((tmp_path / "local tmp").iterdir()) == []
