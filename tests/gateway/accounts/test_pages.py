"""The pages: logging in, setting a password, one's own account; and what another site's page cannot do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.tokens import add_token, list_tokens
from lapel_gateway.accounts.users import set_roles
from lapel_gateway.settings.accounts import AccountsSection
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.guard import Buckets
from lapel_gateway.web.headers import HEADERS
from lapel_gateway.web.pages.frame import next_path
from lapel_gateway.web.server import WebRole
from tests.gateway.accounts.office import HOUR_MS, NOW_MS, PASSWORD, Office, Person, opened
from tests.support.accounts import BY

BEARER = {"authorization": "Bearer lapel_none"}
NEW_PASSWORD = "another long password"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with opened(tmp_path, accounts=AccountsSection(authenticator_roles=["evidence"])) as office:
        yield office


@pytest.fixture
def ann(office: Office) -> Person:
    """A responder at a browser."""
    office.add("Ann Archer", ["responder", "wearer"], PASSWORD)
    return office.browser()


def is_inside(answer: httpx.Response) -> bool:
    """Whether a page is for somebody who has logged in, whichever of theirs comes first."""
    return answer.status_code == 200 and 'aria-label="Yourself"' in answer.text


def test_a_new_user_sets_a_password_by_the_link_and_logs_in_with_it(office: Office) -> None:
    office.add("Ann Archer", ["responder"])
    link = f"/setup/{office.link('Ann Archer')}"
    person = office.browser()
    assert "Ann Archer" in person.get(link).text
    assert "not the same" in person.send(link, password=PASSWORD, again="x").text
    assert "at least 15" in person.send(link, password="short", again="short").text
    assert "Your password is set" in person.send(link, password=PASSWORD, again=PASSWORD).text
    assert person.get(link).status_code == 410
    person.get("/login")
    inside = person.send("/login", name=" Ann  Archer ", password=PASSWORD)
    assert is_inside(inside)
    assert ">Ann Archer</a>" in inside.text


def test_a_wrong_password_and_an_unknown_name_are_answered_alike(office: Office, ann: Person) -> None:
    wrong = ann.log_in("Ann Archer", "wrong")
    unknown = ann.log_in("Nobody", PASSWORD)
    assert (wrong.status_code, unknown.status_code) == (403, 403)

    def words(page: str) -> str:
        return re.sub(r'value="[^"]*"', "", page)

    assert words(wrong.text) == words(unknown.text)
    assert not ann.client.cookies.get("lapel-session")


def test_who_guesses_is_told_how_long_to_wait(office: Office, ann: Person) -> None:
    for _ in range(4):
        ann.log_in("Ann Archer", "wrong")
    early = ann.log_in("Ann Archer")
    assert (early.status_code, early.headers["retry-after"]) == (429, "1")
    assert "Wait 1 seconds" in early.text


def test_a_role_that_needs_a_code_sets_an_authenticator_up_and_is_asked_for_it_ever_after(office: Office) -> None:
    office.add("Eve", ["evidence"], PASSWORD)
    eve = office.browser()
    assert eve.log_in("Eve").url.path == "/login/authenticator"
    assert "<svg" in eve.page
    assert eve.client.get("/api/v1/clips").status_code == 401
    codes = re.findall(r"<li><code>([a-z2-9-]{19})</code>", eve.enrol().text)
    assert len(set(codes)) == 10
    assert eve.client.get("/api/v1/clips").status_code == 200

    other = office.browser()
    other.secret = eve.secret
    assert other.log_in("Eve").url.path == "/login/code"
    assert other.client.get("/api/v1/clips").status_code == 401
    assert "used before" in other.send("/login/code", code=other.code()).text
    office.clock[0] += 60_000
    assert is_inside(other.send("/login/code", code=other.code()))
    third = office.browser()
    third.log_in("Eve")
    assert is_inside(third.send("/login/code", code=codes[0]))


def test_after_the_log_in_one_is_where_one_wanted_to_go_if_that_is_here(office: Office, ann: Person) -> None:
    asked = ann.get("/")
    assert (asked.url.path, dict(asked.url.params)) == ("/login", {})
    assert ann.send("/login", name="Ann Archer", password=PASSWORD, next="/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "asked",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "evil",
        "",
        "/\t/evil",
        "/login/code",
        "/" + "x" * 600,
    ],
)
def test_nobody_is_sent_to_another_site_after_the_log_in(asked: str) -> None:
    assert next_path(asked) == "/"


@pytest.mark.parametrize("asked", ["/clips", "/visits/5?every=true", "/"])
def test_a_path_of_ours_is_where_one_goes(asked: str) -> None:
    assert next_path(asked) == asked


def test_a_changed_password_keeps_this_session_and_ends_the_others(office: Office, ann: Person) -> None:
    other = office.browser()
    for person in (ann, other):
        person.log_in("Ann Archer")
    wrong = ann.send("/account/password", old="wrong", new=NEW_PASSWORD, again=NEW_PASSWORD)
    assert "not your present password" in wrong.text
    done = ann.send("/account/password", old=PASSWORD, new=NEW_PASSWORD, again=NEW_PASSWORD)
    assert "password is changed" in done.text
    assert other.get("/account").url.path == "/login"
    assert ann.get("/account").url.path == "/account"


def test_one_ends_a_session_of_ones_own_and_nobody_elses(office: Office, ann: Person) -> None:
    office.add("Ben", ["wearer"], PASSWORD)
    ben = office.browser()
    ben.log_in("Ben")
    ann.log_in("Ann Archer")
    phone = office.browser()
    phone.log_in("Ann Archer")
    numbers = {row["user"]: row["id"] for row in _sessions(office)}
    assert ann.send("/account/sessions/end", number=numbers["Ben"]).status_code == 404
    assert ben.get("/account").url.path == "/account"
    ann.get("/account")
    assert ann.send("/account/sessions/end").status_code == 200
    assert phone.get("/account").url.path == "/login"
    assert ann.get("/account").url.path == "/account"


def test_an_operator_sees_and_ends_anybodys_session_and_others_their_own_alone(office: Office, ann: Person) -> None:
    office.add("Olive", ["operator"])
    ann.log_in("Ann Archer")
    olive = {"authorization": f"Bearer {add_token(office.engine, 'Olive', 'desk', BY, NOW_MS)}"}
    office.session("Olive")
    own = ann.client.get("/api/v1/sessions").json()["sessions"]
    assert [(one["user"], one["this"]) for one in own] == [("Ann Archer", True)]
    every = ann.client.get("/api/v1/sessions", headers=olive).json()["sessions"]
    assert sorted(one["user"] for one in every) == ["Ann Archer", "Olive"]
    (number,) = [one["id"] for one in every if one["user"] == "Ann Archer"]
    assert ann.client.delete(f"/api/v1/sessions/{number}", headers=olive).status_code == 204
    assert ann.get("/account").url.path == "/login"
    assert ("Olive", "end session", "done") in office.lines()


def test_a_token_made_on_the_page_is_shown_once_and_reaches_as_far_as_was_ticked(office: Office, ann: Person) -> None:
    ann.log_in("Ann Archer")
    made = ann.send("/account/tokens", name="wallboard", days="30", scope=["see-alarms"])
    found = re.search(r"lapel_[0-9a-f]{64}", made.text)
    assert found is not None
    bearer = {"authorization": f"Bearer {found[0]}"}
    assert ann.client.get("/api/v1/alarms", headers=bearer).status_code == 200
    assert ann.client.get("/api/v1/visits", headers=bearer).status_code == 403
    assert ann.client.get("/account", headers=bearer).status_code == 403
    assert found[0] not in ann.get("/account").text
    ann.send("/account/tokens/revoke", name="wallboard")
    assert ann.client.get("/api/v1/alarms", headers=bearer).status_code == 401
    assert [one.ended_ms for one in list_tokens(office.engine)] == [NOW_MS]


def test_logging_out_ends_the_session_and_takes_the_cookie(office: Office, ann: Person) -> None:
    ann.log_in("Ann Archer")
    cookie = ann.client.cookies["lapel-session"]
    assert ann.send("/logout").url.path == "/login"
    assert "lapel-session" not in ann.client.cookies
    ann.client.cookies.set("lapel-session", cookie)
    assert ann.get("/account").url.path == "/login"


# --- other sites ---


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://[evil"},
    ],
)
@pytest.mark.parametrize("path", ["/account/sessions/end", "/account/tokens", "/logout", "/login"])
def test_a_form_that_another_site_sends_changes_nothing(
    office: Office, ann: Person, path: str, headers: dict[str, str]
) -> None:
    ann.log_in("Ann Archer")
    before = office.lines()
    refused = ann.send(path, headers=headers, name="Ann Archer", password=PASSWORD, scope="see-alarms")
    assert (refused.status_code, "another site" in refused.text) == (403, True)
    assert office.lines() == before
    assert ann.get("/account").url.path == "/account"


def test_a_form_without_the_token_of_its_page_is_refused_and_so_is_one_of_another_session(
    office: Office, ann: Person
) -> None:
    ann.log_in("Ann Archer")
    token = re.search(r'name="form_token" value="(\w+)"', ann.page)
    assert token is not None
    other = office.browser()
    other.log_in("Ann Archer")
    for given in ("", "0" * 64, "é", token[1]):
        refused = other.client.post("/account/tokens", data={"form_token": given, "name": "x", "scope": "see-alarms"})
        assert refused.status_code == 403
        assert "out of date" in refused.text
    assert list_tokens(office.engine) == []


def test_a_log_in_cannot_be_sent_from_elsewhere_without_the_cookie_of_the_form(office: Office, ann: Person) -> None:
    ann.get("/login")
    ann.client.cookies.clear()
    assert ann.send("/login", name="Ann Archer", password=PASSWORD).status_code == 403


def test_the_api_within_a_session_takes_the_form_token_in_a_header(office: Office, ann: Person) -> None:
    ann.log_in("Ann Archer")
    token = re.search(r'name="form_token" value="(\w+)"', ann.page)
    assert token is not None
    path, body = "/api/v1/visits", {"place": "4 High Street"}
    assert ann.client.post(path, json=body).status_code == 403
    planned = ann.client.post(path, json=body, headers={"x-form-token": token[1], "sec-fetch-site": "same-origin"})
    assert planned.status_code == 201
    assert planned.json()["made"]["by"] == "Ann Archer"


# --- what every answer carries ---


@pytest.mark.parametrize("path", ["/login", "/account", "/healthz", "/api/v1/alarms", "/static/lapel.css", "/none"])
def test_every_answer_carries_the_headers_that_keep_a_browser_in_bounds(office: Office, path: str) -> None:
    answer = office.browser().client.get(path)
    for name, value in HEADERS.items():
        expected = "no-cache" if (path, name) == ("/static/lapel.css", "Cache-Control") else value
        assert answer.headers[name] == expected
    assert "strict-transport-security" not in answer.headers


def test_a_fault_of_the_gateway_tells_nothing_and_carries_them_too(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    role = WebRole(engine, Views(tmp_path), "127.0.0.1", 0, lambda: NOW_MS)
    role.start()
    try:
        for path, accept, kind in (
            ("/account", "text/html", "text/html; charset=utf-8"),
            ("/api/v1/me", "*/*", "application/problem+json"),
        ):
            fault = httpx.get(f"{role.url}{path}", headers={**BEARER, "accept": accept}, trust_env=False, timeout=30)
            assert (fault.status_code, fault.headers["content-type"]) == (500, kind)
            assert "no such table" not in fault.text
            assert {name: fault.headers[name] for name in HEADERS} == HEADERS
    finally:
        assert role.stop()
        engine.dispose()


def test_behind_tls_cookies_are_bound_to_this_host_and_browsers_are_told_to_stay_with_https(tmp_path: Path) -> None:
    with opened(tmp_path, public_url="https://lapel.example.org") as office:
        office.add("Ann", ["wearer"], PASSWORD)
        person = office.browser()
        shown = person.client.get("/login")
        assert shown.headers["strict-transport-security"] == "max-age=31536000"
        form = shown.headers["set-cookie"]
        assert form.startswith("__Host-lapel-form=")
        field = re.search(r'name="form_token" value="(\w+)"', shown.text)
        assert field is not None
        entered = person.client.post(
            "/login",
            data={"form_token": field[1], "name": "Ann", "password": PASSWORD},
            headers={"cookie": form.partition(";")[0], "origin": "https://lapel.example.org"},
        )
        cookies = entered.headers.get_list("set-cookie")
        assert sorted(cookie.partition("=")[0] for cookie in cookies) == ["__Host-lapel-known", "__Host-lapel-session"]
        for cookie in [form, *cookies]:
            attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
            assert {"path=/", "secure", "httponly", "samesite=lax"} <= attributes
            assert not any(attribute.startswith("domain") for attribute in attributes)


def test_without_tls_cookies_are_out_of_reach_for_scripts_and_other_sites(office: Office, ann: Person) -> None:
    ann.get("/login")
    entered = ann.send("/login", follow=False, name="Ann Archer", password=PASSWORD)
    for cookie in entered.headers.get_list("set-cookie"):
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"path=/", "httponly", "samesite=lax"} <= attributes
        assert "secure" not in attributes


class Reader(HTMLParser):
    """Reads a page as assistive technology would."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.labels: set[str] = set()
        self.fields: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.written_in: list[str] = []
        self.titles = 0
        self.language: str | None = None
        self._in_label = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "html":
            self.language = found.get("lang")
        if tag == "h1":
            self.titles += 1
        if tag == "label":
            self._in_label += 1
            self.labels.add(str(found.get("for")))
        if tag == "input" and found.get("type") != "hidden" and not self._in_label:
            self.fields.append(found)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag in ("script", "style") or "style" in found or any(name.startswith("on") for name in found):
            self.written_in.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._in_label -= tag == "label"


