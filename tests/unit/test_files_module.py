"""The module that makes files be as described: what it writes, keeps, refuses and shows."""

import json
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugins.modules import files
from plugins.modules.files import Change, Entry, Refused, completed, found, number
from unit.namespace import in_namespace

MODULE = Path(files.__file__)
SECRET = "hunter2hunter2"
OURS = {"owner": str(os.getuid()), "group": str(os.getgid())}

Run = Callable[..., dict[str, Any]]
root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files to others")


def run(*entries: dict[str, Any], check: bool = False, **options: Any) -> dict[str, Any]:
    """Run it as Ansible does and return its result."""
    given = {"files": [OURS | each for each in entries], **options}
    given |= {"_ansible_check_mode": check, "_ansible_diff": True}
    done = subprocess.run(
        [sys.executable, MODULE],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert SECRET not in done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def refused(*entries: dict[str, Any], **options: Any) -> str:
    result = run(*entries, **options)
    assert result["failed"], result
    return str(result["msg"])


def mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.lstat().st_mode):04o}"


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder that does not hold the tests' own files."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


# ---- what it makes ------------------------------------------------------------------------------


def test_a_list_is_made_and_then_left_alone(here: Path) -> None:
    wanted: list[dict[str, Any]] = [
        {"path": f"{here}/d", "state": "directory", "mode": "0750"},
        {"path": f"{here}/d/a", "content": "é\n", "mode": "0640"},
        {"path": f"{here}/d/s", "content": SECRET, "secret": True},
        {"path": f"{here}/d/l", "state": "link", "src": "a"},
        {"path": f"{here}/none", "state": "absent"},
    ]
    paths = [each["path"] for each in wanted[:-1]]
    planned = run(*wanted, check=True)
    assert planned["changed_paths"] == planned["new_paths"] == paths
    assert tree(here) == []
    assert run(*wanted)["changed_paths"] == paths
    assert tree(here) == ["d", "d/a", "d/l", "d/s"]
    assert (here / "d/a").read_text() == "é\n"
    assert [mode(here / name) for name in ("d", "d/a", "d/s")] == ["0750", "0640", "0600"]
    assert (here / "d/l").readlink() == Path("a")
    before = (here / "d/a").stat()
    again = run(*wanted)
    assert (again["changed"], again["changed_paths"], again["diff"]) == (False, [], [])
    assert (here / "d/a").stat() == before


@pytest.mark.parametrize("check", [True, False])
def test_what_was_changed_by_hand_is_restored(here: Path, check: bool) -> None:
    wanted = [
        {"path": f"{here}/d", "state": "directory"},
        {"path": f"{here}/a", "content": "a\n"},
        {"path": f"{here}/l", "state": "link", "src": "a"},
        {"path": f"{here}/m", "content": "m\n"},
    ]
    run(*wanted)
    (here / "d").chmod(0o700)
    (here / "a").write_text("b\n")
    (here / "l").unlink()
    (here / "l").symlink_to("/etc/passwd")
    (here / "m").chmod(0o600)
    inode = (here / "m").stat().st_ino
    result = run(*wanted, check=check)
    assert result["changed_paths"] == [each["path"] for each in wanted]
    assert result["new_paths"] == []
    assert ((here / "a").read_text() == "b\n") is check
    assert (mode(here / "d"), mode(here / "m")) == (("0700", "0600") if check else ("0755", "0644"))
    assert (str((here / "l").readlink()) == "a") is not check
    # A container that mounts the file itself sees its new mode, too.
    assert (here / "m").stat().st_ino == inode


def test_a_new_content_is_a_new_file_with_owner_and_mode_from_its_first_moment(here: Path) -> None:
    (here / "a").write_text("old")
    held = (here / "a").open()
    inode = (here / "a").stat().st_ino
    run({"path": f"{here}/a", "content": "new", "mode": "0600"})
    # Who reads meanwhile has the old one whole.
    assert held.read() == "old"
    held.close()
    assert (here / "a").stat().st_ino != inode
    assert mode(here / "a") == "0600"
    assert tree(here) == ["a"]


