"""Attacks on a running server, over sockets: what is known of optuna-dashboard, and of servers in general.

The first part is the list of what optuna-dashboard by itself allows to everyone who reaches its port.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from callers import PASSWORD
from projects.synthetic import Claimant, begin_next, create_study
from test_dashboard import Dashboard, command, serving

from hpo.store import Store
from hpo.web.callers import Role
from hpo.web.tokens import create_token
from hpo.web.users import add_user


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """One with a login, a study in training, and an artifact in its folder."""
    folder = tmp_path_factory.mktemp("attacked")
    url = f"sqlite:///{folder}/hpo.db"
    (folder / "hpo-artifacts").mkdir()
    (folder / "hpo-artifacts" / "secret.txt").write_text("what nobody may read")
    with Store.create(url) as store:
        begin_next(Claimant(store, create_study(store)), 0.5)
        add_user(store, "ann", Role.OPERATOR, PASSWORD)
        (folder / "token").write_text(create_token(store, "ci", Role.VIEWER))
    with serving(url, folder, "--login") as running:
        yield running


@pytest.fixture(scope="module")
def session(server: Dashboard) -> str:
    """The cookie of an operator."""
    status, headers, _ = server.request(
        "POST",
        "/login",
        body=f"name=ann&password={PASSWORD.replace(' ', '+')}",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert status == 303
    return headers["set-cookie"].partition(";")[0]


def said(server: Dashboard, sent: bytes, *, seconds: float = 60.0) -> bytes:
    """Everything that the server answers to these bytes, until it closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        found = b""
        with contextlib.suppress(ConnectionError):  # it may close before it has read all
            connection.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                found += part
    return found


def answers(server: Dashboard, sent: bytes) -> list[int]:
    """The statuses of all answers to these bytes."""
    return [int(part[:3]) for part in said(server, sent).split(b"HTTP/1.1 ")[1:]]


# ---- what optuna-dashboard allows to everyone


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/api/studies/1", ""),
        ("POST", "/api/trials/1/tell", '{"state": "Complete", "values": ["nan"]}'),
        ("POST", "/api/artifacts/1", '{"file": "data:text/html;base64,eA==", "filename": "x.html"}'),
        ("GET", "/api/studies", ""),
        ("GET", "/csv/1", ""),
        ("GET", "/static/bundle.js", ""),
    ],
)
def test_a_stranger_reads_and_changes_nothing(server: Dashboard, method: str, path: str, body: str) -> None:
    status, _, found = server.request(method, path, body=body or None)

    assert status == 401
    assert b"synthetic" not in found


def test_no_nan_ends_a_study_and_no_study_in_training_is_deleted(server: Dashboard, session: str) -> None:
    ours = {"Cookie": session, "Origin": server.url, "Content-Type": "application/json"}

    for values in ('["nan"]', "[NaN]", "[1e999]"):
        body = f'{{"state": "Complete", "values": {values}}}'
        assert server.request("POST", "/api/trials/1/tell", headers=ours, body=body)[0] == 409
    assert server.request("DELETE", "/api/studies/1", headers=ours, body="{}")[0] == 403

    status, _, listed = server.request("GET", "/api/studies/1", headers={"Cookie": session})
    assert status == 200
    assert json.loads(listed)["trials"][0]["state"] == "Running"


def test_an_uploaded_page_runs_no_script_and_reads_nothing(server: Dashboard, session: str) -> None:
    ours = {"Cookie": session, "Origin": server.url, "Content-Type": "application/json"}
    for name, kind in (("x.html", "text/html"), ("x.svg", "image/svg+xml")):
        body = json.dumps({"file": f"data:{kind};base64,PHNjcmlwdD4=", "filename": name})
        status, _, sent = server.request("POST", "/api/artifacts/1", headers=ours, body=body)
        assert status == 201

        path = f"/artifacts/1/{json.loads(sent)['artifact_id']}"
        status, headers, _ = server.request("GET", path, headers={"Cookie": session})

        assert (status, headers["content-type"]) == (200, kind)
        assert "sandbox" in headers["content-security-policy"]
        assert "script-src" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


# ---- other web pages


