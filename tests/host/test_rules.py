"""Every alert fires when it should and only then; every figure made of others is right.

promtool tries the rule files of the running Prometheus, in a container of its image, with made-up
series: time costs nothing there, and begins at 0.
"""

import base64
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from testinfra.host import Host

from host.stack import SCRATCH, STACK

pytestmark = pytest.mark.host

FOLDER = Path(__file__).resolve().parents[2] / "roles/monitoring/files/rules"
DAY = 86_400

Series = Mapping[str, str]


class Case(NamedTuple):
    """What fires an alert, what does not, and after how long one looks."""

    fires: Series | list[Series]
    quiet: Series | list[Series]
    at: str = "10m"
    interval: str = "15s"


def requests(good: str, bad: str = "0x1") -> Series:
    """Predictions as the access log counts them, good ones and failed ones: increase a minute."""
    name = 'gateway_requests_total{route="predict",service="v1",replica="%s",status="%s"}'
    times = good.partition("x")[2]
    both = f"{sum(float(part.partition('x')[0]) for part in (good, bad)):g}x{times}"
    return {
        name % ("v1-1", 200): f"0+{good}",
        name % ("", 503): f"0+{bad}",
        "gateway_failures_total": f"0+{bad}",
        "gateway_valid_requests_total": f"0+{both}",
    }


def refused(counter: str, good: str, bad: str) -> Series:
    """Good requests, and those that the gateway refused: increase each 15 s."""
    name = 'gateway_requests_total{route="predict",service="v1",replica="v1-1",status="200"}'
    return {name: f"0+{good}", counter: f"0+{bad}"}


def answers(fast: str, every: str) -> Series:
    """Answered predictions within 100 ms, and all."""
    name, labels = "gateway_upstream_duration_seconds", 'service="v1",replica="v1-1"'
    return {
        f'{name}_bucket{{{labels},le="0.1"}}': f"0+{fast}",
        f"{name}_count{{{labels}}}": f"0+{every}",
    }


def each_minute(value: float) -> Series:
    return {'up{job="api",service="v1",replica="v1-1"}': f"{value}x60"}


def predictions(of: dict[str, int], reference: dict[str, float]) -> Series:
    """Predictions by label, so many a minute, and the model card's share of each."""
    return {
        f'api_predictions_total{{service="v1",replica="v1-1",label="{label}"}}': f"0+{count}x120"
        for label, count in of.items()
    } | {
        f'api_model_reference_share{{service="v1",replica="v1-1",label="{label}"}}': f"{share}x120"
        for label, share in reference.items()
    }


def coverage(half: int, every: int, reference: float) -> Series:
    """Predictions a minute of whose tokens at most half are known, all, and the card's share."""
    name, labels = "api_prediction_coverage", 'service="v1",replica="v1-1"'
    return {
        f'{name}_bucket{{{labels},le="0.5"}}': f"0+{half}x120",
        f'{name}_bucket{{{labels},le="+Inf"}}': f"0+{every}x120",
        f"{name}_count{{{labels}}}": f"0+{every}x120",
        f'api_model_reference_coverage{{{labels},le="0.5"}}': f"{reference}x120",
    }


# Another model than before, half an hour ago.
NEW_MODEL: Series = {
    'api_model_info{service="v1",replica="v1-1",version="a"}': "1x70 _x60",
    'api_model_info{service="v1",replica="v1-1",version="b"}': "_x70 1x60",
}
WELL = {"joy": 10, "gloom": 10}
CARD = {"joy": 0.5, "gloom": 0.5}
CONTAINER = '{container="emotions-api-v1-1",component="api"}'
DISK = '{mountpoint="/watched/data"}'
FOUND = "prometheus_notifications_alertmanagers_discovered"
EXPIRY = "probe_ssl_earliest_cert_expiry"

