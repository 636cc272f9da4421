"""Self-tests on every board under the real MicroPython, whole and with each fault: the fault that is there is named."""

from __future__ import annotations

import ast
import json
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from lapel_protocol.keys import chain_start
from lapel_sim.launcher import start
from lapel_tools.technician.self_test_remedies import remedy
from lapel_tools.technician.self_test_way import Way, judge_broker
from tests.firmware.boards.onboard import DEVICE_CODE, HEAP_BYTES, MODELS
from tests.firmware.desk import DEVICE, K_DEV, POOL, config_fields

pytestmark = pytest.mark.needs("micropython")

BOARDS = ["pico_w", "pico2_w", "esp32s3_cam", "fob_pico_w", "fob_esp32s3"]
NETWORK, PASSWORD = "Depot", "depot-password"
WIFI = json.dumps([{"ssid": NETWORK, "password": PASSWORD}])
CHAIN_KEY = chain_start(K_DEV, DEVICE)
EVERY = (
    "basics.cryptography",
    "basics.entropy",
    "basics.clock",
    "basics.battery",
    "basics.identity",
    "storage.key_sectors",
    "storage.flash",
    "storage.card",
    "hands.free",
    "hands.show",
    "senses.camera",
    "senses.microphone",
    "senses.accelerometer",
    "senses.gnss",
    "cellular.modem",
    "radio.wifi",
)
HAS_NO = {
    "pico_w": {"cellular.modem"},
    "pico2_w": {"cellular.modem"},
    "esp32s3_cam": {"senses.accelerometer", "senses.gnss", "cellular.modem"},
    "fob_pico_w": {"storage.card", "senses.camera", "senses.microphone", "cellular.modem"},
    "fob_esp32s3": {"storage.card", "senses.camera", "senses.microphone", "cellular.modem"},
}
"""The modem: a board to which no account was given uses none."""

MODEM = "cellular.modem"
PIN = "4711"
ACCOUNT = {"apn": "iot.example", "pin": PIN, "user": "crew", "password": "sim-secret"}
MODEM_FAULTS = [
    # board, fault, word by which it is named, the account
    ("pico_w", "mute_modem", "no_answer", ACCOUNT),
    ("fob_esp32s3", "modem_at_another_speed", "garbled", ACCOUNT),
    ("pico_w", "no_sim", "sim_missing", ACCOUNT),
    ("fob_esp32s3", "another_pin", "pin_wrong", ACCOUNT),
    ("pico2_w", "sim_with_a_pin", "pin_missing", {"apn": "iot.example"}),
    ("fob_pico_w", "locked_sim", "puk", ACCOUNT),
    ("fob_pico_w", "no_cell", "not_registered", ACCOUNT),
    ("fob_esp32s3", "denied_sim", "denied", ACCOUNT),
    ("pico_w", "refused_apn", "apn", ACCOUNT),
    ("fob_pico_w", "weak_cell", "weak", ACCOUNT),
    ("fob_esp32s3", "no_data_booked", "no_context", ACCOUNT),
    ("fob_pico_w", "no_address", "no_address", ACCOUNT),
    ("fob_pico_w", "", "account", {"apn": 'a "quoted" name'}),
]

FAULTS = [
    # board, fault, test, word by which it is named
    ("pico_w", "no_card", "storage.card", "no_card"),
    ("pico_w", "blank_card", "storage.card", "no_file_system"),
    ("pico_w", "read_only_card", "storage.card", "read_only"),
    ("esp32s3_cam", "slow_card", "storage.card", "slow"),
    ("pico_w", "bad_contact", "storage.card", "bad_contact"),
    ("esp32s3_cam", "noisy_wire", "storage.card", "bad_contact"),
    ("esp32s3_cam", "dying_card", "storage.card", "hangs"),
    ("fob_pico_w", "broken_flash", "storage.flash", "error"),
    ("pico_w", "no_camera", "senses.camera", "absent"),
    ("esp32s3_cam", "no_camera", "senses.camera", "absent"),
    ("pico_w", "strange_camera", "senses.camera", "unknown"),
    ("pico_w", "hanging_camera", "senses.camera", "hangs"),
    ("esp32s3_cam", "hanging_camera", "senses.camera", "hangs"),
    ("pico_w", "garbled_camera", "senses.camera", "no_jpeg"),
    ("pico_w", "cut_camera", "senses.camera", "no_jpeg"),
    ("esp32s3_cam", "huge_camera", "senses.camera", "too_large"),
    ("pico_w", "silent_microphone", "senses.microphone", "silent"),
    ("pico_w", "clipped_microphone", "senses.microphone", "clipped"),
    ("esp32s3_cam", "offset_microphone", "senses.microphone", "offset"),
    ("pico_w", "microphone_without_clock", "senses.microphone", "no_samples"),
    ("pico_w", "fast_microphone", "senses.microphone", "rate"),
    ("fob_pico_w", "stuck_button", "hands.free", "stuck"),
    ("fob_pico_w", "dead_light", "hands.show", "error"),
    ("fob_pico_w", "dead_accelerometer", "senses.accelerometer", "absent"),
    ("fob_pico_w", "stuck_accelerometer", "senses.accelerometer", "own_test"),
    ("fob_esp32s3", "weightless_accelerometer", "senses.accelerometer", "weight"),
    ("fob_pico_w", "silent_receiver", "senses.gnss", "silent"),
    ("fob_pico_w", "constant_entropy", "basics.entropy", "repeats"),
    ("fob_pico_w", "stuck_entropy", "basics.entropy", "repeats"),
    ("fob_pico_w", "biased_entropy", "basics.entropy", "biased"),
    ("fob_pico_w", "standing_clock", "basics.clock", "stands"),
    ("fob_esp32s3", "slow_clock", "basics.clock", "drifts"),
    ("fob_pico_w", "dead_battery", "basics.battery", "absent"),
    ("fob_pico_w", "empty_battery", "basics.battery", "empty"),
    ("fob_pico_w", "wrong_password", "radio.wifi", "wrong_password"),
    ("fob_pico_w", "no_access_point", "radio.wifi", "not_in_reach"),
    ("fob_esp32s3", "deaf_access_point", "radio.wifi", "refused"),
    ("fob_esp32s3", "weak_signal", "radio.wifi", "weak"),
    ("fob_pico_w", "broken_counter_mode", "basics.cryptography", "wrong"),
    ("fob_pico_w", "broken_hash", "basics.cryptography", "wrong"),
    ("fob_pico_w", "lost_keys", "storage.key_sectors", "no_image"),
]


