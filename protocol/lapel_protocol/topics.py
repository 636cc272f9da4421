"""MQTT topic names (SPEC section 9): lapel/v1/<shard>/<device>/<lane>."""

from .crypto import sha256
from .errors import Malformed, Oversized
from .layout import gateway_only
from .limits import DEVICE_ID_BYTES, MAX_TOPIC_BYTES

ROOT = "lapel/v1"
LANE_ALARM = "alarm"
LANE_EVENT = "event"
LANE_CLIP = "clip"
LANE_DOWN = "down"
LANES = (LANE_ALARM, LANE_EVENT, LANE_CLIP, LANE_DOWN)


def shard(device: bytes) -> str:
    """Two hex digits of a hash of the device id, so that workers can split the load by topic filter on any broker."""
    return sha256(device)[:1].hex()


def topic(device: bytes, lane: str) -> str:
    """The topic of one lane of one device."""
    return ROOT + "/" + shard(device) + "/" + device.hex() + "/" + lane


@gateway_only
def lane_filter(lane: str) -> str:
    """The subscription that a gateway role makes for one lane of all devices."""
    return ROOT + "/+/+/" + lane


@gateway_only
def parse_topic(name: str) -> "tuple[bytes, str]":
    """(device id, lane) of a topic; raises Malformed for any spelling but the one that `topic` gives."""
    if len(name) > MAX_TOPIC_BYTES:
        raise Oversized("topic longer than %d" % MAX_TOPIC_BYTES)
    parts = name.split("/")
    if len(parts) != 5 or parts[0] + "/" + parts[1] != ROOT or parts[4] not in LANES:
        raise Malformed("not a Lapel topic")
    text = parts[3]
    if len(text) != 2 * DEVICE_ID_BYTES:
        raise Malformed("device id in topic is not 16 hex digits")
    try:
        device = bytes.fromhex(text)
    except ValueError:
        raise Malformed("device id in topic is not hexadecimal")
    if topic(device, parts[4]) != name:
        raise Malformed("topic is not in canonical form")
    return device, parts[4]
