"""Workers that wait for studies, and studies that are submitted to them."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from hpo.__main__ import main
from hpo.ipc.fork_server import ForkServer
from hpo.queue.studies import StoredStudy, create_or_continue
from hpo.service.prepare import prepare
from hpo.store import Store
from hpo.study.study_file import read_study
from projects.launch import PROJECT, Hpo, descendants


def submit(hpo: Hpo, file: Path, server: ForkServer) -> StoredStudy:
    """What `hpo submit` does, without another import of torch and without trying a batch."""
    with prepare(*read_study(file), server=server, project=PROJECT) as prepared, Store.create(hpo.url) as store:
        return create_or_continue(store, prepared.resolved)[0]


def invoke(hpo: Hpo, *arguments: object) -> tuple[int, str]:
    """`hpo ARGUMENTS`, a verb that needs no torch, in this process: (exit code, output)."""
    output = io.StringIO()
    before, sys.argv = sys.argv, ["hpo", *map(str, arguments), "--store", hpo.url, "--project", str(PROJECT)]
    code = 0
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    return code, output.getvalue()


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
            output = process.communicate(timeout=300)[0]
            print(output)  # shown when the test fails
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            for left in below:
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()
            raise
