"""A search on workers that a launcher starts, and pools of workers that serve whatever is submitted."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from hpo.errors import RunError, SpecError
from hpo.launch.launchers import launcher_of
from hpo.launch.order import Launcher, Order, Workers
from hpo.queue.progress import Progress, load_progress
from hpo.store import Store

POLL_SECONDS = 1.0
POOL = "hpo-pool.json"  # in the project folder: what `hpo down` ends


def train_on(
    launcher: Launcher, order: Order, store: Store, study_id: int, *, say: Callable[[str], None] = lambda line: None
) -> Progress:
    """Start workers, wait until the study is over, and end those that are left.

    Args:
        say: is told how far it is, whenever that changes.

    Raises:
        SpecError: the engine cannot give what is asked for, or a worker met a mistake that the user can fix.
        RunError: all workers ended before the study was over.
    """
    with interruptible():
        job = launcher.start(order)
        try:
            return _watched(launcher, job, store, study_id, say)
        finally:
            launcher.stop(job)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, also where a shell has started this process with Ctrl-C ignored."""
    previous = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _watched(launcher: Launcher, job: str, store: Store, study_id: int, say: Callable[[str], None]) -> Progress:
    """The study's progress, when it is over or nothing but what a person has paused is left."""
    told = ""
    while True:
        workers, progress = launcher.look(job), load_progress(store, study_id)
        if progress.is_over or progress.is_held:
            return progress
        if 2 in workers.codes.values():
            raise SpecError(f"a worker ended with a mistake that you can fix:\n{workers.output}")
        if workers.are_gone:
            raise RunError(_why_gone(workers))
        counts = progress.counts
        words = f"{counts.ended}{counts.of_target} trials ended; {workers}"
        if words != told:
            say(words)
            told = words
        time.sleep(POLL_SECONDS)


def _why_gone(workers: Workers) -> str:
    codes = ", ".join(map(str, sorted(set(workers.codes.values())))) or "unknown"
    output = f"; the last lines of one:\n{workers.output}" if workers.output else ""
    return f"all workers have ended before the study was over, with the exit codes {codes}{output}"


@dataclass(frozen=True)
class Pool:
    """Workers that serve a store until they are asked to end.

    Attributes:
        launcher, options: that started them.
        job: what it knows them by.
        workers: how many were asked for.
    """

    launcher: str
    options: dict[str, str]
    job: str
    workers: int


def start_pool(launcher: Launcher, order: Order, *, name: str, options: dict[str, str]) -> Pool:
    """Start workers that outlive this process.

    Raises:
        SpecError: there is a pool already, or the engine cannot give what is asked for.
    """
    file = order.project / POOL
    if file.exists():
        raise SpecError(f"{file} says that there is a pool already: 'hpo down' ends it")
    pool = Pool(name, options, launcher.start(order), order.workers)
    file.write_text(json.dumps(asdict(pool), indent=2) + "\n", encoding="utf-8")
    return pool


def stop_pool(project: Path) -> Pool:
    """End the pool that was started in this project folder.

    Raises:
        SpecError: there is none, or its engine cannot be reached.
    """
    file = project / POOL
    try:
        pool = Pool(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise SpecError(f"no pool was started in {project}: 'hpo up' starts one") from None
    except (ValueError, TypeError) as error:
        raise SpecError(f"{file} is not what 'hpo up' wrote: {error}") from error
    launcher_of(pool.launcher, pool.options).stop(pool.job)
    file.unlink(missing_ok=True)
    return pool