def test_another_name_of_this_machine_reads_nothing(server: Dashboard, session: str) -> None:
    for host in ("evil.example", f"evil.example:{server.port}", "", "127.0.0.1.evil.example", "192.0.2.7"):
        status, _, found = server.request("GET", "/api/studies", headers={"Host": host, "Cookie": session})
        assert (status, b"synthetic" in found) == (403, False)


def test_another_page_writes_nothing_with_our_users_cookie(server: Dashboard, session: str) -> None:
    note = '{"version": 1, "body": "x"}'
    for origin in ("https://evil.example", "null", "http://127.0.0.1", f"http://localhost:{server.port}.evil.example"):
        headers = {"Cookie": session, "Origin": origin, "Content-Type": "text/plain"}
        assert server.request("PUT", "/api/studies/1/note", headers=headers, body=note)[0] == 403
    assert server.request("PUT", "/api/studies/1/note", headers={"Cookie": session}, body=note)[0] == 403
    form = {"Cookie": session, "Origin": server.url, "Content-Type": "application/x-www-form-urlencoded"}
    assert server.request("POST", "/logout", headers=form, body="csrf=x")[0] == 403
    preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
    assert "access-control-allow-origin" not in server.request("OPTIONS", "/api/v1/studies", headers=preflight)[1]


def test_another_page_logs_nobody_in(server: Dashboard) -> None:
    headers = {"Origin": "https://evil.example", "Content-Type": "application/x-www-form-urlencoded"}
    body = f"name=ann&password={PASSWORD.replace(' ', '+')}"

    status, answered, _ = server.request("POST", "/login", headers=headers, body=body)

    assert status == 403
    assert "set-cookie" not in answered


# ---- paths


@pytest.mark.parametrize(
    "path",
    [
        "/artifacts/1/../../secret.txt",
        "/artifacts/1/..%2f..%2fsecret.txt",
        "/artifacts/1/secret.txt",
        "/static/../../../../../../../../etc/passwd",
        "/static/..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/static/%2e%2e/%2e%2e/_app.py",
        "/static//etc/passwd",
        "/dashboard/..%00",
        "/api/v1/../../hpo.db",
        "/ops/..%2fhpo.db",
        "//api/v1/studies",
        "/%2e%2e/hpo.db",
    ],
)
def test_no_path_leads_out_of_what_is_served(server: Dashboard, session: str, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {session}\r\nConnection: close\r\n\r\n"

    found = said(server, request.encode())

    assert b"root:" not in found
    assert b"nobody may read" not in found
    assert b"SQLite format" not in found
    assert b"import " not in found


def test_no_path_of_ours_is_open_to_strangers_by_another_spelling(server: Dashboard) -> None:
    for path in ("/api/v1/studies/", "//api/v1/studies", "/API/v1/studies", "/login/../api/v1/studies", "/healthz/x"):
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        found = said(server, request.encode())
        assert b"synthetic" not in found
        assert not found.startswith(b"HTTP/1.1 200")


# ---- HTTP itself

_HEAD = b"Host: 127.0.0.1\r\n"
_FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 1e3\r\n",
        b"Content-Length: 99999999999999999999999999\r\n",
        b"Content-Length : 5\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"X: a\r\n b\x00\r\n",
        b"Host: evil.example\r\n",
    ],
)
def test_a_request_of_doubtful_length_is_refused_and_its_rest_is_no_second_one(
    server: Dashboard, headers: bytes
) -> None:
    smuggled = b"GET /healthz HTTP/1.1\r\n" + _HEAD + b"\r\n"

    found = answers(server, b"POST /login HTTP/1.1\r\n" + _HEAD + headers + b"\r\n" + smuggled)

    assert found in ([400], [413], [501])


def test_what_follows_a_request_with_two_lengths_needs_a_login_of_its_own(server: Dashboard) -> None:
    smuggled = b"GET /api/studies HTTP/1.1\r\n" + _HEAD + b"\r\n"
    body = b"0\r\n\r\n"
    head = b"POST /login HTTP/1.1\r\n" + _HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"

    found = said(server, head + body + smuggled + b"\r\n")

    assert b"synthetic" not in found


