"""The service's modules build upon each other in one direction."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"


def imports(source: Path) -> dict[str, set[str]]:
    """Return each module of `api` -> those it imports, inside functions as well."""
    modules = {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
        for path in source.glob("api/**/*.py")
    }
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        named: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                named |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
            elif isinstance(node, ast.Import):
                named |= {name.name for name in node.names}
        found[module] = named & modules.keys()
    return found


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = imports(SOURCE)
    assert "api.model" in graph["api.loader"]
    list(TopologicalSorter(graph).static_order())


def test_a_circle_through_a_function_is_found(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api/a.py").write_text("from api import b\n")
    (tmp_path / "api/b.py").write_text("def late() -> None:\n    import api.a\n")
    with pytest.raises(CycleError):
        list(TopologicalSorter(imports(tmp_path)).static_order())
