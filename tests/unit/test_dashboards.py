"""Grafana's dashboards: whole, and about metrics that exist."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

import gen_dashboards

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
# What Prometheus (2.53) keeps of the alerts that fire, and tells of itself.
PROMETHEUS_OWN_METRICS = {
    "ALERTS",
    "ALERTS_FOR_STATE",
    "prometheus_config_last_reload_successful",
    "prometheus_rule_evaluation_failures_total",
    "prometheus_tsdb_head_chunks_storage_size_bytes",
    "prometheus_tsdb_head_series",
    "prometheus_tsdb_storage_blocks_bytes",
    "prometheus_tsdb_wal_storage_size_bytes",
}
# The node exporter.
MACHINE_METRICS = {
    "node_boot_time_seconds",
    "node_cpu_seconds_total",
    "node_disk_io_time_seconds_total",
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
    "node_load1",
    "node_memory_MemAvailable_bytes",
    "node_memory_MemTotal_bytes",
    "node_memory_SwapFree_bytes",
    "node_memory_SwapTotal_bytes",
    "node_pressure_cpu_waiting_seconds_total",
    "node_pressure_io_waiting_seconds_total",
    "node_pressure_memory_waiting_seconds_total",
    "node_textfile_mtime_seconds",
    "node_time_seconds",
    "node_vmstat_oom_kill",
}
# The blackbox exporter's handshake with the gateway.
HANDSHAKE_METRICS = {"probe_ssl_earliest_cert_expiry", "probe_success"}
# ProcessCollector reads /proc and so exports nothing on other systems than Linux.
PROCESS_METRICS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}

PROMQL_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(duration: str) -> int:
    """Return the length of one of PromQL's durations, as 30m."""
    return int(duration[:-1]) * SECONDS[duration[-1]]


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


def access_log_metrics() -> set[str]:
    """What the program of mtail counts."""
    text = (ROOT / "roles/monitoring/files/exporters/gateway.mtail").read_text()
    counters = re.findall(r"(?m)^counter (\w+)", text)
    histograms = re.findall(r"(?m)^histogram (\w+)", text)
    return {*counters, *(f"{name}_{part}" for name in histograms for part in ("bucket", "count"))}


def watch_metrics() -> set[str]:
    """What the watch writes for the node exporter."""
    from machine.metrics import CONTAINER_METRICS

    names = {f"stack_container_{name}" for name in CONTAINER_METRICS}
    return {"stack_change_timestamp_seconds", *names}


def recorded_metrics() -> set[str]:
    text = (ROOT / "roles/monitoring/files/rules/recording.yml").read_text()
    return set(re.findall(r"(?m)^ +- record: (\S+)", text))


@pytest.fixture(scope="module")
def known_metrics() -> set[str]:
    """What the replicas export, asked of the service's own code, and what others export."""
    from prometheus_client.parser import text_string_to_metric_families

    from api.metrics import Metrics
    from api.model import Manifest

    metrics = Metrics("v1", Manifest.model_validate_json((ROOT / "model/model.json").read_text()))
    metrics.duration.observe(0.001)
    families = text_string_to_metric_families(metrics.render().decode())
    own = {sample.name for family in families for sample in family.samples}
    return own.union(
        EXPORTER_METRICS,
        PROMETHEUS_METRICS,
        PROMETHEUS_OWN_METRICS,
        PROCESS_METRICS,
        MACHINE_METRICS,
        HANDSHAKE_METRICS,
        access_log_metrics(),
        watch_metrics(),
        recorded_metrics(),
    )


every_dashboard = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
every_panel = pytest.mark.parametrize(
    "panel",
    [
        pytest.param(panel, id=f"{file.stem}: {panel.get('title')}")
        for file in FILES
        for panel in panels(file)
    ],
)


def test_there_are_four_dashboards_and_each_file_is_named_by_its_uid() -> None:
    assert [file.stem for file in FILES] == ["gateway", "host", "model", "overview"]
    assert [dashboard(file)["uid"] for file in FILES] == [file.stem for file in FILES]


def test_committed_dashboards_are_what_the_program_builds() -> None:
    assert gen_dashboards.stale(FOLDER) == [], "run `make dashboards` and commit what it writes"


