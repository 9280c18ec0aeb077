"""An object store of its own for tests: moto's server, a process beside them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
"""
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "very-secret", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Bucket:
    """A bucket of a running server.

    Attributes:
        url: `s3://bucket/prefix`, for `--artifacts`.
        environment: how a process reaches it.
    """

    url: str
    environment: Mapping[str, str]

    def machine(self, folder: Path) -> dict[str, str]:
        """The environment of a machine that has nothing of it yet."""
        return {**self.environment, "HPO_ARTIFACTS": self.url, "HPO_ARTIFACTS_CACHE": str(folder)}

    def names(self) -> list[str]:
        """What is in it, without the prefix."""
        found = self._store()
        import obstore

        return sorted(str(entry["path"]) for entry in obstore.list(found).collect())

    def put(self, key: str, content: bytes, **more: Any) -> None:
        import obstore

        obstore.put(self._store(), key, content, **more)

    def _store(self) -> Any:
        from obstore.store import S3Store

        return S3Store.from_url(
            self.url,
            endpoint=self.environment["AWS_ENDPOINT_URL"],
            access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region="us-east-1",
            client_options={"allow_http": True},
            virtual_hosted_style_request=False,
        )


@contextmanager
def object_store(name: str = "bucket", *, checks_keys: bool = False) -> Iterator[Bucket]:
    """A server with a bucket.

    Args:
        checks_keys: it knows no keys at all, so that every request with one is refused.
    """
    more = {"INITIAL_NO_AUTH_ACTION_COUNT": "1"} if checks_keys else {}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **KEYS, **more},
    )
    try:
        assert process.stdout is not None
        host, port = process.stdout.readline().split()
        endpoint = f"http://{host}:{port}"
        _create(f"{endpoint}/{name}")
        yield Bucket(f"s3://{name}/searches", {**KEYS, "AWS_ENDPOINT_URL": endpoint, "NO_PROXY": "127.0.0.1"})
    finally:
        process.kill()
        process.communicate()


def _create(url: str) -> None:
    for _ in range(100):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=30):
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise TimeoutError(f"{url} cannot be created")
