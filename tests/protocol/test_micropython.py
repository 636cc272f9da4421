"""What only the real MicroPython can show; the vectors run there in test_vectors."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import lapel_protocol
from tests.protocol import on_micropython

pytestmark = pytest.mark.needs("micropython")
VECTORS = on_micropython.ROOT / "protocol" / "vectors"
ROUNDS = 1500


def test_ctr_matches_cryptography_at_every_length_with_both_inner_loops(tmp_path: Path) -> None:
    cases = []
    for length in (*range(70), 255, 256, 257, 1008, 1023, 1024, 1025, 1039, 2047, 2048, 2049, 4024, 4063, 4064):
        stuff = hashlib.shake_256(b"ctr %d" % length).digest(44 + length)
        key, iv, plain = stuff[:32], stuff[32:44], stuff[44:]
        encryptor = Cipher(algorithms.AES(key), modes.CTR(iv + bytes(4))).encryptor()
        out = encryptor.update(plain) + encryptor.finalize()
        cases.append({"key": key.hex(), "iv": iv.hex(), "plain": plain.hex(), "out": out.hex()})
    file = tmp_path / "ctr.json"
    file.write_text(json.dumps(cases))
    assert on_micropython.run("ctr_script.py", str(file)) == f"{len(cases)} ciphertexts twice, wrong: 0\n"


def test_both_pythons_read_and_refuse_the_same_junk() -> None:
    arguments = [str(VECTORS / "payload.json"), str(ROUNDS)]
    command = [sys.executable, "-m", "tests.protocol.junk_script", *arguments]
    done = subprocess.run(command, cwd=on_micropython.ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    read, refused = (int(word) for word in done.stdout.replace(",", "").split() if word.isdigit())
    assert read > ROUNDS // 5
    assert refused > 8 * ROUNDS
    assert on_micropython.run("junk_script.py", *arguments) == done.stdout


def test_every_module_of_the_protocol_is_good_on_micropython(tmp_path: Path) -> None:
    folder = Path(str(lapel_protocol.__file__)).parent
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem not in ("__init__", "ctr_cpython"))
    script = tmp_path / "imports.py"
    script.write_text("".join(f"import lapel_protocol.{name}\n" for name in names) + "print('all')\n")
    assert len(names) > 20
    assert on_micropython.run(str(script)) == "all\n"
