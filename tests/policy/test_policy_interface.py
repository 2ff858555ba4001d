"""Variables: every role has its own, says so in its specs, and knows nobody else's."""

import re
from typing import Any

import pytest

from policy.project import ROLES, ROOT, calls, load, options, relative, role_tasks, role_yaml

STACK = load(ROOT / "inventory/group_vars/all/stack.yml")
WIRING = load(ROOT / "inventory/group_vars/all/wiring.yml")
BUDGET = 25
CASTS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
    "raw": (object,),
}

each_role = pytest.mark.parametrize("role", ROLES)
# Defaults of the shared variables stand in the inventory.
each_own = pytest.mark.parametrize("role", [role for role in ROLES if role != "stack"])


@each_own
def test_specs_name_the_variables_of_the_defaults(role: str) -> None:
    assert list(options(role)) == list(role_yaml(role, "defaults/main.yml"))


@each_own
def test_specs_hold_the_values_of_the_defaults(role: str) -> None:
    said = {name: option.get("default") for name, option in options(role).items()}
    assert said == role_yaml(role, "defaults/main.yml")


@each_own
def test_types_of_the_specs_fit_the_defaults(role: str) -> None:
    assert misfits(role_yaml(role, "defaults/main.yml"), options(role)) == []


def misfits(values: dict[str, Any], spec: dict[str, dict[str, Any]]) -> list[str]:
    """Return the names whose value is not of the spec's type; a template may become any."""
    return [
        name
        for name, value in values.items()
        if not (isinstance(value, str) and "{{" in value)
        and (
            not isinstance(value, CASTS[spec[name]["type"]])
            or (isinstance(value, bool) and spec[name]["type"] not in ("bool", "raw"))
        )
    ]


def described(option: dict[str, Any]) -> bool:
    parts = option.get("options", {}).values()
    return bool(option.get("description", "").endswith(".")) and all(map(described, parts))


@each_own
def test_every_variable_is_described_in_a_sentence(role: str) -> None:
    assert [name for name, option in options(role).items() if not described(option)] == []


@each_role
def test_lists_name_the_type_of_their_elements(role: str) -> None:
    lists = {n: o for n, o in options(role).items() if o["type"] == "list"}
    assert [name for name, option in lists.items() if "elements" not in option] == []


@each_role
def test_secrets_are_marked_in_the_specs(role: str) -> None:
    def unmarked(spec: dict[str, dict[str, Any]]) -> list[str]:
        found = []
        for name, option in spec.items():
            if re.search(r"password$|secret$|token$", name) and option.get("no_log") is not True:
                found.append(name)
            found += unmarked(option.get("options", {}))
        return found

    assert unmarked(options(role)) == []


@each_role
def test_public_variables_carry_the_roles_name(role: str) -> None:
    names = role_yaml(role, "defaults/main.yml")
    assert [name for name in names if not re.fullmatch(rf"{role}_[a-z0-9_]+", name)] == []


@each_role
def test_internal_variables_carry_the_roles_name_behind_two_underscores(role: str) -> None:
    names = role_yaml(role, "vars/main.yml")
    assert [name for name in names if not re.fullmatch(rf"__{role}_[a-z0-9_]+", name)] == []


@each_role
def test_variables_that_a_run_makes_carry_the_roles_name_or_are_shared(role: str) -> None:
    made: list[str] = []
    for place, task in role_tasks():
        if place.startswith(f"roles/{role}/"):
            made += [task["register"]] if "register" in task else []
            made += calls(task, "set_fact") or {}
    assert [name for name in made if not re.match(rf"__({role}|stack)_", name)] == []


@each_role
def test_role_keeps_to_its_budget_of_variables(role: str) -> None:
    assert len(role_yaml(role, "defaults/main.yml")) <= BUDGET


@each_role
def test_role_never_names_another_roles_variable(role: str) -> None:
    theirs = {
        name
        for other in ROLES
        if other not in (role, "stack")
        for name in [
            *role_yaml(other, "defaults/main.yml"),
            *role_yaml(other, "vars/main.yml"),
        ]
    }
    internal = "|".join(other for other in ROLES if other not in (role, "stack"))
    found = []
    for path in sorted((ROOT / "roles" / role).rglob("*")):
        if not path.is_file() or path.suffix in (".pyc", ".json"):
            continue
        words = set(re.findall(r"\b[a-z_]\w+\b", path.read_text()))
        found += [f"{relative(path)}: {w}" for w in sorted(words & theirs)]
        found += [
            f"{relative(path)}: {w}" for w in sorted(words) if re.match(rf"__({internal})_", w)
        ]
    assert found == []


