"""Releases built from the real sources by the real compiler, and the loader on the real MicroPython."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest

from lapel_build.compiler import BuildError
from lapel_build.release import (
    ARCHITECTURES,
    TARGETS,
    Target,
    build_files,
    build_loader,
    check_code,
    device_files,
    loader_source,
    make_release,
    modulus_of,
    read_key,
    slot_files,
    target_named,
    write_key,
)
from lapel_device.slots import SLOT_B
from lapel_protocol.release import ReleaseError
from lapel_protocol.releasing import Release, open_release
from tests.rings import find_program

from .releases import signer

pytestmark = pytest.mark.needs("micropython")

SIM = TARGETS["sim"]
ASK = """
import gc, sys
sys.path.insert(0, {root!r})
sys.path += ["/rom", "/rom/lib"]
import lapel_loader
running = lapel_loader.start({hardware!r}, {root!r})
print(running and running[:3])
with_loader = gc.mem_alloc()
del sys.modules["lapel_loader"]
del lapel_loader
gc.collect()
print(gc.mem_alloc() < with_loader - 5000 and not [path for path in sys.path if "rom" in path.split("/")])
if running:
    import answer
    print(answer.__file__[-13:], answer.answer)
"""


@cache
def small(number: int) -> Release:
    target = target_named("sim")
    files = build_files(target, {"answer.py": b"answer = 42\n"})
    return make_release(target, files, number, f"0.{number}.0", 0, signer(0))


def lay(root: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_bytes(content)


def ask(root: Path, hardware: str = "sim") -> list[str]:
    program = str(find_program("micropython"))
    text = ASK.format(root=str(root), hardware=hardware)
    done = subprocess.run([program, "-X", "heapsize=400K", "-c", text], capture_output=True, text=True, timeout=60)
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


def test_a_flashed_device_runs_its_slot_and_keeps_nothing_of_the_loader(tmp_path: Path) -> None:
    made = small(5)
    lay(tmp_path, device_files(SIM, made, modulus_of(signer(0))))
    # The first boot finds out that only one slot is filled.
    ask(tmp_path)
    assert ask(tmp_path) == ["lapel: runs number 5 from /a", "(1, False, 5)", "True", "/a/answer.mpy 42"]


def test_a_device_that_was_not_given_a_key_says_that_it_is_not_provisioned(tmp_path: Path) -> None:
    lay(tmp_path, device_files(SIM, small(5), modulus_of(signer(0))))
    (tmp_path / "update.key").unlink()
    said = ask(tmp_path)
    assert said[:2] == ["lapel: not provisioned: there is no /update.key; flash this device", "None"]
    (tmp_path / "update.key").write_bytes(b"no key")
    assert ask(tmp_path)[0].startswith("lapel: not provisioned: /update.key: ")


def test_a_device_whose_slots_are_both_spoilt_says_so_and_puts_neither_on_its_path(tmp_path: Path) -> None:
    lay(tmp_path, device_files(SIM, small(5), modulus_of(signer(0))) | slot_files(small(6), SLOT_B))
    for slot in "ab":
        (tmp_path / slot / "answer.mpy").write_bytes(b"M\x06\x00\x1f")
    *said, last, _, _ = ask(tmp_path)
    assert [line.split(" is")[0] for line in said] == ["lapel: slots: /a", "lapel: slots: /b"]
    assert last.startswith("lapel: no firmware: ")


def test_a_release_for_another_board_is_not_run(tmp_path: Path) -> None:
    lay(tmp_path, device_files(SIM, small(5), modulus_of(signer(0))))
    assert "wrong_hardware" in ask(tmp_path, "pico_w")[0]


def test_the_real_micropython_refuses_another_processors_release(tmp_path: Path) -> None:
    other = Target("sim", "armv6m", "board")
    made = make_release(other, {"answer.mpy": b"M\x06\x13\x1f"}, 5, "0", 0, signer(0))
    lay(tmp_path, device_files(SIM, made, modulus_of(signer(0))))
    assert "wrong_code" in ask(tmp_path)[0]


def test_the_whole_firmware_makes_a_release_for_every_board() -> None:
    for target in TARGETS.values():
        files = build_files(target)
        made = make_release(target, files, 3, "0.3.0", 2, signer(0))
        again = open_release(made.data, modulus_of(signer(0)))
        assert again.manifest.code == (6, 3, ARCHITECTURES[target.march])
        assert again.files == files
        assert "lapel_device/application.mpy" in files
        assert "lapel_protocol/opening.mpy" not in files
        assert len(build_loader(target)) < 8000


def test_a_release_that_was_changed_anywhere_is_not_opened() -> None:
    data = small(5).data
    modulus = modulus_of(signer(0))
    for at in range(0, len(data), 7):
        with pytest.raises(ReleaseError):
            open_release(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :], modulus)
    for wrong in (data[:-1], data + b"\0", b"", data[:64]):
        with pytest.raises(ReleaseError):
            open_release(wrong, modulus)


def test_code_for_another_processor_is_not_built_into_a_release() -> None:
    check_code("a.mpy", b"M\x06\x00\x1f", SIM.code)
    for content in (b"M\x05\x00\x1f", b"M\x06\x13\x1f", b"M\x06\x0a\x1f", b"import os\n", b"M"):
        with pytest.raises(BuildError, match=r"a\.mpy"):
            check_code("a.mpy", content, SIM.code)


def test_the_loader_imports_nothing_that_lies_in_a_slot() -> None:
    lines = [line for line in loader_source().splitlines() if line.startswith(("import ", "from "))]
    assert {line.split()[1] for line in lines} == {"hashlib", "struct", "binascii", "os", "sys"}


def test_a_signing_key_is_its_owners_and_is_never_told(tmp_path: Path) -> None:
    path = tmp_path / "firmware.pem"
    write_key(signer(0), path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert modulus_of(read_key(path)) == modulus_of(signer(0))
    with pytest.raises(FileExistsError):
        write_key(signer(1), path)
    path.chmod(0o640)
    with pytest.raises(BuildError, match="chmod 600"):
        read_key(path)
    path.chmod(0o600)
    secret = path.read_text().splitlines()[3]
    path.write_text(path.read_text()[:-200])
    with pytest.raises(BuildError, match="not a private key") as refused:
        read_key(path)
    assert secret not in str(refused.value)
