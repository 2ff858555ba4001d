"""Values as users give them, converted to the types of the roles' argument specs.

`-e name=value`, an INI inventory and quoted YAML all give text. Ansible's own check of argument
specs accepts text that could be converted and hands it to the roles unconverted. Here it is
converted, or refused in one sentence with an example of how the value is written.

`typed_values` converts what a run was given (plugins/callback/typed_values.py calls it); `typed`
converts the result of a template, which is known only when a task uses it. `unknown_names` finds
the misspelled ones.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible.parsing.vault import EncryptedString
from ansible.template import trust_as_template

ROOT = Path(__file__).resolve().parents[2]
TRUE = {"true", "yes", "on", "1", "t", "y"}
FALSE = {"false", "no", "off", "0", "f", "n"}
# Names of ports and of lists of them, and their elements.
PORT = re.compile(r"_ports?(\[[0-9]+\])?$")
KINDS = {
    "bool": "a boolean (true or false)",
    "int": "a whole number, 0 or more",
    "float": "a number, 0 or more",
    "port": "a port, a whole number from 1 to 65535",
    "str": "text",
    "path": "text",
    "list": "a list",
    "dict": "a dictionary",
}
SAMPLES: dict[str, Any] = {"bool": True, "int": 10, "float": 0.5, "port": 8443, "dict": {"key": 1}}

Spec = Mapping[str, Any]


class WrongValue(ValueError):
    """A value that does not have the type of its spec: where it stands, and what it should be."""

    def __init__(self, path: str, value: object, kind: str, hidden: bool) -> None:
        shown = json.dumps(value, default=str, ensure_ascii=False)
        shown = shown if len(shown) < 100 else f"{shown[:100]}…"
        shown = "this hidden value" if hidden else shown
        super().__init__(f"{path} has to be {kind}, not {shown}.")


# ---- specs ------------------------------------------------------------------------------------


@cache
def specs() -> dict[str, dict[str, Any]]:
    """Return the spec of every public variable: those of all entry points of all roles."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            found |= entry["options"]
    return found


@cache
def _own() -> dict[str, Any]:
    """Return the values that the project itself gives; they have their types already."""
    values = {name: spec["default"] for name, spec in specs().items() if "default" in spec}
    for path in sorted((ROOT / "inventory/group_vars/all").glob("*.yml")):
        if path.name in ("stack.yml", "wiring.yml"):
            values |= yaml.safe_load(path.read_text())
    return values


# ---- one value --------------------------------------------------------------------------------


def convert(path: str, value: Any, spec: Spec, hidden: bool = False) -> Any:
    """Return the value in its spec's type.

    Args:
        path: The variable's name, and the place inside it: `nginx_users[0].name`.
        value: What was given, text or already of a type.
        spec: Type, elements, choices and options, as in argument_specs.yml.
        hidden: Whether the value is a part of a secret, which an error must not show.

    Raises:
        WrongValue: The value neither has that type nor is text that can be converted to it.
    """
    hidden = hidden or bool(spec.get("no_log"))
    kind: str = spec.get("type", "str")
    if kind == "int" and PORT.search(path):
        kind = "port"
    try:
        result = CONVERTERS[kind](path, value, spec, hidden)
    except WrongValue:
        raise
    except (ValueError, RecursionError):
        raise WrongValue(path, value, _kind(kind, spec), hidden or _has_secret(spec)) from None
    if "choices" in spec and result not in spec["choices"]:
        raise WrongValue(path, value, f"one of {', '.join(spec['choices'])}", hidden)
    return result


def _has_secret(spec: Spec) -> bool:
    return bool(spec.get("no_log")) or any(map(_has_secret, spec.get("options", {}).values()))


def _kind(kind: str, spec: Spec) -> str:
    """Return the spec's type in words."""
    if kind != "list":
        return KINDS[kind]
    elements = {"str": "texts", "int": "whole numbers", "dict": "dictionaries"}
    return f"a list of {elements.get(spec['elements'], 'values')}"


def _bool(path: str, value: Any, spec: Spec, hidden: bool) -> bool:
    if isinstance(value, str | int):
        word = str(value).strip().lower()
        if word in TRUE | FALSE:
            return word in TRUE
    raise ValueError


def _int(path: str, value: Any, spec: Spec, hidden: bool) -> int:
    # Neither 08, which some read as octal, nor the digits of other scripts, which int() takes.
    if isinstance(value, str) and re.fullmatch(r"0|[1-9][0-9]{0,17}", value.strip()):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError


def _port(path: str, value: Any, spec: Spec, hidden: bool) -> int:
    port = _int(path, value, spec, hidden)
    if not 1 <= port <= 65535:
        raise ValueError
    return port


def _float(path: str, value: Any, spec: Spec, hidden: bool) -> int | float:
    """Return a number; a whole one stays an int, as it does in JSON."""
    if isinstance(value, str) and re.fullmatch(r"(0|[1-9][0-9]{0,17})\.[0-9]+", value.strip()):
        return float(value)
    if isinstance(value, float) and 0 <= value < float("inf"):
        return value
    return _int(path, value, spec, hidden)


