"""Public Tink as the judge of streams: opens them with a keyset that holds nothing but the clip's key."""

import base64
import io
import json

import tink
from tink import secret_key_access, streaming_aead
from tink.proto import aes_ctr_hmac_streaming_pb2

streaming_aead.register()


def primitive(ikm: bytes) -> streaming_aead.StreamingAead:
    """Tink's AES256_CTR_HMAC_SHA256_4KB under a 32-byte key."""
    template = streaming_aead.streaming_aead_key_templates.AES256_CTR_HMAC_SHA256_4KB
    form = aes_ctr_hmac_streaming_pb2.AesCtrHmacStreamingKeyFormat.FromString(template.value)
    key = aes_ctr_hmac_streaming_pb2.AesCtrHmacStreamingKey(version=0, params=form.params, key_value=ikm)
    keyset = {
        "primaryKeyId": 1,
        "key": [
            {
                "keyData": {
                    "typeUrl": template.type_url,
                    "value": base64.b64encode(key.SerializeToString()).decode(),
                    "keyMaterialType": "SYMMETRIC",
                },
                "status": "ENABLED",
                "keyId": 1,
                "outputPrefixType": "RAW",
            }
        ],
    }
    handle = tink.json_proto_keyset_format.parse(json.dumps(keyset), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


def opens(ikm: bytes, associated_data: bytes, stream: bytes) -> bytes | None:
    """The plaintext, or None where Tink refuses the stream."""
    try:
        with primitive(ikm).new_decrypting_stream(io.BytesIO(stream), associated_data) as reader:
            return bytes(reader.read())
    except tink.TinkError:
        return None
