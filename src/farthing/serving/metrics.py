"""What /metrics shows, in Prometheus' words; a registry of its own, so that two services can live in one process."""

import re
import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from farthing.serving.app import Service

LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_VERSION = re.compile(r"/versions/[^/]+")


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.responses = Counter("farthing_responses", "by route and status", ["route", "status"], registry=self.registry)
        self._by_answer: dict[tuple[str, int], Counter] = {}
        self.disconnects = Counter("farthing_disconnects", "clients that hung up first", registry=self.registry)
        self.batch_size = Histogram("farthing_batch_items", "items in a batch", registry=self.registry, buckets=BATCH_BUCKETS)
        self.batch_s = Histogram(
            "farthing_batch_seconds", "a batch in the model", registry=self.registry, buckets=LATENCY_BUCKETS_S
        )
        self._gauges = {
            name: Gauge(f"farthing_{name}", text, registry=self.registry)
            for name, text in (
                ("waiting", "items in the queue"),
                ("in_flight", "batches in replicas"),
                ("replicas_ready", "replicas that take work"),
                ("replica_restarts", "of all replicas since the start"),
                ("replica_ejections", "replicas kept out for failing where others answered, since the start"),
                ("replicas_ejected", "kept out now"),
                ("retries", "batches tried again since the start"),
                ("retries_waiting", "items that wait to be tried again"),
                ("quarantined", "items that are not tried again"),
                ("predicted_usd_per_million", "what the plan said"),
                ("actual_usd_per_million", "what it costs"),
                ("usd", "since the start"),
                ("cache_hits", "requests that an answer given before served"),
                ("cache_misses", "looked for and not found"),
                ("cache_shared", "requests served by the model call of an equal one"),
                ("cache_saved_usd", "net of what looking cost"),
                ("cache_is_on", "0: it costs more than it saves, or there is none"),
                ("cache_bytes", "kept, of all versions"),
                ("cache_failures", "reads and writes that the storage refused"),
                ("semantic_hits", "requests that a like text's answer served"),
                ("semantic_saved_usd", "net of embedding, looking and shadows"),
                ("semantic_is_on", "0: beyond its budget, or not worth its cost, or there is none"),
                ("semantic_wrong_bound", "wrong hits per request, upper bound"),
                ("start_time_seconds", "when this server started, Unix time"),
            )
        }
        self._gauges["start_time_seconds"].set(time.time())

    def answered(self, route: str, status: int) -> None:
        counter = self._by_answer.get((route, status))
        if counter is None:
            # Who asks for what is not there, or for versions that come and go, shall not fill our memory.
            label = _VERSION.sub("/versions/VERSION", route) if status not in (401, 404) else "other"
            counter = self.responses.labels(label, str(status))
            if label == route:
                self._by_answer[route, status] = counter
        counter.inc()

    def gone(self) -> None:
        self.disconnects.inc()

    def batch(self, num_items: int, seconds: float) -> None:
        self.batch_size.observe(num_items)
        self.batch_s.observe(seconds)

    def page(self, service: "Service") -> bytes:
        version, receipt = service.version, service.version.receipt
        facts = {
            "waiting": len(version.scheduler.waiting),
            "in_flight": version.pool.num_in_flight,
            "replicas_ready": len(version.pool.ready),
            "replica_restarts": sum(replica.num_restarts for replica in version.pool.replicas),
            "replica_ejections": version.pool.outliers.num_ejections,
            "replicas_ejected": sum(version.pool.is_ejected(replica) for replica in version.pool.replicas),
            "retries": version.scheduler.retries.num_started,
            "retries_waiting": version.scheduler.retries.num_items,
            "quarantined": len(version.scheduler.retries.quarantine),
            "predicted_usd_per_million": receipt.predicted_usd_per_million,
            "actual_usd_per_million": receipt.actual_usd_per_million,
            "usd": receipt.usd,
        }
        if receipt.cache is not None:
            told = receipt.cache()
            facts |= {f"cache_{name}": told[name] for name in ("hits", "misses", "shared", "saved_usd", "is_on")}
            facts |= {f"cache_{name}": told["usage"][name] for name in ("bytes", "failures")}
            if (near := told["semantic"]) is not None:
                facts |= {f"semantic_{name}": near[name] for name in ("hits", "saved_usd", "is_on", "wrong_bound")}
        for name, value in facts.items():
            self._gauges[name].set(float("nan") if value is None else value)
        return bytes(generate_latest(self.registry))
