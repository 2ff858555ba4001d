#!/usr/bin/env python3
"""Renders templates with Ansible's own templar, without a machine, and keeps the docs fresh.

    python tools/render.py --write   writes docs/rendered/ and the generated pages
    python tools/render.py --check   prints a diff and fails when one of them is stale

Tests import `render`, `nginx_files` and `resolve`.
"""

import argparse
import ast
import difflib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import filter_loader, init_plugin_loader, lookup_loader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[1]
# Run as a program, this file's own folder is on the path and the project's is not.
sys.path.insert(0, str(ROOT))
from plugins.filter.typed import typed_values  # noqa: E402

ROLES = ("stack", "docker", "certs", "api", "nginx", "monitoring", "host")
# By name: what a user adds beside them (host_vars, a vault) is not the default inventory.
SHARED = ("inventory/group_vars/all/stack.yml", "inventory/group_vars/all/wiring.yml")
STACK_FILE = ROOT / SHARED[0]
RENDERED = ROOT / "docs/rendered"
VARIABLES = ROOT / "docs/variables.md"
SECURITY_TESTS = ROOT / "docs/security-tests.md"
BEGIN, END = "<!-- variables:begin -->", "<!-- variables:end -->"

# One fixed machine, so that a rendering is the same everywhere. It has no address of its own:
# what is rendered then holds loopback and the stack's network only.
FACTS = {
    "architecture": "x86_64",
    "distribution": "Debian",
    "distribution_version": "13",
    "hostname": "machine",
    "interfaces": ["lo"],
    "memtotal_mb": 4096,
    "service_mgr": "systemd",
}
# Stands for the hash of a configuration, which a run derives from the files and the certificate.
NGINX_VERSION = "hash-of-these-files"


@cache
def _loader() -> DataLoader:
    init_plugin_loader()
    # Also where it is called from another folder, where ansible.cfg is not found.
    filter_loader.add_directory(str(ROOT / "plugins/filter"))
    lookup_loader.add_directory(str(ROOT / "plugins/lookup"))
    loader = DataLoader()
    loader.set_basedir(str(ROOT / "playbooks"))
    return loader


def _file(path: str) -> dict[str, Any]:
    """Return the variables of a file, their strings marked as templates; none if it is missing."""
    file = ROOT / path
    if not file.is_file():
        return {}
    content: dict[str, Any] | None
    content = _loader().load_from_file(str(file), trusted_as_template=True)
    return content or {}


def _trusted(value: Any) -> Any:
    """Mark the strings of an override as templates, as those of -e are."""
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, list):
        return [_trusted(item) for item in value]
    if isinstance(value, dict):
        return {key: _trusted(item) for key, item in value.items()}
    return value


