"""Studies for reports: trials that are complete, pruned and failed, and what `hpo finalize` found."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from hpo.queue.findings import add_finding
from hpo.queue.studies import StoredStudy
from hpo.results.final import FINAL, Final, Interval, Kept, Member, Rerun
from hpo.store import Store
from hpo.study.states import Direction
from projects.synthetic import Claimant, begin_next

ERROR = "Traceback (most recent call last):\nValueError: the width is 0"


def add_trials(store: Store, study: StoredStudy, *, complete: int = 4, pruned: int = 3, failed: int = 2) -> None:
    """Trials with curves; the complete ones have the numbers 0, 1, ... and the values 0.5, 0.51, ..."""
    worker = Claimant(store, study)
    for number in range(complete):
        value = 0.5 + number / 100
        claim = begin_next(worker, *(value * epoch / 9 for epoch in range(1, 10)))
        assert worker.finish(claim, value, best_epoch=9)
    for number in range(pruned):
        claim = begin_next(worker, 0.1, 0.2 + number / 100, 0.1)
        assert worker.finish(claim, 0.2 + number / 100, state="PRUNED", best_epoch=2)
    for number in range(failed):
        cause = "error: ValueError" if number % 2 == 0 else "oom"
        assert worker.finish(begin_next(worker, 0.1), None, state="FAIL", cause=cause, error=ERROR)


def png(seed: int = 0) -> str:
    """A small picture, as the URL that holds it."""
    pixels = (np.random.default_rng(seed).random((8, 8)) * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def of_classes(part: str, **more: Any) -> dict[str, Any]:
    """What an evaluation of a classifier answers."""
    score = {"value": 0.9, "low": 0.85, "high": 0.94}
    return {
        "part": part,
        "task": "classes",
        "samples": 120,
        "targets": 120,
        "logged": {f"{part}_loss": 0.31},
        "notes": [],
        "metrics": {"accuracy": score, "log_loss": {"value": 0.3, "low": 0.2, "high": 0.4}},
        "objective": {"metric": "val_accuracy", "name": "accuracy", **score},
        "classes": [
            {"name": name, "targets": 60, "precision": score, "recall": score, "f1": score} for name in ("cat", "dog")
        ],
        "confusion": [[53, 7], [5, 55]],
        "calibration": {
            "of": "the second class",
            "confidence": [0.1, 0.9],
            "accuracy": [0.2, 0.95],
            "counts": [60, 60],
        },
        "baselines": [
            {
                "name": "majority class",
                "what": "always the most frequent class",
                "metrics": {"accuracy": 0.5},
                "gain": {"value": 0.4, "low": 0.3, "high": 0.5},
                "is_beaten": True,
            },
            {
                "name": "logistic regression",
                "what": "on the columns",
                "metrics": {"accuracy": 0.89},
                "gain": {"value": 0.01, "low": -0.02, "high": 0.04},
                "is_beaten": False,
            },
        ],
        "fingerprint": "0" * 64,
        **more,
    }


def of_values(part: str) -> dict[str, Any]:
    """What an evaluation of a regression answers."""
    score = {"value": 2.5, "low": 2.0, "high": 3.1}
    return {
        "part": part,
        "task": "values",
        "samples": 90,
        "targets": 90,
        "logged": {},
        "notes": [],
        "metrics": {"rmse": score},
        "objective": {"metric": "val_rmse", "name": "rmse", **score},
        "outputs": [{"name": name, "metrics": {"rmse": score}} for name in ("wind", "rain")],
        "residuals": {
            "mean": 0.1,
            "deviation": 2.4,
            "quantiles": {"0.05": -4.0, "0.5": 0.0, "0.95": 4.2},
            "histogram": {"edges": [-5.0, 0.0, 5.0], "counts": [40, 50]},
            "pairs": [[1.0, 1.2], [2.0, 1.7]],
        },
        "baselines": [],
    }


def explained() -> dict[str, Any]:
    """What an evaluation with explanations answers besides."""
    row = {"name": "petal width", "value": 0.2, "low": 0.1, "high": 0.3}
    return {
        "mistakes": [
            {"target": "cat", "predicted": "dog", "loss": 4.2, "what": "row 17", "picture": png(), "values": {"age": 3}}
        ],
        "explanations": [
            {"name": "permutation importance", "what": "the loss of accuracy", "table": [row], "picture": None},
            {"name": "saliency", "what": "where it looks", "table": None, "picture": png(1)},
        ],
        "slices": [
            {"of": "class", "value": "cat", "samples": 60, "metric": "accuracy"}
            | {"value_of_metric": 0.7, "low": 0.6, "high": 0.8},
            {"of": "class", "value": "dog", "samples": 60, "metric": "accuracy"}
            | {"value_of_metric": 0.92, "low": 0.9, "high": 0.95},
        ],
    }


def final_of(study: str, **changes: Any) -> Final:
    """Two candidates with three seeds each; the second one wins."""
    final = Final(
        study=study,
        metric="val_accuracy",
        direction=Direction.MAXIMIZE,
        trials=9,
        reruns_study=f"{study}.final",
        reruns=(
            Rerun(3, 0.53, (0.50, 0.51, None), Interval(0.505, 0.44, 0.57)),
            Rerun(2, 0.52, (0.51, 0.52, 0.53), Interval(0.52, 0.495, 0.545)),
        ),
        winner=2,
        luck=Interval(0.025, -0.04, 0.09),
        kept=Kept.of([Member(f"{study}.final", 1)], "train"),
        validation=of_classes("validation"),
        test=of_classes("test"),
    )
    return replace(final, **changes)


def add_final(store: Store, study: StoredStudy, final: Final) -> None:
    """Keep it, as `hpo finalize` does."""
    with store.write() as connection:
        add_finding(connection, study.study_id, FINAL, final.to_json())
