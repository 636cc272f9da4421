"""What a technician gives a device: Wi-Fi networks, a modem's account, and a label on its case."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import pypdfium2 as pdfium
import pytest

from lapel_device.boards.modem_account import load_account
from lapel_sim.package import read_package
from lapel_tools.technician.label import HEIGHT_MM, QR_PREFIX, WIDTH_MM, Label, render_labels
from lapel_tools.technician.modem_account import read_account
from tests.tools.command import Lapel

SECRET = "correct horse 9"
GOOD = f"""\
[[network]]
ssid = "Depot"
password = "{SECRET}"

[[network]]
ssid = "Yard"
password = "12345678"
security = "wpa3"
"""


def networks(lapel: Lapel, text: str, mode: int = 0o600) -> Path:
    path = lapel.folder / "networks.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_a_device_is_given_its_networks_in_order_in_a_file_for_its_owner_only(lapel: Lapel) -> None:
    path = networks(lapel, GOOD)
    made = lapel("device", "provision", "camera 1", "--out", "package", "--wifi", path)
    assert made.status == 0, made.err
    assert SECRET not in made.out + made.err
    written = lapel.folder / "package" / "wifi.json"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert json.loads(read_package(lapel.folder / "package").files["/wifi.json"]) == [
        {"ssid": "Depot", "password": SECRET, "security": "wpa2/wpa3"},
        {"ssid": "Yard", "password": "12345678", "security": "wpa3"},
    ]


def test_the_networks_of_the_settings_are_every_new_devices(lapel: Lapel) -> None:
    networks(lapel, GOOD)
    text = lapel.config.read_text()
    lapel.config.write_text(text.replace("[devices]", '[devices]\nwifi_file = "networks.toml"', 1))
    assert lapel("device", "provision", "camera 1", "--out", "package").status == 0
    assert len(json.loads((lapel.folder / "package" / "wifi.json").read_text())) == 2
    again = lapel("device", "reprovision", "camera 1", "--out", "again")
    assert again.status == 0
    assert (lapel.folder / "again" / "wifi.json").read_bytes() == (lapel.folder / "package" / "wifi.json").read_bytes()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'[[network]]\nssid = "Depot"\npassword = "{SECRET}', "is not TOML at end of document"),
        (f'[[network]]\nssid = "Depot"\npassword = "{SECRET}"\nkey = 1\n', "network 1: it has ssid, password"),
        (f'[[network]]\nssid = "{"ü" * 17}"\npassword = "{SECRET}"\n', "network 1: ssid has 1 to 32 bytes"),
        ('[[network]]\nssid = "Depot"\npassword = ""\n', "an open network is none for a device"),
        ('[[network]]\nssid = "Depot"\npassword = "1234567"\n', "password has 8 to 63 bytes"),
        (f'[[network]]\nssid = "Depot"\npassword = "{SECRET}"\nsecurity = "wep"\n', "security is one of"),
        ("", "it has 1 to 16 tables"),
        (f'[[network]]\nssid = "Depot"\npassword = "{SECRET}"\n' * 17, "it has 1 to 16 tables"),
        (GOOD + "[more]\n", "and nothing else"),
    ],
)
def test_networks_that_no_device_would_take_are_refused_before_a_device_is_entered(
    lapel: Lapel, text: str, words: str
) -> None:
    refused = lapel("device", "provision", "camera 1", "--out", "package", "--wifi", networks(lapel, text))
    assert (refused.status, words in refused.err) == (2, True), refused.err
    assert SECRET not in refused.out + refused.err
    assert lapel("device", "list", "--json").json == []
    assert not (lapel.folder / "package").exists()


def test_networks_that_others_can_read_are_refused(lapel: Lapel) -> None:
    refused = lapel("device", "provision", "camera 1", "--out", "package", "--wifi", networks(lapel, GOOD, 0o644))
    assert "can be read by others (mode 0644): chmod 600" in refused.err


class Folder:
    """A device's storage over a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def size(self, path: str) -> int:
        file = self.root / path[1:]
        return file.stat().st_size if file.exists() else -1

    def open(self, path: str, mode: str) -> IO[bytes]:
        return (self.root / path[1:]).open(mode)


