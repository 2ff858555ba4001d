"""Pages: their links lead somewhere, their commands exist, and the French README keeps in step."""

import re
from pathlib import Path

import pytest

from policy.project import ROLES, ROOT, options, role_yaml

PAGES = sorted(
    [ROOT / "README.md", ROOT / "README.fr.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md")]
)
# Metrics and others that look like a variable of a role.
NO_VARIABLES = {"api_model_not_compiled", "api_prediction_confidence", "api_prediction_coverage"}
NO_VARIABLES |= {
    "api_queue_seconds",
    "api_request_duration_seconds",
    "nginx_cves",
    "nginx_exporter",
}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def without_code(text: str) -> str:
    return re.sub(r"(?s)```.*?```|`[^`\n]*`", "", text)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text())):
            broken.append(target)
    assert broken == []


@each_page
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", makefile)) | {"on", "off"}
    bench = set(re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "bench/Makefile").read_text()))
    used = set(re.findall(r"\bmake (?:-s )?([a-z][a-z-]+)", page.read_text()))
    assert used - targets - {"target"} == set()
    assert set(re.findall(r"make -C bench ([a-z]+)", page.read_text())) <= bench


@each_page
def test_variables_exist(page: Path) -> None:
    known = {name for role in ROLES for name in options(role)}
    known |= NO_VARIABLES | set(
        role_yaml("stack", "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    )
    prefixes = "|".join([*ROLES, "stack"])
    used = set(re.findall(rf"`((?:{prefixes})_[a-z_]+)`", page.read_text()))
    assert used - known == set()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 1300


def code(text: str) -> list[str]:
    return re.findall(r"(?s)```.*?```", text)


def rows(text: str) -> list[list[str]]:
    """Return the code words of each row of a table."""
    return [re.findall(r"`[^`]+`", row) for row in re.findall(r"(?m)^\|.*\|$", text)]


def test_the_french_readme_keeps_in_step() -> None:
    english, french = ((ROOT / name).read_text() for name in ("README.md", "README.fr.md"))
    assert re.findall(r"(?m)^#+ ", french) == re.findall(r"(?m)^#+ ", english)
    assert code(french) == code(english)
    assert rows(french) == rows(english)

    def links(text: str) -> set[str]:
        return set(re.findall(r"\]\(([^)]+)\)", text)) - {"README.md", "README.fr.md"}

    assert links(french) == links(english)


@each_page
def test_a_page_begins_with_what_it_is_for(page: Path) -> None:
    heading, empty, first = page.read_text().split("\n")[:3]
    assert heading.startswith("# ")
    assert empty == ""
    assert re.match(r"[A-ZÉ].{20,}", first)


@each_page
def test_words_are_those_of_the_field(page: Path) -> None:
    """STYLE: metrics and not figures, healthy and not well, fix and not mend."""
    text = without_code(page.read_text()).lower()
    strange = r"\b(such a one|(is|are) put back|somebody|whoever|figures|mend(ed|s)?|ill|held to)\b"
    assert [found[0] for found in re.finditer(strange, text)] == []
