"""The everyday commands on other people's machines: `make test-matrix`.

Each surrounding is a clone of the committed project, a folder, and an environment; in each, the
commands do what they do in the plain one. It takes a running stack that this very checkout put up,
on this machine, and changes nothing of it. One alone: `make test-matrix ONLY='umask'`.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from target import is_this_machine, settings

ROOT = Path(__file__).resolve().parents[2]
STACK = settings()["STACK_NAME"]
SAMPLE = ROOT / "data/tweet_emotions.csv"

Clone = Callable[[Path, int], None]


def git_clone(*options: str) -> Clone:
    def clone(folder: Path, umask: int) -> None:
        subprocess.run(
            ("git", *options, "clone", "--quiet", "--no-hardlinks", ROOT, folder),
            check=True, umask=umask,
        )  # fmt: skip

    return clone


def unzip(folder: Path, _umask: int) -> None:
    """As a program that knows no modes does: no file is executable."""
    archive = folder.parent / "emotions.zip"
    command = ("git", "archive", "--format=zip", f"--output={archive}", "HEAD")
    subprocess.run(command, cwd=ROOT, check=True)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)


def world_writable(folder: Path, umask: int) -> None:
    """As WSL shows a folder of Windows: everything is executable and everybody's."""
    git_clone()(folder, umask)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777)


@dataclass(frozen=True)
class Surrounding:
    name: str
    # What differs from the plain environment; {home} is the HOME that is made for it.
    environment: Mapping[str, str] = field(default_factory=dict)
    # The commands beside `env` and `status`, which take seconds.
    commands: str = ""
    folder: str = "project"
    clone: Clone = field(default_factory=git_clone)
    # Files of the user's, by their path in the home folder.
    home: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o022
    # An environment of its own for the tools, not a link to the one that runs this.
    own_venv: bool = False


ANSIBLE = {
    "ANSIBLE_CONFIG": "/etc/hostname",
    "ANSIBLE_ROLES_PATH": "/nowhere",
    "ANSIBLE_LIBRARY": "/nowhere",
    "ANSIBLE_FILTER_PLUGINS": "/nowhere",
    "ANSIBLE_COLLECTIONS_PATH": "/nowhere",
    "ANSIBLE_INVENTORY": "/nowhere",
    "ANSIBLE_STDOUT_CALLBACK": "json",
    "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks,ansible.posix.timer",
    "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
    "ANSIBLE_FORCE_COLOR": "1",
    "ANSIBLE_VERBOSITY": "1",
    "ANSIBLE_RUN_TAGS": "nothing",
    "ANSIBLE_PYTHON_INTERPRETER": "/nowhere/python",
    "ANSIBLE_STRATEGY": "free",
    "ANSIBLE_DISPLAY_OK_HOSTS": "no",
}
OTHERS = {
    # WSL's name of the machine, a cross compiler's target, a shell's window, anything.
    "NAME": "DESKTOP-1", "TARGET": "x86_64-linux-gnu", "LINES": "no", "FORMAT": "yaml",
    "DATA": "/nowhere", "FILE": "/nowhere", "RELEASE": "bookworm", "REQUEST": "x", "MODEL": "x",
    "CONFIRM": "yes", "GRADE": "C", "PORT": "1", "HOST": "x", "STACK": "x", "VENV": "/nowhere",
    "BIN": "/nowhere", "BECOME": "--nonsense", "LOCAL": "no", "SHELL": "/bin/false",
}  # fmt: skip
SHELL = {
    "CDPATH": ".:/tmp:/", "BASH_ENV": "{home}/noise.sh", "SHELLOPTS": "noclobber",
    "POSIXLY_CORRECT": "1", "GREP_OPTIONS": "--invert-match",
}  # fmt: skip
PYTHON = {
    "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere", "PYTHONSTARTUP": "/nowhere",
    "PYTHONOPTIMIZE": "2", "PYTHONIOENCODING": "ascii", "PYTHONWARNINGS": "error",
}  # fmt: skip
OLD_COLLECTION = ".ansible/collections/ansible_collections/community/docker"