CASES: dict[str, Case] = {
    "GatewayDown": Case(
        [{'probe_success{job="tls"}': "0x60"}, {"nginx_up": "0x60"}],
        [{'probe_success{job="tls"}': "1x60", "nginx_up": "1x60"}, {"nginx_up": "1x30 0 1x30"}],
    ),
    "ReplicaDown": Case(each_minute(0), [each_minute(1), {'up{job="tls"}': "0x60"}]),
    "NoReplica": Case(
        {'up{job="api",service="v1",replica="v1-1"}': "0x60"},
        {
            'up{job="api",service="v1",replica="v1-1"}': "0x60",
            'up{job="api",service="v1",replica="v1-2"}': "1x60",
        },
    ),
    "ReplicaWasHung": Case(
        {'stack_change_timestamp_seconds{what="self-healing",result="restarted x"}': "300x40"},
        [
            {'stack_change_timestamp_seconds{what="self-healing",result="restarted x"}': "-60x40"},
            {'stack_change_timestamp_seconds{what="deploy",result="done"}': "300x40"},
        ],
    ),
    "RestartLoop": Case(
        {f"stack_container_restarts_total{CONTAINER}": "0x10 1x10 2x10 3x10 4x10 5x20"},
        {f"stack_container_restarts_total{CONTAINER}": "0x10 1x60"},
        at="15m",
    ),
    "ContainerUnhealthy": Case(
        [
            {f"stack_container_running{CONTAINER}": "0x60"},
            {f"stack_container_healthy{CONTAINER}": "0x60"},
        ],
        {
            f"stack_container_running{CONTAINER}": "1x60",
            f"stack_container_healthy{CONTAINER}": "1x60",
        },
    ),
    "ExporterDown": Case({'up{job="host"}': "0x60"}, [{'up{job="host"}': "1x60"}, each_minute(0)]),
    "MachineNotWatched": Case(
        [{}, {'node_textfile_mtime_seconds{file="stack.prom"}': "0x60"}],
        {'node_textfile_mtime_seconds{file="stack.prom"}': "0+15x60"},
    ),
    "LogNotUnderstood": Case(
        {"gateway_unreadable_lines_total": "0x20 3x30"}, {"gateway_unreadable_lines_total": "5x60"}
    ),
    "ErrorBudgetBurnsFast": Case(
        requests("980x70", "20x70"),
        [requests("1000x70", "5x70"), requests("1x70", "0.1x70")],
        at="65m",
        interval="1m",
    ),
    "ErrorBudgetBurns": Case(
        requests("4980x80", "20x80"),
        [requests("5000x80", "5x80"), requests("1x80", "0.1x80")],
        at="6h",
        interval="5m",
    ),
    "LatencyBudgetBurnsFast": Case(
        answers("90x70", "100x70"),
        [answers("95x70", "100x70"), answers("0.1x70", "1x70")],
        at="65m",
        interval="1m",
    ),
    "LatencyBudgetBurns": Case(
        answers("96x80", "100x80"), answers("99x80", "100x80"), at="6h", interval="5m"
    ),
    "PasswordsGuessed": Case(
        refused("gateway_unauthorized_total", "0x40", "10x40"),
        refused("gateway_unauthorized_total", "0x40", "1x40"),
    ),
    "RateLimitSurge": Case(
        refused("gateway_limited_total", "10x40", "40x40"),
        [
            refused("gateway_limited_total", "400x40", "40x40"),
            refused("gateway_limited_total", "1x40", "1x40"),
        ],
    ),
    "CertificateEndsIn21Days": Case({EXPIRY: f"{20 * DAY}x60"}, {EXPIRY: f"{22 * DAY}x60"}),
    "CertificateEndsIn7Days": Case({EXPIRY: f"{6 * DAY}x60"}, {EXPIRY: f"{8 * DAY}x60"}),
    "CertificateEndsIn2Days": Case({EXPIRY: f"{DAY}x60"}, {EXPIRY: f"{3 * DAY}x60"}),
    "DiskFills": Case(
        {
            f"node_filesystem_avail_bytes{DISK}": "30-0.2x100",
            f"node_filesystem_size_bytes{DISK}": "100x100",
        },
        [
            {
                f"node_filesystem_avail_bytes{DISK}": "30-0.01x100",
                f"node_filesystem_size_bytes{DISK}": "100x100",
            },
            {
                f"node_filesystem_avail_bytes{DISK}": "90-0.2x100",
                f"node_filesystem_size_bytes{DISK}": "100x100",
            },
        ],
        at="6h",
        interval="5m",
    ),
    "DiskAlmostFull": Case(
        {
            f"node_filesystem_avail_bytes{DISK}": "4x60",
            f"node_filesystem_size_bytes{DISK}": "100x60",
        },
        {
            f"node_filesystem_avail_bytes{DISK}": "6x60",
            f"node_filesystem_size_bytes{DISK}": "100x60",
        },
    ),
    "MemoryNearLimit": Case(
        {
            f"stack_container_memory_bytes{CONTAINER}": "95x60",
            f"stack_container_memory_limit_bytes{CONTAINER}": "100x60",
        },
        [
            {
                f"stack_container_memory_bytes{CONTAINER}": "85x60",
                f"stack_container_memory_limit_bytes{CONTAINER}": "100x60",
            },
            {
                f"stack_container_memory_bytes{CONTAINER}": "95x60",
                f"stack_container_memory_limit_bytes{CONTAINER}": "0x60",
            },
        ],
    ),
    "MachineOutOfMemory": Case(
        {"node_memory_MemAvailable_bytes": "4x60", "node_memory_MemTotal_bytes": "100x60"},
        {"node_memory_MemAvailable_bytes": "6x60", "node_memory_MemTotal_bytes": "100x60"},
    ),
    "LabelsDrift": Case(
        predictions({"joy": 19, "gloom": 1}, CARD),
        [
            predictions(WELL, CARD),
            predictions({"joy": 1, "gloom": 0}, CARD),
            {**predictions({"joy": 19, "gloom": 1}, CARD), **NEW_MODEL},
        ],
        at="100m",
        interval="1m",
    ),
    "CoverageDrifts": Case(
        coverage(10, 20, 0.05),
        [
            coverage(2, 20, 0.05),
            coverage(1, 2, 0.05),
            {**coverage(10, 20, 0.05), **NEW_MODEL},
        ],
        at="100m",
        interval="1m",
    ),
    "ModelNotCompiled": Case(
        {'api_model_not_compiled{service="v1"}': "1x60"},
        {'api_model_not_compiled{service="v1"}': "0x60"},
    ),
    "PrometheusKeepsOldConfiguration": Case(
        {"prometheus_config_last_reload_successful": "0x60"},
        {"prometheus_config_last_reload_successful": "1x60"},
    ),
    "PrometheusRulesFail": Case(
        {'prometheus_rule_evaluation_failures_total{rule_group="x"}': "0x20 1x40"},
        {'prometheus_rule_evaluation_failures_total{rule_group="x"}': "4x60"},
    ),
    "PrometheusLosesFigures": Case(
        [
            {"prometheus_tsdb_wal_corruptions_total": "0x20 1x40"},
            {"prometheus_tsdb_compactions_failed_total": "0x20 1x40"},
        ],
        {
            "prometheus_tsdb_wal_corruptions_total": "1x60",
            "prometheus_tsdb_compactions_failed_total": "1x60",
        },
    ),
    "AlertsNotDelivered": Case(
        [
            {"prometheus_notifications_dropped_total": "0+1x60", FOUND: "1x60"},
            {"prometheus_notifications_errors_total": "0+1x60", FOUND: "1x60"},
        ],
        [
            {"prometheus_notifications_dropped_total": "3x60", FOUND: "1x60"},
            # Nobody wants alerts.
            {"prometheus_notifications_dropped_total": "0+1x60", FOUND: "0x60"},
        ],
    ),
}

