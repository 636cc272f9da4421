"""What both sides keep in memory, counted, and the bound of each: nothing may grow with what a schedule does to them.

The bounds are those of the code where it has a fixed one (slots, windows, lists), and otherwise what there is to
remember: devices, epochs, clips that are not finished. No allocator is asked, so that a count is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from lapel_device import alarm_lane, clip_lane, journal, mqtt, spool, uplink
from lapel_device.epochs import MAX_HELD
from lapel_gateway import log as gateway_log
from lapel_gateway import verify
from lapel_gateway.alarms import core as alarms
from lapel_gateway.custody import taking as custody
from lapel_gateway.custody import vault as gateway_vault

from .device_side import DeviceSide
from .gateway_side import GatewaySide

_REFUSAL_REASONS = 16
Size = tuple[str, int, int]


def device_sizes(device: DeviceSide) -> Iterator[Size]:
    """(what, how many, at most) of a device that runs."""
    app = device.app
    if not app._ready:
        return
    link, clips, log, ledger = app._uplink, app._spool, app._journal, app._ledger
    lane = link._clips
    files = len(device.clips())
    yield "alarms in the lane", len(link._alarms.alarms), alarm_lane.MAX_ALARMS
    yield "wants", len(lane._wants), clip_lane.MAX_WANTS
    yield "events in memory only", len(link._loose), uplink.MAX_LOOSE_EVENTS
    yield "clips loaded", len(clips.clips()), spool.MAX_LOADED + 1  # the one being recorded
    yield "clips to settle", len(clips._unsettled), files
    yield "clips listed", clips.count + len(clips._receipted), spool.MAX_CLIPS + 1
    yield "receipt levels", len(clips._levels), len(clips._receipted)
    yield "journal rows", log.count, journal.MAX_PENDING
    yield "journal files", len(log._files), journal.MAX_FILES
    yield "epochs unreceipted", len(ledger._whats), MAX_HELD
    yield "staged seeds", len(app._seeds._staged), 2
    yield "reasons of refusals", len(link.conversation._refusals), _REFUSAL_REASONS
    yield "MQTT slots", len(link._client.slots), mqtt.MAX_IN_FLIGHT
    yield "unacknowledged bytes", link._client.unacked_bytes, _most_unacked(device)


def _most_unacked(device: DeviceSide) -> int:
    window = int(device.board.profile.window_bytes)
    # One message may begin below the window and end above it; alarms and events come on top.
    return window + clip_lane.chunk_bytes(device.board.profile.chunk_segments) + mqtt.MAX_IN_FLIGHT * 1200


def gateway_sizes(gateway: GatewaySide, devices: int, epochs: int, clips: int) -> Iterator[Size]:
    """(what, how many, at most) of a gateway that runs, with so many devices, epochs consumed and clips known."""
    core = gateway.ingest_core
    tracks, verifier = core._custody._tracks, core._verifier
    chains = verifier._chains.values()
    yield "tracks", len(tracks), min(custody.CACHED_TRACKS, clips + epochs)
    yield "clips without header", len(core._custody._headerless), min(custody.CACHED_TRACKS, epochs)
    ahead = sum(len(track._ahead) for track in tracks.values() if not track.unfinished)
    yield "segments ahead of finished clips", ahead, 0
    yield "chains", len(verifier._chains), devices
    yield "chain keys", sum(len(chain.keys) for chain in chains), devices * (2 + epochs // verify.CHECKPOINT_STEPS)
    yield "epoch keys", len(verifier._epochs), min(verify.CACHED_EPOCHS, epochs + devices)
    yield "lines not repeated", len(core._repeats._seen), gateway_log.MAX_KEYS
    yield "devices with credit", len(core._credit._active), devices
    yield "progress untold", len(core._credit._untold), devices
    yield "vault handles", len(gateway.vault._handles), gateway_vault.OPEN_FILES + clips
    yield "placed in the vault and not synced", len(gateway.vault._placed), 0
    yield "vault files not synced", len(gateway.vault._unsynced), gateway.vault._most_unsynced
    yield "subjects of notices", len(gateway.alarm_core._told), alarms.NOTICES_IN_WINDOW + 1


def excess(sizes: Iterator[Size]) -> str:
    """What is above its bound, in words; empty when nothing is."""
    return "; ".join(f"{size} {what}, at most {most}" for what, size, most in sizes if size > most)