def test_every_page_has_a_language_a_title_a_label_for_each_field_and_nothing_written_in(office: Office) -> None:
    office.add("Eve <b>", ["evidence"])
    eve = office.browser()
    pages = [eve.get(f"/setup/{office.link('Eve <b>')}").text]
    eve.send(f"/setup/{office.link('Eve <b>')}")
    link = f"/setup/{office.link('Eve <b>')}"
    eve.get(link)
    eve.send(link, password=PASSWORD, again=PASSWORD)
    pages += [eve.get("/login").text, eve.log_in("Eve <b>", "wrong").text, eve.log_in("Eve <b>").text, eve.enrol().text]
    pages += [eve.get("/account").text, eve.get("/none").text]
    other = office.browser()
    pages.append(other.log_in("Eve <b>").text)
    for page in pages:
        read = Reader(page)
        assert (read.language, read.titles, read.written_in) == ("en", 1, []), page
        assert {field["id"] for field in read.fields} <= read.labels, page
        assert len(set(read.ids)) == len(read.ids), page
        assert "<b>" not in page
    assert "Eve &lt;b&gt;" in pages[0]


def test_the_colours_of_text_have_enough_contrast_by_day_and_by_night(office: Office) -> None:
    css = office.browser().client.get("/static/lapel.css").text
    day, night = (dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in css.split("@media (prefers-color", 1))
    for colours in (day, night):
        for name in ("text", "quiet", "strong", "bad", "warn", "good"):
            assert _contrast(colours[name], colours["ground"]) >= 4.5, name
            assert _contrast(colours[name], colours["raised"]) >= 4.5, name
        for name in ("bad", "warn", "good"):
            assert _contrast(colours[name], colours[f"{name}-ground"]) >= 4.5, name
        assert _contrast(colours["on-strong"], colours["strong"]) >= 4.5
        assert _contrast(colours["line"], colours["ground"]) >= 3


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# --- decisions ---