# Name of a recorded figure -> series, labels, value.
FIGURES: dict[str, tuple[Series, str, float]] = {
    "service:gateway_requests:rate5m": (requests("60x60"), '{service="v1"}', 1),
    "service_replica:gateway_requests:rate5m": (
        requests("60x60"),
        '{service="v1",replica="v1-1"}',
        1,
    ),
    "service:gateway_errors:ratio_rate5m": (requests("90x60", "10x60"), '{service="v1"}', 0.1),
    "gateway:availability_errors:ratio_rate1h": (requests("90x60", "10x60"), "{}", 0.1),
    "gateway:slow:ratio_rate1h": (answers("90x60", "100x60"), "{}", 0.1),
    "slo:error_budget_left:ratio7d": (
        requests("9995x60", "5x60"),
        '{slo="availability"}',
        0.5,
    ),
    "service:models:count1h": (NEW_MODEL, '{service="v1"}', 1),
    "service_label:prediction_share:ratio1h": (
        predictions({"joy": 30}, CARD),
        '{service="v1",label="joy"}',
        1,
    ),
    # (0.75 - 0.5) ln(0.75 / 0.5) + (0.25 - 0.5) ln(0.25 / 0.5)
    "service:prediction_label_psi:1h": (
        predictions({"joy": 30, "gloom": 10}, CARD),
        '{service="v1"}',
        0.274653072,
    ),
    "service:prediction_coverage_distance:1h": (coverage(10, 20, 0.1), '{service="v1"}', 0.4),
    "container:memory:ratio": (
        {
            f"stack_container_memory_bytes{CONTAINER}": "80x60",
            f"stack_container_memory_limit_bytes{CONTAINER}": "100x60",
        },
        CONTAINER,
        0.8,
    ),
}


