"""What `hpo predict`, `study.predictor()` and `hpo.load_predictor` do: new data predicted with a trial's model."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.errors import SpecError
from hpo.ipc.fork_server import ForkServer
from hpo.ipc.one_answer import answer_of
from hpo.results.study import Study, Weighted
from hpo.results.trial import TrialRecord
from hpo.study.job import PredictJob, TrainedModel, training_folder
from hpo.study.states import TrialState

if TYPE_CHECKING:
    from hpo.training.prediction.predictor import Predictor

STDOUT = "-"


@dataclass(frozen=True)
class Predicted:
    """What was predicted.

    Attributes:
        model: whose it is, in words: `trial 3`, or `the final model, trial 1 of digits.final`.
        seconds: for the new data and the output, after the model and its imports.
        remarks: what was odd in the new data, and in the choice of the trial.
        output: the file that was written.
    """

    trial: TrialRecord
    model: str
    rows: int
    seconds: float
    remarks: tuple[str, ...]
    output: Path


def chosen_models(study: Study, trial: int | None, *, final: bool | None = None) -> list[Weighted]:
    """The trials whose models predict: the one of this number, else the final model, else the best trial.

    Args:
        final: the model that `hpo finalize` has kept, which may be an ensemble of several; by default where there is
            one.

    Raises:
        SpecError: there is none.
    """
    if trial is not None and final:
        raise SpecError("either the final model or one trial predicts: leave out --final or --trial")
    kept = study.kept() if trial is None and final is not False else []
    if kept:
        return kept
    if final:
        raise SpecError(f"study {study.name} has no final model yet: 'hpo finalize {study.name}' makes one")
    return [Weighted(chosen_record(study, trial), study.name)]


def trained_models(chosen: Sequence[Weighted], *, is_first_only: bool = False) -> list[TrainedModel]:
    """The models with their files, for a process; of a trial with folds or repeats, one of each.

    Args:
        is_first_only: of a trial with folds, only the first one's, as the others validate on other samples.

    Raises:
        HpoError: a checkpoint was not kept, or is another file than the trial wrote.
    """
    found = []
    for one in chosen:
        config, checkpoint = dict(one.record.config), one.record.kept_checkpoint()
        folds, repeats = config.get("folds", 1), config.get("repeats", 1)
        for number in range(1, max(1 if is_first_only else folds, repeats) + 1):
            path = Path(training_folder(checkpoint.parent, number)) / checkpoint.name
            found.append(TrainedModel(config | ({"training": number} if number > 1 else {}), str(path), one.weight))
    return found


def model_in_words(study: Study, chosen: Sequence[Weighted]) -> str:
    """Whose model it is: `trial 3`, or `the final model, trial 1 of digits.final`."""
    name = f"trial {chosen[0].record.number}"
    if len(chosen) == 1 and chosen[0].study == study.name:
        return name
    kind = "the final model" if list(chosen) == study.kept() else "an ensemble"
    return f"{kind}, {name} of {chosen[0].study}" + (f" and {len(chosen) - 1} more" if chosen[1:] else "")


def chosen_record(study: Study, trial: int | None) -> TrialRecord:
    """The trial of this number, else the best one.

    Raises:
        SpecError: there is none.
    """
    if trial is not None:
        found = study.trial(trial)
        if found is None:
            raise SpecError(f"study {study.name} has no trial {trial}: 'hpo trials {study.name}' lists them")
        return found
    best = study.best(1)
    if not best:
        raise SpecError(f"study {study.name} has no trial with a model yet")
    return best[0]


def predict(
    server: ForkServer,
    study: Study,
    source: str,
    output: Path,
    *,
    trial: int | None,
    final: bool | None = None,
    proba: bool,
    project: Path,
) -> Predicted:
    """Write a CSV of predictions; whoever reads the output sees a whole file or none.

    Args:
        server: in a process of which the model predicts.
        source: the new data, a path that starts from the current folder.
        output: the file to write.

    Raises:
        SpecError: there is no such trial, source or folder of the output.
        HpoError: the trial's files are missing or damaged, or the source cannot be predicted.
    """
    chosen = chosen_models(study, trial, final=final)
    record = chosen[0].record
    found = source_in(source)
    models = trained_models(chosen)
    with _partial(output) as partial:
        job = PredictJob(str(project), models, found, str(partial), proba)
        answer = answer_of(server, job, did="predicted")
        partial.replace(output)
    is_whole = record.state == TrialState.COMPLETE or trial is not None
    of_trial = () if is_whole else (f"no trial is complete: trial {record.number} is the best so far, {record.remark}",)
    name = model_in_words(study, chosen)
    return Predicted(record, name, answer["rows"], answer["seconds"], (*of_trial, *answer["remarks"]), output)


def source_in(given: str) -> str:
    """An existing file or folder as an absolute path; what looks like a URL, for a data module of your own, as it is.

    Raises:
        SpecError: there is no such file or folder.
    """
    if "://" in given:
        return given
    path = Path(given).expanduser()
    if path.exists():
        return str(path.resolve())
    folder = path.parent
    near = difflib.get_close_matches(
        path.name, [each.name for each in folder.iterdir()] if folder.is_dir() else [], n=1
    )
    raise SpecError(f"{given}: there is no such file or folder{f', did you mean {near[0]!r}?' if near else ''}")


def output_file(given: str, source: str) -> Path:
    """The file that predictions are written to.

    Raises:
        SpecError: nothing can be written there, or it is the source.
    """
    path = Path(given).expanduser().resolve()
    if path.is_dir():
        raise SpecError(f"-o {given}: is a folder")
    if not path.parent.is_dir():
        raise SpecError(f"-o {given}: there is no folder {path.parent}")
    if path.exists() and Path(source).expanduser().exists() and path.samefile(Path(source).expanduser()):
        raise SpecError(f"-o {given}: is the new data itself, which predictions would replace")
    return path


def predictor_of(chosen: Sequence[Weighted], project: Path) -> Predictor:
    """The predictor of a trial, or of an ensemble of several.

    Raises:
        HpoError: it has no checkpoint, a file is missing or damaged, or its data module cannot read new data.
    """
    models = trained_models(chosen)
    from hpo.training.prediction.loading import load_predictor

    return load_predictor(models, project.resolve())


def load_predictor(path: str | Path, *, project: str | Path = ".") -> Predictor:
    """The predictor of a trial's folder, with `best.ckpt`, `config.json` and `preprocessing.npz`, without a store.

    The folder may have been moved, also to another machine.

    Args:
        path: of the folder.
        project: the folder from which the classes of the model and the data are imported.

    Raises:
        HpoError: it is not such a folder, a file is missing or damaged, or a class cannot be imported.
    """
    from hpo.training.prediction.loading import predictor_in

    return predictor_in(Path(path).expanduser().resolve(), Path(project).resolve())


@contextmanager
def _partial(output: Path) -> Iterator[Path]:
    """A new file beside the output, which is removed unless it was renamed."""
    try:
        descriptor, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.", suffix=".partial")
        os.fchmod(descriptor, 0o666 & ~_umask())
    except OSError as error:
        raise SpecError(f"-o {output}: cannot be written: {error.strerror}") from error
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before
