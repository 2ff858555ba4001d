"""Asks whether anything in the project or its running stack is known to be out of date.

`make audit` asks pip-audit about every pinned Python package and those in the images, each image's
apt about packages that its archive has newer, and the machine's apt about security updates. It
writes a bill of materials of each image, CycloneDX as JSON, into dist/sbom/. It changes neither the
machine nor the stack, and exits with 1 when something is to be done or could not be checked.

pip-audit's own variables choose the service that knows vulnerabilities
(PIP_AUDIT_VULNERABILITY_SERVICE, PIP_AUDIT_OSV_URL); without them PyPI's is asked, then OSV's.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SBOM_DIR = ROOT / "dist" / "sbom"
REQUIREMENTS = (
    "requirements.txt",
    "src/api/requirements.txt",
    "tests/requirements.txt",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("*/requirements/*.txt")),
)
SERVICES = ("pypi", "osv")
CANARY = "django==3.2"
"""Known to be vulnerable: a service that does not say so knows nothing about the others either."""

# Arguments are apt's options. A list that could not be fetched is an error, or old lists would pass
# for today's. full-upgrade, since upgrade holds back what needs another package.
ASK_APT = """
apt-get -qq update --error-on=any "$@" || echo stale
apt-get -qq --simulate full-upgrade "$@"
"""
LIST_PACKAGES = r"""
. /etc/os-release && echo "os $ID $VERSION_ID"
format='${db:Status-Abbrev} ${Package} ${Version} ${Architecture} ${source:Package}'
dpkg-query --show --showformat "deb $format "'${source:Version}\n'
[ ! -x /venv/bin/python ] || /venv/bin/python -c '
from importlib.metadata import distributions
for package in distributions():
    print("pypi", package.name, package.version)'
"""
SECURITY = r"-security\b"
"""In the names of Debian's and Ubuntu's archives."""


class Finding(NamedTuple):
    """One line of the table."""

    state: str
    """OK, VULNERABLE, UPDATABLE or NOT CHECKED."""
    where: str
    what: str
    remedy: str = ""


class Package(NamedTuple):
    """What an image has installed; `type` and `qualifiers` are those of a package URL."""

    type: str
    name: str
    version: str
    namespace: str | None = None
    qualifiers: dict[str, str] | None = None


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program whose output is to be read by this one."""
    try:
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]} is not installed")


def last_line(text: str) -> str:
    return textwrap.shorten((text.strip().splitlines() or ["no message"])[-1], 200)


# ---- Python's packages --------------------------------------------------------------------------


