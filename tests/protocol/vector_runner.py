"""Runs protocol/vectors/*.json against lapel_protocol, on CPython (pytest) and as a script on either Python:

    MICROPYPATH=protocol:.frozen micropython -X heapsize=64M tests/protocol/vector_runner.py protocol/vectors/*.json

Prints one line a failed case and one line a file; ends with status 1 when a case failed.
"""

import json
import sys
from io import BytesIO

from lapel_protocol import orders, report_decoders, updating
from lapel_protocol.clip import (
    ClipEnd,
    ClipHeader,
    head_of,
    peek_clip,
    seal_clip_end,
    seal_clip_header,
)
from lapel_protocol.command import Command, CommandGate, open_command
from lapel_protocol.commanding import seal_command
from lapel_protocol.crypto import AesCtr, Mac, crc32, hkdf, segment_check, sha256
from lapel_protocol.errors import ProtocolError
from lapel_protocol.event import Event, peek_event, seal_event
from lapel_protocol.keys import EpochKeys, chain_next, chain_start, pool_bytes, pool_next
from lapel_protocol.opening import (
    SegmentOpener,
    open_clip_end,
    open_clip_header,
    open_event,
    prove_opening,
)
from lapel_protocol.release import ReleaseError, entries, verify_manifest
from lapel_protocol.releasing import encode_manifest, open_release
from lapel_protocol.stream import (
    SegmentSealer,
    StreamKeys,
    decode_segment_header,
    segment_body,
    segment_offset,
    split_tink_header,
)
from lapel_protocol.topics import lane_filter, parse_topic, topic
from lapel_protocol.wrap import key_id, wrap_seed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lapel_protocol.release import Manifest

    Json = dict[str, Any]

INVALID_ARGUMENT = "invalid_argument"  # a caller's mistake (ValueError), not a record's
DECODERS: "dict[str, Callable[[bytes], Any]]" = {
    "hello": report_decoders.decode_hello,
    "heartbeat": report_decoders.decode_heartbeat,
    "alarm_raised": report_decoders.decode_alarm_raised,
    "alarm_cancelled": report_decoders.decode_alarm_cancelled,
    "recording_note": report_decoders.decode_recording_note,
    "clip_cut": report_decoders.decode_clip_cut,
    "storage_note": report_decoders.decode_storage_note,
    "probe": report_decoders.decode_probe,
    "visit": report_decoders.decode_visit_note,
    "location": report_decoders.decode_location,
    "update_note": updating.decode_update_note,
    "update_ask": updating.decode_update_ask,
    "update_offer": updating.decode_update_offer,
    "update_block": updating.decode_update_block,
    "alarm_sending": report_decoders.decode_alarm_sending,
    "welcome": orders.decode_welcome,
    "credit": orders.decode_credit,
    "receipt": orders.decode_receipt,
    "want": orders.decode_want,
    "event_receipt": orders.decode_event_receipt,
    "alarm_receipt": orders.decode_alarm_receipt,
    "alarm_ack": orders.decode_alarm_ack,
    "alarm_resolved": orders.decode_alarm_resolved,
    "unopenable": orders.decode_unopenable,
    "settings": orders.decode_settings,
    "stop_recording": orders.decode_stop_recording,
    "visit_state": orders.decode_visit_state,
}


class WrongResult(Exception):
    """A case came out, but not as the vector says."""


def check(what: str, got: object, wanted: object) -> None:
    """Raise WrongResult unless what was computed is what the vector says; bytes are compared with hex."""
    if isinstance(got, (bytes, bytearray, memoryview)):
        got = bytes(got).hex()
    if got != wanted:
        raise WrongResult(f"{what} is {got!r}, not {wanted!r}")


def made(plain: "Json") -> bytes:
    """The filler bytes that a vector describes by label and length: SHA-256 over label and counter."""
    out = b""
    block = 0
    while len(out) < plain["length"]:
        out += sha256(plain["label"].encode(), b"/", block.to_bytes(4, "big"))
        block += 1
    return out[: plain["length"]]


def unhex(text: str) -> bytes:
    """Bytes from hex; the empty text too."""
    return bytes.fromhex(text)