def account(folder: Path, text: str) -> Path:
    path = folder / "modem.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "given",
    [
        {"apn": "iot.example"},
        {"apn": "iot.example", "pin": "1234"},
        {"apn": "a" * 63, "pin": "12345678", "user": "u" * 63, "password": "p" * 63},
    ],
)
def test_a_modems_account_is_what_the_device_reads(tmp_path: Path, given: dict[str, str]) -> None:
    text = "".join(f'{name} = "{value}"\n' for name, value in given.items())
    (tmp_path / "modem.json").write_bytes(read_account(account(tmp_path, text)))
    said: list[str] = []
    assert load_account(Folder(tmp_path), said.append) == {"pin": "", "user": "", "password": "", **given}  # type: ignore[arg-type]
    assert said == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'apn = "iot"\npassword = "{SECRET}', "is not TOML at end of document"),
        (f'password = "{SECRET}"\n', "it has apn"),
        (f'apn = ""\npassword = "{SECRET}"\n', "it has apn"),
        (f'apn = "iot"\npasswort = "{SECRET}"\n', "it has apn"),
        (f'apn = "{SECRET};AT+CFUN=0"\n', "apn is plain text"),
        (f"apn = 'i\"{SECRET}'\n", "apn is plain text"),
        (f'apn = "iot"\nuser = "{SECRET * 5}"\n', "user is plain text of at most 63"),
        ('apn = "iot"\npin = 1234\n', "pin is plain text"),
        ('apn = "iot"\npin = "123"\n', "pin has 4 to 8 digits"),
        ('apn = "iot"\npin = "12 34"\n', "pin has 4 to 8 digits"),
    ],
)
def test_an_account_that_no_modem_would_take_is_refused_before_a_device_is_entered(
    lapel: Lapel, text: str, words: str
) -> None:
    path = account(lapel.folder, text)
    refused = lapel("device", "provision", "camera 1", "--port", "/dev/nowhere", "--modem", path)
    assert (refused.status, words in refused.err) == (2, True), refused.err
    assert SECRET not in refused.out + refused.err
    assert lapel("device", "list", "--json").json == []


def test_a_simulated_board_is_given_no_modem(lapel: Lapel) -> None:
    path = account(lapel.folder, 'apn = "iot"\n')
    refused = lapel("device", "provision", "camera 1", "--out", "package", "--modem", path)
    assert (refused.status, "a simulated one has no modem" in refused.err) == (2, True)
    assert lapel("device", "list", "--json").json == []


def test_a_label_is_a_page_of_its_size_with_every_word_and_a_code_that_a_camera_reads(lapel: Lapel) -> None:
    text = lapel.config.read_text()
    lapel.config.write_text(text.replace('return_to = ""', 'return_to = "020 7946 0018"', 1))
    made = lapel("device", "provision", "camera 1", "--out", "package", "--label", "one.pdf", "--json")
    assert made.status == 0, made.err
    device = made.json["device"]
    assert lapel("device", "label", "camera 1", device[:8], "--out", "two.pdf").status == 0
    one, two = (pages((lapel.folder / name).read_bytes()) for name in ("one.pdf", "two.pdf"))
    assert [one[0]] * 2 == two
    [(words, size, code)] = one
    assert code == QR_PREFIX + device
    assert size == pytest.approx((WIDTH_MM / 25.4 * 72, HEIGHT_MM / 25.4 * 72), abs=0.1)
    grouped = " ".join(device[at : at + 4] for at in range(0, 16, 4))
    for line in ("camera 1", grouped, "My organisation", "If found: 020 7946 0018"):
        assert line in words


@pytest.mark.parametrize(
    "name", ["camera 7 - Zoë Núñez", "x" * 80, "a very long name of many words that goes on and on"]
)
def test_nothing_on_a_label_runs_over_its_edge(name: str) -> None:
    label = Label(
        name, "a1b2c3d4e5f60718", "The Northern Housing Association of Everywhere " * 3, "12 Long Street " * 12
    )
    [page] = pdfium.PdfDocument(render_labels([label]))
    content = page.get_textpage()
    width, height = page.get_size()
    boxes = [content.get_charbox(at) for at in range(content.count_chars())]
    assert len(boxes) > 60
    assert all(left >= 0 and bottom >= 0 and right <= width and top <= height for left, bottom, right, top in boxes)


def pages(content: bytes) -> list[tuple[str, tuple[float, float], str]]:
    """Of each page: its words, its size in points, and what the code on it says."""
    found = []
    for page in pdfium.PdfDocument(content):
        picture = np.asarray(page.render(scale=4).to_pil().convert("RGB"))
        code = cv2.QRCodeDetector().detectAndDecode(picture)[0]
        words = " ".join(page.get_textpage().get_text_range().split())
        found.append((words, page.get_size(), code))
    return found
