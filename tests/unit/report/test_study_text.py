"""The study file that a report shows is one that `hpo run` reads, and it is the same study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpo.report.study_text import study_text
from hpo.study.job import OWN_LOADERS
from hpo.study.spec import StudySpec
from hpo.study.study_file import read_study

STUDIES = sorted((Path(__file__).parents[3] / "studies").glob("*.yaml"))
LEAST = {"study": "one", "model": "nets:Net", "objective": {"metric": "val_loss", "direction": "minimize"}}


def read_again(spec: StudySpec, folder: Path) -> StudySpec:
    file = folder / "again.yaml"
    file.write_text(study_text(spec), encoding="utf-8")
    return read_study(file)[0]


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_a_shipped_study_is_written_as_it_was_read(file: Path, tmp_path: Path) -> None:
    spec, _ = read_study(file)

    assert read_again(spec, tmp_path) == spec


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"model": {"class": "nets:Net", "layers": [64, {"name": "x"}], "text": "yes: no # 1"}},
        {"data": "nets:Data", "space": {"lr": {"low": 1e-5, "high": 0.1, "log": True}, "on": [True, False, None]}},
        {"model": ["nets:Net", {"class": "nets:Other", "width": 3}], "early_stopping": None},
        {"steps": 500, "pruner": None, "sampler": {"class": "optuna.samplers:TPESampler", "seed": 3}},
        {"model": {"label": "nets:Net", "arguments": {"label": "a", "class": "b"}}},
        {"epochs": {"low": 3, "high": 9}, "early_stopping": {"patience": 4}},
        {"objective": {"metric": "val_loss", "direction": "minimize", "diverged": "ignore"}},
        {"study": "größer als 1", "space": {"text": ["[/a]", "1e-3", "\u2028", "'", '"', "{x: 1}", "null", "日本"]}},
        {"resources": {"precision": "bf16"}, "retries": {"crash": 0}, "budget": {"hours": 0.5}, "seed": 7},
    ],
    ids=[
        *("least", "arguments", "space", "several models", "steps", "odd arguments", "length", "objective", "texts"),
        "sections",
    ],
)  # fmt: skip
def test_every_kind_of_key_is_read_again_as_it_was(more: dict[str, Any], tmp_path: Path) -> None:
    spec = StudySpec.model_validate(LEAST | more)

    assert read_again(spec, tmp_path) == spec


def test_only_what_differs_from_the_defaults_is_written() -> None:
    text = study_text(StudySpec.model_validate(LEAST))

    assert text == "study: one\nmodel: nets:Net\nobjective: {metric: val_loss, direction: minimize}\n"
    assert OWN_LOADERS not in text
