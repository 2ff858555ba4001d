"""Files: pinned, managed, documented, and without anything that belongs to one machine."""

import re
from pathlib import Path

import pytest

import audit
import render
from policy.project import ROOT, project_files, relative, text_files, without_comments

# But for env.j2, whose lines `make env` prints as they are, for programs to read.
TEMPLATES = [p for p in sorted(ROOT.glob("roles/*/templates/**/*.j2")) if p.name != "env.j2"]
DOCKERFILES = [path for path in project_files() if path.name == "Dockerfile"]
SCRIPTS = [path for path in project_files() if path.suffix == ".sh"]
SHARED_PINS = [path for path in project_files() if path.name == "requirements.txt"]
# The others have an environment each.
PINS = [*SHARED_PINS, *sorted(ROOT.glob("*/requirements/*.txt"))]
# Put together here, so that this very file holds none of them.
HOSTS = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"))]
HOSTS += [".".join(("deb", "debian", "org")), ".".join(("security", "debian", "org"))]
# Of a person's machine; the account of Vagrant's boxes is everybody's.
HOMES = "|".join(("root", "home/(?!vagrant)[a-z]\\w*", "Users", "work"))
MARKS = {
    "private key": "-----BEGIN " + r"[A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{16}",
    "access key": r"\b(AKIA|ASIA)[A-Z0-9]{16}\b",
    "token": r"\b(ghp|gho|glpat|xox[bp])[-_][A-Za-z0-9_-]{16,}\b",
    "password hash": r"\$(apr1|2[aby]|5|6)\$[^\s${]{2,}\$[A-Za-z0-9./]{20,}",
}


# ---- nothing of one machine ---------------------------------------------------------------------


@pytest.mark.parametrize("mark", MARKS)
def test_no_secret_is_in_the_project(mark: str) -> None:
    assert [relative(p) for p, text in text_files() if re.search(MARKS[mark], text)] == []


def test_no_file_of_secrets_is_in_the_project() -> None:
    names = re.compile(r"\.(key|pem|p12|pfx)$|^\.env$|^htpasswd$|^\.?vault_pass|^id_(rsa|ed25519)")
    assert [relative(path) for path in project_files() if names.search(path.name)] == []


def test_no_registry_host_is_named() -> None:
    found = [f"{relative(p)}: {host}" for p, text in text_files() for host in HOSTS if host in text]
    assert found == []


def test_no_home_folder_is_named() -> None:
    pattern = re.compile(rf"(?<![\w.}}~\]-])/({HOMES})/\w")
    assert [relative(p) for p, text in text_files() if pattern.search(text)] == []


def test_nothing_that_is_deployed_needs_the_tests() -> None:
    deployed = {"roles", "playbooks", "plugins", "src", "inventory"}
    found = [
        relative(path)
        for path, text in text_files()
        if relative(path).split("/")[0] in deployed and "tests/" in without_comments(text)
    ]
    assert found == []


# ---- pinned -------------------------------------------------------------------------------------


def test_nothing_is_the_latest() -> None:
    for path, text in text_files():
        if path.suffix in (".yml", ".j2", ".sh") or path in DOCKERFILES:
            assert not re.search(r":latest\b|state: latest|tag: latest", without_comments(text)), (
                path
            )


@pytest.mark.parametrize("path", PINS, ids=relative)
def test_every_requirement_is_pinned(path: Path) -> None:
    lines = [x.strip() for x in without_comments(path.read_text()).splitlines() if x.strip()]
    assert lines
    pin = r'[A-Za-z0-9._-]+(\[\w+\])?==[\w.]+(; python_version (<|>=) "3\.\d+")?'
    assert [x for x in lines if not re.fullmatch(pin, x)] == []


def test_every_file_of_pins_is_audited() -> None:
    assert set(audit.REQUIREMENTS) == {relative(path) for path in PINS}


