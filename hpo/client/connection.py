"""A connection to a server: its address is checked, the token is read from a file, and its problems become errors.

The token is in the header of each request, and nowhere else: not in an address, an error, a log or a process's title.
"""

from __future__ import annotations

import ipaddress
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from hpo.errors import HpoError, NotFoundError, RunError, SpecError, StoreError, StoreUnreachableError

SECONDS = 60.0  # for an answer
TRIES, SECONDS_BETWEEN = 3, 0.5  # of a request that may be repeated
LONGEST_TOKEN = 4096
_ERRORS: Mapping[int, type[HpoError]] = {
    401: HpoError,
    403: HpoError,
    404: NotFoundError,
    409: StoreError,
    413: SpecError,
    415: SpecError,
    422: SpecError,
    503: StoreUnreachableError,
}


class Connection:
    """A server.

    Args:
        url: such as `https://hpo.example.com`.
        token_file: with the token, which nobody else may read; None without one.
        is_plain_allowed: also without encryption, to another machine.

    Raises:
        SpecError: the address or the file is not what it should be.
    """

    def __init__(self, url: str, token_file: Path | None = None, *, is_plain_allowed: bool = False) -> None:
        self.url = checked_address(url, is_plain_allowed=is_plain_allowed)
        headers = {} if token_file is None else {"Authorization": f"Bearer {read_token(token_file)}"}
        self._client = httpx2.Client(
            base_url=f"{self.url}/api/v1/", headers=headers, timeout=SECONDS, follow_redirects=False
        )

    def close(self) -> None:
        """Close it."""
        self._client.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        is_repeatable: bool = True,
        seconds: float = SECONDS,
    ) -> Any:
        """The answer to a request.

        Args:
            path: behind `/api/v1/`.
            params: without those that are None.
            is_repeatable: it may be sent again when its answer was lost.

        Raises:
            HpoError: what the server says was wrong.
            StoreUnreachableError: the server does not answer.
        """
        given = {name: value for name, value in (params or {}).items() if value is not None}
        tries = TRIES if is_repeatable else 1
        for tried in range(1, tries + 1):
            try:
                answer = self._client.request(
                    method, path, params=given, json=json, content=content, headers=headers, timeout=seconds
                )
                break
            except httpx2.TransportError as error:
                if tried == tries or isinstance(error, httpx2.TimeoutException):
                    why = str(error) or type(error).__name__
                    raise StoreUnreachableError(f"the server {self.url} does not answer: {why}") from None
                time.sleep(SECONDS_BETWEEN * tried)
        return self._content_of(answer)

    def _content_of(self, answer: httpx2.Response) -> Any:
        kind = answer.headers.get("content-type", "").partition(";")[0]
        try:
            if answer.is_success and kind == "application/json":
                return answer.json()
            if kind == "application/problem+json":
                problem = answer.json()
                raise _ERRORS.get(answer.status_code, RunError)(str(problem["detail"]))
        except (ValueError, KeyError, TypeError):
            pass
        raise RunError(f"{self.url} answers as no server of hpo does ({answer.status_code}, {kind or 'no type'})")


def path_of(study: str, *parts: object) -> str:
    """A path below `/api/v1/`; a study may be called anything."""
    name = quote(study, safe="").replace(".", "%2E")
    return "/".join(["studies", name, *map(str, parts)])


def checked_address(url: str, *, is_plain_allowed: bool = False) -> str:
    """The address without a slash at its end.

    Raises:
        SpecError: it is none, holds a name or a password, or would send the token in plain text through a network.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SpecError(f"--server: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise SpecError("--server: the address holds a name or a password: the token is read from --token-file")
    if parts.scheme not in ("https", "http") or not host or parts.query or parts.fragment:
        raise SpecError(f"--server {url}: should be an address such as https://hpo.example.com")
    if parts.scheme == "http" and not is_plain_allowed and not _is_loopback(host):
        raise SpecError(
            f"--server {url}: everybody on the way could read the token: use https://, or allow it by --plain-http"
        )
    return url.rstrip("/")


def read_token(file: Path) -> str:
    """The token in a file.

    Raises:
        SpecError: it cannot be read, others may read it, or it holds no token.
    """
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise SpecError(f"--token-file {file}: others may read it: 'chmod 600 {file}' keeps it to you")
            data = opened.read(LONGEST_TOKEN + 1)
    except OSError as error:
        raise SpecError(f"--token-file {file}: cannot be read: {error.strerror}") from None
    try:
        token = data.decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not token.isprintable() or not token or " " in token or len(data) > LONGEST_TOKEN:
        raise SpecError(f"--token-file {file}: holds no token: it should be one line, as 'hpo token create' printed it")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