@root_only
def test_owner_and_group_are_given_by_number_or_by_name(here: Path) -> None:
    run({"path": f"{here}/b", "content": "", "owner": "10001", "group": "daemon", "mode": "04755"})
    info = (here / "b").stat()
    assert (info.st_uid, info.st_gid, mode(here / "b")) == (
        10001,
        number("daemon", "group"),
        "4755",
    )
    back = run({"path": f"{here}/b", "content": "", "owner": "root", "group": "0"})
    assert back["diff"][0]["before"] == {"owner": "10001", "group": "1", "mode": "4755"}
    assert back["diff"][0]["after"] == {"owner": "0", "group": "0", "mode": "0644"}
    assert (here / "b").stat().st_uid == 0


def test_a_folder_is_removed_whole_and_a_link_without_its_target(here: Path) -> None:
    (here / "d/e").mkdir(parents=True)
    (here / "d/e/f").write_text("")
    (here / "target").mkdir()
    (here / "link").symlink_to("target")
    (here / "off").write_text("")
    gone: list[dict[str, Any]]
    gone = [{"path": f"{here}/{name}", "state": "absent"} for name in ("d", "link")]
    gone.append({"path": f"{here}/d/e/f", "state": "absent"})
    gone.append({"path": f"{here}/off", "state": "absent", "content": "not needed"})
    assert len(run(*gone)["changed_paths"]) == 4
    assert tree(here) == ["target"]


def test_content_that_is_kept_is_made_once_and_gets_owner_and_mode(here: Path) -> None:
    once = {"path": f"{here}/a", "content": "first", "force": False, "mode": "0640"}
    assert run(once)["changed"]
    assert not run(once | {"content": "second"})["changed"]
    (here / "a").chmod(0o600)
    assert run(once | {"content": "third"})["changed"]
    assert ((here / "a").read_text(), mode(here / "a")) == ("first", "0640")


@pytest.mark.parametrize("check", [True, False])
def test_an_exclusive_folder_holds_what_is_listed(here: Path, check: bool) -> None:
    (here / "d/strange/deep").mkdir(parents=True)
    (here / "d/old").write_text("")
    (here / "beside").write_text("")
    wanted: list[dict[str, Any]] = [
        {"path": f"{here}/d", "state": "directory", "exclusive": True},
        {"path": f"{here}/d/new", "content": ""},
    ]
    result = run(*wanted, check=check)
    assert result["changed_paths"] == [f"{here}/d/new", f"{here}/d/old", f"{here}/d/strange"]
    if not check:
        assert tree(here) == ["beside", "d", "d/new"]
        assert not run(*wanted)["changed"]


def test_missing_folders_are_made_where_the_task_says_so(here: Path) -> None:
    file = {"path": f"{here}/a/b/c", "content": ""}
    assert f"the folder {here}/a is missing" in refused(file)
    made = [f"{here}/a", f"{here}/a/b", f"{here}/a/b/c"]
    assert run(file, parents=True, check=True)["changed_paths"] == made
    # An earlier task of a first run makes it.
    assert run(file, check=True)["changed_paths"] == made[-1:]
    assert run(file, parents=True)["changed_paths"] == made
    assert mode(here / "a/b") == "0755"


# ---- what it refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"path": "etc/x", "content": ""}, "absolute"),
        ({"path": "/etc/../x", "content": ""}, "absolute"),
        ({"path": "/etc/x/", "state": "directory"}, "absolute"),
        ({"path": "/", "state": "absent"}, "absolute"),
        ({"path": "/x"}, "state file needs content"),
        ({"path": "/x", "state": "link"}, "state link needs src"),
        ({"path": "/x", "state": "directory", "content": SECRET}, "content is for a file only"),
        ({"path": "/x", "content": "", "src": "y"}, "src is for a link only"),
        ({"path": "/x", "content": "", "exclusive": True}, "exclusive is for a directory only"),
        ({"path": "/x", "content": {"a": SECRET}}, "content has to be text"),
        ({"path": "/x", "content": "", "mode": "420"}, "mode 420 is no octal text"),
        ({"path": "/x", "content": "", "mode": "u=rw"}, "no octal text"),
        ({"path": "/x", "content": "", "validate": "true"}, "validate needs %s"),
        ({"path": "/x", "content": "", "owner": "nobody-here"}, "no user nobody-here"),
        ({"path": "/x", "content": "", "group": "nobody-here"}, "no group nobody-here"),
    ],
)
def test_nonsense_is_refused_with_its_path(entry: dict[str, Any], reason: str) -> None:
    said = refused(entry)
    assert reason in said
    assert f"{entry['path']}: " in said


