"""Receivers of notifications: a web server that answers as it is told, and a mail server."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Receiver:
    """What a server has got: messages as JSON or text, each with its headers in small letters."""

    url: str
    got: list[tuple[Mapping[str, str], Any]] = field(default_factory=list)

    @property
    def events(self) -> list[str]:
        return [body["event"] for _, body in self.got]


Answer = Callable[[BaseHTTPRequestHandler], None]


def status(code: int, **headers: str) -> Answer:
    """An answer without a body."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            request.send_header(name, value)
        request.end_headers()

    return answer


def endless(request: BaseHTTPRequestHandler) -> None:
    """Many megabytes, and an end that is far off."""
    request.send_response(200)
    request.send_header("Content-Length", str(100 << 20))
    request.end_headers()
    with contextlib.suppress(OSError):  # nobody reads it
        for _ in range(100):
            request.wfile.write(bytes(1 << 20))


def hangs(request: BaseHTTPRequestHandler) -> None:
    """No answer within a minute."""
    with contextlib.suppress(OSError):
        request.connection.settimeout(60)
        request.connection.recv(1)  # until the other side gives up


def drips(request: BaseHTTPRequestHandler) -> None:
    """A header that comes byte by byte: no limit of time between two of them ends it."""
    with contextlib.suppress(OSError):
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(600):
            request.wfile.write(b"x")
            request.wfile.flush()
            time.sleep(0.1)


@contextlib.contextmanager
def web_server(*answers: Answer, certificate: tuple[Path, Path] | None = None) -> Iterator[Receiver]:
    """A server that gives these answers in turn, and the last one from then on.

    Args:
        certificate: for TLS, with its key.
    """
    left = list(answers or (status(204),))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.got.append((headers, json.loads(body)))
            (left.pop(0) if len(left) > 1 else left[0])(self)

        def do_GET(self) -> None:  # where a redirect of a POST would lead
            receiver.got.append(({}, {"event": f"GET {self.path}"}))
            status(204)(self)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:  # whoever was not waited for has gone
            pass

    server = Server(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    receiver = Receiver(f"{scheme}://127.0.0.1:{server.server_address[1]}/hpo")
    with _running(server):
        yield receiver


@contextlib.contextmanager
def mail_server() -> Iterator[Receiver]:
    """An SMTP server without encryption; `got` has the envelope and the text of each message."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            envelope: dict[str, str] = {}
            self._say("220 ready")
            while line := self.rfile.readline().decode().strip():
                command, _, rest = line.partition(":")
                verb = command.upper()
                if verb == "DATA":
                    self._say("354 go on")
                    receiver.got.append((dict(envelope), self._text()))
                    self._say("250 taken")
                elif verb == "QUIT":
                    self._say("221 bye")
                    return
                else:
                    if verb in ("MAIL FROM", "RCPT TO"):
                        envelope[verb] = envelope.get(verb, "") + rest.split(">")[0].strip("<")
                    self._say("250 fine")

        def _text(self) -> str:
            lines = []
            while (line := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                lines.append(line)
            return "\n".join(lines)

        def _say(self, words: str) -> None:
            self.wfile.write(f"{words}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(str(server.server_address[1]))
    with _running(server):
        yield receiver


@contextlib.contextmanager
def _running(server: socketserver.BaseServer) -> Iterator[None]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that nobody has signed, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


def is_signed(headers: Mapping[str, str], body: Any, secret: str) -> bool:
    """As the specification of Standard Webhooks says; written anew, so that no mistake is checked by itself."""
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{json.dumps(body)}"
    expected = base64.b64encode(hmac.digest(secret.encode(), text.encode(), hashlib.sha256)).decode()
    return headers["webhook-signature"] == f"v1,{expected}"
