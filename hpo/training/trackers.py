"""Trackers that a team has already, MLflow, TensorBoard and W&B: told of each epoch, by Lightning's loggers.

They follow the reports to the worker, in threads of their own: no step and no epoch waits for them, and a training
outlives one that fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import netrc
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from hpo.errors import LoggerError
from hpo.ipc.messages import Epoch
from hpo.study.job import TrialJob
from hpo.study.states import TrialState

END_SECONDS = 60.0  # for which a trial's process waits in the end for what trackers have not taken yet
_SUCCESS = "success"  # Lightning's word for an end
MLFLOW_RUN = "mlflow-run.txt"  # in a trial's folder: later attempts go on with this run
_MODULES = {"mlflow": ("mlflow",), "tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",)}


def check_installed(names: list[str]) -> None:
    """Refuse trackers that cannot be imported here.

    Raises:
        LoggerError: names them.
    """
    missing = [name for name in names if not any(map(find_spec, _MODULES[name]))]
    if missing:
        what = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed here"
        raise LoggerError(f"{what}: pip install 'hpo-service[{','.join(missing)}]', or leave out what is missing")


class Trackers:
    """The trackers of a trial; a context manager, around its training.

    Args:
        job: with the names of its trackers, and the variables that these read.
        params: what the trial is, as plain values by name.
        warn: called once for each tracker that fails.
    """

    def __init__(self, job: TrialJob, params: Mapping[str, Any], warn: Callable[[str], None]) -> None:
        self._trackers: list[_Tracker] = []
        check_installed(job.track)
        if job.rank != 0 or job.directory is None:  # without a folder, a configuration is tried out
            return
        os.environ.update(job.credentials)
        folder = Path(job.directory)
        for name in job.track:
            self._trackers.append(_Tracker(name, _OPENED_BY[name](job, folder), params, warn))

    def tell(self, epoch: Epoch) -> None:
        """An epoch was reported, or a validation."""
        for tracker in self._trackers:
            tracker.put(epoch)

    def __enter__(self) -> Self:
        for tracker in self._trackers:
            tracker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        deadline = time.monotonic() + END_SECONDS
        for tracker in self._trackers:
            tracker.end(_SUCCESS if kind is None else TrialState.FAILED.value)
        for tracker in self._trackers:
            tracker.wait(deadline)


class _Tracker:
    """A tracker, and the thread in which it is told."""

    def __init__(
        self, name: str, opened: Callable[[], Logger], params: Mapping[str, Any], warn: Callable[[str], None]
    ) -> None:
        self._name, self._opened, self._params, self._warn = name, opened, params, warn
        self._queue: queue.SimpleQueue[Epoch | str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"tracker {name}")

    def start(self) -> None:
        self._thread.start()

    def put(self, epoch: Epoch) -> None:
        self._queue.put(epoch)

    def end(self, status: str) -> None:
        self._queue.put(status)

    def wait(self, deadline: float) -> None:
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._warn(f"track: {self._name} has not taken all of it in {END_SECONDS:g} s: the rest is left out")

    def _run(self) -> None:
        try:
            logger = self._opened()
            logger.log_hyperparams(dict(self._params))
            while not isinstance(what := self._queue.get(), str):
                logger.log_metrics(what.metrics, step=what.epoch)
                logger.save()
            logger.finalize(what)
            if isinstance(logger, WandbLogger):
                logger.experiment.finish(exit_code=int(what != _SUCCESS))
        except Exception as error:  # of a tracker, or of the way to it: the training is worth more
            text = re.sub(r"://[^/@\s]*@", "://***@", str(error))  # an address may have a password
            self._warn(f"track: {self._name} was not told of the rest: {type(error).__name__}: {text}")


def _mlflow(job: TrialJob, folder: Path) -> Callable[[], Logger]:
    def opened() -> Logger:
        where = os.environ.get("MLFLOW_TRACKING_URI")
        local = _artifacts(job, folder) / "mlruns"
        if where is None:  # no server: files, of which MLflow 3 asks whether they are meant
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            where = local.as_uri()
        noted = folder / MLFLOW_RUN
        run_id = noted.read_text(encoding="utf-8") if noted.exists() else None
        logger = MLFlowLogger(job.study, _name_of(job), tracking_uri=where, run_id=run_id)
        with _one_at_a_time(local):  # two processes would create one experiment twice
            run_id = logger.run_id
        noted.write_text(str(run_id), encoding="utf-8")
        return logger

    return opened


def _tensorboard(job: TrialJob, folder: Path) -> Callable[[], Logger]:
    # As by `logger: tensorboard`, files are in the folder itself.
    return lambda: TensorBoardLogger(folder, name="", version="", default_hp_metric=False)


def _wandb(job: TrialJob, folder: Path) -> Callable[[], Logger]:
    def opened() -> Logger:
        import wandb

        logger = WandbLogger(
            project=os.environ.get("WANDB_PROJECT", job.study),
            group=job.study,
            name=_name_of(job),
            id=hashlib.sha256(f"{folder.parent.name}/{folder.name}".encode()).hexdigest()[:16],
            save_dir=folder,
            # without somebody's account it would ask for one
            offline="WANDB_MODE" not in os.environ and not _is_logged_in(),
            settings=wandb.Settings(console="off", silent=True),
        )
        _ = logger.experiment
        return logger

    return opened


def _is_logged_in() -> bool:
    """Whether W&B has a key, in its variable or where `wandb login` writes it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


_OPENED_BY: dict[str, Callable[[TrialJob, Path], Callable[[], Logger]]] = {
    "mlflow": _mlflow,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
}


def _name_of(job: TrialJob) -> str:
    return f"trial {job.trial}" + (f", training {job.training}" if job.training > 1 else "")


def _artifacts(job: TrialJob, folder: Path) -> Path:
    """The folder for all studies' artifacts."""
    return folder.parents[1 if job.training == 1 else 2]


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait for the other processes, on machines that share the folder, that do this at the moment."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
