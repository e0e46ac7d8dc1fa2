"""The service's Prometheus metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
TOGETHER = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of a service, in their own registry."""

    def __init__(self):
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("jaxrec_requests", "Requests answered", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "jaxrec_request_seconds", "From the first byte to the answer", ["path"], buckets=SECONDS, registry=registry
        )
        self.batch = Histogram(
            "jaxrec_batch_queries", "Histories that the model answered at once", buckets=TOGETHER, registry=registry
        )
        self.waiting = Gauge("jaxrec_waiting_queries", "Questions that wait for the model", registry=registry)
        self.step = Gauge("jaxrec_checkpoint_step", "Step of the checkpoint that answers", registry=registry)
        self.swapped = Counter("jaxrec_checkpoints_taken", "New checkpoints taken", registry=registry)
        self.refused = Counter("jaxrec_checkpoints_refused", "New checkpoints refused", registry=registry)
        self.connections = Gauge("jaxrec_connections", "Connections that are open", registry=registry)
        self.closed = Counter(
            "jaxrec_connections_closed", "Connections that the service closed", ["why"], registry=registry
        )
        self.events = Counter("jaxrec_events_stored", "Events that are on disk", registry=registry)

    def text(self) -> bytes:
        """Returns the metrics in Prometheus' text format."""
        return generate_latest(self.registry)
