"""Every query of every dashboard, asked of the running Prometheus, on its machine's loopback.

And what a reader sees of the results, by Grafana's own library.
"""

import json
import math
import re
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host

from host.stack import CURL, predict

pytestmark = pytest.mark.host

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "roles/monitoring/files/dashboards").glob("*.json"))
# What Grafana puts there: four scrape intervals of 15 s, and the time that the dashboard shows.
GRAFANA_VARIABLES = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h"}
# Metrics that a healthy stack may not have: no alert fires, the last hour saw fewer than 500
# predictions, the machine is watched for less than six hours, the kernel does not count pressure.
MAY_BE_MISSING = (
    *("ALERTS_FOR_STATE", "_psi:1h", "_distance:1h", ">= 500", "offset 6h", "node_pressure_"),
)
# Two scrapes after the first request, rules that are evaluated each minute, and some more.
PATIENCE_SECONDS = 180
# Seen at work: figure -> how many series it then has. Those made of others are there last.
SEEN = {
    "sum by (service) (rate(api_requests_total[1m])) > 0": 2,
    "sum by (service) (rate(gateway_upstream_duration_seconds_count[1m])) > 0": 2,
    "service:gateway_duration_seconds:p95_5m": 2,
    "gateway:slow:ratio_rate5m": 1,
    "slo:error_budget_left:ratio7d": 2,
}


def queries() -> dict[str, str]:
    """Return the expression of each query, by dashboard, panel and letter."""
    return {
        f"{file.stem}: {panel['title']} {target['refId']}": target["expr"]
        for file in FILES
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]
        for target in panel.get("targets", [])
    }


QUERIES = queries()
PANELS: dict[str, dict[str, Any]] = {
    f"{file.stem}: {panel['title']}": panel
    for file in FILES
    for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]
    if panel.get("targets")
}
# On a healthy stack no alert fires, and the table of those that do has no row.
MADE_UP: dict[str, list[dict[str, Any]]] = {
    "overview: Which alerts fire? A": [
        {
            "metric": {"alertname": "ReplicaDown", "severity": "warning", "replica": "v1-1"},
            "value": [1.8e9, "1800000000000"],
        },
        {
            "metric": {"alertname": "DiskFills", "severity": "warning", "device": "/dev/vda"},
            "value": [1.8e9, "1799999000000"],
        },
    ]
}

# The library, of the version that the role runs, and what it needs.
GRAFANA = yaml.safe_load((ROOT / "roles/monitoring/defaults/main.yml").read_text())
GRAFANA_VERSION = GRAFANA["monitoring_grafana_version"]
PACKAGES = (f"@grafana/data@{GRAFANA_VERSION}", "react@18.3.1", "react-dom@18.3.1", "jsdom@26.1.0")
OLDEST_NODE = 18

NUMBER = r"-?\d+(\.\d+)?"
# Unit -> what a reader may see of a number. A unit that is missing here is not known to show well.
SHOWN = {
    "short": rf"{NUMBER}( K| Mil| Bil)?",
    "percentunit": rf"{NUMBER}%",
    "s": rf"{NUMBER} (ns|µs|ms|s|mins?|hours?|days?|weeks?|years?)",
    "bytes": rf"{NUMBER} (B|KiB|MiB|GiB|TiB)",
    "Bps": rf"{NUMBER} (B|kB|MB|GB)/s",
    "reqps": rf"{NUMBER}K? req/s",
    "ops": rf"{NUMBER}K? ops/s",
    "cps": rf"{NUMBER}K? c/s",
    "suffix:days": r"-?\d+ days",
    "dateTimeAsLocal": r"\d+/\d+/20\d\d, \d\d:\d\d:\d\d\s[AP]M",
}


def ask(host: Host, url: str, expressions: Iterable[str], at: float | None = None) -> list[Any]:
    """The answers to instant queries, now or at a Unix time: all by one command on the machine."""
    moment = {} if at is None else {"time": at}
    asked = []
    for expression in expressions:
        for name, value in GRAFANA_VARIABLES.items():
            expression = expression.replace(name, value)
        query = urllib.parse.urlencode({"query": expression, **moment})
        asked.append(f"{url}/api/v1/query?{query}")
    command = f"{CURL} --write-out '\\n'{' %s' * len(asked)}"
    return [json.loads(line) for line in host.check_output(command, *asked).splitlines()]


