#!/usr/bin/python
"""Makes a list of files, folders and links be as described, in one process."""

import contextlib
import grp
import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: files
short_description: Makes a list of files, folders and links be as described
description:
  - Checks the whole list and validates every new content before it changes anything; then works
    through the list in its order. A file appears whole, with its owner and its mode, or not at all.
  - A symbolic link is never followed. A file replaces one that stands in its place; a folder, and
    a file where something else stands, are refused.
  - Returns C(changed_paths), for the tasks that reload or restart what reads them, and
    C(new_paths), those of them that were not there. Contents are in the difference (C(--diff))
    only, those of secrets nowhere.
options:
  files:
    description: What there has to be. A folder comes before what it holds.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path.
        type: str
        required: true
      state:
        description: V(absent) removes a folder with all that it holds.
        type: str
        choices: [file, directory, link, absent]
        default: file
      content:
        description: Text of a file, whole; with V(absent), of a file that is switched off.
        type: raw
      src:
        description: What a link points at.
        type: str
      mode:
        description:
          - Octal text, such as V("0640").
          - By default V("0755") for a folder, V("0600") for a secret, V("0644") for other files.
        type: str
      owner:
        description: Name or number.
        type: str
        default: root
      group:
        description: Name or number.
        type: str
        default: root
      validate:
        description:
          - Command, without a shell, that accepts a new content; %s is a file with it.
          - Not run in check mode, where what it needs may not be installed.
        type: str
      secret:
        description: Neither the content nor what the validation prints is shown.
        type: bool
        default: false
      force:
        description: V(false) keeps the content of a file that is there.
        type: bool
        default: true
      exclusive:
        description: Remove what a folder holds beside the entries of this list.
        type: bool
        default: false
  parents:
    description: Whether missing folders above an entry are made (root, 0755) instead of refused.
    type: bool
    default: false