def test_headers_and_bodies_are_bounded(server: Dashboard, session: str) -> None:
    large = b"x" * (9 * 2**20)
    ours = {"Cookie": session, "Origin": server.url, "Content-Type": "application/json"}
    before = psutil.Process(server.process.pid).memory_info().rss

    too_long = said(server, b"GET / HTTP/1.1\r\n" + _HEAD + b"X: " + b"x" * 200_000)
    stranger = said(server, b"POST /login HTTP/1.1\r\n" + _HEAD + b"Content-Length: 70000\r\nConnection: close\r\n\r\n")
    chunks = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
    chunked = b"POST /login HTTP/1.1\r\n" + _HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n"
    without_length = said(server, chunked + _FORM + b"\r\n" + 9 * chunks + b"0\r\n\r\n")
    with contextlib.suppress(ConnectionError):  # it may close before it has read all
        assert server.request("PUT", "/api/studies/1/note", headers=ours, body=large.decode())[0] == 413

    assert too_long.startswith(b"HTTP/1.1 400") or too_long == b""
    assert stranger.startswith(b"HTTP/1.1 413")
    assert without_length.startswith(b"HTTP/1.1 413")
    assert psutil.Process(server.process.pid).memory_info().rss - before < 60 * 2**20


def test_slow_requests_are_closed_and_keep_nobody_out(server: Dashboard) -> None:
    with contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60)) for _ in range(100)
        ]
        for connection in slow:
            connection.sendall(b"POST /login HTTP/1.1\r\n" + _HEAD + b"Content-Length: 9\r\n" + _FORM + b"\r\nx")
        started = time.monotonic()
        assert server.request("GET", "/healthz")[0] == 200
        assert time.monotonic() - started < 10
        with contextlib.suppress(ConnectionResetError):
            assert slow[0].recv(1) == b""
        assert time.monotonic() - started < 60


def test_what_is_no_http_is_answered_or_closed(server: Dashboard) -> None:
    for sent in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 50, b"GET\r\n\r\n", b"\r\n" * 10 + b"x\r\n\r\n"):
        found = said(server, sent)
        assert found == b"" or found.startswith(b"HTTP/1.1 400")
    assert server.request("GET", "/healthz")[0] == 200


def test_a_websocket_is_not_opened(server: Dashboard, session: str) -> None:
    upgrade = b"Upgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n"
    head = b"GET /api/studies HTTP/1.1\r\n" + _HEAD + upgrade + b"Connection: close, Upgrade\r\n\r\n"

    assert answers(server, head) == [401]


# ---- secrets


def test_a_token_is_a_header_and_nothing_else(server: Dashboard, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path(psutil.Process(server.process.pid).cwd())
    secret = (folder / "token").read_text()

    assert server.request("GET", "/metrics", headers={"Authorization": f"Bearer {secret}"})[0] == 200
    assert server.request("GET", f"/metrics?token={secret}")[0] == 400
    assert server.request("GET", "/metrics", headers={"Cookie": f"hpo_session={secret}"})[0] == 401
    assert server.request("GET", "/metrics", headers={"X-Forwarded-For": "127.0.0.1"})[0] == 401


def test_who_says_to_be_somebody_else_is_counted_as_who_they_are(server: Dashboard) -> None:
    """Failed logins are counted by the address of the connection, as no proxy is trusted."""
    statuses = []
    for index in range(12):
        headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-For": f"10.0.0.{index}"}
        statuses.append(server.request("POST", "/login", headers=headers, body="name=bob&password=x")[0])

    assert statuses[0] == 401
    assert statuses[-1] == 429


# ---- TLS


@pytest.mark.needs("openssl")
def test_it_speaks_tls_with_a_certificate(sqlite_url: str, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*make, *named, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    with Store.create(sqlite_url) as store:
        add_user(store, "ann", Role.VIEWER, PASSWORD)
    trusting = ssl.create_default_context(cafile=str(certificate))
    old = ssl.create_default_context(cafile=str(certificate))
    old.maximum_version = ssl.TLSVersion.TLSv1_2

    with serving(sqlite_url, tmp_path, "--login", "--tls-cert", str(certificate), "--tls-key", str(key)) as running:
        address = f"https://127.0.0.1:{running.port}"
        assert address in running.line
        form = f"name=ann&password={PASSWORD.replace(' ', '+')}".encode()
        asked = urllib.request.Request(f"{address}/login", data=form)
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trusting), _Stay())
        cookie = opener.open(asked).headers["set-cookie"]
        page = urllib.request.urlopen(f"{address}/healthz", context=old)

    assert cookie.startswith("__Host-hpo_session=")
    assert "Secure" in cookie
    assert page.status == 200