def trial(case: Case, series: Series, alert: str, firing: int) -> dict[str, Any]:
    expression = f'(count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0) or vector(0)'
    return {
        "interval": case.interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": case.at,
                "exp_samples": [{"labels": "{}", "value": firing}],
            }
        ],
    }


def listed(series: Series | list[Series]) -> list[Series]:
    return series if isinstance(series, list) else [series]


def trials() -> dict[str, dict[str, Any]]:
    """Return the content of promtool's file for each alert and each recorded figure."""
    found: dict[str, dict[str, Any]] = {}
    for alert, case in CASES.items():
        tests = [trial(case, series, alert, firing=1) for series in listed(case.fires)]
        tests += [trial(case, series, alert, firing=0) for series in listed(case.quiet)]
        # Minutes as Prometheus does it; hours more rarely, for the time that this takes.
        found[alert] = {"evaluation_interval": case.interval, "tests": tests}
    for name, (series, labels, value) in FIGURES.items():
        test = {
            "interval": "1m",
            "input_series": [{"series": s, "values": values} for s, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": f"abs({name}{labels} - {value}) < bool 1e-6",
                    "eval_time": "60m",
                    "exp_samples": [{"labels": labels, "value": 1}],
                }
            ],
        }
        found[name] = {"evaluation_interval": "1m", "tests": [test]}
    return found


@pytest.fixture(scope="module")
def verdicts(host: Host, root: None) -> dict[str, str]:
    """What promtool says of each trial, by the name of its alert or figure.

    All in one container: on a slow machine its start takes longer than most trials.
    """
    files = io.BytesIO()
    with tarfile.open(fileobj=files, mode="w:gz") as archive:
        for name, content in trials().items():
            text = json.dumps({"rule_files": ["/etc/stack/rules/*.yml"], **content}).encode()
            entry = tarfile.TarInfo(f"{name}.json")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    packed = base64.b64encode(files.getvalue()).decode()
    image = host.check_output(
        "docker inspect --format {{.Config.Image}} %s", f"{STACK}-prometheus-1"
    )
    command = (
        f"{SCRATCH} --tmpfs /tmp --workdir /tmp "
        f"--volume /etc/{STACK}/prometheus:/etc/stack:ro --entrypoint bash {image} "
        "-c 'tar --extract --gzip && promtool test rules *.json 2>&1'"
    )
    # It ends with an error where one trial fails, and its words are each test's to judge.
    result = host.run(f"echo {packed} | base64 --decode | {command}")
    parts = result.stdout.split("Unit Testing:")[1:]
    assert parts, result.stdout + result.stderr
    return {part.split(".json")[0].strip(): part for part in parts}


def rules(name: str) -> set[str]:
    """Return the names of the alerts, or of the recorded figures, of the rule files."""
    groups = [g for f in FOLDER.glob("*.yml") for g in yaml.safe_load(f.read_text())["groups"]]
    return {rule[name] for group in groups for rule in group["rules"] if name in rule}


def test_every_alert_has_its_trials() -> None:
    assert rules("alert") == set(CASES)


@pytest.mark.parametrize("alert", CASES)
def test_alert_fires_when_it_should_and_only_then(verdicts: dict[str, str], alert: str) -> None:
    assert verdicts[alert].strip().endswith("SUCCESS"), verdicts[alert]


@pytest.mark.parametrize("name", FIGURES)
def test_recorded_figure_is_right(verdicts: dict[str, str], name: str) -> None:
    assert verdicts[name].strip().endswith("SUCCESS"), verdicts[name]


def test_every_alert_says_what_to_do() -> None:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        assert rule["labels"]["severity"] in ("info", "warning", "critical"), rule["alert"]
        assert len(rule["annotations"]["summary"]) > 10, rule["alert"]
        # What it is, and what to do.
        assert rule["annotations"]["description"].count(" ") > 6, rule["alert"]


def test_the_windows_of_an_objective_differ_in_their_length_only() -> None:
    groups = yaml.safe_load((FOLDER / "recording.yml").read_text())["groups"]
    found: dict[str, set[str]] = {}
    for rule in (rule for group in groups for rule in group["rules"]):
        name, _, window = rule["record"].partition(":ratio_rate")
        if name.startswith("gateway:"):
            found.setdefault(name, set()).add(rule["expr"].replace(f"[{window}]", "[]"))
    assert {name: len(texts) for name, texts in found.items()} == {
        "gateway:availability_errors": 1,
        "gateway:slow": 1,
    }
