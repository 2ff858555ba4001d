"""No proxy of the environment is asked for the machine's own addresses.

`uri`, curl and urllib obey http_proxy, for 127.0.0.1 and the stack's network as well.
"""

import re
from pathlib import Path

from policy.project import (
    ROOT,
    calls,
    load,
    relative,
    role_tasks,
    text_files,
    walk,
    without_comments,
)

# A call in a script, in a command line of Python or after a pipe; not the word in a sentence.
CURL_CALL = re.compile(r"\bcurl (?=-)(?:[^\n\\]|\\.|\\\n)*")
# For readers, whose clients run on machines that are not ours to know.
PAGES = re.compile(r"\.(md|svg)$|^readme\.j2$")


def test_tasks_ask_directly() -> None:
    plays = [(relative(p), play) for p in ROOT.glob("playbooks/*.yml") for play in load(p)]
    tasks = [(place, task) for place, play in plays for task in walk(play.get("tasks", []))]
    asked = [
        (place, arguments)
        for place, task in [*role_tasks(), *tasks]
        for module in ("uri", "get_url")
        if (arguments := calls(task, module)) is not None
    ]
    assert len(asked) >= 8
    assert [place for place, arguments in asked if arguments.get("use_proxy") is not False] == []


def test_curl_asks_directly() -> None:
    found = [
        (relative(path), call)
        for path, text in text_files()
        if not PAGES.search(path.name) and path != Path(__file__)
        for call in CURL_CALL.findall(without_comments(text))
    ]
    assert len(found) >= 10
    assert [call for call in found if "--noproxy" not in call[1]] == []


def test_programs_on_the_machine_ask_directly() -> None:
    """Of files named .py ruff says it (TID251)."""
    obeys = re.compile(
        r"\burlopen\(|\brequests\.(get|post|request)\(|\bhttpx\.(get|post)\(|\bwget "
    )
    files = [*(ROOT / "roles").rglob("*"), *(ROOT / "src").rglob("*")]
    texts = {relative(p): p.read_text(errors="replace") for p in files if p.is_file()}
    assert [path for path, text in texts.items() if obeys.search(text)] == []
