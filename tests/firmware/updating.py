"""A whole device that runs from slots, its loader, and a gateway that offers releases and sends their pieces."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Self

from lapel_device.application import Application
from lapel_device.slots import SLOT_A, SlotState
from lapel_protocol import command, event
from lapel_protocol.releasing import Release
from lapel_protocol.report_decoders import decode_hello
from lapel_protocol.updating import (
    UPDATE_BLOCK_BYTES,
    UpdateAsk,
    UpdateBlock,
    UpdateOffer,
    decode_running_release,
    decode_update_ask,
    decode_update_note,
)
from lapel_sim.inprocess.fuse import Fuse
from lapel_sim.inprocess.storage import make_storage
from tests.firmware.desk import DeskBoard
from tests.firmware.pair import STEP_MS, DevicePair

from .releases import boot, give_key, put, release

Note = tuple[int, int, int]


class Updating(DevicePair):
    """A device that was flashed with number 7. `alter` is what a hostile gateway or broker does to each block."""

    def __init__(self, style: str = "littlefs-flash", connected: bool = True, slot: int = SLOT_A) -> None:
        self.fuse = Fuse(random.Random(style))
        self.slots = make_storage(style, self.fuse, 160 << 10)
        give_key(self.slots)
        put(self.slots, slot, release(7))
        self.lines: list[str] = []
        self.alter: Callable[[UpdateBlock], list[UpdateBlock]] = lambda block: [block]
        self.offered: Release | None = None
        self._answered = 0
        self._hello: tuple[int, int] | None = None
        self._resets = 0
        board = DeskBoard()
        board.slot_storage = self.slots
        super().__init__(board, connected)

    def start(self) -> None:
        """Power on: the loader, then what it chose."""
        self.now_ms = 0
        self._frame_ms = 0
        self._audio_ms = 0
        self.running = boot(self.slots, self.lines)
        assert self.running is not None
        self.app = Application(self.board.as_board(), self.running)
        self.app.boot(0)

    def run(self, duration_ms: int) -> Self:
        """Let time pass, over restarts too: each begins anew at 0."""
        for _ in range(duration_ms // STEP_MS):
            self.step()
        return self

    def step(self) -> None:
        super().step()
        self._serve()
        if self.board.resets != self._resets:
            self._resets = self.board.resets
            self.power_cut()

    def power_cut(self) -> None:
        self.slots.lose_power()
        super().power_cut()

    def offer(self, made: Release | None, duration_ms: int = 0) -> Self:
        """Want a release on the device from now on, after each of its hellos too; None takes it back."""
        self.offered = made
        self._send_offer()
        return self.run(duration_ms)

    @property
    def number(self) -> int:
        """What the device runs."""
        assert self.running is not None
        return self.running[2]

    @property
    def on_trial(self) -> bool:
        assert self.running is not None
        return self.running[1]

    @property
    def said(self) -> list[Note]:
        """(what, why, number) of the notes that arrived, each once."""
        found = [decode_update_note(said.payload) for said in self.gateway.reported(event.UPDATE_NOTE)]
        return [(note.what, note.why, note.number) for note in found]

    @property
    def asks(self) -> list[UpdateAsk]:
        return [decode_update_ask(said.payload) for said in self.gateway.reported(event.UPDATE_ASK)]

    @property
    def told(self) -> list[tuple[int, int]]:
        """(number, flags) that each hello told."""
        tails = [decode_hello(said.payload).tail for said in self.gateway.reported(event.HELLO)]
        return [(part.number, part.flags) for part in (decode_running_release(tail) for tail in tails)]

    @property
    def state(self) -> SlotState:
        state = SlotState(self.slots)
        state.load()
        return state

    def slots_content(self) -> dict[str, bytes]:
        """Every file of the slots that these tests fill."""
        paths = [f"/{slot}/{path}" for slot in "ab" for path in ("manifest", *release(7).files)]
        found = {path: self.slots.content(path) for path in paths}
        return {path: content for path, content in found.items() if content is not None}

    def block(self, block: UpdateBlock) -> None:
        """Send a piece."""
        self.gateway.say(command.UPDATE_BLOCK, block)

    def _send_offer(self) -> None:
        made = self.offered
        facts = made.manifest if made else None
        body = UpdateOffer(facts.release, facts.number, facts.content_at) if facts else UpdateOffer(bytes(8), 0, 0)
        self.gateway.say(command.UPDATE_OFFER, body)

    def _serve(self) -> None:
        """Offer after each hello, answer each ask once."""
        gateway = self.gateway
        if not gateway.answers:
            return
        hellos = [name for name, said in gateway.events.items() if said.kind == event.HELLO]
        if hellos and max(hellos) != self._hello:
            self._hello = max(hellos)
            if self.offered is not None:
                self._send_offer()
        asks = self.asks
        for ask in asks[self._answered :]:
            made = self.offered
            if made is None or ask.release != made.manifest.release:
                continue
            for at in range(ask.offset, ask.offset + ask.size, UPDATE_BLOCK_BYTES):
                data = made.data[at : min(at + UPDATE_BLOCK_BYTES, ask.offset + ask.size)]
                for block in self.alter(UpdateBlock(ask.release, at, data)):
                    self.block(block)
        self._answered = len(asks)
