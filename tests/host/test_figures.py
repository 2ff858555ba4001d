"""What the access log's figures say is what was asked, and every part of the stack has figures."""

import base64
import gzip
import json
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from testinfra.host import Host

from host.stack import CURL, OURS, SCRATCH, STACK, predict, until_logged

pytestmark = pytest.mark.host

Samples = dict[tuple[str, ...], float]

LINE = (
    '{"time":"2026-01-01T00:00:00+00:00","request_id":"a","client":"192.0.2.1","user":"%(user)s",'
    '"method":"%(method)s","path":"%(path)s","protocol":"HTTP/1.1","status":"%(status)s",'
    '"bytes":"%(bytes)s","duration_s":"%(seconds)s","service":"%(service)s",'
    '"replica":"%(replica)s","upstream":"%(upstream)s","upstream_status":"%(tried)s",'
    '"upstream_duration_s":"%(tries)s","tls":"TLSv1.3","agent":"curl"}'
)
WELL = {
    **{"user": "admin", "method": "POST", "path": "/predict", "status": "200", "bytes": "300"},
    **{"seconds": "0.004", "service": "v1", "replica": "v1-2", "upstream": "172.28.10.22:8000"},
    **{"tried": "200", "tries": "0.003"},
}
REFUSED = {"replica": "", "upstream": "", "tried": "", "tries": ""}


Count = Callable[..., dict[str, Samples]]


@pytest.fixture
def count(host: Host, inspected: dict[str, Any]) -> Count:
    """Have the exporter's own program read lines; return metric -> labels -> value."""

    def read(*lines: str) -> dict[str, Samples]:
        text = "".join(f"{line}\n" for line in lines)
        # It does not end by itself where nothing comes; an emulated machine is slow.
        command = (
            f"{SCRATCH} --entrypoint timeout {inspected['log-exporter-1']['Image']} 300 "
            "mtail --one_shot --one_shot_format=prometheus --emit_prog_label=false --logtostderr "
            "--progs=/etc/stack/gateway.mtail --logs=-"
        )
        # Packed, since the kernel bounds a command line.
        packed = base64.b64encode(gzip.compress(text.encode())).decode()
        return parse(host.check_output(f"echo {packed} | base64 --decode | gunzip | {command}"))

    return read


def parse(text: str) -> dict[str, Samples]:
    found: dict[str, Samples] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(v for k, v in sorted(sample.labels.items()) if k != "le")
            if not sample.name.endswith("_bucket"):
                found.setdefault(sample.name, {})[labels] = sample.value
    return found


ROUTES = {
    "/predict": "predict",
    "/predict/batch": "batch",
    "/docs": "docs",
    "/docs/swagger-ui.css": "docs",
    "/openapi.json": "docs",
    "/": "status",
    "/status/now.json": "status",
    "/predict/": "other",
    "/x/predict": "other",
    "/statuses": "other",
    r"/a\"b,\"status\":\"200": "other",
    "": "other",
}


def test_a_path_is_one_of_few_routes(count: Count) -> None:
    # The replica tells the lines apart.
    lines = [
        LINE % (WELL | {"path": path, "replica": f"path-{number}"})
        for number, path in enumerate(ROUTES)
    ]
    found = count(*lines)
    assert found["gateway_requests_total"] == {
        (f"path-{number}", route, "v1", "200"): 1 for number, route in enumerate(ROUTES.values())
    }
    assert found["gateway_response_bytes_total"] == {
        (route,): 300 * times for route, times in Counter(ROUTES.values()).items()
    }
    assert found["gateway_unreadable_lines_total"] == {(): 0}


def test_times_and_tries_are_counted(count: Count) -> None:
    three = {
        "upstream": "172.28.10.21:8000, 172.28.10.23:8000, 172.28.10.22:8000",
        **{"tried": "502, 504, 200", "tries": "0.001, 1.001, 0.006", "seconds": "1.010"},
    }
    refused = REFUSED | {"status": "401", "seconds": "0.050"}
    found = count(LINE % WELL, LINE % (WELL | three), LINE % (WELL | refused))
    assert found["gateway_requests_total"] == {
        ("v1-2", "predict", "v1", "200"): 2,
        ("", "predict", "v1", "401"): 1,
    }
    assert found["gateway_request_duration_seconds_sum"] == {
        ("v1-2", "predict", "v1"): pytest.approx(1.014),
        ("", "predict", "v1"): pytest.approx(0.05),
    }
    # Every try counts; what the gateway refused has none.
    assert found["gateway_upstream_duration_seconds_sum"] == {("v1-2", "v1"): pytest.approx(1.011)}
    assert found["gateway_upstream_duration_seconds_count"] == {("v1-2", "v1"): 2}
    assert found["gateway_retries_total"] == {(): 2}