def changed(case: "Json", record: bytes) -> bytes:
    """The record that a case is about: its own, or `record` with the case's patch, cut and addition."""
    if "record" in case:
        return unhex(case["record"])
    data = bytearray(record)
    for at, text in case.get("patch", ()):
        piece = unhex(text)
        data[at : at + len(piece)] = piece
    return bytes(data[: case.get("keep", len(data))]) + unhex(case.get("append", ""))


def check_fields(thing: object, fields: "Json") -> None:
    """Compare attributes with a vector's fields; pairs are lists there."""
    for name in fields:
        got = getattr(thing, name)
        if isinstance(got, tuple):
            got = list(got)
        elif isinstance(got, list):
            got = [list(entry) for entry in got]
        check(name, got, fields[name])


# -- keys.json, wrap.json ---------------------------------------------------------------------------------------------


def run_hmac(case: "Json", file: "Json") -> None:
    mac = Mac(unhex(case["key"]))
    message = unhex(case["message"])
    check("tag", mac.digest(message), case["out"])
    check("tag in parts", mac.digest(message[:1], message[1:]), case["out"])


def run_hkdf(case: "Json", file: "Json") -> None:
    out = unhex(case["out"])
    check("key", hkdf(unhex(case["ikm"]), unhex(case["salt"]), unhex(case["info"]), len(out)), case["out"])


def run_ctr(case: "Json", file: "Json") -> None:
    data = bytearray(made(case["plain"]))
    AesCtr(unhex(case["key"])).apply(unhex(case["iv"]), memoryview(data))
    check("cipher text", data, case["out"])


def run_crc32(case: "Json", file: "Json") -> None:
    check("crc", crc32(unhex(case["data"])), case["out"])


def run_chain(case: "Json", file: "Json") -> None:
    key = chain_start(unhex(case["k_dev"]), unhex(case["device"]))
    for _ in range(case["epoch"]):
        key = chain_next(key)
    check("chain key", key, case["chain_key"])
    check_fields(EpochKeys(key), case["keys"])


def run_pool_next(case: "Json", file: "Json") -> None:
    check("pool", pool_next(unhex(case["pool"]), unhex(case["entropy"]), case["ticks"]), case["out"])


def run_pool_bytes(case: "Json", file: "Json") -> None:
    check("bytes", pool_bytes(unhex(case["pool"]), unhex(case["label"]), case["length"]), case["out"])


def run_key_id(case: "Json", file: "Json") -> None:
    check("key id", key_id(unhex(case["modulus"])), case["out"])


def run_wrap(case: "Json", file: "Json") -> None:
    modulus = unhex(file["shared"]["test_only_rsa_3072_modulus"])
    check("wrap", wrap_seed(unhex(case["seed"]), unhex(case["oaep_seed"]), modulus), case["out"])


# -- stream.json ------------------------------------------------------------------------------------------------------


def run_seal_stream(case: "Json", file: "Json") -> None:
    stream = file["streams"][case["stream"]]
    prefix = unhex(stream["prefix"])
    keys = StreamKeys(unhex(stream["ikm"]), unhex(stream["salt"]), unhex(stream["associated_data"]))
    check_fields(keys, {"aes_key": stream["aes_key"], "mac_key": stream["mac_key"]})
    sealer = SegmentSealer()
    sealer.begin(unhex(stream["device"]), stream["clip"], keys, prefix)
    plain = made(stream["plain"])
    at = 0
    records = []
    while True:
        at += sealer.write(plain, at)
        last = at == len(plain) and not (sealer.full and stream["last_is_empty"])
        records.append(bytes(sealer.seal(last)).hex())
        if last:
            break
    check("records", records, stream["records"])


def opener_of(stream: "Json") -> SegmentOpener:
    keys = StreamKeys(unhex(stream["ikm"]), unhex(stream["salt"]), unhex(stream["associated_data"]))
    return SegmentOpener(keys, unhex(stream["prefix"]))


