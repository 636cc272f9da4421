"""`lapel device ports` and `lapel device flash` with real MicroPython boards at the other end of the cable."""

import threading
import zlib
from functools import partial

import pytest
import serial

from lapel_build.release import TARGETS, build_files, make_release, modulus_of
from lapel_sim.tray.cable import SILENT
from lapel_tools.technician.bench import Step, flash_board
from lapel_tools.technician.firmware import FirmwareError, choose
from lapel_tools.technician.link import BoardLink
from lapel_tools.technician.ports import BoardFacts, named_ports
from tests.tools.command import Lapel
from tests.tools.technician.conftest import Bench
from tests.tools.technician.small_firmware import carries, order, signer
from tests.waiting import wait_until

pytestmark = pytest.mark.needs("micropython")


def test_a_tray_of_four_is_flashed_side_by_side_and_starts_its_firmware(bench: Bench) -> None:
    boards = [bench.tray.add() for _ in range(4)]
    done = bench.flash(1, "--all", "--json")
    assert done.status == 0, done.err
    assert [row["state"] for row in done.json] == ["flashed"] * 4
    assert {row["after"] for row in done.json} == {"0.1.0 (1)"}
    for board in boards:
        wait_until(partial(board.has_said, b"works"), 20)
        board.unplug()
        assert carries(board, 1)


def test_what_is_there_already_is_not_written_again_and_what_differs_goes_beside_what_runs(bench: Bench) -> None:
    board = bench.tray.add()
    assert bench.flash(1, board.serial_number).status == 0
    again = bench.flash(1, board.serial_number, "--json")
    assert (again.json[0]["state"], again.json[0]["files"]) == ("unchanged", 0)
    newer = bench.flash(2, board.serial_number, "--json")
    assert (newer.json[0]["before"], newer.json[0]["after"]) == ("0.1.0 (1)", "0.2.0 (2)")
    board.unplug()
    files = board.files()
    assert carries(board, 2)
    assert {"/a/manifest", "/b/manifest"} <= set(files)
    assert files["/a/lapel_device/version.mpy"] != files["/b/lapel_device/version.mpy"]


def test_one_file_that_was_spoilt_is_the_only_one_that_is_written(bench: Bench) -> None:
    board = bench.tray.add()
    bench.flash(1, board.serial_number)
    with BoardLink(str(board.port)) as link:
        link.stop()
        link.write_file("/a/lapel_device/runtime.mpy", b"spoilt")
        link.reset()
    wait_until(lambda: b"no slot holds" in board.said, 20)
    mended = bench.flash(1, board.serial_number, "--json")
    assert mended.status == 0, mended.err
    assert mended.json[0]["files"] == 2  # the file, and the manifest, which is always the last
    board.unplug()
    assert carries(board, 1)


def test_a_board_that_fails_does_not_stop_the_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lapel_tools.technician.link.STOP_TIMEOUT_S", 2.0)
    silent, held, broken, good = (bench.tray.add() for _ in range(4))
    silent.cable.mode = SILENT
    broken.cable.break_at(5000, towards_board=True, takes_power=True)
    with serial.Serial(str(held.port), exclusive=True):
        done = bench.flash(1, "--all")
    assert done.status == 1
    assert "3 of 4 boards are not done" in done.err
    assert "says nothing that MicroPython would" in done.out
    assert "another program uses it" in done.out
    assert "the board went away; flash it again" in done.out
    assert "runs number 1 from /a" in done.out
    good.unplug()
    assert carries(good, 1)


