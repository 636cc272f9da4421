"""The stand-in for a board, as a tool meets it: held to what a MicroPython board does at its serial port."""

import pytest
import serial
from mpremote.transport_serial import SerialTransport

from lapel_sim.tray.cable import GARBAGE, SILENT
from lapel_sim.tray.tray import Tray
from lapel_tools.technician.link import BoardLink, LinkError
from tests.waiting import wait_until

pytestmark = pytest.mark.needs("micropython")

_LOOP = b"import time\nprint('main runs')\nwhile True:\n    time.sleep(0.1)\n"


def test_mpremotes_own_transport_enters_its_raw_repl_writes_a_file_and_reads_its_hash(tray: Tray) -> None:
    transport = SerialTransport(tray.add().port, timeout=5)
    transport.enter_raw_repl()
    transport.fs_writefile("/file", bytes(range(256)) * 20)
    assert transport.fs_readfile("/file") == bytes(range(256)) * 20
    assert transport.use_raw_paste
    transport.close()


def test_a_soft_reset_in_the_raw_repl_runs_boot_but_not_main_and_one_at_the_prompt_runs_both(tray: Tray) -> None:
    board = tray.add()
    with BoardLink(str(board.port)) as link:
        link.stop()
        link.write_file("/boot.py", b"print('boot runs')\n")
        link.write_file("/main.py", _LOOP)
        before = len(board.said)
        link.stop(fresh=True)
        assert b"boot runs" in board.said[before:]
        assert b"main runs" not in board.said
        assert link.ask("print(1)") == 1
        assert link.restart((b"main runs",), 20)[-1] == "main runs"
    assert set(board.resets) == {"soft"}


def test_a_reset_gives_it_another_port_with_the_same_serial_number_and_runs_main(tray: Tray) -> None:
    board = tray.add()
    with BoardLink(str(board.port)) as link:
        link.stop()
        link.write_file("/main.py", _LOOP)
        link.reset()
    wait_until(lambda: b"main runs" in board.said, 20)
    assert board.resets[-1] == "reset"
    assert [info.serial_number for info in tray.comports()] == [board.serial_number]


def test_files_are_in_the_flash_when_the_power_goes_and_another_littlefs_reads_them(tray: Tray) -> None:
    board = tray.add()
    with BoardLink(str(board.port)) as link:
        link.stop()
        link.run("import os\nos.mkdir('/folder')")
        link.write_file("/folder/file", b"content" * 1000)
    board.unplug()
    assert board.files() == {"/folder/file": b"content" * 1000}


def test_a_program_that_is_left_running_is_interrupted_by_a_key_and_not_by_a_question(tray: Tray) -> None:
    board = tray.add()
    with BoardLink(str(board.port)) as link:
        assert link.is_idle()
        link.stop()
        link.write_file("/main.py", _LOOP)
        link.restart((b"main runs",), 20)
        assert not link.is_idle()
        link.stop(fresh=False)
        assert link.is_idle()


def test_a_watchdog_that_nobody_feeds_resets_it(tray: Tray) -> None:
    board = tray.add()
    with BoardLink(str(board.port)) as link:
        link.stop()
        link.run("import machine\n_w=machine.WDT(timeout=300)")
    wait_until(lambda: "watchdog" in board.resets, 20)


def test_a_cable_that_breaks_at_a_byte_passes_exactly_the_bytes_before_it(tray: Tray) -> None:
    board = tray.add()
    with BoardLink(str(board.port)) as link:
        link.stop()
        at = board.cable.to_board_bytes
        board.cable.break_at(100, towards_board=True, takes_power=True)
        with pytest.raises(LinkError, match="went away"):
            link.write_file("/file", bytes(3000))
    assert board.cable.to_board_bytes == at + 100
    assert board.port is None
    assert "/file" not in board.files() or board.files()["/file"] == b""


def test_a_silent_board_and_one_that_talks_nonsense_end_in_words_within_seconds(
    tray: Tray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lapel_tools.technician.link.STOP_TIMEOUT_S", 1.0)
    board = tray.add()
    for mode in (SILENT, GARBAGE):
        board.cable.mode = mode
        with BoardLink(str(board.port)) as link:
            assert not link.is_idle()
            with pytest.raises(LinkError, match="says nothing that MicroPython would"):
                link.stop()


def test_a_key_that_a_board_never_heard_is_typed_again(tray: Tray) -> None:
    board = tray.add()
    board.cable.lose_next(b"\x01")
    with BoardLink(str(board.port)) as link:
        link.stop()
        assert link.ask("print(1)") == 1


def test_a_port_that_another_program_holds_is_said_to_be_in_use(tray: Tray) -> None:
    port = str(tray.add().port)
    with serial.Serial(port, exclusive=True), pytest.raises(LinkError, match="another program uses it"):
        BoardLink(port)
    with pytest.raises(LinkError, match="no such port"):
        BoardLink("/dev/no-such-port")
