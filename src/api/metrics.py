"""What Prometheus scrapes from one replica. Every label has a bounded set of values."""

from collections.abc import Iterable

import prometheus_client
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

# A prediction takes about a millisecond: the library's own buckets begin at five.
BUCKETS_SECONDS = (
    *(0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0),
)

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4

# A `_created` series for each counter and bucket set would add a third and tell nothing.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The counters of one replica, in a registry of its own so that tests can hold several."""

    def __init__(self, variant: str, model: str, version: str, labels: Iterable[str]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "api_requests",
            "Requests by status class and outcome ('ok' or the error code); "
            "not those for health and metrics.",
            ["status", "outcome"],
            registry=self._registry,
        )
        self.duration = Histogram(
            "api_request_duration_seconds",
            "Time from the first byte of POST /predict to the end of its answer.",
            buckets=BUCKETS_SECONDS,
            registry=self._registry,
        )
        self.predictions = Counter(
            "api_predictions",
            "Predictions by label.",
            ["label"],
            registry=self._registry,
        )
        Gauge(
            "api_model_info",
            "The model that this replica serves; always 1.",
            ["variant", "name", "version"],
            registry=self._registry,
        ).labels(variant, model, version).set(1)
        # A series that starts at its first event hides that event from `rate`.
        self.requests.labels("2xx", "ok")
        self.requests.labels("5xx", "internal_error")
        for label in labels:
            self.predictions.labels(label)

    def render(self) -> bytes:
        """Return the exposition in Prometheus's text format, of type CONTENT_TYPE."""
        return generate_latest(self._registry)