def _str(path: str, value: Any, spec: Spec, hidden: bool) -> str:
    choices = spec.get("choices", ())
    if {"true", "false"} <= set(choices) and value not in choices:
        # A choice that is written as a boolean, too.
        return str(_bool(path, value, spec, hidden)).lower()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    # 12.10 has become 12.1 before it is seen here: what is not text any more is not guessed.
    if not isinstance(value, str):
        raise ValueError
    return value


def _list(path: str, value: Any, spec: Spec, hidden: bool) -> list[Any]:
    """Return a list: from JSON, from text with commas, or of the one element that was given."""
    kind: str = spec["elements"]
    if isinstance(value, str):
        text = value.strip()
        if not text:
            value = []
        elif text[0] in "[{":
            value = _json(text)
        elif kind != "dict":
            value = [part.strip() for part in text.split(",")]
    if value is None or isinstance(value, str):
        raise ValueError
    if not isinstance(value, list):
        value = [value]
    if "" in value:
        raise ValueError
    element = {**{k: v for k, v in spec.items() if k == "options"}, "type": kind}
    return [convert(f"{path}[{n}]", part, element, hidden) for n, part in enumerate(value)]


def _dict(path: str, value: Any, spec: Spec, hidden: bool) -> dict[str, Any]:
    """Return a dictionary, each key that the spec has options for in its type."""
    if isinstance(value, str):
        value = _json(value) if value.strip() else {}
    if not isinstance(value, Mapping):
        raise ValueError
    options: Mapping[str, Spec] = spec.get("options", {})
    return {
        key: convert(f"{path}.{key}", part, options[key], hidden) if key in options else part
        for key, part in value.items()
    }


def _json(text: str) -> Any:
    return json.loads(text, parse_constant=int)


CONVERTERS: dict[str, Callable[[str, Any, Spec, bool], Any]] = {
    "bool": _bool,
    "int": _int,
    "float": _float,
    "port": _port,
    "str": _str,
    "path": _str,
    "list": _list,
    "dict": _dict,
}


# ---- examples ---------------------------------------------------------------------------------


def _sample(name: str, spec: Spec) -> Any:
    """Return a value that the variable could have: its default, where that is one."""
    default = spec.get("default", _own().get(name))
    if default not in (None, "", [], {}) and not _is_template(default):
        return default
    kind: str = spec["type"]
    if kind == "list":
        return [_sample(name, {"type": spec["elements"]})]
    if kind == "int" and PORT.search(name):
        kind = "port"
    return SAMPLES.get(kind, "text")


def example(name: str, spec: Spec) -> str:
    """Show how a value of this variable is written."""
    value = _sample(name, spec)
    as_json = f"-e '{json.dumps({name: value}, ensure_ascii=False)}'"
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, list | dict) for part in parts):
        return f"Write it as JSON: {as_json}"
    text = ",".join(json.dumps(p) if isinstance(p, bool) else str(p) for p in parts)
    given = f"""'{name}="{text}"'""" if " " in text else f"{name}={text}"
    return f"Examples: -e {given}, or {as_json}"


# ---- all of a run -----------------------------------------------------------------------------


def _is_template(value: Any) -> bool:
    """Return whether Ansible has yet to render or decrypt the value, or a part of it."""
    if isinstance(value, Mapping):
        return any(map(_is_template, value.values()))
    if isinstance(value, list):
        return any(map(_is_template, value))
    if isinstance(value, EncryptedString):
        return True
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def typed(value: Any, name: str) -> Any:
    """Return the value of a public variable in the type of its spec; a filter."""
    try:
        return convert(name, value, specs()[name])
    except WrongValue as error:
        raise AnsibleFilterError(f"{error} {example(name, specs()[name])}") from None


def typed_values(variables: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Convert all public variables among the given ones.

    A template is kept under another name, and its variable becomes that one's result in its type.

    Returns:
        The variables that have to be replaced, and one sentence for each wrong value.
    """
    changed: dict[str, Any] = {}
    wrong: list[str] = []
    for name in sorted(specs().keys() & variables.keys()):
        value, kept = variables[name], f"__given_{name}"
        wrapped = f"{{{{ {kept} | typed('{name}') }}}}"
        if _is_template(value):
            if value not in (wrapped, _own().get(name)):
                changed |= {kept: value, name: trust_as_template(wrapped)}
            continue
        try:
            result = typed(value, name)
        except AnsibleFilterError as error:
            wrong.append(error.message)
            continue
        if repr(result) != repr(value):
            changed[name] = result
    return changed, wrong


def unknown_names(names: Iterable[str]) -> list[str]:
    """Return the names that look like public variables of a role but that no spec knows.

    Each is followed by the known name that it resembles, if there is one.
    """
    roles = {path.name for path in ROOT.glob("roles/*")}
    found = []
    for name in sorted(set(names) - specs().keys()):
        if "_" in name and name.partition("_")[0] in roles:
            like = difflib.get_close_matches(name, specs(), n=1, cutoff=0.8)
            found.append(f"{name} (did you mean {like[0]}?)" if like else name)
    return found


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "typed": typed,
            "typed_values": typed_values,
            "unknown_names": unknown_names,
        }
