"""What can be wrong with a record. Raised by `decode`/`open_*`, logged once at the boundary with the device's id.

A class that only gateways raise says so, and a board's build leaves it out, which spares its heap.
"""


class ProtocolError(Exception):
    """A record is not acceptable. `reason` is a stable word for counters and logs."""

    reason = "protocol_error"


class Malformed(ProtocolError):
    """Wrong length, type, padding or a field out of its range."""

    reason = "malformed"


class Oversized(Malformed):
    """Longer than the limit for its kind; refused before it is read."""

    reason = "oversized"


class UnsupportedVersion(ProtocolError):
    """A record version or cipher suite that this end does not speak, or one below the device's pinned minimum."""

    reason = "unsupported_version"


class BadMac(ProtocolError):
    """The authentication tag does not match: forged, altered, or sealed under another key."""

    reason = "bad_mac"


class WrongDevice(ProtocolError):
    """The record names another device than its topic, its connection or its clip."""

    reason = "wrong_device"


class UnknownDevice(ProtocolError):
    """The device is not in the registry."""

    reason = "unknown_device"
    gateway_only = True


class Replayed(ProtocolError):
    """Authentic, but its nonce, counter or time says that it was meant for an earlier moment."""

    reason = "replayed"


class EpochTooFar(ProtocolError):
    """The epoch lies more than MAX_CHAIN_STEPS beyond the last authenticated one: an operator's resync is needed."""

    reason = "epoch_too_far"
    gateway_only = True


class Unopenable(ProtocolError):
    """The wrapped seed does not give the key that the clip is sealed with."""

    reason = "unopenable"
    gateway_only = True


class HeaderMissing(ProtocolError):
    """A segment or clip end arrived before its clip's header."""

    reason = "header_missing"
    gateway_only = True


class BadTransition(ProtocolError):
    """An event that the state machine does not allow in its state; the state is unchanged."""

    reason = "bad_transition"