def test_arguments_that_ansible_itself_refuses_are_not_shown() -> None:
    assert "state" in refused({"path": "/x", "content": SECRET, "state": "molten"})
    assert "unknown" in refused({"path": "/x", "content": SECRET, "unknown": 1})


def test_a_path_is_named_once_and_a_folder_before_what_it_holds(here: Path) -> None:
    file = {"path": f"{here}/d/a", "content": ""}
    folder = {"path": f"{here}/d", "state": "directory"}
    assert "named twice" in refused(folder, file, file)
    assert f"the folder {here}/d is missing" in refused(file, folder)
    assert "after what it holds" in refused(file, folder, parents=True)
    assert tree(here) == []


@pytest.mark.parametrize(
    ("here_is", "state"),
    [
        ("directory", "file"),
        ("special", "file"),
        ("file", "directory"),
        ("link", "directory"),
        ("file", "link"),
        ("directory", "link"),
    ],
)
def test_what_is_in_the_way_is_left_and_nothing_is_changed(
    here: Path, here_is: str, state: str
) -> None:
    (here / "target").mkdir()
    make: dict[str, Callable[[], object]] = {
        "directory": (here / "x").mkdir,
        "file": (here / "x").touch,
        "link": lambda: (here / "x").symlink_to("target"),
        "special": lambda: os.mkfifo(here / "x"),
    }
    make[here_is]()
    wanted: dict[str, Any] = {"path": f"{here}/x", "state": state}
    wanted |= {"file": {"content": ""}, "link": {"src": "y"}, "directory": {}}[state]
    said = refused({"path": f"{here}/first", "content": ""}, wanted)
    assert f"{here}/x: a {here_is} is in the way of the {state}" in said
    assert tree(here) == ["target", "x"]


def test_a_file_replaces_a_link_and_never_writes_through_it(here: Path) -> None:
    (here / "elsewhere").write_text("kept")
    (here / "a").symlink_to("elsewhere")
    run({"path": f"{here}/a", "content": "kept"})
    assert not (here / "a").is_symlink()
    run({"path": f"{here}/a", "content": "new"})
    assert (here / "elsewhere").read_text() == "kept"


def test_every_content_is_validated_before_one_is_written(here: Path) -> None:
    good = {"path": f"{here}/a", "content": "good\n", "validate": "grep --quiet good %s"}
    bad = {"path": f"{here}/b.conf", "content": "bad\n", "validate": "sh -c 'cat %s >&2; exit 7'"}
    said = refused(good, bad)
    assert f"Nothing of the list was changed. {here}/b.conf: " in said
    assert "does not pass sh (exit code 7): bad" in said
    assert tree(here) == []
    assert not run(good, bad, check=True).get("failed")
    assert run(good)["changed"]
    # What is there already was accepted once.
    assert not run(good | {"validate": "false %s"})["changed"]
    assert "No such file" in refused(bad | {"validate": "no-such-program %s"})


def test_the_validation_of_a_secret_fails_without_it(here: Path) -> None:
    said = refused(
        {"path": f"{here}/s", "content": SECRET, "secret": True, "validate": "sh -c 'cat %s;false'"}
    )
    assert "(exit code 1)" in said


def test_a_full_disk_leaves_the_old_file_and_names_what_was_changed(tmp_path: Path) -> None:
    entries = [{"path": f"{tmp_path}/{n}", "content": n * s} for n, s in (("a", 9), ("b", 99_999))]
    given = {"ANSIBLE_MODULE_ARGS": {"files": [e | {"owner": "0", "group": "0"} for e in entries]}}
    said = in_namespace(f"""
        mount -t tmpfs -o size=16k none {tmp_path}
        echo old > {tmp_path}/b
        {shlex.quote(sys.executable)} {shlex.quote(str(MODULE))} <<<'{json.dumps(given)}' || true
        cat {tmp_path}/b
        ls -A {tmp_path}""")
    result, *rest = said.strip().splitlines()
    assert json.loads(result)["changed_paths"] == [f"{tmp_path}/a"]
    assert f"{tmp_path}/b: No space left on device. Changed before it" in json.loads(result)["msg"]
    assert rest == ["old", "a", "b"]


