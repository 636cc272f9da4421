"""The chain of epoch keys and the entropy pool (SPEC section 4).

The device holds only the chain key of its next epoch and erases it before use; the gateway holds K_dev and can walk
the chain forward from its start. Knowing CK of one epoch gives all later ones and no earlier one.
"""

from . import labels
from .crypto import Mac, hkdf
from .layout import gateway_only
from .limits import DEVICE_ID_BYTES, KEY_BYTES


@gateway_only
def chain_start(k_dev: bytes, device: bytes) -> bytes:
    """CK of epoch 0 for a device: 32 bytes from its 32-byte K_dev and 8-byte id."""
    if len(k_dev) != KEY_BYTES or len(device) != DEVICE_ID_BYTES:
        raise ValueError("K_dev has 32 bytes and a device id 8")
    return hkdf(k_dev, labels.DOMAIN, labels.CHAIN_START + device, KEY_BYTES)


def chain_next(chain_key: "bytes | bytearray") -> bytes:
    """CK of the following epoch."""
    return Mac(chain_key).digest(labels.CHAIN_NEXT)


class EpochKeys:
    """The keys of one epoch, derived from its chain key, which is not kept. Each is 32 bytes.

    clip_auth (A) authenticates the clip header and end, clip_enc (E) is one of the two secrets that open the clip;
    the event and command keys are used when the epoch is a boot.
    """

    def __init__(self, chain_key: "bytes | bytearray") -> None:
        mac = Mac(chain_key)
        self.clip_auth = mac.digest(labels.CLIP_AUTH)
        self.clip_enc = mac.digest(labels.CLIP_ENC)
        self.event_auth = mac.digest(labels.EVENT_AUTH)
        self.event_enc = mac.digest(labels.EVENT_ENC)
        self.command_auth = mac.digest(labels.COMMAND_AUTH)
        self.command_enc = mac.digest(labels.COMMAND_ENC)
        self.command_iv = mac.digest(labels.COMMAND_IV)


def pool_next(pool: "bytes | bytearray", entropy: bytes, ticks: int) -> bytes:
    """The pool of the following epoch. A weak `entropy` source weakens nothing: the pool started random (SPEC 4.3)."""
    return Mac(pool).digest(labels.POOL_NEXT, entropy, (ticks & 0xFFFFFFFF).to_bytes(4, "big"))


def pool_bytes(pool: "bytes | bytearray", label: bytes, length: int) -> bytes:
    """`length` bytes, at most 32, for one purpose. The same pool and label give the same bytes: use each once."""
    if length > KEY_BYTES:
        raise ValueError("a pool gives at most 32 bytes for one label")
    return Mac(pool).digest(label)[:length]
