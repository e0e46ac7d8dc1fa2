"""The service's Prometheus metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
TOGETHER = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of a service, in their own registry."""

    def __init__(self, folder: str | None = None):
        """
        Args:
            folder: where the processes of a service keep their metrics if it has several, the same folder as in
                PROMETHEUS_MULTIPROC_DIR. The text then covers all processes, and keeps the counts of ended ones.
        """
        self.registry = registry = CollectorRegistry()
        self._folder = folder
        self.requests = Counter("jaxrec_requests", "Requests answered", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "jaxrec_request_seconds", "From the first byte to the answer", ["path"], buckets=SECONDS, registry=registry
        )
        self.batch = Histogram(
            "jaxrec_batch_queries", "Histories that the model answered at once", buckets=TOGETHER, registry=registry
        )
        gauge = lambda name, about, of_several: Gauge(name, about, registry=registry, multiprocess_mode=of_several)
        self.waiting = gauge("jaxrec_waiting_queries", "Questions that wait for the model", "livesum")
        self.step = gauge("jaxrec_checkpoint_step", "Step of the checkpoint that answers", "livemin")
        self.swapped = Counter("jaxrec_checkpoints_taken", "New checkpoints taken", registry=registry)
        self.refused = Counter("jaxrec_checkpoints_refused", "New checkpoints refused", registry=registry)
        self.connections = gauge("jaxrec_connections", "Connections that are open", "livesum")
        self.closed = Counter(
            "jaxrec_connections_closed", "Connections that the service closed", ["why"], registry=registry
        )
        self.events = Counter("jaxrec_events_stored", "Events that are on disk", registry=registry)

    def text(self) -> bytes:
        """Returns the metrics in Prometheus' text format."""
        if self._folder is None:
            return generate_latest(self.registry)
        sums = CollectorRegistry()
        MultiProcessCollector(sums, self._folder)
        return generate_latest(sums)
