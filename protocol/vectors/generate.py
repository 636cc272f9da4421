"""Writes the test vectors: `make vectors`. With --out, into another folder (`make vectors_check`).

Independent of lapel_protocol on purpose; see lapel_vectors. The same run gives the same bytes.
"""

import argparse
import json
from pathlib import Path

from lapel_vectors import (
    clip_vectors,
    command_vectors,
    event_vectors,
    key_vectors,
    payload_vectors,
    release_vectors,
    stream_vectors,
    topic_vectors,
)

FORMAT = 1
MAX_FILE_BYTES = 400_000
FILES = {
    "keys": (key_vectors.keys, "Primitives, the chain of epochs and the pool: SPEC section 4."),
    "wrap": (key_vectors.wrap, "Seeds wrapped to a TEST-ONLY organisation key: SPEC section 4.4."),
    "stream": (stream_vectors.stream, "Sealed segments: SPEC section 5."),
    "clip": (clip_vectors.clip, "Clip headers, ends and heads: SPEC section 6."),
    "event": (event_vectors.event, "Event records: SPEC section 7."),
    "command": (command_vectors.command, "Command records and their freshness: SPEC section 8."),
    "payload": (payload_vectors.payload, "Payloads of events and commands: SPEC sections 7 and 8."),
    "release": (release_vectors.release, "Releases of firmware, signed with the test key: SPEC section 16."),
    "topic": (topic_vectors.topic, "Topic names: SPEC section 9."),
}


def _text(about: str, content: dict[str, object]) -> str:
    """JSON with one case a line, so that a change shows as the cases that changed."""
    cases = content.pop("cases")
    if not isinstance(cases, list):
        raise TypeError("cases is a list")
    names = [(case["op"], case["name"]) for case in cases]
    if len(set(names)) != len(names):
        raise SystemExit(f"two cases have one name: {next(name for name in names if names.count(name) > 1)}")
    lines = [f'"format": {FORMAT}', f'"about": {json.dumps(about)}']
    lines += [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()]
    body = ",\n".join(json.dumps(case) for case in cases)
    return "{" + ",\n".join(lines) + ',\n"cases": [\n' + body + "\n]}\n"


def main() -> None:
    """Make every file, then write them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    out: Path = parser.parse_args().out
    texts = {f"{name}.json": _text(about, make()) for name, (make, about) in FILES.items()}
    for name, text in texts.items():
        if len(text) > MAX_FILE_BYTES:
            raise SystemExit(f"{name} has {len(text)} bytes, more than {MAX_FILE_BYTES}")
        (out / name).write_text(text)
        print(f"{out / name}: {text.count(chr(10) + chr(123))} cases, {len(text)} bytes")


if __name__ == "__main__":
    main()