SURROUNDINGS = [
    Surrounding("plain", commands="plan start-project model"),
    Surrounding("LC_ALL=C", {"LC_ALL": "C"}, "plan start-project model"),
    Surrounding("LC_ALL=POSIX", {"LC_ALL": "POSIX"}),
    Surrounding("a locale that is not there", {"LC_ALL": "xx_XX.UTF-8", "LANG": "xx"}, "plan"),
    Surrounding("a locale of another encoding", {"LANG": "de_DE.ISO-8859-1", "LANGUAGE": "de"}),
    Surrounding("no locale", {"LANG": ""}),
    Surrounding("the user's settings of Ansible", ANSIBLE, "plan start-project"),
    Surrounding(
        "the user's files of Ansible",
        commands="plan",
        home={
            ".ansible.cfg": "[defaults]\nroles_path = /nowhere\nstdout_callback = json\n",
            f"{OLD_COLLECTION}/galaxy.yml": "namespace: community\nname: docker\nversion: 0.0.1\n",
        },
    ),
    Surrounding(
        "a shell's settings", SHELL, "plan model", home={"noise.sh": "echo noise; exit 3\n"}
    ),
    Surrounding("Python's settings", PYTHON, "plan model"),
    Surrounding("other programs' variables", OTHERS, "plan model"),
    Surrounding("another engine", {"DOCKER_HOST": "tcp://127.0.0.1:1"}, "plan"),
    Surrounding("make in parallel", {"MAKEFLAGS": "-j4"}, "model"),
    Surrounding("called by another make", {"MAKELEVEL": "1"}),
    Surrounding("umask 077", umask=0o077, commands="plan start-project model"),
    Surrounding("CRLF by git", clone=git_clone("-c", "core.autocrlf=true"), commands="plan model"),
    Surrounding("a zip without modes", clone=unzip, commands="plan start-project model"),
    Surrounding("everybody may write", clone=world_writable, commands="plan model"),
    Surrounding(
        "a folder with a space", folder="with a space", commands="plan start-project", own_venv=True
    ),
    Surrounding("a folder of odd characters", folder="ä 'b' \"c\" #1 50% & (d)", commands="plan"),
]


@cache
def machine_says(command: str) -> str:
    """What the machine's own command prints, without Ansible."""
    done = subprocess.run((STACK, command), capture_output=True, text=True, check=False)
    return done.stdout


@pytest.fixture(autouse=True)
def running() -> None:
    if not is_this_machine():
        pytest.skip("the stack runs on another machine: run make test-matrix there")
    if os.geteuid() != 0:
        pytest.skip("needs root, whose home folder and modes it makes up")
    if not shutil.which(STACK):
        pytest.skip(f"no stack {STACK} on this machine: make start-project")


