"""The demo as a script runs it: status 0 only when everything it claims was verified."""

import json
import subprocess
import sys
from pathlib import Path

import av
import pytest

pytestmark = [pytest.mark.needs("micropython"), pytest.mark.xdist_group("demo")]  # played once, by one worker

_TIMEOUT_S = 400


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that `lapel demo --once` left, and what it said."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    done = subprocess.run(
        [sys.executable, "-m", "lapel_tools", "demo", "--once", "--out", str(folder)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return folder, done.stdout


def test_the_demo_ends_with_everything_verified(played: tuple[Path, str]) -> None:
    folder, said = played
    assert "everything is verified" in said
    assert "power cut" in said
    assert len(list((folder / "clips").rglob("*.mp4"))) == 4


def test_a_clip_of_the_demo_plays_with_picture_sound_and_events(played: tuple[Path, str]) -> None:
    for path in (played[0] / "clips").rglob("*.mp4"):
        with av.open(str(path)) as container:
            assert {stream.type for stream in container.streams} == {"video", "audio", "subtitle"}
            frames = sum(1 for _ in container.decode(container.streams.video[0]))
        content = json.loads(path.with_suffix(".json").read_text())["assembly"]["content"]
        assert frames == content["frames"] > 0


def test_no_secret_of_the_demo_is_in_its_log(played: tuple[Path, str]) -> None:
    folder, said = played
    log = (folder / "gateway.log").read_text() + said
    token = (folder / "gateway" / "responder.token").read_text().strip()
    secret = (folder / "gateway" / "webhook.secret").read_text().strip()
    assert token
    assert token not in log
    assert secret not in log
    for package in (folder / "packages").iterdir():
        sectors = (package / "sectors.bin").read_bytes()
        chain_key, pool = sectors[12:44], sectors[44:76]
        assert any(chain_key)
        assert chain_key.hex() not in log
        assert pool.hex() not in log
