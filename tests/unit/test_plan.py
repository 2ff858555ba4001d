"""The callback that prints a plan: what it makes of results, and whole runs in check mode."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plugins.callback.plan import NOTHING, changes, difference, merged, printed

ROOT = Path(__file__).resolve().parents[2]
TASK = "nginx : Live | Reload"


def lines(action: str, args: dict[str, Any], result: dict[str, Any]) -> list[str]:
    return printed(merged(list(changes(action, TASK, args, result)))).splitlines()


def container(before: dict[str, Any], after: dict[str, Any], **more: Any) -> list[str]:
    args = {"name": "x-1", "image": "x:2", "state": "started"}
    return lines(
        "community.docker.docker_container",
        args,
        {"diff": {"before": before, "after": after, **more}},
    )


def test_a_new_container_is_started() -> None:
    assert container({"exists": False, "running": False}, {"exists": True, "running": True}) == [
        "Containers:",
        "  x-1 is started",
        "    image: x:2",
    ]


def test_a_container_of_another_image_is_replaced() -> None:
    before = {"image_name": "x:1", "running": False}
    assert container(before, {"image_name": "x:2", "running": True}, differences=[]) == [
        "Containers:",
        "  x-1 is replaced",
        "    image_name: x:1 -> x:2",
    ]


def test_a_container_with_another_option_names_it() -> None:
    before = {"memory": 1, "labels": {"stack.config": "a", "stack": "x"}}
    after = {"memory": 2, "labels": {"stack.config": "b", "stack": "x"}}
    assert container(before, after, differences=[]) == [
        "Containers:",
        "  x-1 is replaced",
        "    memory: 1 -> 2",
    ]


def test_a_container_that_differs_by_its_definition_only_is_said_to() -> None:
    before, after = {"labels": {"stack.config": "a"}}, {"labels": {"stack.config": "b"}}
    assert container(before, after, differences=[])[1:] == [
        "  x-1 is replaced",
        "    its definition differs",
    ]


def test_an_unhealthy_container_is_replaced_as_it_is() -> None:
    args = {"name": "x-1", "image": "x:2", "state": "started", "recreate": True}
    result = {"diff": {"before": {"running": True}, "after": {}, "differences": []}}
    assert lines("community.docker.docker_container", args, result)[1:] == [
        "  x-1 is replaced",
        "    it is unhealthy",
    ]


def test_a_stopped_container_is_started_again() -> None:
    assert container({"running": False}, {"running": True})[1] == "  x-1 is started again"


def test_a_removed_container_is_removed() -> None:
    args = {"name": "x-9", "state": "absent"}
    assert lines("community.docker.docker_container", args, {})[1] == "  x-9 is removed"


@pytest.mark.parametrize(
    ("action", "args", "said"),
    [
        ("community.docker.docker_image", {"name": "x-nginx:1"}, "x-nginx:1 is built"),
        (
            "ansible.builtin.command",
            {"argv": ["docker", "build", "--no-cache", "--tag", "x-base:trixie", "-"]},
            "x-base:trixie is built",
        ),
        (
            "ansible.builtin.apt",
            {"name": ["a", "b"]},
            "a, b are installed, where they are missing",
        ),
        ("ansible.builtin.command", {"creates": "/swapfile"}, "/swapfile is new"),
        ("ansible.builtin.command", {"_raw_params": "nginx -s reload"}, "Live: Reload"),
        ("ansible.builtin.file", {"path": "/x", "state": "absent"}, "/x is removed"),
        ("community.docker.docker_network", {"name": "x"}, "x is created or changed"),
        ("ansible.builtin.systemd_service", {"name": "x", "state": "started"}, "x is started"),
    ],
)
def test_each_kind_has_its_words(action: str, args: dict[str, Any], said: str) -> None:
    assert lines(action, args, {})[1] == f"  {said}"


def test_only_what_differs_is_shown_and_no_comments() -> None:
    before = "# One.\nrate 10r/s;\n\nburst 5;\n"
    assert difference(before, "# Two.\nrate 20r/s;\n  burst 5;\n") == [
        "- rate 10r/s;",
        "+ rate 20r/s;",
    ]
    assert difference(before, before.replace("One", "Two")) == ["only comments or empty lines"]


@pytest.mark.parametrize("path", ["/etc/x/secrets/10-gateway.env", "/etc/x/nginx/htpasswd"])
def test_a_secret_is_named_and_not_shown(path: str) -> None:
    args = {"dest": path, "content": "hunter2"}
    # The module hides the difference of the second one by `diff: false`.
    diff = {"before_header": path, "before": "hunter1\n", "after": "hunter2\n"}
    result = {"diff": diff if "/secrets/" in path else []}
    found = lines("ansible.builtin.copy", args, result)
    assert found == ["Files:", f"  {path} is written (its content is not shown)"]


def test_a_list_of_files_is_one_line_for_each() -> None:
    mode = {"owner": "0", "group": "0", "mode": "0600"}
    shown: list[tuple[str, dict[str, Any]]] = [
        ("/n", {"before": "", "after": "a\n"}),
        ("/c", {"before": "a\n", "after": "b\n"}),
        ("/c", {"before": mode, "after": mode | {"mode": "0644"}}),
        ("/d", {"before": {"state": "absent"}, "after": {"state": "directory"}}),
        ("/r", {"before": {"state": "file"}, "after": {"state": "absent"}}),
        ("/s", {"prepared": "/s (its content is secret)\n"}),
        ("/x/secrets/s", {"before": mode, "after": mode}),
    ]
    diff = [{"before_header": path, **one} for path, one in shown]
    assert lines("files", {"files": [{"content": "hunter2"}]}, {"diff": diff}) == [
        "Files:",
        "  /n is new",
        "  /c changes",
        "    - a",
        "    + b",
        "    - mode: 0600",
        "    + mode: 0644",
        "  /d is new",
        "  /r is removed",
        "  /s is written (its content is not shown)",
        "  /x/secrets/s is written (its content is not shown)",
    ]


def test_two_tasks_that_change_one_file_are_one_line() -> None:
    one = list(changes("ansible.builtin.copy", TASK, {"dest": "/f"}, {}))
    assert len(merged(one + one)) == 1


# ---- whole runs ---------------------------------------------------------------------------------


PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.copy: {content: "b\\n", dest: "{{ here }}/known", mode: "0644"}
    - ansible.builtin.copy: {content: "hunter2", dest: "{{ here }}/none/{{ item }}", mode: "0600"}
      loop: [secret]
      no_log: true
    - name: Live | Load the rules
      ansible.builtin.command: "false"
      register: loaded
      changed_when: loaded.rc == 0
    - ansible.builtin.command: "false"
      changed_when: false
    - name: Try and rescue
      block:
        - ansible.builtin.fail: {msg: Rescued.}
      rescue:
        - ansible.builtin.meta: noop
    - ansible.builtin.assert: {that: good, fail_msg: "No good: say -e good=true.", quiet: true}
"""


