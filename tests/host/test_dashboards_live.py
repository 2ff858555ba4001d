"""Every query of every dashboard, asked of the running Prometheus, on its machine's loopback."""

import json
import math
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from host.stack import predict

pytestmark = pytest.mark.host

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "roles/monitoring/files/dashboards").glob("*.json"))
# What Grafana puts there: four scrape intervals of 15 s, and the time that the dashboard shows.
GRAFANA_VARIABLES = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h"}
# Figures that a well stack may not have: no alert fires, the last hour saw fewer than 500
# predictions, the kernel does not count pressure.
MAY_BE_MISSING = ("ALERTS_FOR_STATE", "_psi:1h", "_distance:1h", "node_pressure_")
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


def queries() -> list[Any]:
    found = []
    for file in FILES:
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                name = f"{file.stem}: {panel['title']} {target['refId']}"
                found.append(pytest.param(target["expr"], id=name))
    return found


def ask(host: Host, prometheus_url: str, expression: str, at: float | None = None) -> list[float]:
    """The values of an instant query, now or at a Unix time, without those that are no number."""
    for name, value in GRAFANA_VARIABLES.items():
        expression = expression.replace(name, value)
    moment = {} if at is None else {"time": at}
    query = urllib.parse.urlencode({"query": expression, **moment})
    answer = host.check_output(
        "curl --silent --show-error --max-time 10 %s", f"{prometheus_url}/api/v1/query?{query}"
    )
    body = json.loads(answer)
    assert body["status"] == "success", body
    values = [float(series["value"][1]) for series in body["data"]["result"]]
    return [value for value in values if not math.isnan(value)]


@pytest.fixture(scope="module")
def prometheus_url(environment: dict[str, str]) -> str:
    return environment["PROMETHEUS_URL"]


@pytest.fixture(scope="module")
def seen_at(host: Host, prometheus_url: str) -> float:
    """Ask both services, well under the rate limit, until Prometheus has seen both at work.

    Returns:
        That moment, a Unix time of the machine's. The panels are asked for it: on a slow machine
        their hundreds of queries take longer than a rate looks back.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(len(ask(host, prometheus_url, figure)) < least for figure, least in SEEN.items()):
        assert time.monotonic() < deadline, "Prometheus saw no requests at the replicas"
        for group in ("", "debug"):
            assert "prediction value" in predict(host, "wonderful", group)
        # Prometheus asks every 15 s; a second between two rounds also keeps within the rate limit.
        time.sleep(1)
    return ask(host, prometheus_url, "vector(time())")[0]


@pytest.mark.parametrize("expression", queries())
def test_query_of_a_panel_returns_data(
    host: Host, expression: str, prometheus_url: str, seen_at: float
) -> None:
    found = ask(host, prometheus_url, expression, seen_at)
    assert found or any(part in expression for part in MAY_BE_MISSING), expression
