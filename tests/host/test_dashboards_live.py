"""Every query of every dashboard, asked of a running Prometheus.

Addresses and credentials come from the environment, else from `make -s env`.
"""

import base64
import json
import math
import os
import shlex
import ssl
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.host

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "roles/monitoring/files/dashboards").glob("*.json"))
# What Grafana puts there: four scrape intervals of 15 s, and the time that the dashboard shows.
GRAFANA_VARIABLES = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h"}
# Two scrapes after the first request, and some more.
PATIENCE_SECONDS = 90


def queries() -> list[Any]:
    found = []
    for file in FILES:
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                name = f"{file.stem}: {panel['title']} {target['refId']}"
                found.append(pytest.param(target["expr"], id=name))
    return found


@pytest.fixture(scope="module")
def stack() -> dict[str, str]:
    """Addresses and credentials of the stack under test."""
    names = ("GATEWAY_URL", "GATEWAY_CA", "API_USER", "API_PASSWORD")
    if all(os.environ.get(name) for name in names):
        return {name: os.environ[name] for name in names}
    output = subprocess.run(
        ["make", "-s", "env"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    pairs = (word.partition("=") for word in shlex.split(output))
    return {name: value for name, _, value in pairs}


@pytest.fixture(scope="module")
def prometheus_url() -> str:
    return os.environ.get("PROMETHEUS_URL") or "http://127.0.0.1:9090"


def ask(prometheus_url: str, expression: str) -> list[float]:
    """The values of an instant query, without those that are no number."""
    for name, value in GRAFANA_VARIABLES.items():
        expression = expression.replace(name, value)
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{prometheus_url}/api/v1/query?{query}", timeout=10) as answer:
        body = json.load(answer)
    assert body["status"] == "success"
    values = [float(series["value"][1]) for series in body["data"]["result"]]
    return [value for value in values if not math.isnan(value)]


def predict(stack: dict[str, str], group: str) -> None:
    """Ask the gateway for one prediction; the header's value chooses the service."""
    credentials = f"{stack['API_USER']}:{stack['API_PASSWORD']}".encode()
    request = urllib.request.Request(
        f"{stack['GATEWAY_URL']}/predict",
        data=b'{"sentence": "what a lovely surprise, thank you"}',
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Basic {base64.b64encode(credentials).decode()}",
            "X-Experiment-Group": group,
        },
    )
    context = ssl.create_default_context(cafile=stack["GATEWAY_CA"])
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        assert "prediction value" in json.load(answer)


@pytest.fixture(scope="module")
def load(stack: dict[str, str], prometheus_url: str) -> None:
    """Ask both services, well under the rate limit, until Prometheus has seen both at work."""
    seen = "sum by (service) (rate(api_requests_total[1m])) > 0"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(ask(prometheus_url, seen)) < 2:
        assert time.monotonic() < deadline, "Prometheus saw no requests at the replicas"
        for group in ("", "debug"):
            predict(stack, group)
        # Prometheus asks every 15 s; a second between two rounds also keeps within the rate limit.
        time.sleep(1)


@pytest.mark.parametrize("expression", queries())
@pytest.mark.usefixtures("load")
def test_query_of_a_panel_returns_data(expression: str, prometheus_url: str) -> None:
    assert ask(prometheus_url, expression), expression
