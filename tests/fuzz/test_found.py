"""What fuzzing found, each as the smallest case of it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from lapel_device.configuration import CONFIG_PATH, load_config
from lapel_device.epochs import EpochLedger
from lapel_device.journal import Journal
from lapel_device.keystore import MARK_BOOT, KeyStore, provision_sectors
from lapel_device.settings import ConfigError as DeviceConfigError
from lapel_gateway.channels.webhook import _retry_after_ms
from lapel_gateway.keystore import KeyStoreError, OrganisationKey
from lapel_gateway.settings.config import ConfigError
from lapel_gateway.settings.config import load_config as load_gateway_config
from lapel_gateway.viewing import media
from lapel_gateway.viewing.tink import KeysetError, read_keyset
from lapel_protocol.crypto import crc32
from lapel_protocol.event import ALARM_RAISED, Event, seal_event
from lapel_protocol.report_decoders import decode_hello
from lapel_protocol.reports import AlarmRaised, Hello
from lapel_sim.package import BadPackage, read_package
from lapel_tools.evidence import NotAnExport, verify_export
from tests.fuzz import genuine
from tests.fuzz.card import Card, Flash
from tests.fuzz.files_targets import public_pem, small_matroska
from tests.fuzz.mutation import with_right_crc
from tests.fuzz.site import ALARM_TOPIC, CLIP_TOPIC, DEVICE_NAME, EVENT_TOPIC, NOW_MS, Site

DEEP = b"[" * 100_000


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[[], Site]:
    def make() -> Site:
        site = Site(tmp_path / "site", [(EVENT_TOPIC, genuine.event(1, genuine.payloads("hello")[0], 1))])
        site.restore()
        return site

    return make


# -- gateway ----------------------------------------------------------------------------------------------------------


def test_forged_segments_cannot_keep_a_clip_short(make_site: Callable[[], Site]) -> None:
    site, clip = make_site(), genuine.clip()
    bad = with_right_crc(clip.segments[1][:-1] + bytes([clip.segments[1][-1] ^ 1]))
    messages = [(CLIP_TOPIC, clip.header + clip.segments[0] + clip.segments[2] + clip.end), *[(CLIP_TOPIC, bad)] * 4]
    short = site.ingest.handle(messages, NOW_MS)
    told = [segments for _, segments, _ in site.receipts(short.downlinks, genuine.BOOT)]

    whole = site.ingest.handle([(CLIP_TOPIC, b"".join(clip.segments[1:]) + clip.end)], NOW_MS + 1000)

    assert told == [1], "the gateway gives up on a segment that comes broken again and again"
    assert list(site.receipts(whole.downlinks, genuine.BOOT)) == [(genuine.CLIP, 3, clip.end[56:88])]
    assert site.vault.path(DEVICE_NAME, genuine.CLIP).read_bytes() == clip.file
    site.close()


def test_an_alarm_of_a_device_whose_clock_has_gone_wild_is_raised(make_site: Callable[[], Site]) -> None:
    site = make_site()
    latest = (1 << 64) - 1
    payload = AlarmRaised(1, 50, 0).encode()
    alarm = Event(ALARM_RAISED, genuine.DEVICE, genuine.BOOT, 9, latest, latest, 3, payload)

    outcome = site.alarms.handle(ALARM_TOPIC, seal_event(genuine.keys(genuine.BOOT), alarm), NOW_MS)

    assert len(outcome.downlinks) > 0
    assert site.live.execute("select state, raised_wall_ms from alarm where boot is not null").fetchall() == [
        ("received", (1 << 63) - 1)
    ]
    site.close()


def test_a_matroska_with_a_track_that_nobody_can_decode_is_surveyed(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    path.write_bytes(small_matroska().replace(b"A_PCM/INT/LIT", b"A_PCM/INT/XXX"))
    survey = media.survey(path)
    assert (len(survey.frames_ms), survey.audio_rate_hz) == (2, 0)


def test_a_matroska_whose_tags_are_no_text_is_surveyed(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    path.write_bytes(small_matroska().replace(b"\x4d\x80\x85lapel", b"\x4d\x80\x85\x94apel"))
    assert len(media.survey(path).frames_ms) == 2


def test_a_webhook_answer_with_an_impossible_year_is_no_wait() -> None:
    assert _retry_after_ms("1 Jan 99999999999999999999 00:00:00 GMT", NOW_MS) is None


@pytest.mark.parametrize("content", [b"x = " + DEEP, b"[gateway]\ndata_dir = '~nobody-of-this-name/x'\n"])
def test_a_configuration_that_cannot_be_used_is_a_config_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "lapel.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"lapel\.toml"):
        load_gateway_config(tmp_path / "lapel.toml")


def test_json_nested_too_deep_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(KeysetError):
        read_keyset(DEEP.decode())
    for name in ("manifest.json", "config.json"):
        (tmp_path / name).write_bytes(DEEP)
    (tmp_path / "sectors.bin").write_bytes(b"")
    with pytest.raises(BadPackage):
        read_package(tmp_path)
    with pytest.raises(NotAnExport):
        verify_export(tmp_path)


def test_an_organisation_key_of_an_algorithm_that_nobody_knows_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "organisation.pem"
    lines = public_pem().decode().replace("MIIBojANBgkqhkiG9w0BAQEF", "MIIBojANBgkqhkiG0w0BAQEF")
    path.write_text(lines)
    with pytest.raises(KeyStoreError):
        OrganisationKey.load(path)


# -- device -----------------------------------------------------------------------------------------------------------


def test_a_device_refuses_a_configuration_nested_too_deep() -> None:
    with pytest.raises(DeviceConfigError):
        load_config(Card({CONFIG_PATH: DEEP[:4000]}))


def _ledger_file(turn: int, first: int, whats: bytes) -> bytes:
    body = struct.pack(">III", turn, first, len(whats)) + whats
    return body + struct.pack(">I", crc32(body))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(_ledger_file(0xFFFFFFFF, 0, b"\1"), id="last turn"),
        pytest.param(_ledger_file(1, 0, b"\1\x09"), id="unknown use of an epoch"),
        pytest.param(_ledger_file(1, 0, b"\1" * 40), id="card of an earlier provisioning"),
    ],
)
def test_no_epoch_ledger_on_the_card_makes_a_hello_unreadable(content: bytes) -> None:
    flash = Flash()
    provision_sectors(flash, genuine.chain_key(0), bytes(32))
    store = KeyStore(flash)
    store.load()
    for _ in range(2):
        store.step(MARK_BOOT, bytes(32), 0)
    ledger = EpochLedger(Card({"/epochs.1": content}))

    ledger.load(store, lambda clip: False)
    ledger.add(store.epoch, 1)

    hello = Hello()
    hello.next_epoch, hello.epochs = store.epoch + 1, ledger.entries()
    assert (store.epoch, 1) in decode_hello(hello.encode()).epochs


def test_a_journal_file_with_the_last_number_of_all_does_not_stop_the_journal() -> None:
    card = Card({"/journal/ffffffff.log": b""})
    journal = Journal(card)
    journal.load()
    assert journal.append(genuine.all_events()[0])
    assert journal.count == 1
