"""The access matrix: who may do what on a real Mosquitto with the generated configuration, as a table.

An identity is what a certificate says. `MAY` is the whole of what is allowed; everything else that is tried here, every
lane of one's own and of another device, written, retained, as a last will, or subscribed to by any filter, is denied.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import warnings
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from lapel_gateway.pki import Pki, TlsFiles
from lapel_protocol.topics import topic
from tests.redteam.broker_site import DAY, NOW, BrokerSite, running
from tests.redteam.mqtt_wire import Refused, Wire, context_of

# One worker runs all of this file: one broker serves it.
pytestmark = [pytest.mark.needs("mosquitto"), pytest.mark.xdist_group("takeover")]

A = bytes.fromhex("00aa00aa00aa00aa")
B = bytes.fromhex("00bb00bb00bb00bb")
LANES = ("alarm", "event", "clip", "down")
TOPICS = {(device, lane): topic(device, lane) for device in (A, B) for lane in LANES}
UP = {"alarm", "event", "clip"}
ROLES = {"alarms": "alarm", "events": "event", "ingest": "clip"}

# Identity: (topics it may write, topics it may read).
NOTHING: frozenset[tuple[bytes, str]] = frozenset()
MAY: dict[str, tuple[frozenset[tuple[bytes, str]], frozenset[tuple[bytes, str]]]] = {
    "device A": (frozenset((A, lane) for lane in UP), frozenset({(A, "down")})),
    "device B": (frozenset((B, lane) for lane in UP), frozenset({(B, "down")})),
    **{
        f"gateway-{role}": (frozenset({(A, "down"), (B, "down")}), frozenset({(A, lane), (B, lane)}))
        for role, lane in ROLES.items()
    },
    "gateway-web": (NOTHING, NOTHING),
    "gateway-": (NOTHING, NOTHING),
    "a name like device A's in capitals": (NOTHING, NOTHING),
    "half of device A's name": (NOTHING, NOTHING),
    "device A's name and a blank": (NOTHING, NOTHING),
}
NAMES = {
    "gateway-web": "gateway-web",
    "gateway-": "gateway-",
    "a name like device A's in capitals": A.hex().upper(),
    "half of device A's name": A.hex()[:8],
    "device A's name and a blank": A.hex() + " ",
}
FILTERS = [
    "#",
    "+/#",
    "lapel/#",
    "lapel/v1/+/+/+",
    "+/+/+/+/alarm",
    "$SYS/#",
    "$share/theft/lapel/v1/+/+/clip",
    "$share/theft/lapel/v1/+/+/down",
    *TOPICS.values(),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerSite]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with running(tmp_path_factory.mktemp("takeover"), port) as site:
        yield site


@pytest.fixture(scope="module")
def files(site: BrokerSite) -> dict[str, TlsFiles]:
    made = {"device A": site.device(A), "device B": site.device(B)}
    made.update({f"gateway-{role}": site.role(role) for role in ROLES})
    made.update({who: site.forged(name) for who, name in NAMES.items()})
    assert made.keys() == MAY.keys()
    return made


class Readers:
    """For each topic the one who may read it, connected as long as the test does not play that one itself."""

    def __init__(self, stack: ExitStack, site: BrokerSite, files: dict[str, TlsFiles], busy: str) -> None:
        owners = {"device A": [(A, "down")], "device B": [(B, "down")]}
        owners.update({f"gateway-{role}": [(A, lane), (B, lane)] for role, lane in ROLES.items()})
        self._wires: dict[tuple[bytes, str], Wire] = {}
        for who, wanted in owners.items():
            if who == busy:
                continue
            wire = stack.enter_context(site.connect(files[who]))
            for one in wanted:
                assert wire.subscribe(TOPICS[one]) == 1
                self._wires[one] = wire

    def got(self, payload: bytes) -> set[tuple[bytes, str]]:
        """The topics on which somebody who may read them received this."""
        names = {name: one for one, name in TOPICS.items()}
        arrived = itertools.chain.from_iterable(wire.settle() for wire in set(self._wires.values()))
        return {names[name] for name, content in arrived if content == payload}

    def seen(self, one: tuple[bytes, str]) -> bool:
        return one in self._wires


@pytest.mark.parametrize("who", MAY)
def test_each_identity_writes_its_own_lanes_and_nothing_else(
    site: BrokerSite, files: dict[str, TlsFiles], who: str
) -> None:
    with ExitStack() as stack:
        readers = Readers(stack, site, files, who)
        wire = stack.enter_context(site.connect(files[who]))
        for one, name in TOPICS.items():
            wire.publish(name, b"written by " + who.encode())
            if not readers.seen(one):
                continue
            assert (one in readers.got(b"written by " + who.encode())) == (one in MAY[who][0]), (who, name)


@pytest.mark.parametrize("who", MAY)
def test_each_identity_reads_its_own_lanes_and_nothing_else_by_whatever_filter(
    site: BrokerSite, files: dict[str, TlsFiles], who: str
) -> None:
    with ExitStack() as stack:
        wire = stack.enter_context(site.connect(files[who]))
        for wish in FILTERS:
            wire.subscribe(wish)
        for one, name in TOPICS.items():
            writer = "gateway-ingest" if one[1] == "down" else ("device A" if one[0] == A else "device B")
            if writer == who:
                wire.publish(name, b"for its reader")
                continue
            with site.connect(files[writer]) as other:
                other.publish(name, b"for its reader")
        assert {name for name, _ in wire.settle()} == {TOPICS[one] for one in MAY[who][1]}


@pytest.mark.parametrize("who", MAY)
def test_a_last_will_reaches_no_lane_that_its_owner_could_not_write(
    site: BrokerSite, files: dict[str, TlsFiles], who: str
) -> None:
    with ExitStack() as stack:
        readers = Readers(stack, site, files, who)
        marker = b"will of " + who.encode()
        for name in TOPICS.values():
            try:
                site.connect(files[who], will=(name, marker, False)).vanish()
            except Refused:
                continue
        # A will is published when the broker has noticed; its owner's next connection comes after that.
        with site.connect(files[who]):
            pass
        assert readers.got(marker) <= {one for one in MAY[who][0] if readers.seen(one)}


@pytest.mark.parametrize("who", MAY)
def test_nobody_leaves_a_retained_message(site: BrokerSite, files: dict[str, TlsFiles], who: str) -> None:
    for name in TOPICS.values():
        wire = site.connect(files[who])
        with pytest.raises(Refused):
            wire.publish(name, b"old", retain=True)
        wire.close()
        with contextlib.suppress(Refused):
            site.connect(files[who], will=(name, b"old will", True)).vanish()
    with site.connect(files[who]):
        pass  # comes after the wills
    for reader in ("device A", "device B", "gateway-alarms", "gateway-events", "gateway-ingest"):
        with site.connect(files[reader]) as wire:
            for name in TOPICS.values():
                wire.subscribe(name)
            assert wire.settle() == []


def refused_identities(site: BrokerSite) -> dict[str, TlsFiles | None]:
    other = Pki.ensure(site.folder / "other", "Test")
    return {
        "no certificate": None,
        "one that vouches for itself": site.self_signed(A.hex()),
        "another CA of the same name": site.forged(A.hex(), authority=other),
        "expired": site.forged(A.hex(), begins=NOW - 3 * DAY, ends=NOW - DAY),
        "not valid yet": site.forged(A.hex(), begins=NOW + DAY, ends=NOW + 3 * DAY),
        "the broker's own": TlsFiles(
            site.pki.ca_file, site.pki.directory / "broker.pem", site.pki.directory / "broker.key"
        ),
        "a server's": site.forged(A.hex(), usage=ExtendedKeyUsageOID.SERVER_AUTH),
        "no name": site.forged(None),
        "an empty name": site.forged(""),
        "a name that is a wildcard": site.forged("+"),
        "a name that is all": site.forged("#"),
        "a name with a wildcard in it": site.forged(f"{A.hex()}+"),
        "a name with a level in it": site.forged(f"x/{A.hex()}"),
    }


REFUSED_AT_THE_DOOR = {
    "no certificate",
    "one that vouches for itself",
    "another CA of the same name",
    "expired",
    "not valid yet",
    "the broker's own",
    "a server's",
    "no name",
}


def test_what_is_no_certificate_of_this_site_is_refused_at_the_door_and_odd_names_may_do_nothing(
    site: BrokerSite, files: dict[str, TlsFiles]
) -> None:
    with ExitStack() as stack:
        readers = Readers(stack, site, files, "")
        refused = set()
        for who, odd in refused_identities(site).items():
            try:
                wire = stack.enter_context(site.connect(odd, client_id=A.hex()))
                for wish in FILTERS:
                    wire.subscribe(wish)
                for name in TOPICS.values():
                    wire.publish(name, b"odd")
                stack.enter_context(site.connect(files["gateway-web"])).settle()
                assert wire.settle() == [], who
            except Refused:
                refused.add(who)
        assert refused >= REFUSED_AT_THE_DOOR
        assert readers.got(b"odd") == set()


def test_another_devices_certificate_cannot_take_over_a_session_by_its_client_id(
    site: BrokerSite, files: dict[str, TlsFiles]
) -> None:
    with site.connect(files["device A"], A.hex()) as victim:
        victim.subscribe(topic(A, "down"))
        for name in (A.hex(), "", "gateway-ingest"):
            with site.connect(files["device B"], name) as thief:
                thief.subscribe(topic(A, "down"))
                with site.connect(files["gateway-ingest"]) as gateway:
                    gateway.publish(topic(A, "down"), b"for A")
                assert thief.settle() == []
        assert [payload for _, payload in victim.settle()] == [b"for A"] * 3


def test_a_user_name_in_connect_counts_for_nothing(site: BrokerSite, files: dict[str, TlsFiles]) -> None:
    with ExitStack() as stack:
        readers = Readers(stack, site, files, "")
        for name in (A.hex(), "gateway-ingest"):
            context = context_of(files["gateway-web"], site.pki.ca_file)
            wire = stack.enter_context(Wire(site.port, context, "x", username=name))
            for one in TOPICS.values():
                wire.publish(one, b"in another's name")
        assert readers.got(b"in another's name") == set()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
def test_tls_older_than_1_2_is_refused_by_the_broker_itself(
    site: BrokerSite, files: dict[str, TlsFiles], version: ssl.TLSVersion
) -> None:
    context = context_of(files["device A"], site.pki.ca_file)
    context.set_ciphers("ALL:@SECLEVEL=0")  # this end would take anything
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    if version >= ssl.TLSVersion.TLSv1_2:
        with Wire(site.port, context) as wire:
            wire.publish(topic(A, "event"), b"x")
        return
    with pytest.raises(Refused, match=r"(?i)alert|version"):
        Wire(site.port, context)


def test_plain_tcp_is_not_spoken_to(site: BrokerSite) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as plain:
        plain.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x")
        try:
            answer = plain.recv(100)
        except ConnectionResetError:
            answer = b""
    assert not answer or answer[0] in (0x15,)  # a TLS alert at most