class Run:
    """What the self-tests said on one board."""

    def __init__(self, text: str) -> None:
        self.text = text
        lines = text.splitlines()
        told = [ast.literal_eval(line[1:]) for line in lines if line.startswith("=")]
        facts = [json.loads(line) for line in lines if line.startswith("{")]
        self.answers = told
        self.outcomes = {fact["test"]: answer for fact, answer in zip(facts, told, strict=False)}
        self.longest_ms = max(fact.get("ms", 0) for fact in facts)
        self.left, self.resets = facts[-1]["left"], facts[-1]["resets"]


def start_with(
    board: str, fault: str, tests: str, config: dict[str, object] | None, account: dict[str, str] | None = None
) -> str:
    """What the board printed; without `config` it is not provisioned."""
    files = {} if config is None else {"/config.json": json.dumps(config), "/wifi.json": WIFI}
    if account is not None:
        files["/modem.json"] = json.dumps(account)
    keys = [] if config is None else [CHAIN_KEY.hex(), POOL.hex()]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(files, file)
        file.flush()
        arguments = ["self_test_device", board, fault, tests, file.name, *keys]
        device = start("on_models", arguments, (), HEAP_BYTES, (MODELS, DEVICE_CODE))
        try:
            output, _ = device.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            device.kill()
            raise
    assert device.returncode == 0, output.decode()
    return output.decode()


@cache
def run(board: str, fault: str, tests: tuple[str, ...], provisioned: bool = True) -> Run:
    return Run(start_with(board, fault, ",".join(tests), config_fields() if provisioned else None))


@pytest.mark.parametrize("board", BOARDS)
def test_a_whole_board_passes_every_test_that_it_has_the_part_for(board: str) -> None:
    ran = run(board, "", EVERY)
    assert list(ran.outcomes) == list(EVERY), ran.text
    wanted = {test: "absent" if test in HAS_NO[board] else "passed" for test in EVERY}
    assert {test: outcome for test, (outcome, *_) in ran.outcomes.items()} == wanted, ran.text
    assert (ran.left, ran.resets) == ([], 0), "nothing stays, and the watchdog was content"


@pytest.mark.parametrize(("board", "fault", "test", "word"), FAULTS)
def test_a_fault_is_named_by_the_test_of_its_part(board: str, fault: str, test: str, word: str) -> None:
    ran = run(board, fault, (test,))
    outcome, named, found = ran.outcomes[test]
    assert (outcome, named) == ("failed", word), ran.text
    assert found, "it says what was found"
    assert ran.resets == 0, "the watchdog was content"
    assert ran.longest_ms < 45_000, "it ends"


DOWN, UP, HELD = (f"hands.watch ALARM {what} 6000" for what in (1, 2, 3))


@pytest.mark.parametrize("board", ["fob_pico_w", "fob_esp32s3", "esp32s3_cam"])
@pytest.mark.parametrize(
    ("done", "watched", "seen"),
    [
        ("pushed_alarm", (DOWN, UP), (True, True)),
        ("pushed_alarm", ("hands.watch RECORD 1 3000",), (False,)),
        ("pushed_alarm", (HELD,), (False,)),
        ("held_alarm", (HELD,), (True,)),
        ("held_alarm_too_short", (HELD,), (False,)),
        ("held_alarm_without_its_interrupt", (HELD,), (False,)),
    ],
)
def test_a_push_and_a_hold_are_noticed_the_hold_by_the_pins_interrupt(
    board: str, done: str, watched: tuple[str, ...], seen: tuple[bool, ...]
) -> None:
    ran = Run(start_with(board, done, ",".join(watched), config_fields()))
    assert ran.answers == list(seen), ran.text
    assert ran.resets == 0, "the watchdog was content"


