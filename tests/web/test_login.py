"""People log in, and nobody else does: passwords, sessions, roles."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from callers import ORIGIN, PASSWORD, client_of, csrf_of, logged_in
from fastapi.testclient import TestClient

from hpo.errors import SpecError, StoreError
from hpo.store import Store
from hpo.store.tables import hpo_users
from hpo.web.attempts import MOST_KEYS, OF_A_NAME, OF_AN_ADDRESS, WHILE_SECONDS, Attempts
from hpo.web.callers import Role
from hpo.web.sessions import COOKIES, SESSION_SECONDS, Sessions, signing_key
from hpo.web.site import Site
from hpo.web.users import add_user, remove_user, users, verified

COOKIE = COOKIES[False]
CSS = (Path(__file__).parents[2] / "hpo" / "web" / "login.css").read_text()


def log_in(client: TestClient, name: str, password: str, **more: str) -> int:
    return client.post("/login", data={"name": name, "password": password, **more}).status_code


def test_a_user_logs_in_on_each_database_and_out_again(site_of_each_database: Site) -> None:
    site = site_of_each_database
    browser = logged_in(site, Role.VIEWER)
    before = browser.get("/api/v1/studies").status_code
    cookie = browser.cookies[COOKIE]

    left = browser.post("/logout", data={"csrf": csrf_of(browser)})

    assert (before, left.status_code, left.headers["location"]) == (200, 303, "/login")
    assert COOKIE not in browser.cookies
    thief = client_of(site)
    thief.cookies.set(COOKIE, cookie)
    assert thief.get("/api/v1/studies").status_code == 401  # a logout ends the session, not only the cookie


@pytest.mark.parametrize("path", ["/", "/dashboard/studies/1", "/ops/x?y=1", "/logout", "/metrics"])
def test_a_stranger_is_led_to_the_login_and_back(site: Site, path: str) -> None:
    add_user(site.store, "ann", Role.VIEWER, PASSWORD)
    browser = client_of(site)

    led = browser.get(path, headers={"Accept": "text/html"})
    page = browser.get(led.headers["location"])
    answer = browser.post("/login", data={"name": "ann", "password": PASSWORD, "next": path})

    assert led.status_code == 303
    assert f'value="{path}"' in page.text
    assert answer.headers["location"] == path


@pytest.mark.parametrize("path", ["/", "/api/studies", "/api/v1/studies", "/api/v1/openapi.json", "/csv/1", "/metrics"])
def test_a_program_without_a_token_is_told_so(site: Site, path: str) -> None:
    answer = client_of(site).get(path)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("next", ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "/\n/evil", ""])
def test_a_login_leads_to_no_other_server(site: Site, next: str) -> None:
    add_user(site.store, "ann", Role.VIEWER, PASSWORD)

    answer = client_of(site).post("/login", data={"name": "ann", "password": PASSWORD, "next": next})

    assert answer.headers["location"] == "/"


def test_the_cookie_is_kept_from_scripts_and_from_other_sites(site: Site) -> None:
    add_user(site.store, "ann", Role.VIEWER, PASSWORD)
    plain = client_of(site).post("/login", data={"name": "ann", "password": PASSWORD}).headers["set-cookie"]
    site.is_encrypted = True
    encrypted = client_of(site).post("/login", data={"name": "ann", "password": PASSWORD}).headers["set-cookie"]

    for cookie in (plain, encrypted):
        assert {"HttpOnly", "SameSite=lax", "Path=/", f"Max-Age={SESSION_SECONDS}"} <= set(cookie.split("; "))
    assert "Secure" not in plain
    assert encrypted.startswith("__Host-")
    assert "Secure" in encrypted.split("; ")


def test_a_wrong_name_and_a_wrong_password_have_one_answer(site: Site) -> None:
    add_user(site.store, "ann", Role.VIEWER, PASSWORD)
    client = client_of(site)

    answers = [
        client.post("/login", data={"name": name, "password": password})
        for name, password in (("ann", "wrong password"), ("bob", PASSWORD), ("", ""), ("ann", ""), ("ann", "x" * 9999))
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert {tuple(sorted(answer.headers)) for answer in answers} == {tuple(sorted(answers[0].headers))}


def test_a_wrong_name_takes_as_long_as_a_wrong_password(sqlite_store: Store) -> None:
    add_user(sqlite_store, "ann", Role.VIEWER, PASSWORD)
    verified(sqlite_store, "ann", "wrong password")
    taken: dict[str, list[float]] = {"ann": [], "bob": []}

    for _ in range(7):
        for name, seconds in taken.items():
            started = time.thread_time()
            assert verified(sqlite_store, name, "wrong password") is None
            seconds.append(time.thread_time() - started)

    known, unknown = (min(seconds) for seconds in taken.values())
    assert known > 0.005  # a hash was computed
    assert 0.5 < unknown / known < 2


def test_passwords_are_kept_as_argon2id(sqlite_store: Store) -> None:
    add_user(sqlite_store, "ann", Role.VIEWER, PASSWORD)

    with sqlite_store.read() as connection:
        stored = connection.execute(hpo_users.select()).one()
    content = b"".join(path.read_bytes() for path in sqlite_store.url.path.parent.glob("hpo.db*"))
    assert stored.password_hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert stored.password_hash.encode() in content
    assert PASSWORD.encode() not in content


@pytest.mark.parametrize(
    ("name", "password", "words"),
    [
        ("", PASSWORD, "1 to 64"),
        ("a b", PASSWORD, "1 to 64"),
        ("\x1b[2J", PASSWORD, "1 to 64"),
        ("a" * 65, PASSWORD, "1 to 64"),
        ("ann", "short", "5 characters"),
        ("ann", "x" * 1001, "1001 characters"),
    ],
)
def test_names_and_passwords_that_cannot_be_used_are_refused(
    sqlite_store: Store, name: str, password: str, words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        add_user(sqlite_store, name, Role.VIEWER, password)

    assert users(sqlite_store) == []


def test_an_existing_user_is_changed_on_request_only(store: Store) -> None:
    add_user(store, "ann", Role.VIEWER, PASSWORD)
    with pytest.raises(StoreError, match="--replace"):
        add_user(store, "ann", Role.ADMIN, PASSWORD)

    add_user(store, "ann", Role.OPERATOR, "another password", replace=True)

    assert [(user.name, user.role) for user in users(store)] == [("ann", Role.OPERATOR)]
    assert verified(store, "ann", PASSWORD) is None
    assert verified(store, "ann", "another password") is not None


@pytest.mark.parametrize("change", ["password", "role", "removed", "removed and added"])
def test_a_session_ends_with_the_password_the_role_or_the_user(site: Site, change: str) -> None:
    browser = logged_in(site, Role.OPERATOR)
    assert browser.get("/api/v1/studies").status_code == 200

    if change.startswith("removed"):
        remove_user(site.store, "ann")
    if change != "removed":
        role = Role.VIEWER if change == "role" else Role.OPERATOR
        add_user(site.store, "ann", role, PASSWORD, replace=True)

    assert browser.get("/api/v1/studies").status_code == 401


def test_a_session_ends_with_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = logged_in(site, Role.VIEWER)
    cookie = browser.cookies[COOKIE]

    late = time.time() + SESSION_SECONDS + 2
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: late)

    assert site.sessions.caller_with(cookie) is None


def test_a_cookie_that_was_changed_is_worth_nothing(site: Site, tmp_path: Path) -> None:
    browser = logged_in(site, Role.VIEWER)
    cookie = browser.cookies[COOKIE]
    payload, moment, signature = cookie.split(".")
    with Store.create(f"sqlite:///{tmp_path}/other.db") as other:
        add_user(other, "ann", Role.ADMIN, PASSWORD)
        user = verified(other, "ann", PASSWORD)
        assert user is not None
        of_another_store = Sessions(other).cookie_of(user)
    forged = [
        "",
        "x",
        f"{payload}.{moment}.",
        f"{payload[:-2]}AA.{moment}.{signature}",
        # Not the last character: some of its bits are no part of the signature.
        f"{payload}.{moment}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        f"WzEsMCwieCJd.{moment}.{signature}",
        of_another_store,
        cookie + "x",
        "A" * 4000,
    ]

    for value in forged:
        thief = client_of(site)
        thief.cookies.set(COOKIE, value)
        assert thief.get("/api/v1/studies").status_code == 401, value


def test_a_login_begins_a_session_of_its_own(site: Site) -> None:
    """An attacker who has put a cookie into a browser does not know the session that begins there."""
    first = logged_in(site, Role.VIEWER)
    planted = first.cookies[COOKIE]
    second = client_of(site)
    second.cookies.set(COOKIE, planted)

    answer = second.post("/login", data={"name": "ann", "password": PASSWORD}, headers={"Origin": ORIGIN})

    assert answer.status_code == 303
    fresh = answer.cookies[COOKIE]
    assert fresh != planted
    secrets = []
    for cookie in (planted, fresh):
        caller = site.sessions.caller_with(cookie)
        assert caller is not None
        secrets.append(caller.csrf)
    assert secrets[0] != secrets[1]


def test_servers_of_one_store_know_each_others_sessions(store: Store) -> None:
    add_user(store, "ann", Role.VIEWER, PASSWORD)
    user = verified(store, "ann", PASSWORD)
    assert user is not None

    caller = Sessions(store).caller_with(Sessions(store).cookie_of(user))

    assert caller is not None
    assert caller.name == "ann"
    assert signing_key(store) == signing_key(store)
    assert len(signing_key(store)) == 64


def test_who_guesses_passwords_has_to_wait_whether_the_name_exists_or_not(site: Site) -> None:
    add_user(site.store, "ann", Role.VIEWER, PASSWORD)
    client = client_of(site)

    statuses = [log_in(client, ("ann", "bob")[index % 2], "wrong password") for index in range(OF_AN_ADDRESS)]
    refused = client.post("/login", data={"name": "ann", "password": PASSWORD})

    assert set(statuses) == {401}
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= WHILE_SECONDS
    assert COOKIE not in client.cookies


def test_attempts_are_counted_by_address_and_by_name_and_forgotten() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    for index in range(OF_A_NAME):
        assert attempts.begin(f"10.0.0.{index}", "ann") is None
    assert attempts.begin("10.0.1.1", "ann") == WHILE_SECONDS
    assert attempts.begin("10.0.1.1", "bob") is None

    for index in range(OF_AN_ADDRESS):  # of one customer's network
        assert attempts.begin(f"2001:db8::{index:x}", f"user-{index}") is None
    assert attempts.begin("2001:db8::ffff", "cat") is not None
    assert attempts.begin("2001:db9::1", "cat") is None

    for _ in range(3 * OF_AN_ADDRESS):  # those that succeed do not count
        assert attempts.begin("10.0.2.1", "dan") is None
        attempts.succeed("10.0.2.1", "dan")
    now = WHILE_SECONDS + 1
    assert attempts.begin("10.0.1.1", "ann") is None


def test_attempts_take_bounded_memory() -> None:
    attempts = Attempts()

    for index in range(MOST_KEYS):
        attempts.begin(f"address-{index}", f"name-{index}")

    assert len(attempts._moments) == MOST_KEYS


def test_without_a_login_there_is_none(sqlite_store: Store, tmp_path: Path) -> None:
    client = client_of(Site(sqlite_store.url, tmp_path, tmp_path))

    assert client.get("/login").headers["location"] == "/"
    assert client.post("/login", data={"name": "ann", "password": PASSWORD}).headers["location"] == "/"
    assert client.get("/api/v1/studies").status_code == 200


def test_the_page_has_no_script_and_a_policy_that_allows_none(site: Site) -> None:
    page = client_of(site).get("/login")

    policy = page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert "script-src" not in policy
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_of_the_page_can_be_read(scheme: str) -> None:
    """The contrast that WCAG 2.2 asks for at level AA: 4.5 for text, 3 for what a control is known by."""
    light, _, dark = CSS.partition("@media (prefers-color-scheme: dark)")
    colours = _colours(light) | (_colours(dark) if scheme == "dark" else {})

    for text in ("ink", "soft", "blue", "red"):
        assert _contrast(colours[text], colours["paper"]) >= 4.5, text
    assert _contrast(colours["on-blue"], colours["blue"]) >= 4.5
    assert _contrast(colours["rule"], colours["paper"]) >= 3


def _colours(css: str) -> dict[str, str]:
    found = re.findall(r"--([\w-]+): #(\w+)", css)
    return {name: "".join(digit * 2 for digit in text) if len(text) == 3 else text for name, text in found}


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2, definition of contrast ratio."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
