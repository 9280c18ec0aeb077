"""Telling one target of one event: in a process of its own, which is ended when it takes too long.

No time limit of a library covers a name server that hangs and an answer that comes byte by byte.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from hpo.errors import DeliveryError
from hpo.ipc.environment import clean_environment
from hpo.notify.message import text_of, title_of
from hpo.notify.secrets import environment_of_command, secrets_of, without_secrets
from hpo.study.notify import Target

SECONDS = 60.0  # for all of it; a busy machine needs some of them to start a process
_LAST_BYTES = 2_000  # of what it says, which may be endless


def deliver(target: Target, content: Mapping[str, Any], *, project: Path, password: str | None) -> None:
    """Send it; returns when the target has taken it.

    Args:
        project: folder in which a command runs, and where relative paths start.
        password: the store's, which no other process gets.

    Raises:
        DeliveryError: it has not; why, in a line.
    """
    if target.command is not None:
        program = find_program(target.command[0], project)
        arguments = [program, *target.command[1:]]
        code, said = _run(arguments, f"{json.dumps(content)}\n", environment_of_command(os.environ), project)
        if code:
            raise DeliveryError(f"it ended with code {code}" + (f": {without_secrets(said, ())}" if said else ""))
        return
    secrets = secrets_of(target, project)
    plain = target.model_dump(mode="json", include={target.kind})[target.kind]
    order = {"target": {**plain, **secrets}, "content": content, "title": title_of(content), "text": text_of(content)}
    # Secrets go over the standard input: everybody can read a command line.
    arguments = [sys.executable, "-m", "hpo.notify.post", target.kind]
    code, said = _run(arguments, json.dumps(order), clean_environment(password), None)
    if code:
        said = said or f"the process that sends it ended with code {code}"
        raise DeliveryError(without_secrets(said, secrets.values()))


def find_program(name: str, project: Path) -> str:
    """The program of a command: found as a shell does, or by its path, which may start from the project folder.

    Raises:
        DeliveryError: there is none.
    """
    path = name if "/" not in name else str(project / Path(name).expanduser())
    found = shutil.which(path)
    if found is None:
        is_there = "/" in name and Path(path).is_file()
        raise DeliveryError(f"{name} is no program" if is_there else f"there is no program {name}")
    return found


def _run(arguments: Sequence[str], text: str, environment: Mapping[str, str], folder: Path | None) -> tuple[int, str]:
    """The exit code of a process that gets a text, and the end of what it says on its standard error.

    Raises:
        DeliveryError: it cannot be started, or takes too long; then it is killed with all that it has started.
    """
    with tempfile.TemporaryFile() as given:  # a pipe would fill up where the process reads nothing
        given.write(text.encode())
        given.seek(0)
        try:
            process = subprocess.Popen(
                arguments,
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )
        except OSError as error:
            raise DeliveryError(f"{arguments[0]} cannot be started: {error.strerror}") from None
    assert process.stderr is not None
    end = time.monotonic() + SECONDS
    try:
        with process.stderr:
            said = _last_of(process.stderr, end)
        code = process.wait(max(0.1, end - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired):
        raise DeliveryError(f"it did not end within {SECONDS:g} s, and was killed") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return code, said.decode(errors="replace").strip()


def _last_of(stream: IO[bytes], end: float) -> bytes:
    """What was written last, when the stream is closed.

    Raises:
        TimeoutError: it was not, until then.
    """
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, end - time.monotonic())) or time.monotonic() > end:
                raise TimeoutError
            piece = os.read(stream.fileno(), 1 << 16)
            if not piece:
                return said
            said = (said + piece)[-_LAST_BYTES:]
