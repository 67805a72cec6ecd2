"""What Prometheus is told: of the server and of the node, in the same words.

Nothing here is about a patient.  Every value belongs to one registry, so that two servers in one process do not mix.
"""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from liquidlens.serve.predict.prediction import Prediction
from liquidlens.serve.predict.predictor import Predictor

#: Seconds, from a small model on a fast machine to the largest scan.
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Monitor:
    """models: by the name under which each is known."""

    def __init__(self, models: Mapping[str, Predictor]):
        self.registry = CollectorRegistry()

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"liquidlens_{name}", about, labels, registry=self.registry)

        self.predictions = counter("predictions", "Scans that were judged.", "model")
        self.answers = counter("answers", "Scans by predicted label; without those below.", "model", "label")
        self.abstained = counter("abstained", "Scans of which the model was not sure.", "model")
        self.unlike = counter("out_of_distribution", "Scans unlike those the model was trained on.", "model")
        self.failures = counter("failures", "What ended in an error, by where.", "where")
        self.requests = counter("requests", "Requests, or images of the node, by how they were answered.", "what")
        self.seconds = Histogram(
            "liquidlens_seconds", "Time of each stage.", ["stage"], buckets=_BUCKETS, registry=self.registry
        )
        info = Gauge(
            "liquidlens_model_info", "The files that answer.", ["model", "network", "sha256"], registry=self.registry
        )
        for name, model in models.items():
            info.labels(name, model.manifest.model, model.sha256).set(1)
            for metric in (self.predictions, self.abstained, self.unlike):
                metric.labels(name)  # a rate needs the 0 before the first one
            for label in model.manifest.labels:
                self.answers.labels(name, label)

    def answer(self, model: str, prediction: Prediction) -> None:
        """Count an answer.  One that is not to be relied on counts as such, and for no label."""
        self.predictions.labels(model).inc()
        if "total" in prediction.milliseconds:
            self.seconds.labels("predict").observe(prediction.milliseconds["total"] / 1000)
        if prediction.ood:
            self.unlike.labels(model).inc()
        elif prediction.abstained:
            self.abstained.labels(model).inc()
        else:
            one = prediction.label in prediction.probabilities  # its name may have a comma
            for label in [prediction.label] if one else prediction.label.split(", "):
                self.answers.labels(model, label).inc()

    def watch(self, name: str, about: str, label: str, now: Callable[[], Mapping[str, float]]) -> None:
        """Have a gauge whose values, by a label, are asked for when Prometheus asks."""
        self.registry.register(_Asked(f"liquidlens_{name}", about, label, now))

    def text(self) -> bytes:
        """The answer to ``GET /metrics``."""
        return generate_latest(self.registry)


class _Asked(Collector):
    def __init__(self, name: str, about: str, label: str, now: Callable[[], Mapping[str, float]]):
        self._name, self._about, self._label, self._now = name, about, label, now

    def collect(self):
        family = GaugeMetricFamily(self._name, self._about, labels=[self._label])
        for value, number in self._now().items():
            family.add_metric([value], number)
        yield family