def test_requirements_agree_where_they_share_an_environment() -> None:
    pins: dict[str, set[str]] = {}
    for path in SHARED_PINS:
        for name, version, where in re.findall(
            r"(?m)^([\w.-]+)==([\w.]+)(;[^#\n]*)?", path.read_text()
        ):
            key = re.sub(r"[-_.]+", "-", name).lower() + where.strip()
            pins.setdefault(key, set()).add(version)
    assert {name: found for name, found in pins.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", DOCKERFILES, ids=relative)
def test_image_runs_as_nobody_in_particular_and_has_a_health_check(path: Path) -> None:
    text = path.read_text()
    assert re.search(r"(?m)^USER \$\{UID\}:\$\{UID\}$", text)
    assert re.search(r"(?m)^HEALTHCHECK ", text)
    assert re.search(r"(?m)^FROM \$\{BASE_IMAGE\}", text)


@pytest.mark.parametrize("path", DOCKERFILES, ids=relative)
def test_image_asks_for_least_versions_of_its_packages(path: Path) -> None:
    # The last stage and what it is built on are shipped; a stage named `build` is not.
    for stage in re.split(r"(?m)^FROM ", path.read_text())[1:]:
        if not re.match(r"\S+ AS build\b", stage):
            assert "apt-get install" not in stage
            assert all(">=" in wanted for wanted in re.findall(r"apt-get satisfy[^&]*", stage))


# ---- templates and scripts ----------------------------------------------------------------------


# JSON has no comments.
@pytest.mark.parametrize(
    "path", [path for path in TEMPLATES if path.suffixes != [".json", ".j2"]], ids=relative
)
def test_template_starts_with_who_manages_it(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[1 if lines[0].startswith("#!") else 0] == "{{ ansible_managed | comment }}"


@pytest.mark.parametrize("path", TEMPLATES, ids=relative)
def test_a_template_is_configuration_and_no_program_in_python(path: Path) -> None:
    """Python lives in src/ and plugins/, where linters and type checkers read it."""
    assert path.suffixes[-2:] != [".py", ".j2"]
    assert not re.search(r"\A#!.*python|^(import|def|class) ", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", SCRIPTS, ids=relative)
def test_script_stops_at_what_it_does_not_know(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] in ("#!/usr/bin/env bash", "#!/bin/bash")
    code = [line for line in lines if line.strip() and not line.startswith("#")]
    assert len(code) < 10 or re.match(r"set -e?uo pipefail$", code[0])


@pytest.mark.parametrize("path", project_files(), ids=relative)
def test_text_ends_with_a_line_break_and_has_no_trailing_blanks(path: Path) -> None:
    content = path.read_bytes()
    if b"\0" in content or not content or path.suffix in (".csv", ".md"):
        return
    assert content.endswith(b"\n")
    assert not re.search(rb"[ \t]+\n|\r\n", content)


# ---- documents ----------------------------------------------------------------------------------


def test_every_target_of_make_is_explained() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"(?m)^([a-z][a-z-]*):(.*)$", text)
    assert {"start-project", "stop-project", "test", "status", "logs", "env", "help"} <= {
        name for name, _ in targets
    }
    assert [name for name, rest in targets if not re.search(r" ## [A-Z].{8,}", rest)] == []


def test_every_target_of_make_is_phony() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = set(" ".join(re.findall(r"(?m)^\.PHONY: (.*)$", text)).split())
    assert set(re.findall(r"(?m)^([a-z][a-z-]*):", text)) == phony


def test_generated_documents_are_fresh() -> None:
    assert render.stale() == "", "run `make docs` and commit what it writes"


def test_the_page_of_variables_has_a_place_for_the_tables() -> None:
    assert render.has_markers(), f"it needs {render.BEGIN} and {render.END}, once each"


def test_every_number_of_the_benchmark_is_held_or_explained() -> None:
    """CIS Docker Benchmark 1.5.0, sections 4 and 5."""
    wanted = {f"4.{n}" for n in range(1, 13)} | {f"5.{n}" for n in range(1, 32)}
    tests = (ROOT / "tests/host/test_containers.py").read_text()
    held = {x for doc in re.findall(r'"""CIS (.+)', tests) for x in re.findall(r"\b[45]\.\d+", doc)}
    text = (ROOT / "docs/security.md").read_text()
    (listed,) = re.findall(r"names in its docstring what it holds:\n([\d., \n]+)\.\n\n", text)
    assert set(re.findall(r"[45]\.\d+", listed)) == held
    explained = {
        x for row in re.findall(r"(?m)^\| ([45]\.[\d., ]+) \|", text) for x in row.split(", ")
    }
    assert held | explained == wanted


def test_every_path_in_the_architecture_is_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    paths = {word for word in re.findall(r"`([\w./-]+)`", text) if "/" in word}
    paths -= {"/metrics", "community.docker.docker_container"}
    assert len(paths) > 40
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
