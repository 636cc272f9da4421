"""Frames, sound and buttons as the device gets them, against what the world wrote down."""

from itertools import pairwise
from pathlib import Path

from lapel_sim.camera import MicrophoneModel
from lapel_sim.footage import default_footage, jpeg_frames, pcm
from lapel_sim.hosttime import TICKS_PERIOD
from lapel_sim.world import World

from .conftest import run_program


def printed(world: World, word: str) -> list[list[str]]:
    lines = [str(entry["line"]).split() for entry in world.journal.entries("console")]
    return [line[1:] for line in lines if line[0] == word]


def test_the_device_gets_exactly_the_frames_of_the_journal_with_their_ticks(world: World) -> None:
    device = world.add_device("looker", "esp32s3_cam")
    run_program(device, "looker", "12")
    device.wait_off()
    got = [(int(line[0]), int(line[1]), line[4]) for line in printed(world, "frame")]
    given = [(entry["ticks_of_frame"], entry["size"], entry["sha256"]) for entry in device.frames()]
    assert got == given
    assert len(set(given)) == 12
    assert all((later[0] - earlier[0]) % TICKS_PERIOD % 100 == 0 for earlier, later in pairwise(given))
    for line in printed(world, "frame"):
        assert 0 <= (int(line[5]) - int(line[0])) % TICKS_PERIOD < 100  # fetched after the exposure, before the next


def test_ticks_wrap_at_two_to_the_thirty_while_frames_keep_their_distance(world: World) -> None:
    device = world.add_device("looker", "esp32s3_cam")
    device.ticks_before_wrap_ms = 800
    run_program(device, "looker", "12")
    device.wait_off()
    ticks = [int(line[0]) for line in printed(world, "frame")]
    assert max(ticks) > TICKS_PERIOD - 1000
    assert min(ticks) < 1000
    assert sum((later - earlier) % TICKS_PERIOD for earlier, later in pairwise(ticks)) < 5000


def test_a_frame_larger_than_the_buffer_is_dropped_and_journalled(world: World) -> None:
    device = world.add_device("looker", "esp32s3_cam")
    device.camera.make_oversized(2)
    run_program(device, "looker", "5")
    device.wait_off()
    assert [int(line[1]) for line in printed(world, "frame")][:2] == [0, 0]
    assert [entry["fits"] for entry in world.journal.entries("frame")] == [False, False, True, True, True]


def test_sound_arrives_complete_while_it_is_read_in_time(world: World) -> None:
    device = world.add_device("looker", "esp32s3_cam")
    run_program(device, "looker", "6")
    device.wait_off()
    [[heard, digest]] = printed(world, "sound")
    ended = world.journal.entries("microphone", on=False)[0]
    assert (int(heard), digest) == (ended["given_bytes"], ended["sha256"])
    assert ended["overrun_bytes"] == 0
    assert int(heard) > 0.3 * 16000 * 2


def test_sound_that_is_not_read_within_the_drivers_buffer_is_lost_and_journalled() -> None:
    notes: list[tuple[str, dict[str, object]]] = []
    microphone = MicrophoneModel(default_footage(), lambda kind, **fields: notes.append((kind, fields)))
    microphone.start(16000)
    microphone.backdate(1000)
    assert len(microphone.read(100_000)) == 16000 * 2 * 4 // 10
    [lost] = [fields["lost_bytes"] for kind, fields in notes if kind == "audio_overrun"]
    assert isinstance(lost, int)
    assert lost >= 16000 * 2 * 6 // 10


def test_frames_of_any_footage_fit_the_boards_buffer() -> None:
    footage = default_footage()
    for name in ("bikes.mp4", "bigbuckbunny.mp4"):
        for width, height, limit in ((640, 480, 24576), (320, 240, 8192)):
            frames = jpeg_frames(footage.parent / name, width, height, 500, limit)
            assert len(frames) >= 10
            assert all(
                frame[:2] == b"\xff\xd8" and frame[-2:] == b"\xff\xd9" and len(frame) < limit for frame in frames
            )


def test_footage_without_sound_gets_a_tone_and_with_sound_its_own() -> None:
    folder: Path = default_footage().parent
    silent, spoken = pcm(folder / "bikes.mp4", 16000), pcm(folder / "bigbuckbunny.mp4", 16000)
    assert len(silent) == 10 * 16000 * 2
    assert len(set(silent)) > 100
    assert abs(len(spoken) - 5.3 * 16000 * 2) < 8000
    assert spoken[:1000] != silent[:1000]


def test_a_press_lasts_until_the_device_has_seen_it(world: World) -> None:
    device = world.add_device("looker", "esp32s3_cam")
    run_program(device, "looker", "30")
    device.hold("ALARM", 300)
    device.press("RECORD")
    device.cut_power()
    levels = [int(line[0]) for line in printed(world, "buttons")]
    assert 2 in levels
    assert 1 in levels[levels.index(2) :]
    assert [(entry["button"], entry["down"]) for entry in world.journal.entries("button")] == [
        ("ALARM", True),
        ("ALARM", False),
        ("RECORD", True),
        ("RECORD", False),
    ]
