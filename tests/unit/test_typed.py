"""Conversion of given values: what each type takes, what it refuses, and in which words."""

import json
from typing import Any

import pytest

from plugins.filter.typed import WrongValue, convert, example, specs, typed_values, unknown_names

BOOL: dict[str, Any] = {"type": "bool"}
INT: dict[str, Any] = {"type": "int"}
FLOAT: dict[str, Any] = {"type": "float"}
STR: dict[str, Any] = {"type": "str"}
NAMES: dict[str, Any] = {"type": "list", "elements": "str"}
NUMBERS: dict[str, Any] = {"type": "list", "elements": "int"}
DICT: dict[str, Any] = {"type": "dict"}
MODE: dict[str, Any] = {"type": "str", "choices": ["auto", "true", "false"]}
USERS: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "options": {
        "name": {"type": "str", "required": True},
        "password": {"type": "str", "no_log": True},
        "replicas": {"type": "int"},
    },
}


# A spec, what the roles get, and the ways to write it.
TAKEN: list[tuple[dict[str, Any], Any, list[Any]]] = [
    (BOOL, True, ["true", "True", "TRUE", "yes", "on", "1", " y ", True, 1]),
    (BOOL, False, ["false", "FALSE", "no", "Off", "0", "n", False, 0]),
    (INT, 10, ["10", " 10 ", "10\n", 10]),
    (INT, 0, ["0", 0]),
    (FLOAT, 0.5, ["0.5", " 0.5", "0.50", 0.5]),
    (FLOAT, 2, ["2", 2]),
    (STR, " as it is ", [" as it is "]),
    (STR, "", [""]),
    (STR, "12", ["12", 12]),
    (MODE, "false", ["false", "False", "no", False]),
    (MODE, "auto", ["auto"]),
    (NAMES, ["a", "b"], ["a,b", " a , b ", '["a", "b"]', ["a", "b"]]),
    (NAMES, ["a"], ["a", '["a"]', ["a"]]),
    (NAMES, [], ["", " ", "[]", []]),
    (NAMES, ["::1", "127.0.0.1"], ["::1,127.0.0.1"]),
    (NUMBERS, [8080], ["8080", 8080, [8080], ["8080"], "[8080]"]),
    (NUMBERS, [8080, 9090], ["8080, 9090"]),
    (DICT, {"to": "a"}, ['{"to": "a"}', {"to": "a"}]),
    (DICT, {}, ["", "{}", {}]),
    (
        USERS,
        [{"name": "7", "replicas": 3, "more": "3"}],
        [
            [{"name": 7, "replicas": "3", "more": "3"}],
            {"name": "7", "replicas": 3, "more": "3"},
            '[{"name": "7", "replicas": "3", "more": "3"}]',
            '{"name": 7, "replicas": "3", "more": "3"}',
        ],
    ),
]
REFUSED: list[tuple[dict[str, Any], list[Any]]] = [
    (BOOL, ["", "maybe", "2", "-1", 2, 1.0, None, [], ["true"]]),
    (INT, ["", " ", "abc", "-1", "+1", "08", "1e3", "1_000", "0x10", "8.0", "1 0", "9" * 5000]),
    # Digits of other scripts, which Python's int() takes: Devanagari and full width.
    (INT, ["\u0967\u0968", "\uff11", -1, 8.0, True, None, [1]]),
    (FLOAT, ["", "abc", "nan", "inf", "1e3", "-0.5", "0,5", ".5", "\u0660.\u0665"]),
    (FLOAT, [float("nan"), float("inf"), -0.5, True, None]),
    (STR, [None, True, 12.1, ["a"], {"a": 1}]),
    (MODE, ["maybe", "", None]),
    (NAMES, ["a,,b", ",", '["a"', "[a]", '["a", null]', None, [["a"]]]),
    (NUMBERS, ["a", "80,a", "-1", "8080 9090", [True], [None]]),
    (DICT, ["to=a", "{", "[1]", '"a"', "{'to': 'a'}", None, ["a"]]),
    (USERS, ["alice", "alice,bob", "[", [None], ["alice"], None]),
    (USERS, [[{"name": None}], [{"name": "a", "replicas": "many"}]]),
]