class _Stay(urllib.request.HTTPErrorProcessor):
    """Follows no redirection."""

    def http_response(self, request: urllib.request.Request, response: object) -> object:
        return response

    https_response = http_response


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tls-cert", "here.pem"), "belong together"),
        (("--tls-cert", "none.pem", "--tls-key", "here.pem"), "none.pem: No such file"),
        (("--tls-cert", "here.pem", "--tls-key", "here.pem"), "a certificate and its key"),
        (("--url", "hpo.example.com"), "https://hpo.example.com"),
        (("--url", "https://hpo.example.com/path"), "without a path"),
    ],
)
def test_what_cannot_be_served_is_refused_in_words(
    sqlite_url: str, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    (tmp_path / "here.pem").write_text("no certificate")

    refused = subprocess.run(command(sqlite_url, *options), capture_output=True, text=True, timeout=300, cwd=tmp_path)

    assert refused.returncode == 2
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_behind_a_proxy_its_name_is_known_and_its_cookies_are_for_https(sqlite_url: str, tmp_path: Path) -> None:
    with Store.create(sqlite_url) as store:
        add_user(store, "ann", Role.VIEWER, PASSWORD)
    proxy = ("--login", "--url", "https://hpo.example.com", "--trust-proxy", "127.0.0.1")
    form = {"Content-Type": "application/x-www-form-urlencoded", "Host": "hpo.example.com"}
    wrong, right = "name=ann&password=wrong", f"name=ann&password={PASSWORD.replace(' ', '+')}"

    with serving_behind(sqlite_url, tmp_path, *proxy) as running:
        origin = {"Origin": "https://hpo.example.com"}
        for _ in range(10):
            running.request("POST", "/login", headers=form | {"X-Forwarded-For": "192.0.2.1"}, body=wrong)
        limited = running.request("POST", "/login", headers=form | {"X-Forwarded-For": "192.0.2.1"}, body=right)[0]
        status, headers, _ = running.request(
            "POST", "/login", headers=form | origin | {"X-Forwarded-For": "192.0.2.2"}, body=right
        )
        other = running.request("GET", "/login", headers={"Host": "evil.example.com"})[0]

    assert (limited, status, other) == (429, 303, 403)
    assert "Secure" in headers["set-cookie"]


@contextlib.contextmanager
def serving_behind(url: str, folder: Path, *options: str) -> Iterator[Dashboard]:
    """A server whose printed address is its proxy's, on a port that is chosen here."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        command(url, *options, port=port), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "on https://hpo.example.com/" in line
            running = Dashboard(process, line, port)
            for _ in range(100):
                with contextlib.suppress(OSError):
                    running.request("GET", "/healthz", headers={"Host": "localhost"})
                    break
                time.sleep(0.1)
            yield running
        finally:
            process.kill()


# ---- the store goes away

PATHS = ("/healthz", "/readyz", "/api/studies", "/api/v1/studies")


def test_it_starts_and_goes_on_without_its_store_and_recovers(postgres: Any, tmp_path: Path) -> None:
    name = postgres.create_database(template=postgres.empty_store)
    url = postgres.url(name)
    with Store.open(url) as store:
        create_study(store)
    postgres.kill()
    try:
        with serving(url, tmp_path) as running:
            away = {path: running.request("GET", path)[0] for path in PATHS}
            down = running.request("GET", "/metrics")[2]
            postgres.start()
            back = {path: running.request("GET", path)[0] for path in PATHS}
            postgres.kill()
            again = {path: running.request("GET", path)[0] for path in PATHS}
            postgres.start()
            at_last = {path: running.request("GET", path)[0] for path in PATHS}
            code, _, errors = running.end(signal.SIGTERM)
    finally:
        postgres.start()
    postgres.drop_database(name)

    assert away == again == dict.fromkeys(PATHS, 503) | {"/healthz": 200}
    assert back == at_last == dict.fromkeys(PATHS, 200)
    assert b"hpo_store_up 0.0" in down
    assert code == 0
    assert "The server says so until it is back" in errors
    assert "Traceback" not in errors