"""

STATES = ["file", "directory", "link", "absent"]


class Refused(Exception):
    """Why nothing, or no more, is done, in words."""


@dataclass(frozen=True)
class Entry:
    """One path as it has to be; `found` is the same as it is."""

    path: str
    state: str
    content: bytes = b""
    src: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    validate: str = ""
    secret: bool = False
    force: bool = True
    exclusive: bool = False

    @property
    def attributes(self) -> dict[str, str]:
        """Owner, group and mode as `--diff` shows them."""
        return {"owner": str(self.uid), "group": str(self.gid), "mode": f"{self.mode:04o}"}

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)


def number(name: str, kind: str) -> int:
    """Return the id of a user or a group (`kind`), given by its name or its number.

    Raises:
        Refused: there is none of that name.
    """
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise Refused(f"the machine has no {kind} {name}") from error


def entry(given: Mapping[str, Any]) -> Entry:
    """Return one entry of the module's argument.

    Raises:
        Refused: it makes no sense; the text starts with the path.
    """
    path, state = given["path"], given["state"]
    default = {"directory": "0755"}.get(state, "0600" if given["secret"] else "0644")
    mode = given["mode"] or default
    needs = {"file": "content", "link": "src"}
    wrong = {
        "the path has to be absolute, without . and .. and a slash at its end": path == "/"
        or not path.startswith("/")
        or os.path.normpath(path) != path,
        f'mode {mode} is no octal text such as "0644"': not re.fullmatch("0[0-7]{3,4}", mode),
        f"state {state} needs {needs.get(state)}": state in needs and given[needs[state]] is None,
        "content is for a file only": state not in ("file", "absent")
        and given["content"] is not None,
        "src is for a link only": state != "link" and given["src"] is not None,
        "exclusive is for a directory only": state != "directory" and given["exclusive"],
        "content has to be text": not isinstance(given["content"], str | None),
        "validate needs %s, for the file": "%s" not in (given["validate"] or "%s"),
    }
    for reason, holds in wrong.items():
        if holds:
            raise Refused(f"{path}: {reason}")
    try:
        owner, group = number(given["owner"], "user"), number(given["group"], "group")
    except Refused as error:
        raise Refused(f"{path}: {error}") from error
    return Entry(
        path,
        state,
        (given["content"] or "").encode(),
        given["src"] or "",
        int(mode, 8),
        owner,
        group,
        given["validate"] or "",
        given["secret"],
        given["force"],
        given["exclusive"],
    )


def found(path: str) -> Entry:
    """Return what is at a path; links are not followed.

    Raises:
        Refused: it cannot be read.
    """
    try:
        info = os.lstat(path)
        owned = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
        if stat.S_ISREG(info.st_mode):
            return Entry(path, "file", Path(path).read_bytes(), "", *owned)
        if stat.S_ISLNK(info.st_mode):
            return Entry(path, "link", b"", os.readlink(path), *owned)
    except FileNotFoundError:
        return Entry(path, "absent")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    return Entry(path, "directory" if stat.S_ISDIR(info.st_mode) else "special", b"", "", *owned)


@dataclass(frozen=True)
class Change:
    """An entry that differs from what is there."""

    wanted: Entry
    before: Entry

    @property
    def writes(self) -> bool:
        """Whether a file gets a content."""
        same = self.before.state == "file" and (
            not self.wanted.force or self.before.content == self.wanted.content
        )
        return self.wanted.state == "file" and not same

    @property
    def needed(self) -> bool:
        wanted, before = self.wanted, self.before
        if wanted.state != before.state or self.writes:
            return True
        if wanted.state == "link":
            return wanted.src != before.src
        return wanted.state != "absent" and wanted.attributes != before.attributes

    def check(self) -> None:
        """Refuse to replace one kind by another; only a file takes the place of a link.

        Raises:
            Refused: something else is in the way.
        """
        wanted, here = self.wanted.state, self.before.state
        if wanted == "absent" or here in ("absent", wanted) or (wanted, here) == ("file", "link"):
            return
        raise Refused(
            f"{self.wanted.path}: a {here} is in the way of the {wanted} that has to be there; "
            "look what it is and remove it"
        )

    def validated(self, folder: str) -> None:
        """Have the entry's command accept its content, in a file below `folder`.

        Raises:
            Refused: the command does not, or it is missing.
        """
        with tempfile.TemporaryDirectory(dir=folder) as place:
            file = Path(place, os.path.basename(self.wanted.path))
            file.touch(mode=0o600)
            file.write_bytes(self.wanted.content)
            command = [word.replace("%s", str(file)) for word in shlex.split(self.wanted.validate)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                raise Refused(f"{self.wanted.path}: {command[0]}: {error.strerror}") from error
        if done.returncode:
            said = (done.stderr + done.stdout).strip()
            if self.wanted.secret:
                said = "what it prints may hold the secret and is not shown"
            raise Refused(
                f"{self.wanted.path}: the new content does not pass {command[0]} "
                f"(exit code {done.returncode}): {said}"
            )

    def differences(self) -> Iterator[dict[str, Any]]:
        """Give it as Ansible's `diff`: the content of a file, then state or attributes."""
        wanted, before = self.wanted, self.before
        header = {"before_header": wanted.path, "after_header": wanted.path}
        if self.writes and wanted.secret:
            yield header | {"prepared": f"{wanted.path} (its content is secret)\n"}
        elif self.writes:
            texts = [each.content.decode(errors="replace") for each in (before, wanted)]
            yield header | {"before": texts[0], "after": texts[1]}
        elif wanted.state == "link":
            yield header | {"before": before.src, "after": wanted.src}
        elif wanted.state != before.state:
            yield header | {"before": {"state": before.state}, "after": {"state": wanted.state}}
        if wanted.state == before.state != "link" and wanted.attributes != before.attributes:
            yield header | {"before": before.attributes, "after": wanted.attributes}

    def apply(self) -> None:
        """Change it on the disk."""
        wanted, before = self.wanted, self.before
        if wanted.state == "absent":
            if before.state == "directory":
                shutil.rmtree(wanted.path)
            else:
                # Its folder may have gone before it.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(wanted.path)
        elif wanted.state == "link":
            with beside(wanted.path) as place:
                os.symlink(wanted.src, place)
                os.lchown(place, wanted.uid, wanted.gid)
                os.replace(place, wanted.path)
        elif self.writes:
            with beside(wanted.path) as place:
                # Nobody else sees it before it has its owner and its mode.
                with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
                    f.write(wanted.content)
                    own(f.fileno(), wanted)
                    f.flush()
                    os.fsync(f.fileno())
                os.replace(place, wanted.path)
        else:
            if before.state == "absent":
                os.mkdir(wanted.path, 0o700)
            handle = os.open(wanted.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                own(handle, wanted)
            finally:
                os.close(handle)


@contextlib.contextmanager
def beside(path: str) -> Iterator[str]:
    """Give a free name in the folder of `path`; what is left there is removed."""
    folder, name = os.path.split(path)
    place = os.path.join(folder, f".{name}.{os.getpid()}.new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place)
    try:
        yield place
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place)


def own(handle: int, wanted: Entry) -> None:
    """Give an open file or folder its owner, then its mode: a new owner clears bits of that."""
    os.fchown(handle, wanted.uid, wanted.gid)
    os.fchmod(handle, wanted.mode)


def above(path: str) -> Iterator[str]:
    """Give the missing folders above a path, the highest first."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        yield from above(folder)
        yield folder


def completed(wanted: list[Entry], parents: bool, check_mode: bool) -> list[Entry]:
    """Return the list with the missing folders above its entries, and the removal of strangers.

    Raises:
        Refused: a path is named twice, or the folder above it is missing.
    """
    whole: dict[str, Entry] = {}
    for each in wanted:
        for folder in above(each.path) if each.state != "absent" else []:
            if folder in whole:
                continue
            if parents:
                whole[folder] = Entry(folder, "directory", mode=0o755)
            # In check mode an earlier task would have made it.
            elif not check_mode:
                raise Refused(f"{each.path}: the folder {folder} is missing")
        if each.path in whole:
            raise Refused(f"{each.path}: named twice, or after what it holds")
        whole[each.path] = each
    for folder in [each.path for each in wanted if each.exclusive and os.path.isdir(each.path)]:
        for path in sorted(os.path.join(folder, name) for name in os.listdir(folder)):
            whole.setdefault(path, Entry(path, "absent"))
    return list(whole.values())


def changes(wanted: list[Entry]) -> list[Change]:
    """Return what has to be done for entries.

    Raises:
        Refused: something is in the way.
    """
    every = [Change(each, found(each.path)) for each in wanted]
    for change in every:
        change.check()
    return [change for change in every if change.needed]


class Module(AnsibleModule):
    """Keeps its arguments out of results and of the machine's log: they hold contents."""

    def exit_json(self, **kwargs: Any) -> None:
        super().exit_json(invocation={}, **kwargs)

    def fail_json(self, msg: str, **kwargs: Any) -> None:
        super().fail_json(msg, invocation={}, **kwargs)


def main() -> None:
    """Run it as a module of Ansible."""
    module = Module(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "str", "required": True},
                    "state": {"type": "str", "choices": STATES, "default": "file"},
                    "content": {"type": "raw"},
                    "src": {"type": "str"},
                    "mode": {"type": "str"},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "validate": {"type": "str"},
                    "secret": {"type": "bool", "default": False, "no_log": False},
                    "force": {"type": "bool", "default": True},
                    "exclusive": {"type": "bool", "default": False},
                },
            },
            "parents": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
        no_log=True,
    )
    done: list[str] = []
    path = ""
    try:
        listed = [entry(each) for each in module.params["files"]]
        differing = changes(completed(listed, module.params["parents"], module.check_mode))
        for change in [] if module.check_mode else differing:
            if change.writes and change.wanted.validate:
                change.validated(module.tmpdir)
        for change in differing:
            path = change.wanted.path
            if not module.check_mode:
                change.apply()
            done.append(path)
    except Refused as error:
        module.fail_json(msg=f"Nothing of the list was changed. {error}", changed_paths=[])
    except OSError as error:
        module.fail_json(
            msg=f"{path}: {error.strerror}. Changed before it: {', '.join(done) or 'nothing'}.",
            changed_paths=done,
        )
    shown = [each for change in differing for each in change.differences()] if module._diff else []
    new = [change.wanted.path for change in differing if change.before.state == "absent"]
    module.exit_json(changed=bool(done), changed_paths=done, new_paths=new, diff=shown)


if __name__ == "__main__":
    main()
