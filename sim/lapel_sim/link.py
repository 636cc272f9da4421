"""The link between a device and its broker: a TCP proxy that can be slow, late, lossy, cut or silent.

TCP hides single losses, so loss appears as it does to a program: stalls (retransmission) and resets. Silence swallows
what is sent, in both directions, while the connections stay open; what was swallowed arrives after `restore()` as
retransmitted data would, unless the link is told to reset. Buffers are bounded, in the proxy and in its sockets, so a
slow link pushes back as a real one does.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

_PIECE_BYTES = 1460
_SOCKET_BUFFER_BYTES = 4096
_CONNECT_TIMEOUT_S = 5
_MOST_GHOSTS = 16  # half-open connections kept for one device
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: closing sends RST

Note = Callable[..., None]
# (number of the connection, whether it goes to the broker, what passes); called on the links' own loop.
Observer = Callable[[int, bool, bytes], None]


@dataclass(frozen=True)
class Line:
    """What the link is like. Times in milliseconds, each direction."""

    bits_per_s: int = 0  # 0 = as fast as the host
    latency_ms: float = 0
    jitter_ms: float = 0
    stall_chance: float = 0  # of each piece of up to 1460 bytes
    stall_ms: float = 300
    reset_chance: float = 0  # of each piece
    buffer_bytes: int = 8192  # held by the link in each direction
    silent: bool = False  # swallow everything, keep connections
    refuse: bool = False  # reset every connection and refuse new ones


class LinkThread:
    """One event loop in a thread of its own, shared by every link of a world."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lapel-links", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    def close(self) -> None:
        self.run(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class LinkProxy:
    """One device's way out. Every method may be called from any thread, at any time."""

    def __init__(self, thread: LinkThread, rng: random.Random, note: Note) -> None:
        self._thread = thread
        self._rng = rng
        self._note = note
        self.line = Line()
        self.radio_up = True
        self.bytes_up = 0
        self.bytes_down = 0
        self.connections = 0
        self.observer: Observer | None = None
        self._open: set[_Connection] = set()
        self._ghosts: list[socket.socket] = []
        self._listeners: dict[tuple[str, int], socket.socket] = {}
        self._changed = asyncio.Event()
        self._lock = threading.Lock()

    def route(self, host: str, port: int) -> int:
        """The local port that leads to host:port through this link."""
        with self._lock:
            listener = self._listeners.get((host, port))
            if listener is None:
                listener = socket.create_server(("127.0.0.1", 0))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)
                listener.setblocking(False)
                self._listeners[(host, port)] = listener
                self._thread.run(self._start(listener, host, port))
        local_port: int = listener.getsockname()[1]
        return local_port

    # -- what a scenario does to the link --

    def slow(self, bits_per_s: int) -> None:
        """Limit each direction; 0 lifts the limit."""
        self._change(bits_per_s=bits_per_s)

    def latency(self, ms: float, jitter_ms: float = 0) -> None:
        """Delay everything by `ms` plus a random part of up to `jitter_ms`."""
        self._change(latency_ms=ms, jitter_ms=jitter_ms)

    def lossy(self, stall_chance: float, stall_ms: float = 300, reset_chance: float = 0) -> None:
        """Chances are of each piece of up to 1460 bytes."""
        self._change(stall_chance=stall_chance, stall_ms=stall_ms, reset_chance=reset_chance)

    def drop(self, silent: bool = True) -> None:
        """Lose the link. Silent: nothing arrives, nothing is refused (half-open). Otherwise every connection is reset
        and new ones refused.
        """
        self._change(silent=silent, refuse=not silent)
        if not silent:
            self.reset()

    def restore(self, reset: bool = False) -> None:
        """The link works again, as it was before drop(). With `reset`, connections that were open are reset: what was
        swallowed is lost.
        """
        if reset:
            self.reset()
        self.radio_up = True
        self._change(silent=False, refuse=False)

    def radio(self, up: bool) -> None:
        """Join or leave the bearer: the device is told (is_up), unlike in drop()."""
        self.radio_up = up
        if up:
            self.restore()
        else:
            self.drop(silent=False)
            self.radio_up = False

    def reset(self) -> None:
        """Reset every open connection; what is on its way is lost."""
        self._thread.run(self._reset_all())

    def abandon(self) -> None:
        """The device has lost its power: nobody tells the broker, whose ends of the connections stay open and hear
        nothing more.
        """
        self._thread.run(self._abandon_all())

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def close(self) -> None:
        self.reset()
        for ghost in self._ghosts:
            ghost.close()
        with self._lock:
            for listener in self._listeners.values():
                listener.close()
            self._listeners.clear()

    # -- on the loop --

    def _change(self, **fields: Any) -> None:
        self.line = replace(self.line, **fields)
        self._note("link", **fields)
        self._thread.run(self._wake())

    async def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _reset_all(self) -> None:
        for connection in list(self._open):
            connection.abort("reset by the world")

    async def _abandon_all(self) -> None:
        for connection in list(self._open):
            self._ghosts.append(connection.abandon())
        for ghost in self._ghosts[:-_MOST_GHOSTS]:
            ghost.close()
        del self._ghosts[:-_MOST_GHOSTS]

    async def _start(self, listener: socket.socket, host: str, port: int) -> None:
        task = asyncio.get_running_loop().create_task(self._accept(listener, host, port))
        task.add_done_callback(lambda _: listener.close())

    async def _accept(self, listener: socket.socket, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        pending: set[asyncio.Task[None]] = set()
        with contextlib.suppress(OSError):  # the listener was closed: the link is gone
            while True:
                client, _ = await loop.sock_accept(listener)
                client.setblocking(False)
                task = loop.create_task(self._serve(client, host, port))
                pending.add(task)
                task.add_done_callback(pending.discard)

    async def _serve(self, client: socket.socket, host: str, port: int) -> None:
        if self.line.refuse:
            _close(client, reset=True)
            return
        while self.line.silent:  # a SYN that is swallowed: the connection is made when the link is back
            await self.changed()
        loop = asyncio.get_running_loop()
        server = socket.socket()
        server.setblocking(False)
        for peer in (client, server):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.wait_for(loop.sock_connect(server, (host, port)), _CONNECT_TIMEOUT_S)
        except OSError as error:
            self._note("link_refused", port=port, error=str(error))
            _close(client, reset=True)
            _close(server)
            return
        self.connections += 1
        connection = _Connection(self, client, server)
        self._open.add(connection)
        self._note("link_open", port=port)
        try:
            await connection.run()
        finally:
            self._open.discard(connection)
            self._note("link_closed", reason=connection.reason)

    async def changed(self) -> None:
        """Return when the line is changed."""
        await self._changed.wait()

    def chance(self, probability: float) -> bool:
        return probability > 0 and self._rng.random() < probability

    def delay_s(self) -> float:
        return (self.line.latency_ms + self._rng.random() * self.line.jitter_ms) / 1000


class _Connection:
    """Two directions, each a bounded queue of pieces with the time at which they come out."""

    def __init__(self, proxy: LinkProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._task: asyncio.Task[None] | None = None
        self.number = proxy.connections
        self.reason = "closed by an end"
        self._reset = False

    def abort(self, reason: str) -> None:
        """Reset both ends."""
        self.reason = reason
        self._reset = True
        if self._task is not None:
            self._task.cancel()

    def abandon(self) -> socket.socket:
        """Stop without a word to the server; returns a socket that keeps the server's end open."""
        ghost = self._server.dup()
        self.reason = "power lost, the broker was not told"
        self._reset = False
        if self._task is not None:
            self._task.cancel()
        return ghost

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._both())
        try:
            await asyncio.wait({self._task})
            if not self._task.cancelled() and (error := self._task.exception()) is not None:
                self._reset = True
                self.reason = f"{type(error).__name__}: {error}"
        finally:
            self._task.cancel()
            _close(self._client, self._reset)
            _close(self._server, self._reset)

    async def _both(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_Direction(self, self._proxy, self._client, self._server, up=True).run())
            group.create_task(_Direction(self, self._proxy, self._server, self._client, up=False).run())


class _Direction:
    def __init__(
        self, connection: _Connection, proxy: LinkProxy, source: socket.socket, sink: socket.socket, up: bool
    ) -> None:
        self._connection = connection
        self._proxy = proxy
        self._source = source
        self._sink = sink
        self._up = up
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self._held = 0
        self._room = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take())
            group.create_task(self._give())

    async def _take(self) -> None:
        loop = asyncio.get_running_loop()
        line_free = due = loop.time()
        while True:
            while self._held >= self._proxy.line.buffer_bytes:
                self._room.clear()
                await self._room.wait()
            piece = await loop.sock_recv(self._source, _PIECE_BYTES)
            line = self._proxy.line
            if self._proxy.chance(line.reset_chance):
                self._connection.abort("reset by the link")
            stall_s = line.stall_ms / 1000 if self._proxy.chance(line.stall_chance) else 0.0
            line_free = max(line_free, loop.time()) + stall_s
            if line.bits_per_s:
                line_free += len(piece) * 8 / line.bits_per_s
            due = max(due, line_free + self._proxy.delay_s())
            self._held += len(piece)
            self._queue.put_nowait((due, piece))
            if not piece:
                return

    async def _give(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, piece = await self._queue.get()
            wait_s = due - loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            while self._proxy.line.silent:
                await self._proxy.changed()
            if not piece:
                self._sink.shutdown(socket.SHUT_WR)
                return
            if self._up:
                self._proxy.bytes_up += len(piece)
            else:
                self._proxy.bytes_down += len(piece)
            if self._proxy.observer is not None:
                self._proxy.observer(self._connection.number, self._up, piece)
            await loop.sock_sendall(self._sink, piece)
            self._held -= len(piece)
            self._room.set()


def _close(peer: socket.socket, reset: bool = False) -> None:
    if reset:
        with contextlib.suppress(OSError):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    peer.close()