def run_open_stream(case: "Json", file: "Json") -> None:
    stream = file["streams"][case["stream"]]
    opener = opener_of(stream)
    indexes = list(range(len(stream["records"])))
    if case["order"] == "backward":
        indexes.reverse()
    plain = [b""] * len(indexes)
    for index in indexes:
        record = unhex(stream["records"][index])
        header = decode_segment_header(record)
        named = {"device": stream["device"], "clip": stream["clip"], "index": index}
        check_fields(header, named)
        check("last", header.last, index == len(indexes) - 1)
        plain[index] = bytes(opener.open(header, segment_body(header, record)))
    check("plaintext", b"".join(plain), made(stream["plain"]).hex())


def run_open_segment(case: "Json", file: "Json") -> None:
    stream = file["streams"][case["stream"]]
    record = changed(case, unhex(stream["records"][case["index"]]))
    header = decode_segment_header(record)
    opener_of(stream).open(header, segment_body(header, record))


def run_segment_check(case: "Json", file: "Json") -> None:
    record = unhex(case["record"])
    header = decode_segment_header(record)
    check("check", segment_check(record), header.check)
    check("body", segment_body(header, record).hex(), case["record"][56:])


def run_segment_header(case: "Json", file: "Json") -> None:
    check_fields(decode_segment_header(unhex(case["record"])), case["fields"])


def run_segment_offset(case: "Json", file: "Json") -> None:
    check("offset", segment_offset(case["index"]), case["out"])


def run_tink_header(case: "Json", file: "Json") -> None:
    salt, prefix = split_tink_header(unhex(case["header"]))
    check("salt", salt, case["salt"])
    check("prefix", prefix, case["prefix"])


# -- clip.json --------------------------------------------------------------------------------------------------------


def epoch_keys(case: "Json", file: "Json") -> EpochKeys:
    return EpochKeys(unhex(case.get("chain_key", file["shared"]["chain_key"])))


def filled(thing: "ClipHeader | ClipEnd", fields: "Json") -> None:
    for name in fields:
        value = fields[name]
        setattr(thing, name, unhex(value) if isinstance(value, str) else value)


def run_clip_header(case: "Json", file: "Json") -> None:
    shared = file["shared"]
    keys = epoch_keys(case, file)
    header = ClipHeader()
    filled(header, case["fields"])
    header.wrapped_seed = unhex(shared["wrapped_seed"])
    header.tink_header = unhex(shared["tink_header"])
    record, stream = seal_clip_header(header, keys, unhex(shared["seed"]))
    check("record", record, case["record"])
    check_fields(stream, {"aes_key": case["aes_key"], "mac_key": case["mac_key"]})
    opened = open_clip_header(keys, record)
    check_fields(opened, case["fields"])
    check_fields(opened, {"mac_key": case["mac_key"], "wrapped_seed": shared["wrapped_seed"]})
    check("associated data", opened.associated_data(), case["record"][: 2 * 484])


def run_open_header(case: "Json", file: "Json") -> None:
    open_clip_header(epoch_keys(case, file), changed(case, unhex(file["shared"]["header"])))


def run_prove_opening(case: "Json", file: "Json") -> None:
    keys = epoch_keys(case, file)
    header = open_clip_header(keys, changed(case, unhex(file["shared"]["header"])))
    prove_opening(header, keys, unhex(case["seed"]))


def run_clip_end(case: "Json", file: "Json") -> None:
    keys = epoch_keys(case, file)
    end = ClipEnd()
    filled(end, case["fields"])
    check("record", seal_clip_end(end, keys), case["record"])
    check_fields(open_clip_end(keys, unhex(case["record"])), case["fields"])


def run_open_end(case: "Json", file: "Json") -> None:
    open_clip_end(epoch_keys(case, file), changed(case, unhex(file["shared"]["end"])))


def run_heads(case: "Json", file: "Json") -> None:
    head = head_of(unhex(file["shared"]["header"]))
    check("head of no segment", head.value, case["out"][0])
    for count in range(len(case["tags"])):
        head.update(unhex(case["tags"][count]))
        check("count", head.count, count + 1)
        check("head", head.value, case["out"][count + 1])


def run_peek_clip(case: "Json", file: "Json") -> None:
    device, clip = peek_clip(unhex(case["record"]))
    check("device", device, case["device"])
    check("clip", clip, case["clip"])