def values(answer: Any) -> list[float]:
    """The values of an answer's series, without those that are no number."""
    assert answer["status"] == "success", answer
    found = [float(series["value"][1]) for series in answer["data"]["result"]]
    return [value for value in found if not math.isnan(value)]


@pytest.fixture(scope="module")
def prometheus_url(environment: dict[str, str]) -> str:
    return environment["PROMETHEUS_URL"]


@pytest.fixture(scope="module")
def answers(host: Host, prometheus_url: str) -> dict[str, Any]:
    """What each query is answered once Prometheus has seen both services at work.

    Asked well under the rate limit, and of one moment: a rate looks back a minute.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS

    def seen() -> bool:
        found = ask(host, prometheus_url, SEEN)
        return all(len(values(a)) >= least for a, least in zip(found, SEEN.values(), strict=True))

    while not seen():
        assert time.monotonic() < deadline, "Prometheus saw no requests at the replicas"
        for group in ("", "debug"):
            assert "prediction value" in predict(host, "wonderful", group)
        # Prometheus asks every 15 s; a second between two rounds also keeps within the rate limit.
        time.sleep(1)
    (now,) = ask(host, prometheus_url, ["vector(time())"])
    found = ask(host, prometheus_url, QUERIES.values(), values(now)[0])
    return dict(zip(QUERIES, found, strict=True))


@pytest.mark.parametrize("query", QUERIES)
def test_query_of_a_panel_returns_data(answers: dict[str, Any], query: str) -> None:
    found, expression = values(answers[query]), QUERIES[query]
    assert found or any(part in expression for part in MAY_BE_MISSING), expression


@pytest.fixture(scope="module")
def library() -> Path:
    """Return the folder that holds Grafana's own library, fetched by npm once."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("no npm here to fetch Grafana's library. Debian: apt-get install npm")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Grafana's library wants Node.js {OLDEST_NODE}, here is {version.stdout}")
    folder = ROOT / ".cache" / f"grafana-data-{GRAFANA_VERSION}"
    complete = folder / "installed"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        options = ("--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
        command = ["npm", "install", "--prefix", str(folder), *options, *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode != 0:
            pytest.skip(f"npm could not fetch Grafana's library: {done.stderr.strip()[:200]}")
        complete.touch()
    return folder


def results(answers: dict[str, Any], query: str) -> list[dict[str, Any]]:
    return MADE_UP.get(query) or list(answers[query]["data"]["result"])


@pytest.fixture(scope="module")
def shown(answers: dict[str, Any], library: Path) -> dict[str, list[tuple[str, str]]]:
    """What a reader sees of each panel: (name of the series or column, text) of each value."""
    panels = {
        name: panel
        | {
            "targets": [
                target | {"result": results(answers, f"{name} {target['refId']}")}
                for target in panel["targets"]
            ]
        }
        for name, panel in PANELS.items()
    }
    program = Path(__file__).with_name("panels.mjs")
    command = ["node", str(program), str(library)]
    done = subprocess.run(
        command, input=json.dumps(panels), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return {
        name: [(column, text) for column, text in cells]
        for name, cells in json.loads(done.stdout).items()
    }


@pytest.mark.parametrize("name", PANELS)
def test_panel_shows_each_value_in_its_unit(
    answers: dict[str, Any], shown: dict[str, list[tuple[str, str]]], name: str
) -> None:
    panel = PANELS[name]
    config = panel["fieldConfig"]["defaults"]
    words = {
        result["text"] for m in config.get("mappings", []) for result in m["options"].values()
    } | {config["noValue"]}
    units = {
        override["matcher"]["options"]: override["properties"][0]["value"]
        for override in panel["fieldConfig"]["overrides"]
        if override["properties"][0]["id"] == "unit"
    }
    labels = {
        label
        for target in panel["targets"]
        for series in results(answers, f"{name} {target['refId']}")
        for label in series["metric"].values()
    }
    for column, text in shown[name]:
        assert "{{" not in column
        assert column != "undefined"
        unit = units.get(column, config.get("unit"))
        if text not in words:
            assert text in labels if unit is None else re.fullmatch(SHOWN[unit], text), column


def test_the_data_of_prometheus_has_a_size_from_its_start_on(
    shown: dict[str, list[tuple[str, str]]],
) -> None:
    ((_, size),) = shown["host: Size of Prometheus' data"]
    assert size != "0 B"