@each_role
def test_shared_variables_that_a_role_reads_exist(role: str) -> None:
    known = set(STACK) | set(role_yaml("stack", "vars/main.yml")) | shared_facts()
    # Handed over by an include, or names of Prometheus and of Docker's labels.
    local = {
        "stack_image",
        "stack_to_run",
        "stack_container",
        "stack_healthy_timeout",
        "stack_ports",
        "stack_ports_unless",
        "stack_",
    }
    found = []
    for path in [*(ROOT / "roles" / role).rglob("*.yml"), *(ROOT / "roles" / role).rglob("*.j2")]:
        inside = re.findall(r"\{\{.*?\}\}|\{%.*?%\}|when:.*", path.read_text(), re.DOTALL)
        words = set(re.findall(r"(?<![\w.'-])_{0,2}stack_\w*", "\n".join(inside)))
        found += [f"{relative(path)}: {w}" for w in sorted(words - known - local)]
    assert found == []


def shared_facts() -> set[str]:
    """Return the __stack_… names that tasks set or register."""
    texts = [p.read_text() for p in ROOT.glob("roles/*/tasks/*.yml")]
    return set(re.findall(r"(?m)^\s+(?:register: )?(__stack_\w+)(?::|$)", "\n".join(texts)))


def test_public_variables_are_not_cast() -> None:
    # They have their types: plugins/callback/typed_values.py converts what was given.
    kinds = {n: o["type"] for role in ROLES for n, o in options(role).items()}
    kinds |= {n: o["type"] for n, o in options("stack").items()}
    files = [p for p in (ROOT / "roles").rglob("*") if p.suffix in (".yml", ".j2")]
    casts = re.compile(r"\b(\w+) \| (bool|int|float)\b|\b(\w+) \| map\('(bool|int|float)'\)")
    found = [
        f"{relative(path)}: {name} | {cast}"
        for path in files
        for groups in casts.findall(path.read_text())
        for name, cast in (groups[:2], groups[2:])
        if cast and kinds.get(name, "").startswith((cast, "list"))
    ]
    assert found == []


def test_stack_variables_are_shared_or_internal() -> None:
    assert [n for n in STACK if not re.match(r"(__)?stack_[a-z]", n)] == []


def test_specs_name_the_shared_variables_and_fit_them() -> None:
    public = {name: value for name, value in STACK.items() if name.startswith("stack_")}
    spec = options("stack")
    assert list(spec) == list(public)
    assert misfits(public, spec) == []
    assert [n for n, o in spec.items() if o["type"] == "list" and "elements" not in o] == []


def test_every_public_stack_variable_has_a_comment_above() -> None:
    import render

    assert [name for name, _, comment in render.stack_variables() if not comment] == []
    named = {name for name, _, _ in render.stack_variables()}
    assert named == {n for n in STACK if n.startswith("stack_")}


def test_wiring_only_joins() -> None:
    public = {name for role in ROLES for name in role_yaml(role, "defaults/main.yml")}
    for target, value in WIRING.items():
        assert target in public, target
        for expression in value if isinstance(value, list) else [value]:
            # Names, joined by a plus: what computes belongs to a role.
            assert re.fullmatch(r"\{\{ \w+( \+ \w+)* \}\}", expression), target
            for source in re.findall(r"\w+", expression):
                assert source in public | set(STACK), f"{target}: {source}"
                assert source.partition("_")[0] != target.partition("_")[0], target


@each_role
def test_a_task_gives_no_name_of_the_role_another_meaning(role: str) -> None:
    """A template that the task renders would read the task's value in the role's place."""
    fixed = role_yaml(role, "vars/main.yml") | role_yaml(role, "defaults/main.yml")
    # A switch is there to be set.
    known = {name for name, value in fixed.items() if not isinstance(value, bool)}
    tasks = [(place, task) for place, task in role_tasks() if place.startswith(f"roles/{role}/")]
    hidden = [(place, known & task.get("vars", {}).keys()) for place, task in tasks]
    assert [(place, names) for place, names in hidden if names] == []
