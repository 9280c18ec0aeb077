"""What `hpo export` and `study.export()` do: a trial's model in a folder that runs without this package."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from hpo.errors import SpecError, nearest
from hpo.ipc.fork_server import ForkServer
from hpo.ipc.one_answer import answer_of
from hpo.results.study import Study, Weighted
from hpo.results.trial import TrialRecord
from hpo.service.predict import chosen_models, model_in_words, trained_models
from hpo.store import Store
from hpo.store.tables import hpo_studies, studies
from hpo.study.job import ExportJob
from hpo.study.plan import TRAIN

FORMATS = ("onnx", "torch-export", "safetensors")
FACTS = "facts.json"


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        facts: what facts.json holds.
        remarks: what was odd, in words.
    """

    trial: TrialRecord
    folder: Path
    facts: dict[str, Any]
    remarks: tuple[str, ...]


def export(
    server: ForkServer,
    store: Store,
    study: Study,
    format: str,
    out: str | Path | None,
    *,
    trial: int | None = None,
    final: bool | None = None,
    chosen: Sequence[Weighted] = (),
    baseline: str | None = None,
    project: Path,
) -> Exported:
    """Write the folder, which others see whole or not at all.

    Args:
        server: in a process of which the model is exported.
        format: one of FORMATS.
        trial, final: as of hpo.service.predict:chosen_models.
        baseline: the simple model of this name instead, such as `gradient boosting`, which is fitted again.
        chosen: the models of an ensemble, where it is not kept yet.
        out: by default STUDY-FORMAT in the current folder; one that an earlier export wrote is replaced.

    Raises:
        SpecError: there is no such trial or format, or the folder is in use.
        HpoError: the trial's files are missing or damaged, or its model cannot be written in this format.
    """
    check_format(format)
    chosen = chosen or chosen_models(study, trial, final=final)
    folder = _free_folder(out, f"{study.name}-{format}".replace("/", "-"))
    models = trained_models(chosen)
    try:
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise SpecError(f"--out {folder}: cannot be written: {error.strerror}") from error
    try:
        about = _about(store, study, chosen)
        if baseline is not None:
            about |= _about_simple(study, baseline)
        job = ExportJob(str(project), models, format, str(partial), about, baseline or "")
        answer = answer_of(server, job, did="exported")
        partial.chmod(0o755)
        _replace(folder, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Exported(chosen[0].record, folder, answer["facts"], tuple(answer["remarks"]))


def _about_simple(study: Study, name: str) -> dict[str, Any]:
    """What is known of a simple model, whose scores `hpo finalize` has found beside the network's."""
    final = study.final()
    found = None if final is None or final.test is None else final.test.get("baselines", [])
    scores = next((one["metrics"] for one in found or [] if one["name"] == name), None)
    of_test = {metric: {"value": value} for metric, value in (scores or {}).items()}
    trained_on = TRAIN if final is None else final.kept.trained_on
    members = [{"study": study.name, "trial": None, "weight": 1}]
    told = {"study": study.name, "trained_on": trained_on, "members": members, "test": of_test} if of_test else None
    return {"trial": None, "model": f"the simple model '{name}'", "value": None, "remark": "", "final": told}


def check_format(format: str) -> None:
    """
    Raises:
        SpecError: there is no such format.
    """
    if format not in FORMATS:
        known = ", ".join((*FORMATS, "archive"))
        raise SpecError(
            f"--format '{format}' is not known{nearest(format, FORMATS) or ':'} It should be one of {known}"
        )


def _free_folder(out: str | Path | None, default: str) -> Path:
    """
    Raises:
        SpecError: it cannot be written, or holds something that no export wrote.
    """
    given = Path(out or default)
    folder = given.expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"--out {given}: is a file, and should be a folder")
    if not folder.parent.is_dir():
        raise SpecError(f"--out {given}: there is no folder {folder.parent}")
    if folder.is_dir() and any(folder.iterdir()) and not _is_exported(folder):
        raise SpecError(f"--out {given}: holds something that no export wrote: name another folder")
    return folder


def _is_exported(folder: Path) -> bool:
    try:
        found = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("made_by") == "hpo export"


def _replace(folder: Path, new: Path) -> None:
    """Put the new folder in the place of the old one, which is removed."""
    if folder.is_dir():
        old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        folder.replace(old)
        try:
            new.replace(folder)
        except OSError:
            old.replace(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
        return
    new.replace(folder)


def _about(store: Store, study: Study, chosen: Sequence[Weighted]) -> dict[str, Any]:
    """What is known of a trial and its study; of the final model with what `hpo finalize` has found."""
    with store.read() as connection:
        kept = connection.scalar(
            select(hpo_studies.c.spec)
            .join(studies, studies.c.study_id == hpo_studies.c.study_id)
            .where(studies.c.study_name == study.name)
        )
    record, is_final = chosen[0].record, list(chosen) == study.kept()
    spec = json.loads(kept or "{}").get("spec", {})
    final = study.final()
    found: dict[str, Any] = {}
    if final is not None and is_final:
        found = asdict(final.kept)
        found |= {part: scores["metrics"] for part in ("validation", "test") if (scores := getattr(final, part))}
    is_scored = record.config.get("trained_on", TRAIN) == TRAIN  # not on samples that it has learnt from
    return {
        "study": study.name,
        "trial": record.number,
        "model": model_in_words(study, chosen),
        "trials": len(study.trials(has_curves=False)),
        "metric": spec.get("objective", {}).get("metric", "the objective"),
        "direction": str(study.direction),
        "value": record.value if is_scored else None,
        "unit": record.unit.value,
        "best_epoch": record.best_epoch,
        "precision": str(spec.get("resources", {}).get("precision", "32-true")),
        "remark": "" if is_final else record.remark,
        "checkpoint_sha256": record.checkpoint_sha256,
        "final": found or None,
    }