def test_a_release_of_another_signer_hardware_or_code_or_below_the_floor_writes_nothing(bench: Bench) -> None:
    board = bench.tray.add()
    with BoardLink(str(board.port)) as link:
        link.stop()
        link.reset()
    board.unplug()
    untouched = board.flash.read_bytes()
    board.plug()
    name = ("--signer", bench.signer, board.serial_number)
    stranger = bench.lapel("device", "flash", "--release", bench.release(1, which=1), *name)
    assert stranger.status == 2
    assert "is no release of this signer" in stranger.err
    for hardware, word in (("tray", "is for pico_w, this is tray"), ("pico_w", "this loads 6.3 for 2")):
        release = bench.release(1, hardware="pico_w")
        other = bench.lapel("device", "flash", "--release", release, "--hardware", hardware, *name)
        assert other.status == 1
        assert word in other.out
    wrong = bench.lapel("device", "flash", "--release", bench.release(1), "--hardware", "esp32s3_cam", *name)
    assert "this is a Raspberry Pi Pico W with RP2040, which no esp32s3_cam has" in wrong.out
    board.unplug()
    assert board.flash.read_bytes() == untouched
    board.plug()
    assert (
        bench.lapel("device", "flash", "--release", bench.release(3, floor=3), "--hardware", "tray", *name).status == 0
    )
    board.unplug()
    before = board.files()
    board.plug()
    older = bench.flash(2, board.serial_number)
    assert "takes no release below number 3; this one is number 2" in older.out
    board.unplug()
    assert board.files() == before


def test_a_latched_alarm_is_left_alone_until_that_is_asked_for(bench: Bench) -> None:
    board = bench.tray.add()
    bench.flash(1, board.serial_number)
    with BoardLink(str(board.port)) as link:
        link.stop()
        record = bytes.fromhex("000000070000000302")
        link.write_file("/alarm.0", record + zlib.crc32(record).to_bytes(4, "big"))
        link.reset()
    refused = bench.flash(2, board.serial_number)
    assert "an alarm is latched (raised, not received yet); it was started again" in refused.out
    wait_until(lambda: board.said.count(b"runs number 1") >= 2, 20)
    done = bench.flash(2, board.serial_number, "--even-busy")
    assert done.status == 0, done.out
    board.unplug()
    assert carries(board, 2)


def test_whoever_breaks_off_between_two_writes_finds_the_old_version_and_goes_on_later(bench: Bench) -> None:
    board = bench.tray.add()
    bench.flash(1, board.serial_number)
    ended = threading.Event()

    def report(step: Step) -> None:
        if step.what == "writing" and step.done_bytes:
            ended.set()

    (port,) = named_ports([board.serial_number])
    result = flash_board(port, order(2), report, ended)
    assert (result.state, result.message) == ("broken off", "it was broken off here; flash it again")
    wait_until(lambda: board.said.count(b"runs number 1") >= 2, 20)
    assert bench.flash(2, board.serial_number).status == 0
    board.unplug()
    assert carries(board, 2)


def test_a_device_that_keeps_crashing_is_caught_and_flashed(bench: Bench) -> None:
    board = bench.tray.add()
    with BoardLink(str(board.port)) as link:
        link.stop()
        link.write_file("/main.py", b"import machine, time\ntime.sleep(0.5)\nmachine.reset()\n")
        link.reset()
    wait_until(lambda: board.resets.count("reset") >= 2, 20)
    done = bench.flash(1, board.serial_number)
    assert done.status == 0, done.out


def test_a_start_that_outlasts_the_watchdog_is_heard_when_it_begins_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = "import machine\n_w = machine.WDT(timeout=3000)\n"
    monkeypatch.setattr("lapel_tools.technician.link._ARM", short)
    monkeypatch.setattr("lapel_tools.technician.link.FEED_EVERY_S", 0.2)
    board = bench.tray.add()
    with BoardLink(str(board.port)) as link:
        link.stop()
        # As on a board whose loader takes its time: a soft reset leaves the watchdog running, another reset does not.
        boot = b"import machine, time\ncause = machine.reset_cause()\n"
        boot += b"if cause == 5 and not machine.raw_repl():\n    time.sleep(6)\n"
        link.write_file("/boot.py", boot + b"if cause == 3:\n    time.sleep(1)\n")
    done = bench.flash(1, board.serial_number)
    assert done.status == 0, done.out
    assert "watchdog" in board.resets
    assert "runs number 1 from /a" in done.out