def run_modem(board: str, fault: str, account: dict[str, str]) -> Run:
    return Run(start_with(board, fault, MODEM, config_fields(), account))


@pytest.mark.parametrize("board", [board for board in BOARDS if board != "esp32s3_cam"])
def test_a_modem_with_an_account_passes_and_is_off_afterwards(board: str) -> None:
    ran = run_modem(board, "", ACCOUNT)
    assert ran.outcomes[MODEM] == ("passed", "", "registered, roaming, -71 dBm, it carries"), ran.text
    assert ran.resets == 0
    assert '"modem_left": [0, false]' in ran.text, "without power, and not in data mode"


@pytest.mark.parametrize(("board", "fault", "word", "account"), MODEM_FAULTS)
def test_a_fault_of_the_modem_is_named(board: str, fault: str, word: str, account: dict[str, str]) -> None:
    ran = run_modem(board, fault, account)
    outcome, named, found = ran.outcomes[MODEM]
    assert (outcome, named) == ("failed", word), ran.text
    assert found
    assert ran.resets == 0, "the watchdog was content"
    assert ran.longest_ms < 150_000, "it ends"
    assert ran.text.splitlines().count(".") >= ran.longest_ms // 1000 - 4, "it gives a sign every second"
    assert remedy("modem", named, f"lapel-{board}-1") != remedy("modem", "no such fault", f"lapel-{board}-1")
    for secret in (PIN, ACCOUNT["user"], ACCOUNT["password"], ACCOUNT["apn"]):
        assert secret not in ran.text


def test_a_wrong_pin_is_tried_once_however_long_the_test_takes() -> None:
    assert '"modem_tries": 2' in run_modem("fob_pico_w", "another_pin", ACCOUNT).text


def test_the_driver_does_not_dial_while_its_modem_is_tested() -> None:
    """Wi-Fi is away for longer than the bearers wait before they want the modem."""
    ran = run_modem("fob_pico_w", "no_cell_and_no_wifi", ACCOUNT)
    assert ran.outcomes[MODEM][1] == "not_registered", ran.text
    assert '"modem_boots": 1' in ran.text


@pytest.mark.parametrize(
    ("fault", "outcome", "word"),
    [
        ("", "passed", ""),
        ("sector_that_does_not_program", "failed", "does_not_hold"),
        ("sector_that_does_not_erase", "failed", "does_not_erase"),
    ],
)
def test_the_sectors_of_a_board_without_keys_are_tried_with_a_pattern(fault: str, outcome: str, word: str) -> None:
    ran = run("fob_pico_w", fault, ("storage.key_sectors", "basics.identity", "radio.wifi"), provisioned=False)
    assert ran.outcomes["storage.key_sectors"][:2] == (outcome, word), ran.text
    assert ran.outcomes["basics.identity"][0] == ran.outcomes["radio.wifi"][0] == "skipped"


@pytest.mark.parametrize("board", BOARDS)
def test_the_keys_of_a_provisioned_board_are_as_they_were(board: str) -> None:
    ran = run(board, "", ("storage.key_sectors", "storage.key_sectors"))
    assert ran.outcomes["storage.key_sectors"] == ("passed", "", "one valid key image, made for epoch 0")


def test_a_test_that_takes_long_gives_a_sign_every_second() -> None:
    ran = run("fob_pico_w", "silent_receiver", ("senses.gnss",))
    assert ran.longest_ms > 10_000
    assert ran.text.splitlines().count(".") >= ran.longest_ms // 1000 - 4


def test_nothing_that_a_self_test_says_has_a_secret_in_it() -> None:
    said = "".join(run(board, "", EVERY).text for board in BOARDS)
    said += "".join(run(board, fault, (test,)).text for board, fault, test, _ in FAULTS)
    for secret in (CHAIN_KEY, POOL, K_DEV):
        for spelling in (secret.hex(), secret.hex().upper(), repr(secret)[2:-1], repr(list(secret))):
            assert spelling not in said
    assert PASSWORD not in said
    assert NETWORK not in said


def test_no_part_of_the_firmware_imports_the_self_tests() -> None:
    root = Path(__file__).parents[3] / "firmware"
    for path in root.rglob("*.py"):
        if "self_test" not in path.parts and path.name != "lis3dh_self_test.py":
            assert "self_test" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize(
    ("config", "fault", "outcome"),
    [
        ({}, "", ("failed", "no_name")),
        ({"host": "127.0.0.1", "port": 1}, "", ("failed", "refused")),
        ({"host": "127.0.0.1", "port": 1}, "no_access_point", ("failed", "no_network")),
        ({}, "lost_keys", ("skipped", "")),
    ],
)
def test_where_the_way_to_the_broker_ends_is_named(
    config: dict[str, object], fault: str, outcome: tuple[str, str]
) -> None:
    text = start_with("fob_pico_w", fault, "gateway", {**config_fields(), **config})
    [told] = [ast.literal_eval(line[1:]) for line in text.splitlines() if line.startswith("=")]
    assert judge_broker(Way.read(told))[:2] == outcome, text
