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
from host.test_dashboards_live import GRAFANA_VARIABLES

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


def disk(available: str, size: str = "100x500") -> Series:
    """The three watched folders of one disk."""
    labels = '{device="/dev/vda",fstype="ext4",mountpoint="/watched/%s"}'
    return {
        f"node_filesystem_{what}_bytes{labels % folder}": values
        for what, values in {"avail": available, "size": size}.items()
        for folder in ("data", "log", "config")
    }


# Another model than before, half an hour ago.
NEW_MODEL: Series = {
    'api_model_info{service="v1",replica="v1-1",version="a"}': "1x70 _x60",
    'api_model_info{service="v1",replica="v1-1",version="b"}': "_x70 1x60",
}
WELL = {"joy": 10, "gloom": 10}
CARD = {"joy": 0.5, "gloom": 0.5}
CONTAINER = '{container="emotions-api-v1-1",component="api"}'
HOST_UP = 'up{job="host"}'
WATCHED = 'node_textfile_mtime_seconds{file="stack.prom"}'
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
        [{HOST_UP: "1x80"}, {WATCHED: "0x80"}],
        [{WATCHED: "0+15x80"}, {HOST_UP: "_x10 1x70"}],
        at="17m",
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
        answers("96x80", "100x80"),
        [answers("99x80", "100x80"), answers("1.9x80", "2x80")],
        at="6h",
        interval="5m",
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
        # Within a day, and within hours.
        [disk("30-0.1x90"), disk("30x72 30-1x18")],
        [
            disk("30-0.01x90"),
            disk("90-0.2x90"),
            # An image's build, two hours ago and just now.
            disk("30x60 20x30"),
            disk("30x78 30-3x2 22x10"),
        ],
        at="7h25m",
        interval="5m",
    ),
    "DiskAlmostFull": Case(disk("4x60"), disk("6x60")),
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
    "PrometheusDropsSamples": Case(
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


# --- the first two hours of a new machine ---------------------------------------------------------

# Each value counts for 15 s. Images are built and tests run for forty minutes, which takes 3.5 GB
# of the 9 that are free; the first run starts the watch last.
BUSY, REST = 160, 320
HOURS = BUSY + REST
EARLY = f"0+1x{BUSY} {BUSY}x{REST}"
ONE_EVENT = f"0x20 1x{HOURS - 20}"
CONTAINERS = ("api-v1-1", "nginx-1", "prometheus-1")
REPLICA = 'service="v1",replica="v1-1"'


def watched(values: str) -> str:
    """The values of a metric that the watch writes: from the tenth minute on."""
    return f"_x40 {values}x{HOURS - 40}"


NEW_MACHINE: Series = {
    **disk(f"9000000000-22000000x{BUSY} 5480000000-250000x{REST}", f"20000000000x{HOURS}"),
    **{
        f'up{{job="{job}"}}': f"1x{HOURS}" for job in ("gateway", "access-log", "tls", "prometheus")
    },
    HOST_UP: f"1x{HOURS}",
    f'up{{job="api",{REPLICA}}}': f"1x{HOURS}",
    "nginx_up": f"1x{HOURS}",
    'probe_success{job="tls"}': f"1x{HOURS}",
    EXPIRY: f"{365 * DAY}x{HOURS}",
    # Checks and tests ask for a prediction each 15 s. One fails; the first four are slow.
    f'gateway_requests_total{{route="predict",{REPLICA},status="200"}}': EARLY,
    'gateway_requests_total{route="predict",service="v1",replica="",status="503"}': ONE_EVENT,
    "gateway_valid_requests_total": EARLY,
    "gateway_failures_total": ONE_EVENT,
    f"gateway_upstream_duration_seconds_count{{{REPLICA}}}": EARLY,
    f'gateway_upstream_duration_seconds_bucket{{{REPLICA},le="0.1"}}': (
        f"0x3 0+1x{BUSY - 4} {BUSY - 4}x{REST}"
    ),
    **{
        f"gateway_{what}_total": f"0x{HOURS}" for what in ("limited", "retries", "unreadable_lines")
    },
    "gateway_unauthorized_total": f"0x10 8x{HOURS - 10}",
    f'api_model_info{{{REPLICA},version="a"}}': f"1x{HOURS}",
    f"api_model_not_compiled{{{REPLICA}}}": f"0x{HOURS}",
    # Always the same sentence.
    f'api_predictions_total{{{REPLICA},label="joy"}}': EARLY,
    f'api_model_reference_share{{{REPLICA},label="joy"}}': f"0.5x{HOURS}",
    f'api_model_reference_share{{{REPLICA},label="gloom"}}': f"0.5x{HOURS}",
    f'api_prediction_coverage_bucket{{{REPLICA},le="0.5"}}': EARLY,
    f"api_prediction_coverage_count{{{REPLICA}}}": EARLY,
    f'api_model_reference_coverage{{{REPLICA},le="0.5"}}': f"0.05x{HOURS}",
    WATCHED: f"_x40 600+15x{HOURS - 40}",
    **{
        f'stack_container_{what}{{container="{name}"}}': watched(value)
        for name in CONTAINERS
        for what, value in {
            **{"running": "1", "healthy": "1", "restarts_total": "0"},
            **{"memory_bytes": "50", "memory_limit_bytes": "100"},
        }.items()
    },
    'stack_change_timestamp_seconds{what="start-project",result="done"}': watched("590"),
    "node_memory_MemAvailable_bytes": f"50x{HOURS}",
    "node_memory_MemTotal_bytes": f"100x{HOURS}",
    "node_memory_SwapFree_bytes": f"0x{HOURS}",
    "node_memory_SwapTotal_bytes": f"0x{HOURS}",
    "node_vmstat_oom_kill": f"0x{HOURS}",
    "prometheus_config_last_reload_successful": f"1x{HOURS}",
    "prometheus_rule_evaluation_failures_total": f"0x{HOURS}",
    "prometheus_tsdb_wal_corruptions_total": f"0x{HOURS}",
    "prometheus_tsdb_compactions_failed_total": f"0x{HOURS}",
}

DASHBOARDS = FOLDER.parent / "dashboards"


def red(panel: Mapping[str, Any]) -> list[str]:
    """The queries of a figure's panel, each with the condition under which it is red."""
    if panel["type"] not in ("stat", "bargauge"):
        return []
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    if steps[0]["color"] == "red":
        condition = f"< {steps[1]['value']}"
    elif steps[-1]["color"] == "red":
        condition = f">= {steps[-1]['value']}"
    else:
        return []
    found = []
    for target in panel["targets"]:
        expression = target["expr"]
        for name, value in GRAFANA_VARIABLES.items():
            expression = expression.replace(name, value)
        found.append(f"({expression}) {condition}")
    return found


def new_machine() -> dict[str, Any]:
    """Nothing fires and nothing is red, at any minute of two hours: each query returns nothing."""
    queries = ['ALERTS{alertstate="firing"}']
    for file in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            queries += red(panel)
    assert any("predict_linear" in query for query in queries)
    series = [{"series": name, "values": values} for name, values in NEW_MACHINE.items()]
    tests = [
        {"expr": f"max_over_time(({query})[2h:1m])", "eval_time": "2h", "exp_samples": []}
        for query in queries
    ]
    return {
        "evaluation_interval": "15s",
        "tests": [{"interval": "15s", "input_series": series, "promql_expr_test": tests}],
    }


# A disk that fills fires once, whatever it holds, and on a new machine within two hours.
FILLING: dict[str, Any] = {
    "evaluation_interval": "1m",
    "tests": [
        {
            "interval": "1m",
            "input_series": [
                {"series": name, "values": values} for name, values in disk("35-0.15x120").items()
            ],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname, device) (ALERTS{alertstate="firing"})',
                    "eval_time": "2h",
                    "exp_samples": [
                        {"labels": '{alertname="DiskFills",device="/dev/vda"}', "value": 1}
                    ],
                }
            ],
        }
    ],
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
    return found | {"new machine": new_machine(), "filling": FILLING}


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


def test_nothing_fires_and_nothing_is_red_on_a_new_machine(verdicts: dict[str, str]) -> None:
    assert verdicts["new machine"].strip().endswith("SUCCESS"), verdicts["new machine"]


def test_a_disk_that_fills_fires_once_and_within_two_hours(verdicts: dict[str, str]) -> None:
    assert verdicts["filling"].strip().endswith("SUCCESS"), verdicts["filling"]


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
