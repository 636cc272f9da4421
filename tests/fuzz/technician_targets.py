"""Files that a technician is handed: base images, what a board's drive says of itself, networks, signers, releases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from lapel_tools.budget.day import read_shift
from lapel_tools.console import CommandError
from lapel_tools.technician.batch import MAX_ROWS, read_batch
from lapel_tools.technician.drives import INFO_NAME, DriveError, read_drive
from lapel_tools.technician.firmware import FirmwareError, read_release
from lapel_tools.technician.images import ImageError, read_image
from lapel_tools.technician.modem_account import read_account
from lapel_tools.technician.networks import MAX_FILE_BYTES, read_networks
from lapel_tools.technician.remembered import ImageMemory
from lapel_tools.technician.stock import named_signer
from tests.fuzz import genuine
from tests.fuzz.files_targets import Unreadable, patched, public_pem
from tests.fuzz.harness import READ, REFUSED, Built, forged, target
from tests.tools.technician.base_images import RP2350_FAMILY, esp, uf2


@target("technician/image", share=0.4, max_bytes=600, cpu_ms=500, kib=2048)
def base_image(scratch: Path) -> Built:
    """A base image that somebody patched or cut: the first byte chooses which. It is itself, or refused."""
    path = scratch / "image"
    wholes = [uf2(size=4096), uf2(RP2350_FAMILY, size=4096, erratum_block=True), esp(flash_bytes=4 << 20)]

    def one(data: bytes) -> int:
        whole = wholes[(data[0] if data else 0) % len(wholes)]
        content = patched(whole, data[1:]) if len(data) > 1 else whole
        path.write_bytes(content)
        try:
            image = read_image(path)
        except ImageError as error:
            if not str(error):
                raise Unreadable("a refusal without a word") from None
            return REFUSED
        if image.content != content or image.end_bytes > 64 << 20:
            raise Unreadable("an image that is not the file, or longer than any flash")
        return READ

    seeds = [bytes([which]) for which in range(3)]
    seeds += [bytes([which]) + at.to_bytes(2, "big") + b"\xff" * 4 for which in range(3) for at in (0, 12, 20, 28, 508)]
    seeds += [bytes([which, 0x02, 0x00]) for which in range(3)]
    return Built(one, seeds)


@target("technician/files", share=0.5, max_bytes=3000, cpu_ms=1000, kib=2048)
def small_files(scratch: Path) -> Built:
    """Networks, INFO_UF2.TXT, known images, signer, release, batch of boards, a working day, a modem's account: the
    first byte chooses which."""
    path = scratch / INFO_NAME
    path.touch(0o600)
    memory_file = ImageMemory(scratch).path
    memory_file.symlink_to(path.name)
    shared = json.loads((genuine.VECTORS / "release.json").read_text())["shared"]
    modulus, whole = bytes.fromhex(shared["test_only_rsa_3072_modulus"]), bytes.fromhex(shared["whole"])

    def networks() -> None:
        if len(read_networks(path)) > MAX_FILE_BYTES:
            raise Unreadable("more than a device reads")

    def drive() -> None:
        read_drive(scratch)

    def memory() -> None:
        ImageMemory(scratch).load("rp2040")
        raise Unreadable("an image that is no file")

    def signer() -> None:
        if len(named_signer(path)) != 384:
            raise Unreadable("a modulus of another length")

    def release() -> None:
        if read_release(path, modulus).data != whole:
            forged("a release that nobody signed")

    def batch() -> None:
        rows = read_batch(path)
        if not 0 < len(rows) <= MAX_ROWS or not all(row.board and row.name for row in rows):
            raise Unreadable("rows that name no board, or too many")

    def shift() -> None:
        day = read_shift(path)
        if day.recording_minutes > 60 * day.hours or day.visits * day.visit_minutes > 60 * day.hours:
            raise Unreadable("a day that is longer than itself")

    def modem() -> None:
        if not json.loads(read_account(path))["apn"]:
            raise Unreadable("an account without an apn")

    readers: list[Callable[[], None]] = [networks, drive, memory, signer, release, batch, shift, modem]

    def one(data: bytes) -> int:
        path.write_bytes(data[1:])
        try:
            readers[(data[0] if data else 0) % len(readers)]()
        except (CommandError, DriveError, ImageError, FirmwareError):
            return REFUSED
        return READ

    network = b'[[network]]\nssid = "Depot"\npassword = "12345678"\n'
    seeds = [b"\0" + network, b"\0" + network * 17, b"\0[[network]]\nssid = 1\n", b"\0\xff"]
    seeds += [b"\1UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n", b"\1Board-ID: RP2350\n"]
    seeds += [b'\2{"rp2040":{"path":"/nowhere","sha256":"00"}}', b'\2{"rp2040":{"path":"a\\u0000b","sha256":""}}']
    seeds += [b"\1", b"\2["]
    seeds += [b"\3" + public_pem(), b"\3" + bytes(384), b"\3-----BEGIN PUBLIC KEY-----\n"]
    seeds += [b"\4" + whole, b"\4" + whole[:-1], b"\4"]
    seeds += [
        b"\5board,name,person,team\ne6614c311b7a0001,camera 1,Dana Osei,North\n",
        b"\5board,name\n/dev/ttyACM1,camera 2\n",
    ]
    seeds += [b"\5name\nx\n", b'\5board,name\n"x', b"\5\xff", b"\5board,name\n" + b"a,b\n" * 300]
    seeds += [b"\6hours = 8\nvisits = 6\nvisit_minutes = 40\n", b"\6hours = 2\nvisits = 9\n"]
    seeds += [b"\6hours = " + b"9" * 2500]
    seeds += [b"\6hours = true\n", b"\6hours = 8.5\n", b"\6rooms = 1\n"]
    seeds += [
        b'\7apn = "iot.example"\npin = "1234"\n',
        b'\7apn = "a;b"\n',
        b'\7apn = "a"\npin = "12345678"\nuser = 1\n',
        b"\7",
    ]
    # Last: its depth ends whatever profile watches the seeds.
    return Built(one, [*seeds, b"\0network = [" + b"[" * 900, b"\6hours = [" + b"[" * 900])
