"""The emulated Pico without an image of MicroPython: its time, port, network and power, and `make test-pico`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from rp2040py.boards import BoardSpec, build_rp2040_from_spec
from rp2040py.external.cyw43 import net
from rp2040py.external.cyw43.nat import GATEWAY_IP, GATEWAY_MAC, GUEST_IP
from rp2040py.memory_map import FLASH_START_ADDRESS
from rp2040py.rp2040 import RP2040
from rp2040py.usb.cdc import USBCDC

from lapel_device.boards import fob_pico_w
from lapel_sim.emulated.board import EmulatedPico
from lapel_sim.emulated.engine import Engine
from lapel_sim.emulated.parts import Parts
from lapel_sim.emulated.port import UsbPort
from lapel_sim.emulated.radio import GATEWAY, OnlyThisMachine
from lapel_sim.tray.kinds import PICO_W
from tests.emulated.conftest import LIMITS
from tests.tools.technician.base_images import RP2350_FAMILY, uf2

ROOT = Path(__file__).parents[2]
GUEST_MAC = b"\x02\x00\x00\x00\x00\x02"
GUEST_PORT = 50_000
RANDOMBIT = 0x4006_001C
"""ROSC (RP2040 datasheet section 2.17.7)."""
PAD_OF_ALARM = 0x4001_C004 + 4 * 3
INPUT_WITH_PULL_UP = 0x48
"""PADS_BANK0: IE and PUE (RP2040 datasheet section 2.19.6.3)."""
WAIT_FOR_INTERRUPT_FOR_EVER = b"\x30\xbf\xfd\xe7"
"""wfi; b .-2 (ARMv6-M Architecture Reference Manual, A6.7)."""


def chip(program: bytes = WAIT_FOR_INTERRUPT_FOR_EVER) -> RP2040:
    """An RP2040 with a program at the start of its flash."""
    rp2040 = build_rp2040_from_spec(BoardSpec())
    rp2040.flash[: len(program)] = program
    rp2040.core.pc = FLASH_START_ADDRESS
    return rp2040


def on_a_chip(work: Callable[[Engine], Awaitable[None]]) -> None:
    """Run `work` beside a chip that waits for interrupts."""

    async def both() -> None:
        engine = Engine(chip(), lambda: None)
        running = asyncio.get_running_loop().create_task(engine.run())
        try:
            await asyncio.wait_for(work(engine), 60)
        finally:
            engine.end()
            await running

    asyncio.run(both())


async def until(done: Callable[[], bool]) -> None:
    """Wait for something that the chip's loop does."""
    while not done():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.001)


# -- the target -------------------------------------------------------------------------------------------------------


