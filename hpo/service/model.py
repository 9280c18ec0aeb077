"""A trial's model from what it left: its record, its folder, or one of its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import LoadError
from hpo.results.trial import TrialRecord
from hpo.study.artifacts import CHECKPOINT_SUFFIX, checkpoints_in
from hpo.study.job import BEST_CHECKPOINT, CONFIG

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule

DEEPEST = 3  # folders between a trial's and a checkpoint that a callback wrote in it


def load_model(trial: TrialRecord | str | Path, *, project: str | Path = ".") -> LightningModule:
    """Build a trial's model again and give it the weights of a checkpoint; on the CPU, in evaluation mode.

    The file is read as data, with `weights_only=True`: nothing in it is run. But the classes that the trial's
    `config.json` names are imported and called with its arguments: load only folders whose writers may run code here.

    Args:
        trial: a record, for the weights of its best epoch; a trial's folder, for the same; or a checkpoint in it, such
            as `last.ckpt`.
        project: folder from which the model's module is imported.

    Raises:
        HpoError: there is no such checkpoint, it does not hold the weights of the class, or the class cannot be
            imported. Of a record also, that the file is another one than the trial wrote.
    """
    if isinstance(trial, TrialRecord):
        return trial.load_model(project=project)
    path = Path(trial)
    checkpoint = _best_of(path) if path.is_dir() and path.suffix != CHECKPOINT_SUFFIX else path
    if not checkpoint.exists():
        raise LoadError(f"{checkpoint}: there is no such file or folder")
    config = _config_of(checkpoint)
    from hpo.training.load_model import load_model as load

    return load(config, checkpoint, Path(project))


def _best_of(folder: Path) -> Path:
    best = folder / BEST_CHECKPOINT
    if best.exists():
        return best
    others = [str(path.relative_to(folder)) for path in checkpoints_in(folder)]
    there = f"It has {', '.join(others[:5])}: name one of them" if others else "It has no checkpoint"
    raise LoadError(
        f"{folder} has no {BEST_CHECKPOINT}. {there}; a study keeps those of its best trials (keep: {{checkpoints: 5}})"
    )


def _config_of(checkpoint: Path) -> Mapping[str, Any]:
    """The configuration of the trial in whose folder a checkpoint is."""
    folders = [checkpoint.absolute().parent, *checkpoint.absolute().parent.parents][: DEEPEST + 1]
    file = next((path for folder in folders if (path := folder / CONFIG).is_file()), None)
    if file is None:
        raise LoadError(
            f"{checkpoint} is in no trial's folder: there is no {CONFIG} beside it, which says how its model is built. "
            "Copy both, or load the class itself with load_from_checkpoint(..., weights_only=True)"
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        label = config["model"]["class"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise LoadError(f"{file} is not the configuration of a trial: {type(error).__name__}: {error}") from error
    if not isinstance(label, str):
        raise LoadError(f"{file} is not the configuration of a trial: its model has no class")
    return dict(config)