# Status and path of a request, and what counts it.
VALID, FAILED = "gateway_valid_requests_total", "gateway_failures_total"
COUNTED = [
    ("401", "/docs", {"gateway_unauthorized_total"}),
    ("429", "/", {"gateway_limited_total"}),
    ("503", "/predict", {VALID, FAILED}),
    ("500", "/predict/batch", {VALID, FAILED}),
    ("200", "/predict", {VALID}),
    ("503", "/status/now.json", set()),
    ("501", "/predict", set()),
    ("505", "/predict", set()),
    ("404", "/predict", set()),
]


def test_what_went_wrong_is_counted_from_zero(count: Count) -> None:
    # Each is there twice as often as the one before: a sum tells which of them it is made of.
    lines = [
        LINE % (WELL | {"status": status, "path": path})
        for power, (status, path, _) in enumerate(COUNTED)
        for _ in range(2**power)
    ]
    found, none = count(*lines), count(LINE % (WELL | {"path": "/docs"}))
    for counter in (VALID, FAILED, "gateway_unauthorized_total", "gateway_limited_total"):
        times = sum(2**power for power, case in enumerate(COUNTED) if counter in case[2])
        assert found[counter] == {(): times}, counter
        assert none[counter] == {(): 0}, counter


def test_a_redirect_from_plain_http_is_no_prediction(count: Count) -> None:
    found = count(LINE % (WELL | REFUSED | {"status": "308"}))
    assert found["gateway_requests_total"] == {("", "other", "v1", "308"): 1}


def test_the_status_of_a_client_that_left_is_the_logs_own(count: Count) -> None:
    found = count(LINE % (WELL | REFUSED | {"status": "000"}))
    assert found["gateway_requests_total"] == {("", "predict", "v1", "000"): 1}


def test_what_is_no_line_of_ours_is_counted_as_such(count: Count) -> None:
    found = count("something else", LINE % WELL, "{}")
    assert found["gateway_unreadable_lines_total"] == {(): 2}
    assert sum(found["gateway_requests_total"].values()) == 1


def live(host: Host) -> Samples:
    """Return the running exporter's count of requests."""
    name = f"{STACK}-log-exporter-1"
    form = f'{{{{(index .NetworkSettings.Networks "{STACK}").IPAddress}}}}'
    address = host.check_output("docker inspect --format %s %s", form, name)
    text = host.check_output(f"{CURL} http://{address}:9100/metrics")
    found = parse(text)
    assert found["gateway_unreadable_lines_total"] == {(): 0}
    return found["gateway_requests_total"]


def test_the_running_exporter_counts_what_is_asked(host: Host) -> None:
    before = live(host)
    for _ in range(3):
        predict(host, uuid.uuid4().hex, group="debug")
    key = ("v2-1", "predict", "v2", "200")
    until_logged(
        lambda: live(host).get(key, 0) - before.get(key, 0) >= 3, "three requests are counted"
    )


def ask_prometheus(
    host: Host, environment: dict[str, str], expression: str
) -> list[dict[str, str]]:
    """Return the labels of the series of an instant query."""
    query = urllib.parse.urlencode({"query": expression})
    url = f"{environment['PROMETHEUS_URL']}/api/v1/query?{query}"
    body = json.loads(host.check_output(f"{CURL} %s", url))
    assert body["status"] == "success", body
    return [series["metric"] for series in body["data"]["result"]]


def test_every_target_answers(host: Host, environment: dict[str, str]) -> None:
    found = ask_prometheus(host, environment, "up == 1")
    jobs = {series["job"] for series in found}
    assert jobs >= {"api", "gateway", "access-log", "host", "tls", "prometheus"}
    assert ask_prometheus(host, environment, "up == 0") == []


@pytest.mark.parametrize(
    "metric", ["cpu_seconds_total", "memory_bytes", "memory_limit_bytes", "running", "healthy"]
)
def test_every_container_has_its_figures(
    host: Host, environment: dict[str, str], metric: str
) -> None:
    found = ask_prometheus(host, environment, f"stack_container_{metric} > 0")
    names = {series["container"].removeprefix(f"{STACK}-") for series in found}
    assert names >= set(OURS)


@pytest.mark.parametrize(
    "expression",
    [
        'node_filesystem_avail_bytes{mountpoint=~"/watched/(data|log|config)"}',
        "node_memory_MemAvailable_bytes",
        'node_cpu_seconds_total{mode="idle"}',
        "probe_ssl_earliest_cert_expiry - time() > 86400",
        "probe_success == 1",
        'stack_change_timestamp_seconds{what!=""}',
        "api_model_reference_share",
        "api_model_reference_coverage",
    ],
)
def test_the_machine_the_certificate_and_the_model_have_figures(
    host: Host, environment: dict[str, str], expression: str
) -> None:
    assert ask_prometheus(host, environment, expression)


def test_no_alert_fires_on_a_stack_that_is_well(host: Host, environment: dict[str, str]) -> None:
    # What tests of this suite provoke, and what happened to the machine, may be told.
    told = "PasswordsGuessed|RateLimitSurge|ReplicaWasHung|LabelsDrift|CoverageDrifts|DiskFills"
    firing = f'ALERTS{{alertstate="firing",alertname!~"{told}|.*Budget.*"}}'
    assert ask_prometheus(host, environment, firing) == []
