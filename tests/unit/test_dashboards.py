"""Grafana's dashboards: whole, and about metrics that exist."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "roles/monitoring/files/dashboards"
FILES = sorted(FOLDER.glob("*.json"))
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}

# prometheus-nginx-exporter 1.4, and what Prometheus adds to each target.
EXPORTER_METRICS = {
    "nginx_connections_accepted",
    "nginx_connections_active",
    "nginx_connections_handled",
    "nginx_connections_reading",
    "nginx_connections_waiting",
    "nginx_connections_writing",
    "nginx_http_requests_total",
    "nginx_up",
}
PROMETHEUS_METRICS = {"up", "scrape_duration_seconds"}
# ProcessCollector reads /proc and so exports nothing on other systems than Linux.
PROCESS_METRICS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}

PROMQL_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


def dashboard(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8")))


def panels(file: Path) -> list[dict[str, Any]]:
    """All panels that show something; rows only group them."""
    found: list[dict[str, Any]] = []
    for panel in dashboard(file)["panels"]:
        found += panel.get("panels", []) if panel["type"] == "row" else [panel]
    return found


def metric_names(expression: str) -> set[str]:
    """The metrics that a PromQL expression reads."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]', " ", expression)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    words = re.findall(r"(?<![\w.$])[a-zA-Z_:][\w:]*(?!\w|\s*\()", bare)
    return {word for word in words if word.lower() not in PROMQL_WORDS}


@pytest.fixture(scope="module")
def known_metrics() -> set[str]:
    """What the replicas export, asked of the service's own code, and what others export."""
    from prometheus_client.parser import text_string_to_metric_families

    from api.metrics import Metrics

    metrics = Metrics("v1", "model", "1", ["happiness"])
    metrics.duration.observe(0.001)
    families = text_string_to_metric_families(metrics.render().decode())
    own = {sample.name for family in families for sample in family.samples}
    return own | EXPORTER_METRICS | PROMETHEUS_METRICS | PROCESS_METRICS


every_dashboard = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
every_panel = pytest.mark.parametrize(
    "panel",
    [
        pytest.param(panel, id=f"{file.stem}: {panel.get('title')}")
        for file in FILES
        for panel in panels(file)
    ],
)


def test_there_is_an_overview() -> None:
    assert "overview" in [dashboard(file)["uid"] for file in FILES]


def test_dashboard_uids_are_unique() -> None:
    count = Counter(dashboard(file)["uid"] for file in FILES)
    assert [uid for uid, n in count.items() if n > 1] == []


@every_dashboard
def test_dashboard_needs_no_input_and_cannot_be_edited(file: Path) -> None:
    assert "${DS_" not in file.read_text(encoding="utf-8")
    found = dashboard(file)
    assert "__inputs" not in found
    assert found["editable"] is False
    assert found["refresh"] == "15s"


@every_dashboard
def test_panel_ids_and_titles_are_unique_in_a_dashboard(file: Path) -> None:
    for key in ("id", "title"):
        values = [panel[key] for panel in panels(file)]
        assert len(set(values)) == len(values), key


@every_dashboard
def test_panels_do_not_overlap(file: Path) -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in panels(file):
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24, panel["title"]
        columns = range(grid["x"], grid["x"] + grid["w"])
        rows = range(grid["y"], grid["y"] + grid["h"])
        taken.update((x, y) for x in columns for y in rows)
    assert [cell for cell, n in taken.items() if n > 1] == []


@every_panel
def test_panel_has_title_unit_and_description(panel: dict[str, Any]) -> None:
    assert panel["title"].strip()
    assert panel["fieldConfig"]["defaults"]["unit"]
    # Long enough to say what to do, not only what is shown.
    assert len(panel["description"]) > 40


@every_panel
def test_panel_and_its_targets_ask_the_provisioned_datasource(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    assert panel["datasource"] == DATASOURCE
    assert [target["datasource"] for target in panel["targets"]] == [DATASOURCE] * len(
        panel["targets"]
    )


@every_panel
def test_panel_asks_for_metrics_that_exist(panel: dict[str, Any], known_metrics: set[str]) -> None:
    for target in panel["targets"]:
        names = metric_names(target["expr"])
        assert names, target["expr"]
        assert names <= known_metrics, target["expr"]


def test_provisioned_datasource_has_the_uid_that_the_dashboards_name() -> None:
    role_vars = (ROOT / "roles/monitoring/vars/main.yml").read_text(encoding="utf-8")
    assert f"__monitoring_datasource_uid: {DATASOURCE['uid']}\n" in role_vars


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('up{job="api"}', {"up"}),
        ("sum by (service, le) (rate(a_total[$__rate_interval]))", {"a_total"}),
        ('rate(a{s="5xx"}[1m]) / (sum by (x) (b) > 0) or vector(0)', {"a", "b"}),
        ("histogram_quantile(0.95, h_bucket) == bool 1e3", {"h_bucket"}),
    ],
)
def test_metric_names_are_found_in_promql(expression: str, names: set[str]) -> None:
    assert metric_names(expression) == names