def test_what_is_changed_and_what_is_refused_is_in_the_audit_log(office: Office, ann: Person) -> None:
    bearer = {"authorization": f"Bearer {add_token(office.engine, 'Ann Archer', 'x', BY, NOW_MS)}"}
    before = len(office.lines())
    ann.client.get("/api/v1/alarms", headers=bearer)
    ann.client.post("/api/v1/alarms/none/acknowledge", headers=bearer)
    ann.client.get("/api/v1/users", headers=bearer)
    ann.client.get("/api/v1/clips/none/media/mp4", headers=bearer)
    assert office.lines()[before:] == [
        ("Ann Archer", "acknowledge", "allowed"),
        ("Ann Archer", "list_users", "refused"),
        ("Ann Archer", "media", "allowed"),
    ]


def test_a_role_given_or_taken_holds_from_the_next_request_of_a_session_on(office: Office, ann: Person) -> None:
    ann.log_in("Ann Archer")
    assert ann.client.get("/api/v1/users").status_code == 403
    set_roles(office.engine, "Ann Archer", ["operator"], BY, NOW_MS)
    assert ann.client.get("/api/v1/users").status_code == 200
    assert ann.client.get("/api/v1/alarms").status_code == 403


def test_a_session_is_over_after_an_hour_without_requests(office: Office, ann: Person) -> None:
    ann.log_in("Ann Archer")
    office.clock[0] += HOUR_MS + 60_001
    assert ann.get("/account").url.path == "/login"


