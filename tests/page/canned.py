"""What the gateway of a stack answers when it is well, and what can be wrong with it."""

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

REPLICAS = (("v1", "v1-1"), ("v1", "v1-2"), ("v1", "v1-3"), ("v2", "v2-1"))
CONTAINERS = (
    ("nginx-1", "nginx"),
    *((f"api-{replica}", "api") for _, replica in REPLICAS),
    ("prometheus-1", "prometheus"),
    ("nginx-exporter-1", "nginx-exporter"),
)
CHANCES = {
    **{"anger": 0.011, "boredom": 0.002, "empty": 0.004, "enthusiasm": 0.061, "fun": 0.043},
    **{"happiness": 0.221, "hate": 0.003, "love": 0.534, "neutral": 0.042, "relief": 0.012},
    **{"sadness": 0.008, "surprise": 0.048, "worry": 0.011},
}
REQUEST_ID = "5f0c1d7ab2e94c36a8d1f2e3b4c5d6e7"

Sample = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """An answer of the fake gateway; `body` is JSON already. Status 0 hangs up without one."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    # Seconds that it lay in a cache: its Date is so much later than its figures.
    late: float = 0

    def date(self) -> str:
        return formatdate(time.time() + self.late, usegmt=True)


def success(data: Any, late: float = 0) -> Answer:
    return Answer(body=json.dumps({"status": "success", "data": data}), late=late)


def sample(name: str, value: float | str, **labels: str) -> Sample:
    return {"metric": {"__name__": name, **labels}, "value": [time.time(), str(value)]}


def samples() -> list[Sample]:
    """Return every sample of a healthy stack."""
    now = time.time()
    found = [
        *(sample("up", 1, job="api", service=s, replica=r) for s, r in REPLICAS),
        *(sample("up", 1, job=job) for job in ("gateway", "access-log", "host", "tls")),
        *(
            sample(
                *("api_model_info", 1),
                **{"service": s, "replica": r, "version": "a0a4ee1978ed", "predictor": "compiled"},
            )
            for s, r in REPLICAS
        ),
        *(sample("api_model_not_compiled", 0, service=s, replica=r) for s, r in REPLICAS),
        sample("probe_ssl_earliest_cert_expiry", now + 271.5 * 86400),
        sample("slo:error_budget_left:ratio7d", 0.934, slo="availability"),
        sample("slo:error_budget_left:ratio7d", 0.718, slo="latency"),
        *(
            sample(
                *("stack_change_timestamp_seconds", now - ago),
                **{"what": what, "release": release, "result": result},
            )
            for ago, what, release, result in (
                (2.2 * 3600, "deploy", "20261125-0552", "done"),
                (26 * 3600, "deploy", "20261124-0610", "failed"),
                (3.1 * 86400, "upgrade", "20261121-1904", "done"),
                (8 * 86400, "start-project", "20261116-0830", "done"),
            )
        ),
    ]
    for n, (name, component) in enumerate(CONTAINERS):
        labels = {"container": f"emotions-{name}", "component": component}
        found += [
            sample("stack_container_running", 1, **labels),
            sample("stack_container_healthy", 1, **labels),
            sample("stack_container_restarts_total", 1 if name == "api-v1-2" else 0, **labels),
            sample(
                "stack_container_started_timestamp_seconds", now - 7900 - 86400 * (n % 3), **labels
            ),
        ]
    return found


def changed(name: str, value: float | str, **labels: str) -> list[Sample]:
    """Return a healthy stack's samples, those of that name and labels with another value."""
    found = samples()
    hits = [
        s
        for s in found
        if s["metric"]["__name__"] == name and labels.items() <= s["metric"].items()
    ]
    assert hits, (name, labels)
    for hit in hits:
        hit["value"][1] = str(value)
    return found


def vector(found: Iterable[Sample], late: float = 0) -> Answer:
    return success({"resultType": "vector", "result": list(found)}, late)


def wave(n: int, middle: float, swing: float, phase: float) -> float:
    return max(
        0.0, middle + swing * (math.sin(n / 7 + phase) + 0.5 * math.sin(n / 2.3 + 2 * phase))
    )


def series(services: Sequence[str] = ("v1", "v2"), gap: range = range(0)) -> list[Sample]:
    """Return an hour of the three rules, by minutes; those in `gap` are left out (60 is now)."""
    end = int(time.time() // 60 * 60)
    found = []
    for name, shapes in {
        "service:gateway_requests:rate5m": ((6.4, 1.6), (0.9, 0.3)),
        "service:gateway_errors:ratio_rate5m": ((0.0002, 0.0004), (0, 0)),
        "service:gateway_duration_seconds:p95_5m": ((0.0041, 0.0007), (0.0066, 0.0012)),
    }.items():
        for n, service in enumerate(services):
            values = [
                [end - 60 * (60 - m), f"{wave(m, *shapes[n % 2], n * 1.7):.6f}"]
                for m in range(61)
                if m not in gap
            ]
            found.append({"metric": {"__name__": name, "service": service}, "values": values})
    return found


def matrix(found: Iterable[Sample]) -> Answer:
    return success({"resultType": "matrix", "result": list(found)})


def alert(
    name: str, severity: str, summary: str, advice: str, state: str = "firing", **labels: str
) -> dict[str, Any]:
    since = time.gmtime(time.time() - 840)
    return {
        "labels": {"alertname": name, "severity": severity, **labels},
        "annotations": {"summary": summary, "description": advice},
        "state": state,
        "activeAt": time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", since),
        "value": "1e+00",
    }


REPLICA_DOWN = (
    "ReplicaDown",
    "warning",
    "Replica v1-2 does not answer Prometheus",
    "Look at its log: emotions logs api-v1-2. The other replicas of v1 carry its load.",
)
BURN = (
    "ErrorBudgetBurnsFast",
    "critical",
    "Errors use up the week's budget in less than a day",
    "See which replica answers 5xx on the dashboard, then make rollback.",
)


def alerts(*found: Mapping[str, Any]) -> Answer:
    return success({"alerts": list(found)})


def v1(label: str = "love", served: str = "v1-2") -> Answer:
    return Answer(
        body=json.dumps({"prediction value": label}),
        headers={"X-Served-By": served, "X-Request-ID": REQUEST_ID},
    )


def v2(label: str = "love", low: bool = False, term: str = "lovely") -> Answer:
    body = {
        "prediction value": label,
        "prediction_proba_dict": CHANCES,
        "replica": "v2-1",
        "duration_ms": 0.412,
        "confidence": 0.534,
        "margin": 0.313,
        "coverage": 0.31 if low else 0.94,
        "low_coverage": low,
        "top_terms": [
            {"term": term, "contribution": 1.284},
            {"term": "thank you", "contribution": 0.731},
            {"term": "surprise", "contribution": -0.222},
        ],
    }
    headers = {"X-Served-By": "v2-1", "X-Request-ID": REQUEST_ID}
    return Answer(body=json.dumps(body), headers=headers)


def refusal(status: int, error: str, detail: str = "Do it.", retry_after: str = "") -> Answer:
    body = {"error": error, "detail": detail, "request_id": REQUEST_ID}
    headers = {"X-Request-ID": REQUEST_ID}
    if retry_after:
        headers["Retry-After"] = retry_after
    return Answer(status, json.dumps(body), headers)


DOWN = refusal(503, "unavailable", "Prometheus does not answer.", "1")
HANGS_UP = Answer(0)


def healthy() -> dict[str, Answer]:
    return {
        "/status/now.json": vector(samples()),
        "/status/series.json": matrix(series()),
        "/status/alerts.json": alerts(),
        "/predict": v1(),
    }
