"""A trial's logger: what its module, its callbacks and Lightning log, into files in the trial's folder."""

from __future__ import annotations

import csv
import time
from argparse import Namespace
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from lightning_fabric.loggers.logger import rank_zero_experiment
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from hpo.errors import LoggerError
from hpo.training.arguments import plain

# A file is opened at most so often; an attempt that is killed loses what it logged since.
SECONDS_BETWEEN_WRITES = 1.0


def make_logger(
    kind: Literal["csv", "tensorboard", "none"], folder: Path | None, *, resumes: bool, warn: Callable[[str], None]
) -> Logger | None:
    """The logger of a trial, which writes directly into its folder.

    Args:
        kind: as the study file names it.
        folder: of the trial; there is no logger without one.
        resumes: what earlier attempts logged goes on.
        warn: called when the disk is full, for instance.

    Raises:
        LoggerError: TensorBoard is not installed.
    """
    if kind == "tensorboard" and find_spec("tensorboard") is None and find_spec("tensorboardX") is None:
        raise LoggerError("tensorboard is not installed here: pip install 'hpo-service[tensorboard]', or write csv")
    if kind == "none" or folder is None:
        return None
    # Without a name and a version, files are in the folder itself, and all attempts have the same.
    if kind == "tensorboard":
        return TensorBoardLogger(folder, name="", version="")
    return TrialLogger(folder, resumes=resumes, warn=warn)


class TrialLogger(CSVLogger):
    """Lightning's CSVLogger, which goes on with an earlier attempt's file, and writes seldom."""

    def __init__(self, folder: Path, *, resumes: bool, warn: Callable[[str], None]) -> None:
        super().__init__(folder, name="", version="")
        self._resumes = resumes
        self._warn = warn
        self._written = time.perf_counter()
        self._is_unwritten = False  # a failure was reported

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer of the files."""
        if self._experiment is None:
            self._experiment = _Writer(self.log_dir, resumes=self._resumes, warn=self._warn)
        assert isinstance(self._experiment, ExperimentWriter)
        return self._experiment

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace | None = None, *_: Any, **__: Any) -> None:
        """Write `hparams.yaml`, with the names of types in place of values that are not plain."""
        given = dict(vars(params) if isinstance(params, Namespace) else params or {})
        kept = plain(given)
        try:
            super().log_hyperparams({name: kept.get(name, _type_of(value)) for name, value in given.items()})
        except (OSError, RuntimeError) as error:  # Lightning takes a folder that it cannot look at for a missing one
            self._warn(f"its hparams.yaml could not be written: {error}")

    @rank_zero_only
    def save(self) -> None:
        """Write what was logged, unless the file was written a moment ago."""
        if time.perf_counter() - self._written > SECONDS_BETWEEN_WRITES:
            self._write()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the rest."""
        if self._experiment is not None:
            self._write()

    def _write(self) -> None:
        try:
            self.experiment.save()
        except OSError as error:  # such as a full disk: the training is worth more than its metrics.csv
            if not self._is_unwritten:
                self._warn(f"its metrics.csv could not be written: {error}")
            self._is_unwritten = True
        self._written = time.perf_counter()


class _Writer(ExperimentWriter):
    """Lightning's writer, which begins a new file where nothing is resumed, and otherwise appends to the last one.

    It takes the calls of TensorBoard's writer, for which most modules are written: scalars are metrics,
    and what a table cannot hold is left out, with a warning.
    """

    def __init__(self, log_dir: str, *, resumes: bool, warn: Callable[[str], None]) -> None:
        self._resumes = resumes
        self._warn = warn
        self._left_out: set[str] = set()
        try:
            super().__init__(log_dir)
        except OSError as error:  # of an earlier attempt's file, or a folder that was removed
            self.hparams = {}
            self._warn(f"its metrics.csv could not be prepared: {error}")

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int | None = None, *_: Any, **__: Any) -> None:
        self.log_metrics({tag: float(scalar_value)}, global_step)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: dict[str, Any], global_step: int | None = None, *_: Any, **__: Any
    ) -> None:
        values = {f"{main_tag}/{tag}": float(value) for tag, value in tag_scalar_dict.items()}
        self.log_metrics(values, global_step)

    def flush(self) -> None:
        """Nothing: the trial's logger writes."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("add_"):
            raise AttributeError(f"the writer of 'logger: csv' has no '{name}'")

        def leave_out(*_: Any, **__: Any) -> None:
            if name not in self._left_out:
                self._left_out.add(name)
                self._warn(f"its metrics.csv has no place for {name}(): write 'logger: tensorboard' to keep that")

        return leave_out

    def _check_log_dir_exists(self) -> None:
        if not Path(self.log_dir).is_dir():  # deleted with its study: it must not come back
            raise FileNotFoundError(f"the trial's folder {self.log_dir} was removed")
        file = Path(self.metrics_file_path)
        if not self._resumes:
            file.unlink(missing_ok=True)
        elif file.exists():
            _cut_off_unfinished_line(file)
            with file.open(newline="", encoding="utf-8") as opened:
                self.metrics_keys = next(csv.reader(opened), [])
            if not self.metrics_keys:
                file.unlink()


def _cut_off_unfinished_line(file: Path) -> None:
    """Remove the line that a killed attempt was writing."""
    with file.open("r+b") as opened:
        contents = opened.read()
        opened.truncate(contents.rfind(b"\n") + 1)


def _type_of(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
