"""What `make audit` makes of the answers of pip-audit, apt and dpkg."""

import json
import subprocess
from typing import Any

import pytest

import audit
from audit import ROOT, Finding

PYTHON = ROOT / ".cache" / "audit" / "bin" / "python"
IMAGE = "emotions-api-v1:ff78f2b6cbd6"
LIST = """\
os debian 13
deb ii  libssl3t64 3.5.9-1~deb13u1 amd64 openssl 3.5.9-1~deb13u1
deb ii  perl-base 5.40.1-6 amd64 perl 5.40.1-6
deb ii  passwd 1:4.17.4-2 amd64 shadow 1:4.17.4-2
deb ii  bash 5.2.37-2 amd64 bash 5.2.37-2
deb rc  gone 1.0 amd64 gone 1.0
pypi pydantic_core 2.50.4
"""
PURLS = {
    "pkg:deb/debian/bash@5.2.37-2?arch=amd64&distro=debian-13",
    "pkg:deb/debian/libssl3t64@3.5.9-1~deb13u1?arch=amd64&distro=debian-13"
    "&upstream=openssl%403.5.9-1~deb13u1",
    "pkg:deb/debian/passwd@1:4.17.4-2?arch=amd64&distro=debian-13&upstream=shadow%401:4.17.4-2",
    "pkg:deb/debian/perl-base@5.40.1-6?arch=amd64&distro=debian-13&upstream=perl%405.40.1-6",
    "pkg:pypi/pydantic-core@2.50.4",
}
UPGRADE = """\
Inst bash [5.2.15-2+b8] (5.2.15-2+b13 Debian:12.15/oldstable [amd64])
Inst libgcrypt20 [1.10.1-3] (1.10.1-3+deb12u1 Debian:12.15/oldstable, \
Debian-Security:12/oldstable-security [amd64]) []
Inst linux-image-7 (7.1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64])
Conf bash (5.2.15-2+b13 Debian:12.15/oldstable [amd64])
"""


def of_apt(stdout: str, stderr: str = "", code: int = 0, only: str = "") -> list[Finding]:
    done = subprocess.CompletedProcess((), code, stdout, stderr)
    return audit.read_apt(done, "here", "make upgrade", only)


def of_pip(*packages: dict[str, Any]) -> list[Finding]:
    return audit.read_pip_audit(json.dumps({"dependencies": packages, "fixes": []}), "f", "raise")


def flawed(fix_versions: list[str]) -> dict[str, Any]:
    flaw = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": fix_versions}
    return {"name": "jinja2", "version": "3.1.2", "vulns": [flaw]}


SOUND = {"name": "idna", "version": "3.20", "vulns": []}


def test_a_flaw_says_in_which_release_it_is_mended() -> None:
    what = "jinja2 3.1.2: PYSEC-1, CVE-1; fixed in 3.1.3"
    assert of_pip(SOUND, flawed(["3.1.3"])) == [Finding("VULNERABLE", "f", what, "raise")]


def test_a_flaw_without_a_release_that_mends_it_asks_for_no_pin() -> None:
    assert [(f.state, "raise" in f.remedy) for f in of_pip(flawed([]))] == [("VULNERABLE", False)]


def test_a_package_that_the_service_skips_is_not_checked() -> None:
    found = of_pip(SOUND, {"name": "ansible", "skip_reason": "not found: ansible (12.3.0)"})
    assert [(f.state, f.what) for f in found] == [("NOT CHECKED", "not found: ansible (12.3.0)")]


@pytest.mark.parametrize("answer", ["", "Traceback\nConnectionError: no", "[]", "{}", "null"])
def test_what_is_no_answer_is_not_checked(answer: str) -> None:
    assert [f.state for f in audit.read_pip_audit(answer, "f", "raise")] == ["NOT CHECKED"]


def test_packages_without_a_flaw_are_ok_and_counted() -> None:
    assert of_pip(SOUND) == [Finding("OK", "f", "1 Python packages, none vulnerable")]


def test_a_service_that_does_not_know_a_known_flaw_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PIP_AUDIT_VULNERABILITY_SERVICE", raising=False)
    monkeypatch.setattr(audit, "pip_audit", lambda *_: json.dumps({"dependencies": [SOUND]}))
    assert [(f.state, f.what.partition(":")[0]) for f in audit.audit_python({})] == [
        ("NOT CHECKED", "pypi"),
        ("NOT CHECKED", "osv"),
    ]


def test_pins_and_packages_of_images_are_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        audit, "pip_audit", lambda *_: json.dumps({"dependencies": [flawed(["9"])]})
    )
    found = audit.audit_python({IMAGE: audit.read_packages(LIST), "bare": []})
    assert [f.where for f in found] == [*audit.REQUIREMENTS, IMAGE]


def test_only_what_is_installed_and_newer_counts_as_an_update() -> None:
    assert [f.what for f in of_apt(UPGRADE)] == [
        "bash 5.2.15-2+b8 -> 5.2.15-2+b13",
        "libgcrypt20 1.10.1-3 -> 1.10.1-3+deb12u1 (security)",
    ]


def test_of_the_machine_only_security_updates_count() -> None:
    found = of_apt(UPGRADE, only=audit.SECURITY)
    assert [f.what.split()[0] for f in found] == ["libgcrypt20"]


def test_nothing_newer_is_ok() -> None:
    assert [f.state for f in of_apt("")] == ["OK"]


@pytest.mark.parametrize(("stdout", "code"), [("stale\n", 0), ("", 100)])
def test_an_archive_that_does_not_answer_is_not_checked(stdout: str, code: int) -> None:
    found = of_apt(stdout, "W: first\nE: the archive is away\n", code)
    assert [f.state for f in found] == ["NOT CHECKED"]
    assert "E: the archive is away" in found[0].what


def bill(script: str) -> str:
    """Run the script where the library is; it is not in this environment."""
    if not PYTHON.exists():
        pytest.skip("make audit has not made its environment (.cache/audit)")
    head = f"import audit; text = {LIST!r}; image = {IMAGE!r}\n"
    return subprocess.run(
        [PYTHON, "-W", "error", "-c", head + script],
        cwd=ROOT / "tools",
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_a_bill_of_materials_names_every_package_by_its_url() -> None:
    made = json.loads(
        bill("print(audit.bill_of_materials(image, audit.read_packages(text)))"),
    )
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert made["metadata"]["component"]["name"] == "emotions-api-v1"
    assert {part["purl"] for part in made["components"]} == PURLS
    roots = [node for node in made["dependencies"] if node["ref"] == IMAGE]
    assert set(roots[0]["dependsOn"]) == PURLS


def test_a_bill_of_materials_that_breaks_the_schema_is_refused() -> None:
    said = bill(
        "from cyclonedx.output.json import JsonV1Dot6\n"
        "whole = JsonV1Dot6.output_as_string\n"
        "cut = lambda *a, **k: whole(*a, **k).replace('\"name\"', '\"nome\"')\n"
        "JsonV1Dot6.output_as_string = cut\n"
        "try: print(audit.bill_of_materials(image, audit.read_packages(text)))\n"
        "except ValueError as refusal: print(refusal)\n"
    )
    assert said.startswith(f"The bill of materials of {IMAGE} breaks CycloneDX's schema")