def test_an_unreadable_path_is_refused(here: Path) -> None:
    (here / "file").touch()
    with pytest.raises(Refused, match="Not a directory"):
        found(f"{here}/file/below")


# ---- what it shows ------------------------------------------------------------------------------


def test_differences_hold_contents_but_no_secret(here: Path) -> None:
    (here / "a").write_text("one\n")
    (here / "s").write_text(SECRET)
    (here / "l").symlink_to("one")
    (here / "d").mkdir()
    result = run(
        {"path": f"{here}/a", "content": "two\n"},
        {"path": f"{here}/s", "content": "other", "secret": True},
        {"path": f"{here}/l", "state": "link", "src": "two"},
        {"path": f"{here}/d", "state": "absent"},
    )
    shown = [(each.get("before"), each.get("after")) for each in result["diff"]]
    assert shown == [
        ("one\n", "two\n"),
        (None, None),
        # The mode of the secret, which was 0644.
        (
            {"group": OURS["group"], "mode": "0644", "owner": OURS["owner"]},
            {"group": OURS["group"], "mode": "0600", "owner": OURS["owner"]},
        ),
        ("one", "two"),
        ({"state": "directory"}, {"state": "absent"}),
    ]
    assert result["diff"][1]["prepared"] == f"{here}/s (its content is secret)\n"
    assert result["invocation"] == {}


def test_what_is_there_need_not_be_text(here: Path) -> None:
    (here / "a").write_bytes(b"\xff\n")
    (shown,) = run({"path": f"{here}/a", "content": ""})["diff"]
    assert shown["before"] == "�\n"


# ---- decisions ----------------------------------------------------------------------------------


def test_only_what_differs_is_a_change() -> None:
    wanted = Entry("/x", "file", b"a", mode=0o644)
    assert not Change(wanted, wanted).needed
    for other in (
        Entry("/x", "absent"),
        Entry("/x", "file", b"b", mode=0o644),
        Entry("/x", "file", b"a", mode=0o600),
        Entry("/x", "file", b"a", mode=0o644, uid=1),
        Entry("/x", "file", b"a", mode=0o644, gid=1),
        Entry("/x", "link", src="y", mode=0o644),
    ):
        assert Change(wanted, other).needed, other
    # The mode of a link means nothing.
    link = Entry("/x", "link", src="y")
    assert not Change(link, Entry("/x", "link", src="y", mode=0o777)).needed


def test_folders_above_are_completed_once(tmp_path: Path) -> None:
    entries = [Entry(f"{tmp_path}/a/b/{n}", "file") for n in "xy"]
    paths = [each.path for each in completed(entries, parents=True, check_mode=False)]
    assert paths == [f"{tmp_path}/a", f"{tmp_path}/a/b", f"{tmp_path}/a/b/x", f"{tmp_path}/a/b/y"]


PLAY = f"""
- hosts: localhost
  gather_facts: false
  tasks:
    - files: {{files: [{{path: "{{{{ here }}}}/s", content: {SECRET}, secret: true}}]}}
    - files: {{files: [{{path: "{{{{ here }}}}/s", content: other, secret: true}}]}}
    - files: {{files: [{{path: "{{{{ here }}}}/s", content: {SECRET}, state: molten}}]}}
"""


def test_ansible_shows_no_secret_at_any_verbosity(here: Path) -> None:
    (here / "play.yml").write_text(PLAY)
    facts = json.dumps({"here": str(here), "ansible_python_interpreter": sys.executable})
    root = MODULE.parents[2]
    done = subprocess.run(
        [
            str(root / ".venv/bin/ansible-playbook"),
            *["-i", "localhost,", "-c", "local", "-e", facts, "-vvv", "--diff", "play.yml"],
        ],
        cwd=here,
        env=os.environ | {"ANSIBLE_CONFIG": str(root / "ansible.cfg")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "changed=2" in done.stdout, done.stdout + done.stderr
    assert "its content is secret" in done.stdout
    assert "must be one of" in done.stdout
    # But for the line of the play itself, by which Ansible says where a task stands.
    shown = [line for line in done.stdout.splitlines() if SECRET in line]
    assert [line for line in shown if "- files: {files:" not in line] == []
