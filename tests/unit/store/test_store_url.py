"""A store's URL: accepted forms, errors of refused ones, and a password that is never shown."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from hpo.errors import StoreError
from hpo.store import StoreUrl, child_environment

SECRET = "hunter2"


@pytest.mark.parametrize("text", ["runs.db", "./runs.db", "sqlite:///runs.db", " sqlite:///runs.db\n"])
def test_a_relative_sqlite_path_starts_at_the_base(text: str, tmp_path: Path) -> None:
    url = StoreUrl.parse(text, base=tmp_path)

    assert url.is_sqlite
    assert url.path == tmp_path / "runs.db"
    assert str(url) == f"sqlite:///{tmp_path}/runs.db"


def test_an_absolute_sqlite_path_ignores_the_base(tmp_path: Path) -> None:
    assert StoreUrl.parse(f"sqlite:///{tmp_path}/a.db", base=Path("/elsewhere")).path == tmp_path / "a.db"


def test_a_strange_path_survives_the_round_trip(tmp_path: Path) -> None:
    url = StoreUrl.parse("50% {of} my runs?#.db", base=tmp_path)

    assert url.path == tmp_path / "50% {of} my runs?#.db"
    assert StoreUrl.parse(url.reveal()) == url


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_a_postgresql_url_means_psycopg_3(scheme: str) -> None:
    url = StoreUrl.parse(f"{scheme}://me:{SECRET}@db.example:6543/runs")

    assert not url.is_sqlite
    assert url.reveal() == f"postgresql+psycopg://me:{SECRET}@db.example:6543/runs"
    assert str(url) == "postgresql://me:***@db.example:6543/runs"
    assert url.place == "database 'runs' on db.example, port 6543"


def test_a_message_names_the_port_also_where_it_is_an_option(tmp_path: Path) -> None:
    url = StoreUrl.parse("postgresql://me@/runs?host=/run/pool&port=6432&connect_timeout=3")

    assert str(url) == "postgresql://me@/runs?host=%2Frun%2Fpool&port=6432"
    assert url.place == "database 'runs' on /run/pool, port 6432"


@pytest.mark.parametrize("password", ["p{w}%", "a@b", "a/b:c?d#e", "{SCHEMA_VERSION}"])
def test_any_password_can_be_written_with_percent_escapes(password: str) -> None:
    escaped = "".join(f"%{ord(character):02X}" for character in password)

    url = StoreUrl.parse(f"postgresql://me:{escaped}@db/runs")

    assert url.password == password
    assert StoreUrl.parse(url.reveal()) == url


def test_a_password_among_the_options_is_hidden_too() -> None:
    url = StoreUrl.parse(f"postgresql://db/runs?user=me&password={SECRET}&sslmode=require")

    assert url.password == SECRET
    assert str(url) == "postgresql://me:***@db/runs"
    assert SECRET not in repr(url)


@pytest.mark.parametrize("leading", ["?password_file=secret.txt", ""])
def test_a_password_may_come_from_a_file(leading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.txt").write_text(f"{SECRET}\n")
    if not leading:
        monkeypatch.setenv("HPO_STORE_PASSWORD_FILE", str(tmp_path / "secret.txt"))

    url = StoreUrl.parse(f"postgresql://me@db/runs{leading}", base=tmp_path)

    assert url.reveal() == f"postgresql+psycopg://me:{SECRET}@db/runs"


def test_the_urls_own_password_wins_over_the_environments_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_STORE_PASSWORD_FILE", "/absent")

    assert StoreUrl.parse(f"postgresql://me:{SECRET}@db/runs").password == SECRET


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("mysql://me:hunter2@db/runs", "unknown scheme 'mysql'"),
        ("postgres://me:hunter2@db/runs", "unknown scheme 'postgres'"),
        ("postgresql+psycopg2://me:hunter2@db/runs", "postgresql://"),
        ("me:hunter2@db/runs", "no '://'"),
        ("hunter2{@x://y", "unknown scheme: write"),
        ("sqlite:///:memory:", "must be a file"),
        ("sqlite://", "must be a file"),
        (":memory:", "no '://'"),
        ("sqlite:///file::memory:?uri=true", "no options"),
        ("sqlite://runs.db", "three slashes"),
        ("sqlite:///runs.db?timeout=5", "no options"),
        ("postgresql://me:hunt@er2@db/runs", "%40"),
        ("postgresql://me:{hunter2}@db@x/runs", "%40"),
        ("postgresql://me:hunter2@db:54x2/runs", "port must be a number"),
        ("postgresql://me:hunter2/runs", "port must be a number"),
        ("postgresql://me:hunter2@db{x/runs", "host name"),
        ("postgresql://me:hunter2@db", "no database"),
        ("postgresql://me:hunter2@db/runs?password_file=x", "keep one"),
        ("postgresql://me@db/runs?password=hunter2&password=hunter2", "more than once"),
        ("postgresql://me@db/runs?password_file=/no/such/file", "/no/such/file cannot be read"),
        ("postgresql://db/runs?password=hunter2", "no user"),
        ("postgresql://me@db/runs?sslpassword=hunter2", "sslkey"),
        ("postgresql://me:hun\nter2@db/runs", "line break"),
    ],
)
def test_an_invalid_url_is_refused_without_its_password(text: str, words: str) -> None:
    with pytest.raises(StoreError) as caught:
        StoreUrl.parse(text)

    assert words in str(caught.value)
    assert caught.value.__context__ is None or "hunter2" not in str(caught.value.__context__)
    # without the lines of source code, which hold this test's parameters
    shown = "".join(traceback.TracebackException.from_exception(caught.value).format_exception_only())
    assert not any(part in shown for part in ("hunter2", "hunt@", "er2", "hun\n"))


def test_children_get_no_credentials_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    url = StoreUrl.parse("postgresql://me:p%40ss-w0rd@db/runs")
    for name in ("HPO_STORE", "PGPASSWORD", "PGPASSFILE", "HPO_STORE_PASSWORD_FILE", "DATABASE_URL"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("MY_DB", "postgresql://me:p%40ss-w0rd@db/other")
    monkeypatch.setenv("MY_PW", "<p@ss-w0rd>")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    environment = child_environment(url)

    absent = {
        "HPO_STORE",
        "PGPASSWORD",
        "PGPASSFILE",
        "HPO_STORE_PASSWORD_FILE",
        "DATABASE_URL",
        "MY_DB",
        "MY_PW",
    }
    assert not absent & environment.keys()
    assert environment["OMP_NUM_THREADS"] == "1"
    assert "HPO_STORE" not in child_environment(None)


def test_children_do_not_get_what_notifications_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_NOTIFY_SLACK", "slack://secret")

    assert "HPO_NOTIFY_SLACK" not in child_environment(None)


def test_a_short_password_does_not_empty_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/lib/pg/bin")
    monkeypatch.setenv("PAGER", "paged")
    monkeypatch.setenv("COPY", "postgresql://me:pg@db/x")

    environment = child_environment(StoreUrl.parse("postgresql://me:pg@db/runs"))

    assert environment["PATH"] == "/usr/lib/pg/bin"
    assert environment["PAGER"] == "paged"
    assert "COPY" not in environment


def test_a_url_for_a_command_has_no_password_and_can_be_used_with_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = StoreUrl.parse(f"postgresql://me:{SECRET}@db.example:6543/runs")
    file = tmp_path / "password"
    file.write_text(SECRET)
    monkeypatch.setenv("HPO_STORE_PASSWORD_FILE", str(file))

    assert url.without_password == "postgresql://me@db.example:6543/runs"
    assert StoreUrl.parse(url.without_password) == url