def run_clip_file(case: "Json", file: "Json") -> None:
    data = unhex(case["file"])
    keys = epoch_keys(case, file)
    header = open_clip_header(keys, data[:588])
    stream = prove_opening(header, keys, unhex(file["shared"]["seed"]))
    record = data[segment_offset(0) : -120]
    segment = decode_segment_header(record)
    body = segment_body(segment, record)
    check("plaintext", SegmentOpener(stream, header.prefix).open(segment, body), made(case["plain"]).hex())
    head = head_of(data[:588])
    head.update(body[-32:])
    end = open_clip_end(keys, data[-120:])
    check("head", head.value, case["head"])
    check_fields(end, {"head": case["head"], "segments": 1})


# -- event.json, command.json, payload.json, topic.json ----------------------------------------------------------------


def run_event(case: "Json", file: "Json") -> None:
    device, boot = unhex(file["shared"]["device"]), file["shared"]["boot"]
    keys = epoch_keys(case, file)
    payload = unhex(case["payload"])
    times = case["wall_ms"], case["mono_ms"], case["trust"]
    event = Event(case["kind"], device, boot, case["counter"], times[0], times[1], times[2], payload)
    check("record", seal_event(keys, event), case["record"])
    opened = open_event(keys, unhex(case["record"]))
    wanted = {"device": file["shared"]["device"], "boot": boot}
    for name in ("kind", "counter", "wall_ms", "mono_ms", "trust", "payload"):
        wanted[name] = case[name]
    check_fields(opened, wanted)


def run_open_event(case: "Json", file: "Json") -> None:
    open_event(epoch_keys(case, file), changed(case, unhex(file["shared"]["record"])))


def run_peek_event(case: "Json", file: "Json") -> None:
    kind, device, boot, counter = peek_event(unhex(case["record"]))
    check("device", device, case["device"])
    check("kind, boot, counter", [kind, boot, counter], [case["kind"], case["boot"], case["counter"]])


def run_command(case: "Json", file: "Json") -> None:
    device, boot = unhex(file["shared"]["device"]), file["shared"]["boot"]
    keys = epoch_keys(case, file)
    numbers = case["counter"], case["issued_ms"], case["expires_ms"]
    nonce = unhex(case["nonce"])
    command = Command(case["kind"], device, boot, unhex(case["payload"]), nonce, numbers[0], numbers[1], numbers[2])
    check("record", seal_command(keys, command), case["record"])
    opened = open_command(keys, unhex(case["record"]), device, boot)
    wanted = {"device": file["shared"]["device"], "boot": boot}
    for name in ("kind", "nonce", "counter", "issued_ms", "expires_ms", "payload"):
        wanted[name] = case[name]
    check_fields(opened, wanted)


def run_open_command(case: "Json", file: "Json") -> None:
    shared = file["shared"]
    record = changed(case, unhex(shared["record"]))
    open_command(epoch_keys(case, file), record, unhex(shared["device"]), shared["boot"])


def run_gate(case: "Json", file: "Json") -> None:
    gate = CommandGate()
    number = 0
    for step in case["steps"]:
        number += 1
        if "hello" in step:
            gate.hello(unhex(step["hello"]))
            continue
        nonce = unhex(step["nonce"])
        command = Command(step["kind"], bytes(8), 0, b"", nonce, step["counter"], 0, step["expires_ms"])
        outcome = "ok"
        try:
            gate.admit(command, step["wall_ms"])
        except ProtocolError as error:
            outcome = error.reason
        check(f"step {number}", outcome, step["expect"])


def run_payload(case: "Json", file: "Json") -> None:
    payload = unhex(case["payload"])
    decoded = DECODERS[case["type"]](payload)
    check_fields(decoded, case["fields"])
    check("payload encoded again", decoded.encode(), case["payload"])


def run_topic(case: "Json", file: "Json") -> None:
    check("topic", topic(unhex(case["device"]), case["lane"]), case["topic"])
    device, lane = parse_topic(case["topic"])
    check("device", device, case["device"])
    check("lane", lane, case["lane"])


def run_parse_topic(case: "Json", file: "Json") -> None:
    parse_topic(case["topic"])