def pip_audit(service: str, requirements: Path) -> str:
    """Return pip-audit's JSON, or its message where it gave up."""
    asked = run(
        *(sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off"),
        *("--no-deps", "--disable-pip", f"--cache-dir={ROOT / '.cache/pip-audit'}"),
        *("--vulnerability-service", service, "--requirement", str(requirements)),
    )
    return asked.stdout.strip() or asked.stderr


def read_pip_audit(answer: str, where: str, remedy: str) -> list[Finding]:
    """Turn pip-audit's JSON into findings.

    A package that the service does not know is skipped there, under the headline that there are no
    known vulnerabilities; here it was not checked.
    """
    try:
        packages = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return [Finding("NOT CHECKED", where, last_line(answer), "run it again")]
    findings = []
    for package in packages:
        if "skip_reason" in package:
            findings.append(Finding("NOT CHECKED", where, package["skip_reason"], "look it up"))
        for flaw in package.get("vulns", []):
            names = ", ".join([flaw["id"], *flaw["aliases"]])
            fixed = " or ".join(flaw["fix_versions"])
            what = f"{package['name']} {package['version']}: {names}"
            remedies = (
                remedy if fixed else "no release without it: judge it, or replace the package"
            )
            what += f"; fixed in {fixed}" if fixed else ""
            findings.append(Finding("VULNERABLE", where, what, remedies))
    return findings or [Finding("OK", where, f"{len(packages)} Python packages, none vulnerable")]


def find_service(folder: Path) -> tuple[str, list[str]]:
    """Return the first service that knows the canary, or none, and what the others said."""
    canary = folder / "canary.txt"
    canary.write_text(f"{CANARY}\n")
    chosen = os.environ.get("PIP_AUDIT_VULNERABILITY_SERVICE")
    refusals = []
    for service in (chosen,) if chosen else SERVICES:
        found = read_pip_audit(pip_audit(service, canary), service, "")[0]
        if found.state == "VULNERABLE":
            return service, []
        knows_nothing = f"calls {CANARY} safe, so it knows no vulnerabilities"
        refusals.append(f"{service}: {knows_nothing if found.state == 'OK' else found.what}")
    return "", refusals


def audit_python(images: dict[str, list[Package]]) -> list[Finding]:
    """Ask about the pinned packages, and about those in the images."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        service, refusals = find_service(folder)
        if not service:
            remedy = "run it where that service answers, or name one: PIP_AUDIT_OSV_URL"
            return [Finding("NOT CHECKED", "Python's packages", why, remedy) for why in refusals]
        findings = []
        for file in REQUIREMENTS:
            answer = pip_audit(service, ROOT / file)
            findings += read_pip_audit(answer, file, f"raise the pin in {file}")
        for image, packages in images.items():
            pins = [f"{p.name}=={p.version}\n" for p in packages if p.type == "pypi"]
            if pins:
                path = folder / "image.txt"
                path.write_text("".join(pins))
                remedy = "raise the pin in src/api/requirements.txt, then make start-project"
                findings += read_pip_audit(pip_audit(service, path), image, remedy)
        return findings


# ---- Debian's packages --------------------------------------------------------------------------


def read_apt(
    done: subprocess.CompletedProcess[str], where: str, remedy: str, only: str = ""
) -> list[Finding]:
    """Turn what ASK_APT printed into findings; `only` is a pattern of the archives that count."""
    findings = []
    if done.returncode != 0:
        findings.append(Finding("NOT CHECKED", where, last_line(done.stderr), "fix that first"))
    if re.search(r"(?m)^stale$", done.stdout):
        what = f"an archive does not answer: {last_line(done.stderr)}"
        findings.append(
            Finding("NOT CHECKED", where, what, "look at the network and apt's sources")
        )
    # Without an old version it is a new package that another one wants.
    for name, old, new, archives in re.findall(
        r"(?m)^Inst (\S+) \[(\S+)\] \((\S+) ([^)]*)\)", done.stdout
    ):
        if re.search(only, archives):
            kind = " (security)" if re.search(SECURITY, archives) else ""
            findings.append(Finding("UPDATABLE", where, f"{name} {old} -> {new}{kind}", remedy))
    return findings or [Finding("OK", where, "Debian's packages are those of today's archive")]


def audit_machine() -> list[Finding]:
    """Ask the machine's apt, with lists of its own: the machine's stay as they are."""
    cache = ROOT / ".cache" / "apt"
    (cache / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    options = (
        *("-o", f"Dir::State::Lists={cache / 'lists'}", "-o", f"Dir::Cache={cache}"),
        *("-o", "APT::Sandbox::User=root"),
    )
    remedy = "apt-get upgrade (a dedicated machine: make upgrade)"
    return read_apt(run("sh", "-euc", ASK_APT, "sh", *options), "machine", remedy, SECURITY)


# ---- images -------------------------------------------------------------------------------------


def read_packages(report: str) -> list[Package]:
    """Read the packages from what LIST_PACKAGES printed."""
    packages = []
    system = ("debian", "")
    for kind, *words in map(str.split, report.splitlines()):
        if kind == "os":
            system = words[0], words[1]
        elif kind == "deb" and words[0] == "ii":
            _, name, version, architecture, source, source_version = words
            qualifiers = {"arch": architecture, "distro": "-".join(system)}
            if (source, source_version) != (name, version):
                qualifiers["upstream"] = f"{source}@{source_version}"
            packages.append(Package("deb", name, version, system[0], qualifiers))
        elif kind == "pypi":
            name, version = words
            packages.append(Package("pypi", name, version))
    return sorted(packages, key=lambda package: package[:3])


def bill_of_materials(image: str, packages: list[Package]) -> str:
    """Return CycloneDX as JSON, held against its schema."""
    from cyclonedx.contrib.this.builders import this_component
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from packageurl import PackageURL

    name, _, tag = image.rpartition(":")
    bom = Bom()
    bom.metadata.component = Component(
        name=name, version=tag, type=ComponentType.CONTAINER, bom_ref=image
    )
    bom.metadata.tools.components.add(this_component())
    for package in packages:
        purl = PackageURL(
            package.type, package.namespace, package.name, package.version, package.qualifiers
        )
        bom.components.add(
            Component(
                name=package.name,
                version=package.version,
                type=ComponentType.LIBRARY,
                purl=purl,
                bom_ref=str(purl),
            )
        )
    bom.register_dependency(bom.metadata.component, bom.components)
    text: str = JsonV1Dot6(bom).output_as_string(indent=2)
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong:
        raise ValueError(f"The bill of materials of {image} breaks CycloneDX's schema: {wrong}")
    return text


def ask(image: str, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a throw-away container of the image.

    Without the label that the image would hand on, so that it does not count as one of the stack.
    """
    return run(
        *("docker", "run", "--rm", "--pull=never", "--label=stack=", "--entrypoint=sh", *options),
        *(image, "-euc", script),
    )


def audit_image(image: str) -> tuple[list[Package], list[Finding]]:
    """Write the image's bill of materials; return its packages and what its apt says."""
    listed = ask(image, LIST_PACKAGES, "--network=none")
    if listed.returncode != 0:
        # docker's first line: its last is the advice to read the manual.
        why = listed.stderr.partition("\n")[0]
        what = f"its packages cannot be listed: {why}"
        remedy = "compare its release with its maker's (Grafana: monitoring_grafana_version)"
        return [], [Finding("NOT CHECKED", image, what, remedy)]
    packages = read_packages(listed.stdout)
    name = image.rpartition(":")[0].rpartition("/")[2]
    (SBOM_DIR / f"{name}.cdx.json").write_text(bill_of_materials(image, packages))
    return packages, read_apt(ask(image, ASK_APT, "--user=0:0"), image, "make upgrade")


def main() -> int:
    """Print the table and return the exit code."""
    SBOM_DIR.mkdir(parents=True, exist_ok=True)
    for old in SBOM_DIR.glob("*.cdx.json"):
        old.unlink()
    running = run("docker", "ps", "--filter=label=stack", "--format={{.Image}}")
    images: dict[str, list[Package]] = {}
    findings: list[Finding] = []
    for image in sorted(set(running.stdout.split())):
        images[image], found = audit_image(image)
        findings += found
    if not images:
        what = last_line(running.stderr) if running.returncode else "no container of a stack runs"
        findings.append(Finding("NOT CHECKED", "images", what, "make start-project"))
    findings += [*audit_machine(), *audit_python(images)]

    width = max(len(finding.where) for finding in findings)
    for state, where, what, remedy in sorted(findings, key=lambda finding: finding.state == "OK"):
        print(f"{state:<11}  {where:<{width}}  {what}{remedy and f'  => {remedy}'}")
    states = Counter(finding.state for finding in findings)
    print("\n" + ", ".join(f"{number} {state}" for state, number in states.items()))
    print(f"Bills of materials: {len(list(SBOM_DIR.glob('*.cdx.json')))} in dist/sbom/")
    return int(any(finding.state != "OK" for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
