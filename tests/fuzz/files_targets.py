"""Files that somebody else may have written: exports, clips in the vault, Matroska, configurations, keys, packages."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import atheris
import av
import av.logging
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lapel_device.matroska import MatroskaWriter
from lapel_gateway.channels.secret_file import SecretError
from lapel_gateway.channels.sia_dc09.key import load_key
from lapel_gateway.channels.webhook import _retry_after_ms, load_secret
from lapel_gateway.custody.doubts import MARK_NAME, read_mark
from lapel_gateway.keystore import KeyStore, KeyStoreError, OrganisationKey
from lapel_gateway.settings.config import ConfigError, load_config
from lapel_gateway.settings.template import render_template
from lapel_gateway.updates.releases import UpdateError, read_signer
from lapel_gateway.viewing import captions, media, viewcopy
from lapel_gateway.viewing.assembly import MATROSKA, ORIGINAL
from lapel_gateway.viewing.export import ASSOCIATED_DATA, MANIFEST, STREAM, export_clip
from lapel_gateway.viewing.tink import KeysetError, keyset_json, read_keyset
from lapel_gateway.viewing.unseal import KeyRing, check, read_header, unseal
from lapel_protocol.errors import ProtocolError
from lapel_protocol.release import RELEASE_HEADER_BYTES, Manifest, ReleaseError, entries
from lapel_protocol.releasing import open_release
from lapel_protocol.stream import clip_ikm
from lapel_sim.package import CONFIG_NAME, SECTORS_NAME, BadPackage, read_package
from lapel_tools.api import read_token
from lapel_tools.console import CommandError
from lapel_tools.evidence import NotAnExport, verify_export
from lapel_tools.export_archive import unpacked
from lapel_tools.provisioning import read_pins
from tests.fuzz import genuine
from tests.fuzz.card_targets import good_config
from tests.fuzz.harness import READ, REFUSED, Built, Finding, forged, target
from tests.fuzz.mutation import PartMutator, framed, frames
from tests.fuzz.site import CLIP_TOPIC, DEVICE_NAME, EVENT_TOPIC, NOW_MS, Site


class Unreadable(Finding):
    """Something was read that nobody can use."""


def patched(content: bytes, patch: bytes) -> bytes:
    """The content with the patch's bytes put in at the offset that its first two bytes give; a patch of two cuts."""
    at = int.from_bytes(patch[:2], "big") % (len(content) + 1)
    if len(patch) <= 2:
        return content[:at]
    return content[:at] + patch[2:] + content[at + len(patch) - 2 :]


def _ring(private: bool) -> KeyRing:
    organisation = genuine.organisation() if private else None
    return KeyRing(lambda device, epoch: genuine.keys(epoch % 64, bytes.fromhex(device)), organisation)


@target("files/clip", share=0.3, max_bytes=3000, cpu_ms=500, kib=1024)
def clip_file(_scratch: Path) -> Built:
    """A clip in the vault that somebody patched or cut: what is opened of it is what was sealed."""
    clip = genuine.clip()
    ring, blind = _ring(True), _ring(False)
    whole, segments = clip.file, len(clip.segments)

    def one(data: bytes) -> int:
        content = whole
        for _, patch in frames(data)[:8]:
            content = patched(content, patch)
        plain = bytearray()
        try:
            header = read_header(io.BytesIO(content))
            keys = ring.of_clip(DEVICE_NAME, genuine.CLIP, header)
            if keys.stream is None:
                forged("another header, verified")
            unseal(io.BytesIO(content), keys, segments, plain.extend)
        except ProtocolError:
            if plain != clip.plain[: len(plain)]:
                forged("content")
            return READ if plain else REFUSED
        if plain != clip.plain:
            forged("content")
        check(io.BytesIO(content), blind.of_clip(DEVICE_NAME, genuine.CLIP, header), segments)
        return READ

    seeds = [framed([(0, struct.pack(">H", at) + b"\xff")]) for at in (0, 12, 300, 500, 588, 600, 4672, 5000)]
    return Built(one, [b"", *seeds, framed([(0, b"\x12\x00")])], PartMutator([whole[:40], whole[588:640]], 4))