def run_lane_filter(case: "Json", file: "Json") -> None:
    check("filter", lane_filter(case["lane"]), case["out"])


def release_file(case: "Json", file: "Json") -> BytesIO:
    return BytesIO(changed(case, unhex(file["shared"]["record"])))


def verified(case: "Json", file: "Json") -> "Manifest":
    modulus = unhex(case.get("modulus", file["shared"]["test_only_rsa_3072_modulus"]))
    return verify_manifest(release_file(case, file), modulus)


def run_release(case: "Json", file: "Json") -> None:
    manifest = verified(case, file)
    check("release", manifest.release, case["release"])
    check_fields(manifest, case["fields"])
    rows = [[path, size, digest.hex()] for path, size, digest in entries(release_file(case, file), manifest)]
    check("files", rows, case["files"])
    if "record" not in case:
        whole = open_release(unhex(file["shared"]["whole"]), unhex(file["shared"]["test_only_rsa_3072_modulus"]))
        check("files' bytes", [len(content) for _, content in sorted(whole.files.items())], [row[1] for row in rows])
        again = encode_manifest(
            manifest.hardware, manifest.code, manifest.number, manifest.version, manifest.floor, whole.files
        )
        check("manifest made again", again, file["shared"]["record"][: 2 * manifest.manifest_bytes])


def run_open_release(case: "Json", file: "Json") -> None:
    verified(case, file)


def run_release_for(case: "Json", file: "Json") -> None:
    mpy, sub, march = case["code"]
    verified(case, file).check_for(case["hardware"], (mpy, sub, march), case["floor"])


RUNS: "dict[str, Callable[[Json, Json], None]]" = {
    "hmac": run_hmac,
    "hkdf": run_hkdf,
    "ctr": run_ctr,
    "crc32": run_crc32,
    "chain": run_chain,
    "pool_next": run_pool_next,
    "pool_bytes": run_pool_bytes,
    "key_id": run_key_id,
    "wrap": run_wrap,
    "seal_stream": run_seal_stream,
    "open_stream": run_open_stream,
    "open_segment": run_open_segment,
    "segment_check": run_segment_check,
    "segment_header": run_segment_header,
    "segment_offset": run_segment_offset,
    "tink_header": run_tink_header,
    "clip_header": run_clip_header,
    "open_header": run_open_header,
    "prove_opening": run_prove_opening,
    "clip_end": run_clip_end,
    "open_end": run_open_end,
    "heads": run_heads,
    "peek_clip": run_peek_clip,
    "clip_file": run_clip_file,
    "event": run_event,
    "open_event": run_open_event,
    "peek_event": run_peek_event,
    "command": run_command,
    "open_command": run_open_command,
    "gate": run_gate,
    "payload": run_payload,
    "release": run_release,
    "open_release": run_open_release,
    "release_for": run_release_for,
    "topic": run_topic,
    "parse_topic": run_parse_topic,
    "lane_filter": run_lane_filter,
}


def outcome_of(case: "Json", file: "Json") -> str:
    """What came of a case: "ok", or the reason word of the error. Raises WrongResult for a wrong value."""
    try:
        RUNS[case["op"]](case, file)
    except ProtocolError as error:
        return error.reason
    except ReleaseError as error:
        return error.reason
    except ValueError:
        return INVALID_ARGUMENT
    return "ok"


def load(path: str) -> "Json":
    """The content of a vector file."""
    with open(path) as file:
        content: Json = json.load(file)
    if content["format"] != 1:
        raise ValueError("vectors of another format")
    return content


def main(paths: "list[str]") -> int:
    """Run whole files; returns the number of failed cases."""
    failed = 0
    for path in paths:
        file = load(path)
        for case in file["cases"]:
            try:
                outcome = outcome_of(case, file)
                expect = case["expect"]
                wrong = "" if outcome == expect else f"came out {outcome}, not {expect}"
            except Exception as error:  # noqa: BLE001 - any other exception is a failed case, and is shown as one
                wrong = repr(error)
            if wrong:
                failed += 1
                name = case["name"]
                print(f"FAILED {path}: {name}: {wrong}")
        count = len(file["cases"])
        print(f"{path}: {count} cases on {sys.implementation.name}")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