def ask(image: Path | str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PICO_UF2": str(image)}
    command = [sys.executable, "-m", "tests.emulated"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def test_without_an_image_make_test_pico_says_what_it_needs_and_is_no_failure() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PICO_UF2", "MAKEFLAGS")}
    done = subprocess.run(
        ["make", "--no-print-directory", "test-pico"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("test-pico: nothing was run: it needs a MicroPython image for the RP2040")
    assert "micropython.org/download" in done.stdout
    assert "make test-pico PICO_UF2=RPI_PICO_W.uf2" in done.stdout


def test_without_an_image_its_tests_are_left_out_even_where_nothing_may_be() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PICO_UF2"}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/emulated"]
    done = subprocess.run(
        command, cwd=ROOT, env={**environment, "LAPEL_RINGS": "all"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
    assert "skipped" not in done.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not an image", "neither a UF2 file nor an image for an ESP32"),
        (uf2(RP2350_FAMILY), "is for RP2350; this board is an RP2040"),
        (uf2(content=b"some other program" * 100), "but not MicroPython"),
        (
            uf2(content=b"MicroPython v1.28.0 on 2026-01-05; Some Board with RP2040\0" * 9),
            "is for Some Board with RP2040",
        ),
    ],
    ids=["no image", "another chip", "another program", "another board"],
)
def test_a_file_that_is_no_image_for_a_pico_is_refused_with_what_it_is(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "image.uf2"
    path.write_bytes(content)
    done = ask(path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "it takes RPI_PICO_W" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = ask(tmp_path / "absent.uf2")
    assert done.returncode == 2
    assert "absent.uf2: No such file" in done.stderr


# -- time, port, parts ------------------------------------------------------------------------------------------------


def test_emulated_time_is_never_ahead_of_real_time_however_idle_the_chip_is() -> None:
    began = time.monotonic()

    async def watch(engine: Engine) -> None:
        for _ in range(20):
            target = engine.clock.nanos + 5_000_000
            await until(lambda: engine.clock.nanos >= target)  # noqa: B023
            turn_s = 0.002
            assert engine.clock.nanos / 1e9 <= time.monotonic() - began + turn_s

    on_a_chip(watch)


def test_a_button_is_held_for_as_long_as_the_chip_counts_it_and_then_let_go() -> None:
    async def hold(engine: Engine) -> None:
        parts = Parts(engine.rp2040, fob_pico_w.PINS, lambda event: None)
        engine.rp2040.write_uint32(PAD_OF_ALARM, INPUT_WITH_PULL_UP)
        pin = engine.rp2040.gpio[3]
        assert pin.input_value
        since = engine.clock.nanos
        parts.hold("alarm_button", 30)
        assert not pin.input_value
        await until(lambda: bool(pin.input_value))
        assert engine.clock.nanos - since >= 30_000_000
        with pytest.raises(KeyError):
            parts.close_switch("no such button", True)

    on_a_chip(hold)


def test_the_chips_random_bit_is_not_the_same_for_ever() -> None:
    rp2040 = chip()
    Parts(rp2040, fob_pico_w.PINS, lambda event: None)
    bits = [rp2040.read_uint32(RANDOMBIT) for _ in range(256)]
    assert set(bits) == {0, 1}


def test_what_a_tool_types_reaches_the_chip_and_after_a_reset_the_port_is_another() -> None:
    async def talk(engine: Engine) -> None:
        heard: list[bytes] = []
        cdc = USBCDC(engine.rp2040.usb_ctrl)
        port = UsbPort(cdc, heard.append)
        port.open()
        tool = os.open(port.name, os.O_RDWR | os.O_NOCTTY)
        try:
            os.write(tool, b"\x03")

            def carried() -> bool:
                port.carry()
                return cdc.tx_fifo.item_count == 1

            await until(carried)
            assert cdc.tx_fifo.pull() == 3
            assert cdc.on_serial_data is not None
            cdc.on_serial_data(b">>> ")
            port.carry()
            assert os.read(tool, 16) == b">>> "
            assert heard == [b">>> "]
            port.close()
            assert port.name == ""
            with pytest.raises(OSError, match="Input/output error"):
                os.write(tool, b"\x03")
        finally:
            os.close(tool)

    on_a_chip(talk)


# -- the network ------------------------------------------------------------------------------------------------------


class Guest:
    """The board's end of its network: frames as its lwIP would send them."""

    def __init__(self, engine: Engine) -> None:
        self.received: list[net.EthernetFrame] = []
        self._network = OnlyThisMachine(engine.rp2040, self._take)

    def _take(self, frame: bytes) -> None:
        parsed = net.parse_ethernet(frame)
        assert parsed is not None
        self.received.append(parsed)

    async def leave(self) -> None:
        """Leave the network, which closes the connections."""
        self._network.reset()
        await until(lambda: all("TcpReflector" not in repr(task.get_coro()) for task in asyncio.all_tasks()))

    def send(self, ethertype: int, payload: bytes) -> None:
        self._network.handle_outbound_ethernet_frame(net.pack_ethernet(GATEWAY_MAC, GUEST_MAC, ethertype, payload))

    def send_tcp(self, to: bytes, port: int, seq: int, ack: int, flags: int, payload: bytes = b"") -> None:
        segment = net.pack_tcp(
            GUEST_IP, to, GUEST_PORT, port, seq=seq, ack=ack, flags=flags, window=8192, payload=payload, mss=None
        )
        self.send(net.ETHERTYPE_IPV4, net.pack_ipv4(GUEST_IP, to, net.IP_PROTO_TCP, segment))

    def segments(self) -> list[net.TcpSegment]:
        packets = [net.parse_ipv4(frame.payload) for frame in self.received if frame.ethertype == net.ETHERTYPE_IPV4]
        parsed = [net.parse_tcp(packet.payload) for packet in packets if packet is not None]
        return [segment for segment in parsed if segment is not None]


def test_the_boards_network_has_this_machine_behind_its_gateway() -> None:
    async def converse(engine: Engine) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"heard " + await reader.readexactly(5))
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            guest = Guest(engine)
            guest.send(net.ETHERTYPE_ARP, net.pack_arp(net.ARP_OP_REQUEST, GUEST_MAC, GUEST_IP, bytes(6), GATEWAY_IP))
            assert [frame.src_mac for frame in guest.received] == [GATEWAY_MAC]
            guest.send_tcp(GATEWAY_IP, port, 100, 0, net.TCP_SYN)
            await until(lambda: bool(guest.segments()))
            accepted = guest.segments()[0]
            assert accepted.flags & net.TCP_SYN
            assert accepted.flags & net.TCP_ACK
            guest.send_tcp(GATEWAY_IP, port, 101, accepted.seq + 1, net.TCP_ACK)
            guest.send_tcp(GATEWAY_IP, port, 101, accepted.seq + 1, net.TCP_ACK, b"alarm")
            await until(lambda: any(segment.payload == b"heard alarm" for segment in guest.segments()))
            await guest.leave()

    on_a_chip(converse)


def test_the_boards_network_reaches_nobody_else() -> None:
    async def call_out(engine: Engine) -> None:
        guest = Guest(engine)
        guest.send_tcp(bytes([192, 0, 2, 1]), 8883, 100, 0, net.TCP_SYN)
        await until(lambda: bool(guest.segments()))
        assert [bool(segment.flags & net.TCP_RST) for segment in guest.segments()] == [True]
        question = net.pack_udp(GUEST_IP, GATEWAY_IP, GUEST_PORT, 53, b"who is outside")
        before = len(guest.received)
        guest.send(net.ETHERTYPE_IPV4, net.pack_ipv4(GUEST_IP, GATEWAY_IP, net.IP_PROTO_UDP, question))
        since = engine.clock.nanos
        await until(lambda: engine.clock.nanos >= since + 20_000_000)
        assert len(guest.received) == before

    on_a_chip(call_out)
    assert GATEWAY == "10.0.0.1"


# -- power ------------------------------------------------------------------------------------------------------------


def test_a_boards_files_survive_its_power_and_an_image_is_put_beside_them(tmp_path: Path) -> None:
    image = tmp_path / "image.uf2"
    image.write_bytes(uf2(content=WAIT_FOR_INTERRUPT_FOR_EVER))
    board = EmulatedPico(image, tmp_path, "fob_pico_w", "e6614c311b7a0001", PICO_W)
    files = {"/main.py": b"print('here')\n", "/a/lapel_device/runtime.mpy": bytes(range(256)) * 20}
    board.put_files(files)
    with board:
        board.hold("alarm_button", 10)
        assert board.port_info() is None, "nothing enumerates"
        with pytest.raises(RuntimeError, match="power already"):
            board.power_on()
    assert board.files() == files
    flash = (tmp_path / "e6614c311b7a0001.flash").read_bytes()
    assert len(flash) == 2 << 20
    assert flash[: len(WAIT_FOR_INTERRUPT_FOR_EVER)] == WAIT_FOR_INTERRUPT_FOR_EVER


def test_waiting_for_a_board_that_has_ended_is_told_what_it_said(tmp_path: Path) -> None:
    board = EmulatedPico(tmp_path / "absent.uf2", tmp_path, "fob_pico_w", "e6614c311b7a0001")
    with board, pytest.raises(TimeoutError, match="no port; the board said"):
        board.wait_until(lambda: board.port != "", 60, "port")


def test_every_limit_that_an_emulated_chip_needs_longer_for_is_one_of_the_tools() -> None:
    assert all(isinstance(getattr(module, name), float) for module, name in LIMITS)
