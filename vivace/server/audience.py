"""Who is connected to a session: viewers, listeners and the one publisher; edits nothing."""

from collections.abc import Callable

from vivace.server.faces import Publisher
from vivace.server.metrics import Metrics
from vivace.server.outlet import Outlet, ShownFrame
from vivace.server.protocol import ProtocolError, ServerMessage
from vivace.server.settings import Limits


class Audience:
    """All connections of one session, on the event loop's thread.

    `source_changed` is called when another connection becomes the publisher.
    """

    def __init__(
        self,
        limits: Limits,
        metrics: Metrics,
        clock: Callable[[], float],
        source_changed: Callable[[], None],
    ) -> None:
        self.last_client_s = clock()
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._source_changed = source_changed
        self._outlets: set[Outlet] = set()
        self._listeners: set[Callable[[ServerMessage], None]] = set()
        self._publisher: Publisher | None = None

    @property
    def num_viewers(self) -> int:
        """Connections that get frames."""
        return len(self._outlets)

    @property
    def has_clients(self) -> bool:
        """Whether anybody is connected."""
        return bool(self._outlets or self._publisher or self._listeners)

    def add_viewer(self) -> Outlet:
        """A queue of edited frames; give it back with `remove_viewer`.

        Raises:
            ProtocolError: If there are too many viewers.
        """
        if len(self._outlets) >= self._limits.num_viewers:
            raise ProtocolError(
                "busy", f"this session has {self._limits.num_viewers} viewers already, try again later"
            )
        outlet = Outlet(self._limits.max_queued_frames)
        self._outlets.add(outlet)
        self._metrics.viewers.inc()
        return outlet

    def remove_viewer(self, outlet: Outlet) -> None:
        """Send no more frames there."""
        if outlet in self._outlets:
            self._outlets.remove(outlet)
            self._metrics.viewers.dec()
        self.last_client_s = self._clock()

    def add_listener(self, send: Callable[[ServerMessage], None]) -> Callable[[], None]:
        """Have all messages of the session passed to `send`; returns what ends that.

        Raises:
            ProtocolError: If there are too many listeners.
        """
        if len(self._listeners) >= self._limits.num_listeners:
            raise ProtocolError(
                "busy", f"this session has {self._limits.num_listeners} connections already, try again later"
            )
        self._listeners.add(send)

        def remove() -> None:
            self._listeners.discard(send)
            self.last_client_s = self._clock()

        return remove

    def set_publisher(self, publisher: Publisher) -> None:
        """Take frames from this connection from now on; one that did so before is told."""
        if self._publisher is publisher:
            return
        before, self._publisher = self._publisher, publisher
        self._source_changed()
        if before is not None:
            before.replaced()

    def remove_publisher(self, publisher: Publisher) -> None:
        """The connection hands in no more frames."""
        if self._publisher is publisher:
            self._publisher = None
        self.last_client_s = self._clock()

    @property
    def has_publisher(self) -> bool:
        """Whether some connection hands in frames."""
        return self._publisher is not None

    def is_publisher(self, publisher: Publisher) -> bool:
        """Whether frames of this connection count."""
        return self._publisher is publisher

    def tell(self, message: ServerMessage) -> None:
        """Pass a message to all listeners."""
        for listener in tuple(self._listeners):
            listener(message)

    def show(self, frame: ShownFrame) -> None:
        """Pass a frame to all viewers."""
        for outlet in self._outlets:
            outlet.put(frame)

    def close(self, last_words: ServerMessage) -> None:
        """Send all away."""
        self._metrics.viewers.dec(len(self._outlets))
        for outlet in self._outlets:
            outlet.close()
        self._outlets.clear()
        self.tell(last_words)
        self._listeners.clear()