@target("files/evidence", share=0.2, max_bytes=3000, cpu_ms=1000, kib=2048)
def evidence(scratch: Path) -> Built:
    """`lapel verify` on an export that somebody changed, and made the manifest fit, or the manifest itself."""
    clip = genuine.clip()
    site = Site(
        scratch / "site",
        [
            (EVENT_TOPIC, genuine.event(1, genuine.payloads("hello")[0], 1)),
            (CLIP_TOPIC, clip.file),
        ],
    )
    site.restore()
    folder = scratch / "export"
    clip_id = (DEVICE_NAME, genuine.CLIP)
    export_clip(site.engine, site.vault, _ring(True), clip_id, folder, True, NOW_MS)
    site.close()
    true = {path.name: path.read_bytes() for path in folder.iterdir()}
    names = [MANIFEST, *sorted(set(true) - {MANIFEST})]
    head = clip.end[56:88].hex()
    judged = (ORIGINAL, STREAM, ASSOCIATED_DATA, MATROSKA)

    def one(data: bytes) -> int:
        changed: dict[str, bytes] = {}
        for tag, patch in frames(data)[:6]:
            name = names[(tag & 0x7F) % len(names)]
            changed[name] = patched(changed.get(name, true[name]), patch)
        if any(tag & 0x80 for tag, _ in frames(data)) and MANIFEST not in changed:
            changed[MANIFEST] = _fitting(true[MANIFEST], changed)
        for name, content in changed.items():
            (folder / name).write_bytes(content)
        try:
            checks = verify_export(folder, head)
        except NotAnExport:
            return REFUSED
        finally:
            for name in changed:
                (folder / name).write_bytes(true[name])
        if any(one.ok is False for one in checks):
            return READ
        if any(changed.get(name, true[name]) != true[name] for name in judged):
            forged("an export that was changed is called good")
        return READ

    fields = [true[MANIFEST].index(word) for word in (b'"A"', b'"K_h"', b'"files"', b'"clip"', b'"segments"')]
    seeds = [framed([(0, struct.pack(">H", at + 6) + b"[")]) for at in fields]
    seeds += [framed([(0x80 | number, b"\x01\x00\xff")]) for number in range(1, len(names))]
    seeds += [framed([(number, b"\0\0" + b"[" * 2500)]) for number in range(len(names))]
    seeds += [framed([(number, b"\0\0")]) for number in range(len(names))]
    return Built(one, [b"", *seeds], PartMutator([true[MANIFEST][:300], clip.end, b"\0\0null"], 256))