def _variables(role: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """Return what a task of the role sees, lowest precedence first, `overrides` being -e."""
    variables: dict[str, Any] = {}
    for name in ROLES:
        variables |= _file(f"roles/{name}/defaults/main.yml")
    for name in SHARED:
        variables |= _file(name)
    # A role's internal names reach the other roles of the play, too.
    for name in ROLES:
        variables |= _file(f"roles/{name}/vars/main.yml")
    folder = str(ROOT / "roles" / role)
    variables |= {
        "ansible_check_mode": False,
        "ansible_connection": "local",
        "ansible_facts": FACTS,
        "ansible_search_path": [folder],
        "playbook_dir": str(ROOT / "playbooks"),
        "role_name": role,
        "role_path": folder,
        "__nginx_version": NGINX_VERSION,
    }
    given, wrong = typed_values(overrides)
    if wrong:
        raise ValueError("\n".join(wrong))
    variables |= _trusted(overrides | given)
    return variables


def resolve(role: str, expression: str, **overrides: Any) -> Any:
    """Return the value of a Jinja expression as a task of the role sees it."""
    templar = Templar(loader=_loader(), variables=_variables(role, overrides))
    return templar.template(trust_as_template("{{ " + expression + " }}"))


def render(role: str, template: str, **overrides: Any) -> str:
    """Render roles/<role>/templates/<template> for the default inventory and the given -e.

    Variables that only a run knows (registered ones) have to be among the overrides.
    """
    path = ROOT / "roles" / role / "templates" / template
    expression = f"lookup('ansible.builtin.template', {str(path)!r})"
    return str(resolve(role, expression, **overrides))


def nginx_files(**overrides: Any) -> dict[str, str]:
    """Render every file of the gateway's configuration, in the order of a request."""
    names = [*resolve("nginx", "__nginx_files", **overrides), "version"]
    return {f"{n}.conf": render("nginx", f"nginx/{n}.conf.j2", **overrides) for n in names}


# ---- docs/rendered/ -----------------------------------------------------------------------------


def _nginx_document() -> str:
    """Return all files of the gateway in one, each under its name."""
    parts = [
        f"# ---- {name} ----\n{text.removeprefix(_managed()).strip()}\n"
        for name, text in nginx_files().items()
    ]
    return _managed() + _note("the gateway's files") + "\n" + "\n".join(parts)


def _managed() -> str:
    """Return the first line of every rendered file."""
    return str(resolve("nginx", "'Ansible managed' | comment")) + "\n"


def _note(what: str) -> str:
    return f"# For reading: {what} as the default inventory renders them (make docs).\n"


def _prometheus_document() -> str:
    text = render("monitoring", "prometheus.yml.j2").removeprefix(_managed())
    return _managed() + _note("Prometheus' settings") + text


# ---- tables of variables ------------------------------------------------------------------------


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(value: Any) -> str:
    """Show a default as it is written in YAML, on one line."""
    if isinstance(value, str) and value:
        text = value
    else:
        dumped = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
        text = dumped.removesuffix("\n").removesuffix("\n...")
    return f"`{_cell(text)}`"


def _spec(role: str, entry: str = "main") -> dict[str, Any]:
    text = (ROOT / "roles" / role / "meta/argument_specs.yml").read_text()
    found: dict[str, Any] = yaml.safe_load(text)["argument_specs"][entry]
    return found


def _kind(option: dict[str, Any]) -> str:
    """Say of which type a variable is."""
    return str(option["type"]) + (f" of {option['elements']}" if "elements" in option else "")


def _role_table(role: str) -> Iterator[str]:
    spec = _spec(role)
    yield f"## {role}: {spec['short_description']}"
    yield ""
    yield "| variable | type | default | what it does |"
    yield "|---|---|---|---|"
    for name, option in spec["options"].items():
        text = option["description"]
        if "choices" in option:
            text += f" One of {', '.join(f'`{choice}`' for choice in option['choices'])}."
        yield f"| `{name}` | {_kind(option)} | {_code(option.get('default'))} | {_cell(text)} |"
        for key, part in option.get("options", {}).items():
            need = "required" if part.get("required") else ""
            yield f"| · `{key}` | {part['type']} | {need} | {_cell(part['description'])} |"


def stack_variables() -> list[tuple[str, Any, str]]:
    """Return name, value and comment of each public variable of stack.yml.

    A comment speaks for all the variables that follow it without a blank line between.
    """
    text = STACK_FILE.read_text()
    values = yaml.safe_load(text)
    found = []
    comment: list[str] = []
    fresh = True
    for line in text.splitlines():
        if line.startswith("#"):
            comment = comment if not fresh else []
            comment.append(line.lstrip("# "))
            fresh = False
        elif match := re.match(r"(stack_\w+):", line):
            found.append((match[1], values[match[1]], " ".join(comment)))
            fresh = True
        elif not line.strip():
            comment, fresh = [], True
    return found


def _stack_table() -> Iterator[str]:
    spec = _spec("stack")
    yield f"## stack: {spec['short_description']}"
    yield ""
    yield "| variable | type | default | what it does |"
    yield "|---|---|---|---|"
    for name, value, comment in stack_variables():
        kind = _kind(spec["options"][name])
        yield f"| `{name}` | {kind} | {_code(value)} | {_cell(comment)} |"


def tables() -> str:
    """Return the generated part of docs/variables.md, without its markers."""
    parts = ["\n".join(_stack_table())]
    parts += ["\n".join(_role_table(role)) for role in ROLES[1:]]
    return "\n\n" + "\n\n".join(parts) + "\n\n"


def has_markers() -> bool:
    """Tell whether docs/variables.md has one place for the tables."""
    if not VARIABLES.is_file():
        return False
    text = VARIABLES.read_text()
    return text.count(BEGIN) == text.count(END) == 1 and text.index(BEGIN) < text.index(END)


def _variables_document() -> str:
    before, rest = VARIABLES.read_text().split(BEGIN)
    return before + BEGIN + tables() + END + rest.split(END)[1]


# ---- the security tests -------------------------------------------------------------------------


def _security_document() -> str:
    lines = [
        "# Security tests",
        "",
        "For security reviewers: every test in `tests/security/`. Its name says what holds.",
        "`make docs` writes this page; `make test-security` runs the tests.",
    ]
    for path in sorted((ROOT / "tests/security").glob("test_*.py")):
        tree = ast.parse(path.read_text())
        lines += ["", f"## {path.name}", "", ast.get_docstring(tree) or "", ""]
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                holds = node.name.removeprefix("test_").replace("_", " ").capitalize()
                lines.append(f"- {holds}.")
    return "\n".join([*lines, ""])


# ---- command ------------------------------------------------------------------------------------


def documents() -> dict[Path, str]:
    """Return every generated file with the text it should have."""
    found = {
        RENDERED / "nginx.conf": _nginx_document(),
        RENDERED / "prometheus.yml": _prometheus_document(),
        SECURITY_TESTS: _security_document(),
    }
    return found | ({VARIABLES: _variables_document()} if has_markers() else {})


def stale() -> str:
    """Return a diff from what the files hold to what they should hold; empty when fresh."""
    lines: list[str] = []
    for path, text in documents().items():
        old = path.read_text() if path.is_file() else ""
        name = str(path.relative_to(ROOT))
        lines += difflib.unified_diff(
            old.splitlines(keepends=True), text.splitlines(keepends=True), name, f"{name} (fresh)"
        )
    return "".join(lines)


def write() -> None:
    """Bring every generated file up to date."""
    for path, text in documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
            print(f"written: {path.relative_to(ROOT)}")


def main() -> int:
    """Run the command line; 0 is fresh, 1 is stale or incomplete."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the generated files")
    mode.add_argument("--check", action="store_true", help="fail with a diff when one is stale")
    if parser.parse_args().write:
        write()
    elif diff := stale():
        print(f"{diff}\nStale: run `make docs` and commit what it writes.")
        return 1
    if not has_markers():
        print(
            f"docs/variables.md has no place for the tables: it needs {BEGIN} and {END}, once each."
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