def test_ports_shows_what_answers_and_disturbs_nothing_that_runs(bench: Bench) -> None:
    bare, running = bench.tray.add(), bench.tray.add()
    bench.flash(1, running.serial_number)
    resets = list(running.resets)
    rows = {row["usb_serial"]: row for row in bench.lapel("device", "ports", "--json").json}
    assert rows[bare.serial_number]["state"] == "ready"
    assert rows[bare.serial_number]["chip"] == "RP2040"
    assert rows[bare.serial_number]["micropython"] == "1.28.0"
    assert rows[running.serial_number]["state"] == "no answer"
    assert running.resets == resets
    asked = bench.lapel("device", "ports", "--ask", running.serial_number, "--json").json[0]
    assert (asked["hardware"], asked["lapel"]) == ("tray", {"/a": "0.1.0 (1)"})
    wait_until(lambda: running.resets[-1] == "reset" and running.said.count(b"works") >= 2, 20)


def test_the_gateways_own_releases_are_flashed_and_its_devices_known(bench: Bench, lapel: Lapel) -> None:
    known, stranger = bench.tray.add(), bench.tray.add()
    nothing = lapel("device", "flash", "--all")
    assert "what shall be put onto it?" in nothing.err
    key = bench.file("signer.key", modulus_of(signer(0)))
    assert lapel("firmware", "publish", bench.release(1), "--key", key).status == 0
    done = lapel("device", "flash", "--all", "--hardware", "tray", "--json")
    assert [row["state"] for row in done.json] == ["flashed", "flashed"]
    device = lapel("device", "provision", "CAM-1", "--out", bench.folder / "package", "--json").json["device"]
    for board, name in ((known, device), (stranger, "00112233445566aa")):
        with BoardLink(str(board.port)) as link:
            link.stop()
            link.write_file("/config.json", b'{"device": "%s"}' % name.encode())
    rows = {row["device"]: row["known"] for row in lapel("device", "ports", "--json").json}
    assert rows == {device: "CAM-1 (active)", "00112233445566aa": "unknown here"}
    shown = lapel("device", "ports")
    assert "CAM-1 (active)" in shown.out


def test_a_port_that_is_held_is_shown_as_in_use(bench: Bench) -> None:
    board = bench.tray.add()
    with serial.Serial(str(board.port), exclusive=True):
        row = bench.lapel("device", "ports", "--json").json[0]
    assert row["state"] == "in use"
    assert "another program uses it" in row["remark"]
    (port,) = named_ports([board.serial_number])
    assert port.device == board.port


def test_which_board_is_meant_is_asked_for_and_never_guessed(bench: Bench) -> None:
    nothing = bench.flash(1)
    assert (nothing.status, "no boards" in nothing.err) == (3, True)
    bench.tray.add(), bench.tray.add()
    several = bench.flash(1)
    assert several.status == 2
    assert "which one?" in several.err
    assert "or --all" in several.err
    both = bench.flash(1, "--all", "x")
    assert "name boards, or say --all" in both.err
    unsigned = bench.lapel("device", "flash", "--release", bench.release(1), "--all")
    assert "who signed it?" in unsigned.err


@pytest.mark.parametrize(
    ("hardware", "machine", "march", "refused"),
    [
        ("fob_pico_w", "Raspberry Pi Pico W with RP2040", 4, True),
        ("pico2_w", "Raspberry Pi Pico 2 W with RP2350", 7, False),
        ("esp32s3_cam", "Generic ESP32S3 module with ESP32S3", 10, False),
    ],
)
def test_a_release_that_a_boards_heap_does_not_hold_is_refused_before_it_is_written(
    hardware: str, machine: str, march: int, refused: bool
) -> None:
    facts = BoardFacts(machine, "1.28.0", 6 | 3 << 8 | march << 10, "e661", hardware, {}, "")
    target = TARGETS[hardware]
    for size, fits in ((40_000, True), (110_000, not refused)):
        words = {"lapel_device/words.py": f"WORDS = {'w' * size!r}\n".encode()}
        made = make_release(target, build_files(target, words), 1, "0.1.0", 0, signer(0))
        if fits:
            assert choose([made], facts, hardware, modulus_of(signer(0))).release is made
        else:
            with pytest.raises(FirmwareError, match=r"heap of an RP2040 holds 64 KiB .* has 107 KiB"):
                choose([made], facts, hardware, modulus_of(signer(0)))
