"""Acknowledge links: what a token allows, what the page does, and what neither a scanner nor a thief gets done."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from lapel_gateway.accounts import users
from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.ack_links import AckLinks, Claim, LinkRefused
from lapel_gateway.channels.contract import Parcel
from lapel_gateway.channels.setup import Links, ack_links, build_channels, links_of, reach_of
from lapel_gateway.keystore import KeyStoreError
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import OUTBOX_ALARM, OUTBOX_NOTICE
from lapel_gateway.ledger.schema import alarm as alarm_table
from lapel_gateway.outbox import Outbox, RetryPolicy
from lapel_gateway.settings.channels import SmtpSection
from lapel_gateway.settings.check import check_config
from lapel_gateway.settings.config import Config, ConfigError, GatewaySection, WebSection, load_config
from lapel_gateway.web.installed import Installed
from lapel_gateway.web.server import WebRole, build_role
from tests.gateway.ledgers import new_ledger
from tests.gateway.mail import PostOffice, relay
from tests.gateway.sealed import NOW_MS, Site
from tests.gateway.test_web import Desk
from tests.support.accounts import BY

KEY = bytes(range(32))
ALARM = "00112233aabbccdd-4-2"
HOUR_MS = 3_600_000


def refusal(links: AckLinks, token: str, now_ms: int = NOW_MS) -> str:
    with pytest.raises(LinkRefused) as caught:
        links.read(token, now_ms)
    assert token not in repr(caught.value) or not token
    return caught.value.reason


def test_a_token_says_which_alarm_whose_and_until_when() -> None:
    links = AckLinks(KEY)
    token = links.make(ALARM, "Zoë Quinn", NOW_MS + 1)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
    assert links.read(token, NOW_MS) == Claim(ALARM, "Zoë Quinn", NOW_MS + 1_000)
    assert token == AckLinks(KEY).make(ALARM, "Zoë Quinn", NOW_MS + 1)


def test_a_tokens_mac_is_hmac_sha_256_over_a_label_and_all_of_it() -> None:
    raw = base64.urlsafe_b64decode(AckLinks(KEY).make(ALARM, "Ann", NOW_MS) + "==")
    body = bytes([1]) + (NOW_MS // 1000).to_bytes(4, "big") + bytes([len(ALARM)]) + ALARM.encode() + b"Ann"
    assert raw == body + hmac.digest(KEY, b"lapel/v1 acknowledge link\0" + body, hashlib.sha256)


def test_an_expired_token_is_refused_from_its_very_millisecond() -> None:
    links = AckLinks(KEY)
    token = links.make(ALARM, "Ann", NOW_MS)
    assert links.read(token, NOW_MS - 1).recipient == "Ann"
    assert refusal(links, token, NOW_MS) == "expired"


def test_every_changed_byte_is_a_forgery() -> None:
    links = AckLinks(KEY)
    raw = base64.urlsafe_b64decode(links.make(ALARM, "Ann", NOW_MS + HOUR_MS) + "==")
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1
        assert refusal(links, base64.urlsafe_b64encode(changed).rstrip(b"=").decode()) == "forged"


def test_a_token_of_another_gateway_is_a_forgery() -> None:
    assert refusal(AckLinks(bytes(32)), AckLinks(KEY).make(ALARM, "Ann", NOW_MS + HOUR_MS)) == "forged"


def test_only_one_spelling_of_a_token_is_read() -> None:
    links = AckLinks(KEY)
    tokens = [links.make(ALARM, "A" * length, NOW_MS + HOUR_MS) for length in range(1, 4)]
    for token in tokens:
        for other in (token + "=", token + "==", token + "\n", " " + token, token[:-1], token + "A"):
            assert refusal(links, other) == "forged"
        last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        spellings = [token[:-1] + letter for letter in last if letter != token[-1]]
        assert {refusal(links, other) for other in spellings} == {"forged"}


@given(st.binary(max_size=80) | st.text("AZaz09-_=+/ é%\n\0", max_size=80))
def test_nothing_that_was_made_up_is_read(made_up: bytes | str) -> None:
    token = made_up if isinstance(made_up, str) else base64.urlsafe_b64encode(made_up).rstrip(b"=").decode()
    assert refusal(AckLinks(KEY), token) == "forged"


def test_a_token_is_for_one_alarm_and_one_name() -> None:
    for alarm, name in (("", "Ann"), ("x" * 49, "Ann"), (ALARM, ""), (ALARM, "x" * 200)):
        with pytest.raises(ValueError, match="one alarm and one user"):
            AckLinks(KEY).make(alarm, name, NOW_MS)


def test_the_key_is_made_once_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "ack-links.key"
    token = AckLinks.load(path).make(ALARM, "Ann", NOW_MS + HOUR_MS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert AckLinks.load(path).read(token, NOW_MS).alarm == ALARM
    path.unlink()
    assert refusal(AckLinks.load(path), token) == "forged"


def test_processes_that_start_together_have_one_key(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "ack-links.key"
    with ThreadPoolExecutor(8) as pool:
        tokens = {one.make(ALARM, "Ann", NOW_MS) for one in pool.map(lambda _: AckLinks.load(path), range(16))}
    assert len(tokens) == 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"00", b"\xff" * 64, b"zz" * 32, b"00" * 31])
def test_a_damaged_key_is_an_error_with_its_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ack-links.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyStoreError, match="restore it from its copy"):
        AckLinks.load(path)
    path.write_text("00" * 32)
    path.chmod(0o644)
    with pytest.raises(KeyStoreError, match="chmod 600"):
        AckLinks.load(path)


@dataclass
class Pages:
    """The web role with links, one alarm, and the users Ann Archer, Ben and Zoë Quinn, who wears the device."""

    site: Site
    client: httpx.Client
    links: AckLinks
    alarm: str
    clock: list[int]

    def link(self, who: str = "Ann Archer", alarm: str = "") -> str:
        return "/ack/" + self.links.make(alarm or self.alarm, who, NOW_MS + HOUR_MS)

    def steps(self) -> list[tuple[str, str]]:
        with reading(self.site.engine) as connection:
            query = sa.text("select step, who from alarm_log where step <> 'step' order by id")
            return [(str(step), str(who)) for step, who in connection.execute(query)]


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    links, clock = AckLinks(KEY), [NOW_MS + 60_000]
    with new_ledger(tmp_path) as engine:
        site = Site(tmp_path, engine)
        for name in ("Ann Archer", "Ben", "Zoë Quinn"):
            users.add_user(engine, name, ["responder"], BY, NOW_MS)
        role = WebRole(engine, site.views, "127.0.0.1", 0, lambda: clock[0], Installed(links))
        role.start()
        with httpx.Client(base_url=role.url, trust_env=False, timeout=30) as client:
            alarm = Desk(site, client, {}, {}).raise_alarm()
            yield Pages(site, client, links, alarm, clock)
        assert role.stop()


def text(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return response.text


def test_opening_a_link_changes_nothing_however_often(pages: Pages) -> None:
    before = pages.steps()
    answers = [pages.client.get(pages.link()) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {200}
    assert '<form method="post"><button>I am Ann Archer' in text(answers[0])
    assert "Alarm panic: Zoë Quinn" in answers[0].text
    assert pages.client.head(pages.link()).status_code == 405
    assert pages.steps() == before


def test_the_button_acknowledges_in_the_recipients_name(pages: Pages) -> None:
    answer = pages.client.post(pages.link())

    assert answer.status_code == 200
    assert "You have acknowledged this alarm" in text(answer)
    assert "<button>" not in answer.text
    assert pages.steps() == [("received", "device"), ("acknowledged", "Ann Archer")]
    with reading(pages.site.engine) as connection:
        row = connection.execute(sa.select(alarm_table)).one()
    assert (row.state, row.acknowledged_by, row.untold) == ("acknowledged", "Ann Archer", True)


def test_whoever_is_second_is_told_who_was_first(pages: Pages) -> None:
    pages.client.post(pages.link())

    for answer, status in ((pages.client.get(pages.link("Ben")), 200), (pages.client.post(pages.link("Ben")), 409)):
        assert answer.status_code == status
        assert "Ann Archer has acknowledged this alarm" in text(answer)
        assert "<button>" not in answer.text
    assert pages.steps() == [("received", "device"), ("acknowledged", "Ann Archer")]


def test_two_at_once_are_both_answered_and_one_is_first(pages: Pages) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(pages.client.post, [pages.link("Ann Archer"), pages.link("Ben")]))

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert [step for step, _ in pages.steps()].count("acknowledged") == 1


def test_a_resolved_alarm_says_so(pages: Pages) -> None:
    alarms.resolve(pages.site.engine, pages.alarm, "Ben", "false", "", NOW_MS)

    answer = pages.client.post(pages.link())

    assert answer.status_code == 409
    assert "Ben has resolved this alarm as false" in text(answer)


@pytest.mark.parametrize(
    ("reason", "status"),
    [("forged", 404), ("expired", 410), ("revoked", 403), ("used", 409), ("own", 403), ("gone", 404)],
)
def test_a_link_that_is_not_honoured_is_refused_by_name_and_logged_without_its_token(
    pages: Pages, reason: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    link = pages.link()
    words = {"revoked": "was revoked", "used": "was used", "own": "your own", "gone": "not known", "forged": "not one"}
    if reason == "forged":
        link = link[:-1] + ("A" if link[-1] != "A" else "B")
    elif reason == "expired":
        pages.clock[0] = NOW_MS + 2 * HOUR_MS
    elif reason == "revoked":
        users.set_roles(pages.site.engine, "Ann Archer", ["technician"], BY, NOW_MS)
    elif reason == "used":
        assert pages.client.post(link).status_code == 200
    elif reason == "own":
        link = pages.link("Zoë Quinn")
    else:
        link = pages.link(alarm="ffffffffffffffff-1-1")
    before = pages.steps()
    capsys.readouterr()

    answers = [pages.client.request(method, link) for method in ("GET", "POST", "POST")]

    assert {answer.status_code for answer in answers} == {status}
    assert all(words.get(reason, "has expired") in text(answer) for answer in answers)
    assert all("<button>" not in answer.text for answer in answers)
    assert pages.steps() == before
    out, err = capsys.readouterr()
    lines = [line for line in (out + err).splitlines() if "acknowledge link refused" in line]
    assert len(lines) == 1
    assert f"reason={reason}" in lines[0]
    assert link.removeprefix("/ack/")[:40] not in out + err
    with reading(pages.site.engine) as connection:
        counted = connection.execute(sa.text("select reason, count from tally")).all()
    assert [tuple(row) for row in counted] == [(f"ack_link_{reason}", 1)]


def test_a_user_who_never_was_has_no_link(pages: Pages) -> None:
    assert pages.client.post(pages.link("Nobody")).status_code == 403


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_page_is_kept_framed_told_as_a_referrer_or_loads_anything(pages: Pages, method: str) -> None:
    for link in (pages.link(), "/ack/x"):
        answer = pages.client.request(method, link)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert (policy["default-src"], policy["frame-ancestors"], policy["base-uri"]) == ("'none'",) * 3
        assert policy["form-action"] == "'self'"
        style = re.search("<style>(.*)</style>", text(answer))
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert policy["style-src"] == f"'sha256-{digest}'"
        assert not re.search(r"<script|src=|href=|<img|<link", answer.text)


def test_text_from_a_device_or_a_person_stays_text(pages: Pages) -> None:
    evil = "<script>alert(1)</script>\u202e&\"'"
    with writing(pages.site.engine) as connection:
        connection.execute(sa.update(alarm_table).values(person=evil))

    page = text(pages.client.get(pages.link()))

    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e&amp;" in page


def test_a_cancelled_alarm_still_asks_and_says_that_nobody_checked(pages: Pages) -> None:
    with writing(pages.site.engine) as connection:
        connection.execute(sa.update(alarm_table).values(cancelled_ms=NOW_MS, device_state="lost"))

    page = text(pages.client.get(pages.link()))

    assert "unverified" in page
    assert "lost: it may be in other hands" in page
    assert "<button>" in page


def test_without_links_there_are_no_pages(tmp_path: Path) -> None:
    with new_ledger(tmp_path) as engine:
        role = WebRole(engine, Site(tmp_path, engine).views, "127.0.0.1", 0)
        role.start()
        with httpx.Client(base_url=role.url, trust_env=False, timeout=30) as client:
            assert client.get("/ack/" + AckLinks(KEY).make(ALARM, "Ann", NOW_MS)).status_code == 404
        assert role.stop()


def parcel(kind: str = OUTBOX_ALARM, **payload: Any) -> Parcel:
    return Parcel(1, kind, "c", "k", ALARM, {"what": "raised", "person": "Zoë Quinn", **payload}, 0, NOW_MS)


def test_links_are_made_for_alarms_of_others_and_are_the_same_at_every_attempt() -> None:
    tokens = AckLinks(KEY)
    link = Links(tokens, "https://lapel.example.org/", HOUR_MS).of("Ann")
    address = link(parcel())
    assert address == link(parcel())
    assert address.startswith("https://lapel.example.org/ack/")
    claim = tokens.read(address.rpartition("/")[2], NOW_MS)
    assert claim == Claim(ALARM, "Ann", NOW_MS + HOUR_MS)
    assert link(parcel(OUTBOX_NOTICE)) == ""
    assert link(parcel(person="Ann")) == ""
    assert Links(tokens, "https://x", HOUR_MS).of("x" * 500)(parcel()) == ""
    assert Links().of("Ann")(parcel()) == ""


def test_the_link_in_a_mail_acknowledges_the_alarm_through_the_gateways_own_roles(
    tmp_path: Path, free_ports: list[int]
) -> None:
    office = PostOffice()
    mail = SmtpSection.model_validate(
        {
            "name": "duty",
            "host": "127.0.0.1",
            "port": free_ports[0],
            "security": "none",
            "sender": "lapel@example.org",
            "to": ["Ann Archer <ann@example.org>", "duty@example.org"],
        }
    )
    web = WebSection(port=free_ports[1], public_url=f"http://127.0.0.1:{free_ports[1]}")
    config = Config(gateway=GatewaySection(data_dir=tmp_path), smtp=[mail], web=web)
    with new_ledger(tmp_path) as engine, relay(office, free_ports[0]):
        site = Site(tmp_path, engine)
        users.add_user(engine, "Ann Archer", ["responder"], BY, NOW_MS)
        role = build_role(config, engine)
        role.start()
        with httpx.Client(trust_env=False, timeout=30) as client:
            alarm = Desk(site, client, {}, {}, list(reach_of(config).people))
            # The web role has the true clock, and the link runs from when its parcel was made.
            name = alarm.raise_alarm()
            with writing(engine) as connection:
                connection.execute(sa.text("update outbox set created_ms = :now"), {"now": true_now_ms()})
            Outbox(engine, build_channels(config, links_of(config)), RetryPolicy(), lambda: 0.0).run_due(true_now_ms())
            bodies = {one.recipients[0]: one.mail.get_content() for one in office.got}
            (link,) = re.findall(r"http://\S+/ack/\S+", bodies["ann@example.org"])
            assert "/ack/" not in bodies["duty@example.org"]
            assert client.get(link).status_code == 200
            assert client.post(link).status_code == 200
        assert role.stop()
        with reading(engine) as connection:
            row = connection.execute(sa.select(alarm_table)).one()
        assert (row.id, row.acknowledged_by) == (name, "Ann Archer")
    assert stat.S_IMODE((tmp_path / "keys" / "ack-links.key").stat().st_mode) == 0o600


def true_now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_no_key_is_made_where_people_cannot_reach_the_gateway(tmp_path: Path) -> None:
    assert ack_links(Config(gateway=GatewaySection(data_dir=tmp_path))) is None
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("url", ["example.org", "ftp://x", "https://", "https://x/?a=1", "https://x/#y", "https://x y"])
def test_a_public_address_that_is_none_is_named(tmp_path: Path, url: str) -> None:
    path = tmp_path / "lapel.toml"
    path.write_text(f"[web]\npublic_url = {json.dumps(url)}\n")
    with pytest.raises(ConfigError, match=r"line 2: \[web\] public_url: must start with https://"):
        load_config(path)


def test_links_in_plain_http_are_a_warning(tmp_path: Path) -> None:
    gateway = GatewaySection(data_dir=tmp_path)
    plain = Config(gateway=gateway, web=WebSection(public_url="http://lapel.example.org"))
    assert ("warning", "[web] public_url") in [(finding.level, finding.setting) for finding in check_config(plain)]
    private = Config(gateway=gateway, web=WebSection(public_url="https://lapel.example.org/x"))
    assert "[web] public_url" not in [finding.setting for finding in check_config(private)]