def test_check_names_each_file_that_is_missing_or_differs_or_is_no_longer_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path)]
    assert gen_dashboards.main(out) == 0
    assert gen_dashboards.main(["--check", *out]) == 0
    (tmp_path / "host.json").unlink()
    (tmp_path / "model.json").write_text("{}\n", encoding="utf-8")
    (tmp_path / "old.json").write_text("{}\n", encoding="utf-8")
    assert gen_dashboards.main(["--check", *out]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [Path(line.split()[0]).name for line in lines] == ["host.json", "model.json", "old.json"]
    assert all("make dashboards" in line for line in lines)


@every_dashboard
def test_types_of_grafana_lose_nothing_of_a_dashboard(file: Path) -> None:
    register_default_plugins()
    assert gen_dashboards.render(Dashboard.from_json(dashboard(file))) == file.read_text(
        encoding="utf-8"
    )


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
def test_dashboard_links_to_the_others_above_its_panels(file: Path) -> None:
    links = dashboard(file)["links"]
    assert {link["url"] for link in links} == {
        f"/d/{other.stem}" for other in FILES if other != file
    }
    # Elsewhere is a menu, in which some releases of Grafana show no links.
    assert [link for link in links if "placement" in link] == []


@every_dashboard
def test_dashboard_marks_each_change_at_its_time(file: Path, known_metrics: set[str]) -> None:
    (mark,) = dashboard(file)["annotations"]["list"]
    assert mark["datasource"] == DATASOURCE
    assert mark["enable"] is True
    assert metric_names(mark["expr"]) <= known_metrics
    # Grafana takes the figure for milliseconds.
    assert mark["expr"].endswith("_timestamp_seconds * 1000")
    assert mark["useValueForTime"] is True
    shown = mark["titleFormat"] + mark["textFormat"]
    assert set(re.findall(r"{{(\w+)}}", shown)) == {"what", "release", "result"}


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
    # A table's unit is one column's.
    assert ("unit" in panel["fieldConfig"]["defaults"]) is (panel["type"] != "table")
    # Long enough to say what to do, not only what is shown.
    assert len(panel["description"]) > 40


@every_panel
def test_panel_says_what_to_do_when_it_is_red_or_that_it_has_no_red(panel: dict[str, Any]) -> None:
    config = panel["fieldConfig"]
    steps = config["defaults"].get("thresholds", {}).get("steps", [])
    colors = [
        override["properties"][0]["value"]
        for override in config["overrides"]
        if override["properties"][0]["id"] == "color"
    ]
    has_red = bool(colors) or "red" in [step["color"] for step in steps]
    says_none = "there is no red" in panel["description"].lower()
    if panel["type"] == "table":
        assert not has_red
    else:
        assert re.search(r"\b[Rr]ed\b", panel["description"])
        assert has_red is not says_none


@every_panel
def test_unit_of_a_table_is_that_of_its_numbers_alone(panel: dict[str, Any]) -> None:
    if panel["type"] != "table":
        return
    (columns,) = (
        step["options"]["renameByName"]
        for step in panel["transformations"]
        if step["id"] == "organize"
    )
    units = {
        override["matcher"]["options"]
        for override in panel["fieldConfig"]["overrides"]
        if override["properties"][0]["id"] == "unit"
    }
    assert units == {heading for name, heading in columns.items() if name == "Value"}


@every_panel
def test_no_unit_becomes_another_as_the_value_grows(panel: dict[str, Any]) -> None:
    # 365 of "d" are "52.1 weeks".
    assert panel["fieldConfig"]["defaults"].get("unit") not in ("m", "h", "d")


@every_panel
def test_a_prediction_waits_until_its_window_is_full(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        windows = re.findall(r"predict_linear\([^[]*\[(\w+)\]", target["expr"])
        assert not windows or f"offset {max(windows, key=seconds)}" in target["expr"]


@every_panel
def test_folders_of_one_disk_are_one_series(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert "node_filesystem_" not in target["expr"]


@every_panel
def test_many_series_have_their_legend_beside_the_picture(panel: dict[str, Any]) -> None:
    """A label with many values, two labels, or three quantiles of each replica."""
    legends = [target.get("legendFormat", "") for target in panel["targets"]]
    labels = [label for legend in legends for label in re.findall(r"{{(\w+)}}", legend)]
    many = "container" in labels or labels.count("replica") > 1 or len(labels) > len(legends)
    if panel["type"] == "timeseries":
        assert panel["options"]["legend"]["placement"] == ("right" if many else "bottom")


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
