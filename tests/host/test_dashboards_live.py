"""Every query of every dashboard, asked of the running Prometheus, on its machine's loopback."""

import json
import math
import time
import urllib.parse
from collections.abc import Iterable
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


def ask(host: Host, url: str, expressions: Iterable[str], at: float | None = None) -> list[Any]:
    """The answers to instant queries, now or at a Unix time: all by one command on the machine."""
    moment = {} if at is None else {"time": at}
    asked = []
    for expression in expressions:
        for name, value in GRAFANA_VARIABLES.items():
            expression = expression.replace(name, value)
        query = urllib.parse.urlencode({"query": expression, **moment})
        asked.append(f"{url}/api/v1/query?{query}")
    command = f"curl --silent --show-error --max-time 10 --write-out '\\n'{' %s' * len(asked)}"
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