class Project:
    def __init__(self, surrounding: Surrounding, folder: Path) -> None:
        self.root = folder / surrounding.folder
        self.home = folder / "home"
        self.umask = surrounding.umask
        self.environment = {
            "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(self.home),
            **{name: os.environ[name] for name in ("ARGS",) if name in os.environ},
            **{n: v.format(home=self.home) for n, v in surrounding.environment.items()},
        }  # fmt: skip
        self.home.mkdir()
        for name, content in surrounding.home.items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        surrounding.clone(self.root, surrounding.umask)
        # The values of this machine, which are no part of a clone.
        if (ROOT / "inventory/host_vars").is_dir():
            shutil.copytree(ROOT / "inventory/host_vars", self.root / "inventory/host_vars")
        if not surrounding.own_venv:
            (self.root / ".venv").symlink_to(ROOT / ".venv")
            for name in ("requirements.txt", "tests/requirements.txt", "src/api/requirements.txt"):
                os.utime(self.root / name, (0, 0))

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ("make", *words), cwd=self.root, env=self.environment, umask=self.umask,
            capture_output=True, text=True, check=False, timeout=900, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def passes(self, *words: str) -> str:
        done = self.make(*words)
        assert done.returncode == 0, (
            f"{shlex.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
        return done.stdout


# As pytest's -k takes them.
NAMES = [re.sub(r"\W+", "-", surrounding.name).strip("-") for surrounding in SURROUNDINGS]


@pytest.mark.parametrize("surrounding", SURROUNDINGS, ids=NAMES)
def test_the_everyday_commands_work(surrounding: Surrounding, tmp_path: Path) -> None:
    project = Project(surrounding, tmp_path)
    if surrounding.own_venv:
        project.passes(".venv/controller")
    assert project.passes("-s", "env") == machine_says("env")
    assert project.passes("-s", "status").startswith("NAME ")
    assert json.loads(project.passes("-s", "status", "FORMAT=json"))["stack"] == STACK
    commands = surrounding.commands.split()
    if "plan" in commands:
        assert project.passes("-s", "plan").startswith("Nothing")
    if "start-project" in commands:
        assert "changed=0 " in project.passes("start-project").splitlines()[-2]
    if "model" in commands:
        project.passes("model")
        assert (project.root / ".cache/model/model.json").is_file()


@pytest.fixture
def plain(tmp_path: Path) -> Project:
    return Project(SURROUNDINGS[0], tmp_path)


@pytest.mark.parametrize(
    "args",
    [
        f"-e 'stack_name={STACK} stack_dir=/etc/{STACK}'",
        f'-e "stack_name={STACK}"',
        f'-e {{"stack_name": "{STACK}"}}',
        f"""-e '{{"stack_name": "{STACK}"}}'""",
    ],
)
def test_quoted_args_and_json_mean_the_same_for_every_command(plain: Project, args: str) -> None:
    assert plain.passes("-s", "env", f"ARGS={args}") == machine_says("env")
    assert plain.passes("status", f"ARGS={args}").startswith("NAME ")
    assert plain.passes("-s", "plan", f"ARGS={args}").startswith("Nothing")
    assert "failed=0" in plain.passes("start-project", f"ARGS={args} --check")


@pytest.mark.parametrize("data", ["with a space/it's.csv", "~/with a space.csv"])
def test_data_may_stand_in_a_folder_of_any_name(plain: Project, data: str) -> None:
    path = plain.home / data[2:] if data.startswith("~") else plain.root / data
    path.parent.mkdir(exist_ok=True)
    shutil.copy(SAMPLE, path)
    before = (plain.root / "model/model.json").read_text()
    plain.passes("model", f"DATA={data}")
    assert (plain.root / "model/model.json").read_text() != before


@pytest.mark.parametrize("file", ["with a space/it's.tar.gz", "~/with a space.tar.gz"])
def test_a_backup_may_stand_in_a_folder_of_any_name(plain: Project, file: str) -> None:
    """By the refusal to replace a file, which names it and changes nothing."""
    path = plain.home / file[2:] if file.startswith("~") else plain.root / file
    path.parent.mkdir(exist_ok=True)
    path.touch()
    done = plain.make("backup", f"FILE={file}")
    assert done.returncode != 0
    assert str(path) in " ".join((done.stdout + done.stderr).split())


def test_pips_settings_do_not_reach_the_tools(plain: Project, tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("idna==3.20\n")
    elsewhere = tmp_path / "elsewhere"
    config = tmp_path / "pip.conf"
    config.write_text("[install]\nuser = true\n")
    settings = {
        "PIP_USER": "1", "PIP_TARGET": str(elsewhere), "PIP_PREFIX": str(elsewhere),
        "PIP_DRY_RUN": "1", "PIP_REQUIRE_HASHES": "1", "PIP_CONFIG_FILE": str(config),
        "PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere",
    }  # fmt: skip
    venv = tmp_path / "with a space/venv"
    subprocess.run(
        ("bash", "tools/venv.sh", venv, requirements), cwd=plain.root, check=True,
        env=plain.environment | settings, timeout=300,
    )  # fmt: skip
    assert not elsewhere.exists()
    subprocess.run((venv / "bin/python", "-c", "import idna"), check=True, env={})