def test_too_many_requests_of_one_user_are_told_to_wait_and_others_are_not(tmp_path: Path) -> None:
    with opened(tmp_path, accounts=AccountsSection(requests_per_min=30)) as office:
        office.add("Ann", ["wearer"])
        office.add("Ben", ["wearer"])
        client = office.browser().client
        ann, ben = (
            {"authorization": f"Bearer {add_token(office.engine, name, 'x', BY, NOW_MS)}"} for name in ("Ann", "Ben")
        )
        answers = [client.get("/api/v1/me", headers=ann) for _ in range(40)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert int(refused[0].headers["retry-after"]) in (1, 2, 3)
        assert client.get("/api/v1/me", headers=ben).status_code == 200


def test_requests_are_counted_by_the_minute_and_come_back_with_time() -> None:
    clock = [0.0]
    buckets = Buckets(60, lambda: clock[0])
    assert [buckets.take("ann") for _ in range(30)] == [0] * 30
    assert buckets.take("ann") == 1
    clock[0] += 1
    assert buckets.take("ann") == 0
    assert buckets.take("ann") == 1
    clock[0] += 3600
    assert [buckets.take("ann") for _ in range(31)].count(0) == 30


def test_my_roles_and_permissions_are_told_by_the_api(office: Office, ann: Person) -> None:
    ann.log_in("Ann Archer")
    me = ann.client.get("/api/v1/me").json()
    assert (me["name"], me["roles"], me["how"]) == ("Ann Archer", ["responder", "wearer"], "session")
    assert str(Permission.ANSWER_ALARMS) in me["permissions"]


def test_an_operator_adds_a_user_by_the_api_and_learns_no_password(office: Office) -> None:
    office.add("Olive", ["operator"])
    client = office.browser().client
    olive = {"authorization": f"Bearer {add_token(office.engine, 'Olive', 'x', BY, NOW_MS)}"}
    made = client.post("/api/v1/users", headers=olive, json={"name": "Ben", "roles": ["wearer"]})
    assert made.status_code == 201
    link = made.json()["setup_link"]
    ben = office.browser()
    ben.get(link)
    assert "password is set" in ben.send(link, password=PASSWORD, again=PASSWORD).text
    assert is_inside(ben.log_in("Ben"))
    assert client.post("/api/v1/users/Ben/disable", headers=olive).json()["disabled"]["ms"] == NOW_MS
    assert ben.get("/account").url.path == "/login"
    lines = client.get("/api/v1/audit", headers=olive, params={"who": "Olive"}).json()["lines"]
    assert {"add_user", "add user", "make set-up link", "disable user"} <= {line["what"] for line in lines}


def _sessions(office: Office) -> list[dict[str, object]]:
    office.add("Olive the operator", ["operator"])
    token = add_token(office.engine, "Olive the operator", "x", BY, NOW_MS)
    answer = office.browser().client.get("/api/v1/sessions", headers={"authorization": f"Bearer {token}"})
    found: list[dict[str, object]] = answer.json()["sessions"]
    return found
