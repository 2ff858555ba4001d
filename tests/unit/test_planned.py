"""How a plan is held against what the run did: see tests/planned.py."""

import pytest

from planned import State, changed, explained, planned

BEFORE: State = {
    "file": {"/etc/x/a": "1", "/etc/x/gone": "1"},
    "container": {"x-nginx-1": "id1", "x-api-v1-1": "id2"},
    "image": {"x-nginx": "1 2"},
    "network": {},
    "volume": {},
}


def after(kind: str, **changes: str) -> State:
    return BEFORE | {kind: BEFORE[kind] | changes}


def test_what_is_the_same_is_not_changed() -> None:
    assert changed(BEFORE, BEFORE) == set()


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("file", "/etc/x/a", "2"),
        ("file", "/etc/x/new", "1"),
        ("container", "x-nginx-1", "id3"),
        ("image", "x-nginx", "1 2 3"),
        ("volume", "x-prometheus", ""),
    ],
)
def test_what_differs_or_came_is_changed(kind: str, name: str, value: str) -> None:
    assert changed(BEFORE, after(kind, **{name: value})) == {(kind, name)}


def test_what_went_is_changed() -> None:
    assert changed(BEFORE, BEFORE | {"file": {"/etc/x/a": "1"}}) == {("file", "/etc/x/gone")}


def test_an_image_that_is_pruned_is_not() -> None:
    assert changed(BEFORE, after("image", **{"x-nginx": "2"})) == set()


def test_a_plan_is_read_as_kinds_and_names() -> None:
    plan = [
        {"kind": "image", "name": "x-nginx:3f"},
        {"kind": "file", "name": "/etc/x/nginx/current/limits.conf"},
        # A folder named after its content: the live one is compared.
        {"kind": "file", "name": "/etc/x/nginx/0123456789ab"},
        {"kind": "step", "name": "Firewall: Load the rules"},
    ]
    assert planned(plan, set(BEFORE)) == {
        ("image", "x-nginx"),
        ("file", "/etc/x/nginx/current/limits.conf"),
    }


def test_files_of_a_folder_that_goes_as_planned_need_no_plan_of_their_own() -> None:
    folder, inside, other = ("file", "/etc/a/b"), ("file", "/etc/a/b/c"), ("file", "/etc/a/d")
    gone: State = {"file": {}}
    assert explained({folder, inside, other}, {folder}, gone) == {folder, other}
    stays: State = {"file": {"/etc/a/b": "40755 0 0"}}
    assert explained({folder, inside}, {folder}, stays) == {folder, inside}
