"""Starting the fork server: the first thing that a verb does, since to import torch there takes longest."""

from __future__ import annotations

import os
from pathlib import Path

from hpo.ipc.environment import clean_environment
from hpo.ipc.fork_server import ForkServer


def start_server(
    store: str | None = None, project: Path | None = None, artifacts: str | Path | None = None
) -> ForkServer:
    """Start a fork server, which imports torch and Lightning while the caller goes on.

    Call it before anything heavy is imported.

    Args:
        store: as `--store` gives it; its password is kept from the server.
        project: where a relative path in it starts.
        artifacts: as `--artifacts` gives it; the credentials of an object store are kept from the server.

    Raises:
        StoreError: the store's URL is malformed.
    """
    url = store or os.environ.get("HPO_STORE", "")
    password = None
    # Only PostgreSQL has a password to keep from the children; to find it takes half a second of imports.
    if url.startswith("postgres"):
        from hpo.settings import project_folder, store_url

        password = store_url(store, project_folder(project)).password
    return ForkServer.start(clean_environment(password, has_object_store=str(artifacts or "").startswith("s3:/")))
