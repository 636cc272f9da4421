"""One clip's key as a Tink keyset, so that any Tink opens the clip without Lapel.

The key is an AesCtrHmacStreamingKey with the parameters of the template AES256_CTR_HMAC_SHA256_4KB (Tink,
``proto/aes_ctr_hmac_streaming.proto``). Its ``key_value`` is the clip's input key material; salt and nonce prefix are
in the stream's own header. Whoever has the keyset reads the clip.
"""

from __future__ import annotations

import base64
import json

from lapel_protocol.limits import KEY_BYTES, SEGMENT_BYTES, TAG_BYTES

TYPE_URL = "type.googleapis.com/google.crypto.tink.AesCtrHmacStreamingKey"
MAX_KEYSET_BYTES = 65536

_SHA256 = 3  # google.crypto.tink.HashType


class KeysetError(Exception):
    """A file is not the keyset of one clip."""


def keyset_json(ikm: bytes, key_id: int) -> str:
    """The cleartext JSON keyset of a 32-byte clip key. ``key_id`` is any number from 1 to 2^32 - 1."""
    if len(ikm) != KEY_BYTES:
        raise ValueError("a clip key has 32 bytes")
    keyset = {
        "primaryKeyId": key_id,
        "key": [
            {
                "keyData": {
                    "typeUrl": TYPE_URL,
                    "value": base64.b64encode(_PARAMETERS + _bytes(3, ikm)).decode(),
                    "keyMaterialType": "SYMMETRIC",
                },
                "status": "ENABLED",
                "keyId": key_id,
                "outputPrefixType": "RAW",
            }
        ],
    }
    return json.dumps(keyset, indent=2) + "\n"


def read_keyset(text: str) -> bytes:
    """The clip key in a keyset that `keyset_json` wrote. Raises KeysetError for any other."""
    try:
        (key,) = json.loads(text)["key"]
        data = key["keyData"]
        value = base64.b64decode(data["value"], validate=True)
        ikm = value[-KEY_BYTES:]
        if data["typeUrl"] != TYPE_URL or value != _PARAMETERS + _bytes(3, ikm):
            raise KeysetError("the keyset is not one of AES256_CTR_HMAC_SHA256_4KB")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeysetError("the file is not a Tink keyset of one key") from None
    return ikm


def _number(field: int, value: int) -> bytes:
    """A varint field (Protocol Buffers encoding, wire type 0)."""
    out = bytearray([field << 3])
    while value > 0x7F:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(field: int, value: bytes) -> bytes:
    """A length-delimited field of at most 127 bytes (wire type 2)."""
    return bytes([field << 3 | 2, len(value)]) + value


_HMAC = _number(1, _SHA256) + _number(2, TAG_BYTES)
_PARAMETERS = _bytes(2, _number(1, SEGMENT_BYTES) + _number(2, KEY_BYTES) + _number(3, _SHA256) + _bytes(4, _HMAC))
