"""A gateway's folder for the command line."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from lapel_gateway.pki import create_organisation_key
from tests.tools.command import Lapel


@pytest.fixture(scope="session")
def organisation_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with private.pem and public.pem, made once: an RSA-3072 key takes a good part of a second."""
    folder = tmp_path_factory.mktemp("organisation")
    create_organisation_key(folder / "private.pem", folder / "public.pem")
    return folder


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Lapel]:
    """The command in an empty folder, nothing of ours in the environment."""
    for name in [name for name in os.environ if name.startswith("LAPEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield Lapel(tmp_path, monkeypatch, capsys)
    structlog.reset_defaults()


@pytest.fixture
def lapel(bare: Lapel, organisation_key: Path) -> Lapel:
    """The command beside a gateway that was just set up."""
    assert bare("gateway", "init", "--public-key", organisation_key / "public.pem").status == 0
    return bare
