"""Public Tink as the judge of streams, from a keyset that holds nothing but a clip's key."""

from __future__ import annotations

import base64
import io
import json

import tink
from tink import secret_key_access, streaming_aead
from tink.proto import aes_ctr_hmac_streaming_pb2

streaming_aead.register()


def keyset(ikm: bytes) -> str:
    """The Tink JSON keyset of AES256_CTR_HMAC_SHA256_4KB under a 32-byte key."""
    template = streaming_aead.streaming_aead_key_templates.AES256_CTR_HMAC_SHA256_4KB
    form = aes_ctr_hmac_streaming_pb2.AesCtrHmacStreamingKeyFormat.FromString(template.value)
    key = aes_ctr_hmac_streaming_pb2.AesCtrHmacStreamingKey(version=0, params=form.params, key_value=ikm)
    data = {
        "typeUrl": template.type_url,
        "value": base64.b64encode(key.SerializeToString()).decode(),
        "keyMaterialType": "SYMMETRIC",
    }
    entry = {"keyData": data, "status": "ENABLED", "keyId": 1, "outputPrefixType": "RAW"}
    return json.dumps({"primaryKeyId": 1, "key": [entry]})


def _primitive(keyset_json: str) -> streaming_aead.StreamingAead:
    handle = tink.json_proto_keyset_format.parse(keyset_json, secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


class _Kept(io.BytesIO):
    """A buffer whose content outlives Tink's closing it."""

    content = b""

    def close(self) -> None:
        self.content = self.getvalue()
        super().close()


def encrypt(ikm: bytes, associated_data: bytes, plain: bytes) -> bytes:
    """A stream as Tink writes it, with salt and prefix of its own drawing."""
    kept = _Kept()
    with _primitive(keyset(ikm)).new_encrypting_stream(kept, associated_data) as writer:
        writer.write(plain)
    return kept.content


def decrypt(ikm: bytes, associated_data: bytes, stream: bytes) -> bytes:
    """The plaintext of a whole stream; raises tink.TinkError."""
    return decrypt_with(keyset(ikm), associated_data, stream)


def decrypt_with(keyset_json: str, associated_data: bytes, stream: bytes) -> bytes:
    """The same, from a keyset such as `lapel clip export --with-key` writes."""
    with _primitive(keyset_json).new_decrypting_stream(io.BytesIO(stream), associated_data) as reader:
        return bytes(reader.read())
