"""Workers that wait for studies, and studies that are handed to them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

from hpo.preflight import define
from hpo.processes import ForkServer
from hpo.store import Store
from hpo.studies import StoredStudy, create_or_continue
from hpo.studyfile import read_study
from projects.launch import PROJECT, Hpo, descendants


def submit(hpo: Hpo, file: Path, server: ForkServer) -> StoredStudy:
    """What `hpo submit` does, without another import of torch and without trying a batch."""
    definition, study_server = define(*read_study(file), server=server, project=PROJECT)
    with Store.create(hpo.url) as store:
        study, _ = create_or_continue(store, definition)
    if study_server is not server:
        study_server.stop()
    return study


@contextlib.contextmanager
def running(hpo: Hpo, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """`hpo ARGUMENTS` for as long as the block lasts: it is asked to end, and nothing of it is left."""
    process = hpo.start(*arguments)
    try:
        yield process
    finally:
        below = descendants(process)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            for left in below:
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()
            raise
