"""Prometheus text about the server and its sessions; measures nothing itself."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

DELAY_BUCKETS_S = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.2, 1.6, 2.5, 5.0)

HELD_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.25)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Counters of one server; no label carries a session's id, which is a secret."""

    registry: CollectorRegistry
    sessions: Gauge
    viewers: Gauge
    sessions_opened: Counter
    sessions_ended: Counter
    frames_in: Counter
    frames_out: Counter
    frames_dropped: Counter
    delay_s: Histogram
    held_s: Histogram
    state_bytes: Gauge
    steps: Gauge
    slowed: Gauge
    refused: Counter

    @classmethod
    def create(cls) -> "Metrics":
        """Metrics with a registry of their own, so that several servers can live in one process."""
        registry = CollectorRegistry()
        return cls(
            registry,
            Gauge("vivace_sessions", "Sessions that are open", registry=registry),
            Gauge("vivace_viewers", "Viewers of all sessions", registry=registry),
            Counter("vivace_sessions_opened", "Sessions opened since the start", registry=registry),
            Counter("vivace_sessions_ended", "Sessions ended, by reason", ["reason"], registry=registry),
            Counter("vivace_frames_in", "Raw frames received", registry=registry),
            Counter("vivace_frames_out", "Edited frames sent out", registry=registry),
            Counter("vivace_frames_dropped", "Raw frames left out, by reason", ["reason"], registry=registry),
            Histogram(
                "vivace_delay_seconds",
                "From the receipt of a raw frame to the departure of its edited frame",
                buckets=DELAY_BUCKETS_S,
                registry=registry,
            ),
            Histogram(
                "vivace_held_seconds",
                "Of the delay, held back so that frames come evenly although the model does not",
                buckets=HELD_BUCKETS_S,
                registry=registry,
            ),
            Gauge("vivace_state_bytes", "Bytes of all stream states", registry=registry),
            Gauge(
                "vivace_denoising_steps",
                "Denoising steps of the newest chunks, on average over sessions; 0 without any",
                registry=registry,
            ),
            Gauge(
                "vivace_slowed_sessions",
                "Sessions that take fewer denoising steps than are wanted, because the machine is slow",
                registry=registry,
            ),
            Counter(
                "vivace_refused", "Requests and messages refused, by reason", ["reason"], registry=registry
            ),
        )

    def text(self) -> bytes:
        """All of it in the Prometheus text form."""
        return generate_latest(self.registry)
