"""Who may read the figures, as it is set: what check-config says, and the files that are written for Prometheus."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapel_gateway.channels.secret_file import SecretError, read_token
from lapel_gateway.metrics.files import monitoring_files
from lapel_gateway.settings.check import check_config
from lapel_gateway.settings.config import Config, GatewaySection, WebSection
from lapel_gateway.settings.metrics import MetricsSection

TOKEN = "0123456789abcdef0123"


def token_file(folder: Path, text: str = TOKEN + "\n", mode: int = 0o600) -> Path:
    path = folder / "scrape.txt"
    path.write_text(text)
    path.chmod(mode)
    return path


def findings(folder: Path, metrics: MetricsSection, web: WebSection | None = None) -> list[tuple[str, str]]:
    config = Config(gateway=GatewaySection(data_dir=folder), metrics=metrics, web=web or WebSection())
    return [(one.level, one.message) for one in check_config(config) if one.setting.startswith("[metrics]")]


def test_a_good_token_is_read_without_its_comments(tmp_path: Path) -> None:
    path = token_file(tmp_path, f"# for Prometheus\n{TOKEN}\n")
    assert read_token(path) == TOKEN
    assert findings(tmp_path, MetricsSection(token_file=path)) == []


@pytest.mark.parametrize("text", ["", "short\n", f"{TOKEN}\n{TOKEN}\n", f"{TOKEN} {TOKEN}\n", "é" * 20])
def test_a_token_that_is_none_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(SecretError, match="openssl rand") as refused:
        read_token(token_file(tmp_path, text))
    assert text.strip() == "" or text.strip() not in str(refused.value)


def test_a_token_that_others_can_read_is_an_error(tmp_path: Path) -> None:
    [(level, message)] = findings(tmp_path, MetricsSection(token_file=token_file(tmp_path, mode=0o644)))
    assert level == "error"
    assert "chmod 600" in message
    assert TOKEN not in message


def test_a_proxy_without_a_token_is_warned_of_since_nobody_is_answered_then(tmp_path: Path) -> None:
    public = WebSection(public_url="https://lapel.example.org")
    [(level, message)] = findings(tmp_path, MetricsSection(), public)
    assert (level, "answers nobody" in message) == ("warning", True)
    assert findings(tmp_path, MetricsSection(enabled=False), public) == []


def test_what_is_written_for_prometheus_names_the_tokens_file_and_not_the_token(tmp_path: Path) -> None:
    path = token_file(tmp_path)
    files = monitoring_files(Config(metrics=MetricsSection(token_file=path), web=WebSection(host="::1", port=8480)))
    assert set(files) == {"lapel.rules.yml", "lapel-dashboard.json", "prometheus.yml"}
    assert f'credentials_file: "{path}"' in files["prometheus.yml"]
    assert 'targets: ["[::1]:8480"]' in files["prometheus.yml"]
    assert TOKEN not in "".join(files.values())
    assert "authorization" not in monitoring_files(Config())["prometheus.yml"]
