"""What Prometheus scrapes from one replica. Every label has a bounded set of values."""

import prometheus_client
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from api.model import Manifest, Prediction

# A request takes a fraction of a millisecond: the library's own buckets begin at five.
BUCKETS_SECONDS = (
    *(0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0),
)

# Of a predictor that takes milliseconds or seconds, up to the gateway's longest time-out.
BUCKETS_QUEUE_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)

# Of a share from 0 to 1.
BUCKETS_SHARE = tuple(tenth / 10 for tenth in range(11))

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4

# A `_created` series for each counter and bucket set would add a third and tell nothing.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The counters of one replica, in a registry of its own so that tests can hold several."""

    def __init__(
        self,
        variant: str,
        manifest: Manifest,
        predictor: str = "compiled",
        *,
        differs: bool = False,
    ) -> None:
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
        self.queue = Histogram(
            "api_queue_seconds",
            "Time that each request waited for the predictor; none where it is compiled.",
            buckets=BUCKETS_QUEUE_SECONDS,
            registry=self._registry if predictor != "compiled" else None,
        )
        predictions = Counter(
            "api_predictions",
            "Predictions by label.",
            ["label"],
            registry=self._registry,
        )
        self._confidence = Histogram(
            "api_prediction_confidence",
            "Highest probability of each prediction.",
            buckets=BUCKETS_SHARE,
            registry=self._registry,
        )
        self._coverage = Histogram(
            "api_prediction_coverage",
            "Share of a sentence's tokens that the model knows; "
            "none where the predictor does not tell.",
            buckets=BUCKETS_SHARE,
            registry=self._registry,
        )
        Gauge(
            "api_model_info",
            "The model that this replica serves and the predictor that does it; always 1.",
            ["variant", "name", "version", "predictor"],
            registry=self._registry,
        ).labels(variant, manifest.name, manifest.version, predictor).set(1)
        Gauge(
            "api_model_not_compiled",
            "1 when the compiled model answered otherwise than scikit-learn, which serves in its "
            "place; 0 for every other model.",
            registry=self._registry,
        ).set(int(differs))
        labels = Gauge(
            "api_model_reference_share",
            "Share of each label among the model's predictions on data that it was not trained on.",
            ["label"],
            registry=self._registry,
        )
        for label, share in manifest.reference.labels.items():
            labels.labels(label).set(share)
        coverage = Gauge(
            "api_model_reference_coverage",
            "Share of those sentences whose coverage is at most `le`.",
            ["le"],
            registry=self._registry,
        )
        for bound, share in manifest.reference.coverage.items():
            coverage.labels(bound).set(share)
        # A series that starts at its first event hides that event from `rate`.
        self.requests.labels("2xx", "ok")
        self.requests.labels("5xx", "internal_error")
        self._predictions = {label: predictions.labels(label) for label in manifest.classes}

    def record(self, prediction: Prediction) -> None:
        """Count one prediction."""
        self._predictions[prediction.label].inc()
        self._confidence.observe(prediction.confidence)
        if prediction.coverage is not None:
            self._coverage.observe(prediction.coverage)

    def render(self) -> bytes:
        """Return the exposition in Prometheus's text format, of type CONTENT_TYPE."""
        return generate_latest(self._registry)