@target("files/archive", share=0.2, max_bytes=600, cpu_ms=500, kib=2048)
def archive(scratch: Path) -> Built:
    """An export in one file that somebody patched or cut: what is unpacked of it is as large as that at most, and lies
    in the folder made for it."""
    path = scratch / "export.zip"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name in (MANIFEST, "clip.mkv", "original.lapel"):
            file.writestr(zipfile.ZipInfo(f"{DEVICE_NAME}-5/{name}"), name.encode() * 9)
    whole = packed.getvalue()

    def one(data: bytes) -> int:
        content = whole
        for _, patch in frames(data)[:8]:
            content = patched(content, patch)
        path.write_bytes(content)
        try:
            with unpacked(path) as folder:
                found = [*folder.iterdir()]
                if not all(one.is_file() for one in found) or sum(one.stat().st_size for one in found) > len(content):
                    raise Unreadable("more than files that are as large as they were packed")
        except NotAnExport:
            return REFUSED
        return READ

    ends = [whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")]
    seeds = [framed([(0, struct.pack(">H", at + step) + b"\xff")]) for at in (0, *ends) for step in range(4, 46, 3)]
    seeds += [framed([(0, struct.pack(">H", at + 10) + b"\x08")]) for at in (0, ends[0])]
    return Built(one, [b"", *seeds, framed([(0, b"\0\x50")])], PartMutator([b"/", b"..", b"PK\x01\x02"], 256))


def _fitting(manifest: bytes, changed: dict[str, bytes]) -> bytes:
    """The manifest with the sizes and sums that changed files have, as a careful forger makes it."""
    told: dict[str, Any] = json.loads(manifest)
    for name, content in changed.items():
        told["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    return json.dumps(told).encode()


def small_matroska() -> bytes:
    """A clip of a second with two pictures, a little sound and an event, as a device writes it."""
    sink = io.BytesIO()

    class Sink:
        def write(self, data: bytes | bytearray | memoryview) -> None:
            sink.write(data)

    picture = _picture()
    writer = MatroskaWriter(Sink())
    writer.begin(16, 16, 16_000, 0)
    for at, name in ((100, b"first"), (600, b"second")):
        writer.frame(picture, at)
        writer.audio(bytes(320), at)
        writer.text(b"event <" + name + b">", at, 200)
    return sink.getvalue()


def _picture() -> bytes:
    """A grey JPEG of 16 x 16 pixels, of full range, as cameras make them."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width = encoder.height = 16
    encoder.pix_fmt = "yuvj422p"
    encoder.color_range = ColorRange.JPEG
    encoder.time_base = Fraction(1, 1000)
    frame = VideoFrame(16, 16, "yuvj422p")
    for plane in frame.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    frame.pts, frame.time_base, frame.color_range = 0, encoder.time_base, ColorRange.JPEG
    return b"".join(bytes(packet) for packet in encoder.encode(frame))


@target("files/matroska", share=0.5, max_bytes=4000, cpu_ms=1000, kib=4096)
def matroska(scratch: Path) -> Built:
    """The Matroska of a hostile device: its survey, and its events as WebVTT."""
    av.logging.set_level(av.logging.PANIC)
    path, vtt = scratch / "clip.mkv", scratch / "clip.vtt"

    def one(data: bytes) -> int:
        path.write_bytes(data)
        survey = media.survey(path)
        viewcopy.write_vtt(survey, vtt)
        if not all(cue.duration_ms > 0 for cue in survey.cues):
            raise Unreadable("a cue that is never shown")
        if len(survey.cues) * 2 > len(data) or len(survey.frames_ms) > len(data):
            raise Unreadable("more in it than its bytes can hold")
        return READ if survey.frames_ms or survey.cues else REFUSED

    good = small_matroska()
    return Built(one, [good, good[:-7], good[:200], b"", good.replace(b"\x01", b"\x7f")])


@target("files/viewcopy", share=0.02, max_bytes=4000, cpu_ms=10_000, kib=65_536)
def view_copy(scratch: Path) -> Built:
    """The whole way from a hostile device's Matroska to the MP4 for viewing."""
    av.logging.set_level(av.logging.PANIC)
    path, mp4 = scratch / "clip.mkv", scratch / "clip.mp4"

    def one(data: bytes) -> int:
        path.write_bytes(data)
        survey = media.survey(path)
        mp4.unlink(missing_ok=True)
        copy = viewcopy.write_mp4(path, survey, mp4)
        if copy.frames > len(survey.frames_ms):
            raise Unreadable("more pictures shown than there are")
        return READ if copy.frames else REFUSED

    good = small_matroska()
    return Built(one, [good, good[:-7], good[:200], b""])


@target("files/captions", share=1, max_bytes=600)
def text_track(_scratch: Path) -> Built:
    """Texts of events as cues and as WebVTT."""

    def one(data: bytes) -> int:
        events = []
        for tag, body in frames(data)[:40]:
            start, duration = tag * 37, int.from_bytes(body[:2], "big")
            events.append((start, duration, captions.clean_text(body[2:])))
        cues = captions.arrange(events)
        ends = [cue.start_ms + cue.duration_ms for cue in cues]
        if any(end > cue.start_ms for end, cue in zip(ends, cues[1:], strict=False)):
            raise Unreadable("cues that overlap")
        document = captions.webvtt(cues)
        if document.count("-->") != len(cues):
            raise Unreadable("a cue that makes another")
        for cue in cues:
            captions.timed_text_sample(cue)
        return READ if cues else REFUSED

    seeds = [framed([(1, b"\0\7hello"), (1, b"\0\0a --> b"), (9, b"\xff\xff\xff\n\n\r\n<b>&")])]
    return Built(one, seeds)


@target("files/config", share=0.3, max_bytes=6000, cpu_ms=1000, kib=4096)
def gateway_config(scratch: Path) -> Built:
    """lapel.toml."""
    path = scratch / "lapel.toml"

    def one(data: bytes) -> int:
        path.write_bytes(data)
        try:
            config = load_config(path)
        except ConfigError as error:
            if not str(error):
                raise Unreadable("a fault without a word") from None
            return REFUSED
        if not config.data_dir.is_absolute():
            raise Unreadable("a path that depends on where the program was started")
        return READ

    seeds = [render_template().encode()[:5900], b"[broker]\nkind = 'embedded'\nport = 70000\n", b"\xff", b""]
    seeds += [
        b"[gateway]\nroles = ['web']\ndata_dir = '~nobody/x'\n",
        b"x = " + b"[" * 2000,
        b"[[webhooks]]\nname='a'\n",
    ]
    seeds += [b"[broker]\nca_file = 'a'\n[ingest]\nbatch_max = 1e3\n[web]\nhost = '\\u0000'\n"]
    return Built(one, seeds)


@target("files/secrets", share=1, max_bytes=3000, cpu_ms=1000, kib=2048)
def secrets(scratch: Path) -> Built:
    """Key files, tokens, signing secrets and the vault's mark: the first byte chooses which."""
    path = scratch / "secret"
    path.touch(0o600)

    def read_master() -> None:
        KeyStore.load(path)

    def read_organisation() -> None:
        OrganisationKey.load(path)

    def read_secret() -> None:
        load_secret(path)

    def read_user_token() -> None:
        token = read_token(path)
        if not token:
            raise CommandError("no token")

    def read_vault_mark() -> None:
        if read_mark(scratch) is None:
            raise CommandError("no mark")

    def read_hex_key() -> None:
        load_key(path, "hex")

    def read_raw_key() -> None:
        load_key(path, "raw")

    def read_signers_key() -> None:
        read_signer(path)

    def read_sequences() -> None:
        if not read_pins(path):
            raise CommandError("no sequences")

    (scratch / MARK_NAME).symlink_to(path.name)
    readers: list[Callable[[], None]] = [
        read_master,
        read_organisation,
        read_secret,
        read_user_token,
        read_vault_mark,
        read_hex_key,
        read_raw_key,
        read_sequences,
        read_signers_key,
    ]

    def one(data: bytes) -> int:
        path.write_bytes(data[1:])
        try:
            readers[(data[0] if data else 0) % len(readers)]()
        except (KeyStoreError, SecretError, CommandError, UpdateError):
            return REFUSED
        return READ

    pem = public_pem()
    seeds = [
        b"\0" + b"ab" * 32 + b"\n",
        b"\1" + pem,
        b"\1-----BEGIN PRIVATE KEY-----\n",
        b"\3lapel_00\n",
        b"\3\xff\xfe",
    ]
    seeds += [
        b"\2whsec_" + b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" * 2,
        b"\2whsec_",
        b"\2whsec_===",
        b"\0",
        b"\4" + bytes(24),
        b"\5" + b"ab" * 24,
        b"\6" + bytes(24),
        b"\7cancel_pin = SLSS\nduress_pin=SLLSLLSL\n",
        b"\7cancel_pin=SLSX",
        b"\x08" + genuine.organisation().modulus,
        b"\x08" + bytes(384),
    ]
    return Built(one, seeds)


def public_pem() -> bytes:
    """The public half of the organisation's key, as an operator keeps it."""
    modulus = int.from_bytes(genuine.organisation().modulus, "big")
    key = rsa.RSAPublicNumbers(65537, modulus).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@target("files/keyset", share=1.5, max_bytes=3000, kib=1024)
def keyset(_scratch: Path) -> Built:
    """Tink keysets: what is read is one clip's key, spelt again to the same parameters."""

    def one(data: bytes) -> int:
        try:
            ikm = read_keyset(data.decode("utf-8", "surrogateescape"))
        except KeysetError:
            return REFUSED
        if len(ikm) != 32 or read_keyset(keyset_json(ikm, 1)) != ikm:
            raise Unreadable("a keyset that is none")
        return READ

    good = keyset_json(clip_ikm(genuine.keys(5).clip_enc, genuine.clip().seed), 77).encode()
    seeds = [good, good.replace(b"RAW", b"TINK"), b'{"key": []}', b'{"key": [1]}', b"[" * 2900, b'{"key":' * 400]
    return Built(one, [*seeds, b'{"key":[{"keyData":{"typeUrl":1,"value":"\xc3\xa9"}}]}', b"9" * 2900])


@target("files/package", share=0.3, max_bytes=2500, cpu_ms=500, kib=1024)
def package(scratch: Path) -> Built:
    """A device's package, as it is read again after provisioning."""
    folder = scratch / "package"
    (folder / "tls").mkdir(parents=True)
    reader = atheris.instrument_func(read_package)
    for name in ("ca", "cert", "key"):
        (folder / "tls" / f"{name}.der").write_bytes(b"der")

    def one(data: bytes) -> int:
        parts = dict(frames(data))
        (folder / CONFIG_NAME).write_bytes(parts.get(0, b""))
        (folder / SECTORS_NAME).write_bytes(parts.get(1, b"\xff" * 4096))
        try:
            found = reader(folder)
        except BadPackage:
            return REFUSED
        if not found.sectors or "/config.json" not in found.files:
            raise Unreadable("a package without its parts")
        return READ

    good = json.dumps(good_config()).encode()
    seeds = [
        framed([(0, config)]) for config in (good, b"{}", b"[]", b"[" * 2000, b'{"device": "x", "tls": true}', b"")
    ]
    return Built(one, [*seeds, framed([(0, good), (1, b"")]), framed([(0, good), (1, b"short")])])


@target("files/release", share=2, max_bytes=3000, kib=1024)
def release(_scratch: Path) -> Built:
    """Releases of firmware: only what the signer made is taken, and what is read of an entry stays inside its slot."""
    shared = json.loads((genuine.VECTORS / "release.json").read_text())["shared"]
    modulus, whole = bytes.fromhex(shared["test_only_rsa_3072_modulus"]), bytes.fromhex(shared["whole"])
    signed = [
        bytes.fromhex(record)
        for record in (shared["whole"], *(case["record"] for case in genuine.vectors("release") if "record" in case))
    ]

    def one(data: bytes) -> int:
        try:
            if open_release(data, modulus).data not in signed:
                raise forged("a release")
        except ReleaseError:
            pass
        file = io.BytesIO(data)
        try:
            manifest = Manifest(data[:RELEASE_HEADER_BYTES].ljust(RELEASE_HEADER_BYTES, b"\0"))
            named = [path for path, _, _ in entries(file, manifest)]
        except ReleaseError:
            return REFUSED
        if named != sorted(set(named)) or any(".." in path or path[0] == "/" for path in named):
            raise Unreadable("a path that leaves its slot")
        return READ

    return Built(one, [whole, *signed])


@target("files/answers", share=1.5, max_bytes=80)
def answers(_scratch: Path) -> Built:
    """Retry-After of a webhook's answer: a wait, or none; it never keeps a delivery from being tried again."""

    def one(data: bytes) -> int:
        wait_ms = _retry_after_ms(data.decode("latin-1"), NOW_MS)
        if wait_ms is None:
            return REFUSED
        if wait_ms < 0:
            raise Unreadable("a wait into the past")
        return READ

    dates = [b"Fri, 31 Dec 1999 23:59:59 GMT", b"Fri, 31 Dec 99 23:59:59 +9999", b"1 Jan 99999999999999999999 00:00:00"]
    return Built(one, [b"120", b"", *dates, b"999999999999", os.fsencode("\u00b2"), b"1 Jan 0001 00:00:00 +2359"])