@pytest.mark.parametrize(
    ("spec", "given", "expected"),
    [(spec, given, expected) for spec, expected, ways in TAKEN for given in ways],
)
def test_value_gets_the_type_of_its_spec(spec: dict[str, Any], given: Any, expected: Any) -> None:
    # Of the same type, too: 1 is not True.
    assert repr(convert("name", given, spec)) == repr(expected)


@pytest.mark.parametrize(
    ("spec", "given"), [(spec, given) for spec, values in REFUSED for given in values]
)
def test_what_does_not_fit_is_refused(spec: dict[str, Any], given: Any) -> None:
    with pytest.raises(WrongValue, match=r"^name.* has to be .*, not .*\.$"):
        convert("name", given, spec)


@pytest.mark.parametrize("given", ["0", "65536", 0, 65536, "-443"])
def test_port_out_of_range_is_refused(given: Any) -> None:
    with pytest.raises(WrongValue, match="a whole number from 1 to 65535"):
        convert("stack_https_port", given, INT)
    with pytest.raises(WrongValue, match=r"docker_open_ports\[1\] has to be a port"):
        convert("docker_open_ports", [22, given], NUMBERS)


def test_error_names_the_place_and_the_value() -> None:
    with pytest.raises(WrongValue) as caught:
        convert("nginx_users", [{"name": "a"}, {"name": "b", "replicas": "x"}], USERS)
    text = str(caught.value)
    assert text == 'nginx_users[1].replicas has to be a whole number, 0 or more, not "x".'


@pytest.mark.parametrize(
    "given",
    [
        [{"name": "a", "password": ["correct horse"]}],
        '[{"name": "a", "password": "correct horse"}',
        [["correct horse"]],
        "correct horse",
    ],
)
def test_error_does_not_show_a_secret(given: Any) -> None:
    for spec in (USERS, {"type": "dict", "no_log": True}):
        with pytest.raises(WrongValue, match="not this hidden value") as caught:
            convert("name", given, spec)
        assert "correct horse" not in str(caught.value)


def test_every_public_variable_has_an_example_that_passes() -> None:
    assert len(specs()) > 80
    for name, spec in specs().items():
        _, _, as_json = example(name, spec).rpartition("-e ")
        given: dict[str, Any] = json.loads(as_json.strip("'"))
        assert typed_values(given) == ({}, []), name


def test_only_what_changes_is_returned() -> None:
    given = {
        "docker_live_restore": False,
        "docker_open_ports": [1],
        "release": "7",
        "nginx_cpus": 2,
    }
    assert typed_values(given) == ({}, [])
    assert typed_values({"docker_live_restore": "no", "stack_name": "x"}) == (
        {"docker_live_restore": False},
        [],
    )


def test_every_wrong_value_is_reported_at_once() -> None:
    changed, wrong = typed_values(
        {"docker_live_restore": "maybe", "stack_https_port": "abc", "stack_lab": "no"}
    )
    assert changed == {"stack_lab": False}
    assert [sentence.split()[0] for sentence in wrong] == [
        "docker_live_restore",
        "stack_https_port",
    ]
    assert "-e stack_https_port=443" in wrong[1]
    assert """-e '{"stack_https_port": 443}'""" in wrong[1]


def test_template_gets_its_type_when_it_is_rendered() -> None:
    changed, wrong = typed_values({"stack_https_port": "{{ port }}"})
    assert wrong == []
    assert changed == {
        "__given_stack_https_port": "{{ port }}",
        "stack_https_port": "{{ __given_stack_https_port | typed('stack_https_port') }}",
    }
    # The next play of the run finds it done.
    assert typed_values(changed) == ({}, [])


def test_own_templates_of_the_project_stay() -> None:
    assert typed_values({"nginx_server_names": "{{ certs_hostnames + certs_addresses }}"}) == (
        {},
        [],
    )
    assert typed_values({"stack_public_https_port": "{{ stack_https_port }}"}) == ({}, [])


def test_a_name_that_no_spec_knows_is_found_with_the_one_it_resembles() -> None:
    given = ["nginx_rate_limt", "stack_colour", "ansible_host", "inventory_hostname", "stack_name"]
    assert unknown_names([*given, "certs_own_key_path", "__nginx_dir", "nginx"]) == [
        "nginx_rate_limt (did you mean nginx_rate_limit?)",
        "stack_colour",
    ]


def test_every_public_variable_is_known() -> None:
    assert unknown_names(specs()) == []