def run(folder: Path, good: bool, play: str = PLAY) -> subprocess.CompletedProcess[str]:
    (folder / "play.yml").write_text(play)
    (folder / "known").write_text("a\n")
    (folder / "known").chmod(0o644)
    facts = json.dumps(
        {"here": str(folder), "good": good, "ansible_python_interpreter": sys.executable}
    )
    return subprocess.run(
        [
            str(ROOT / ".venv/bin/ansible-playbook"),
            *["-i", "localhost,", "-c", "local", "-e", facts],
            *["--check", "--diff", "play.yml"],
        ],
        cwd=folder,
        env=os.environ
        | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "plan",
            "STACK_PLAN_JSON": str(folder / "plan.json"),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_plan_lists_what_would_change_and_touches_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, good=True)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "Files:",
            f"  {tmp_path}/known changes",
            "    - a",
            "    + b",
            f"  {tmp_path}/none/secret is written (its content is not shown)",
            "Steps:",
            "  Live: Load the rules",
        ],
    )
    assert (tmp_path / "known").read_text() == "a\n"
    listed = json.loads((tmp_path / "plan.json").read_text())
    assert [(one["kind"], Path(one["name"]).name) for one in listed] == [
        ("file", "known"),
        ("file", "secret"),
        ("step", "Live: Load the rules"),
    ]


def test_what_fails_is_the_whole_plan(tmp_path: Path) -> None:
    done = run(tmp_path, good=False)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "No good: say -e good=true." in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_nothing_is_said_to_be_nothing(tmp_path: Path) -> None:
    play = "- hosts: localhost\n  gather_facts: false\n  tasks: [{ansible.builtin.debug: {}}]\n"
    done = run(tmp_path, good=True, play=play)
    assert done.stdout.strip() == NOTHING
