"""Which data `hpo auto` judges its trials by folds of."""

from __future__ import annotations

import pytest

from hpo.service.auto import study_text
from hpo.service.guess import Guess, Kind

CLASSES = {"table": "models.data:Table", "series": "models.data:Series", "images": "models.data:Images"}


@pytest.mark.parametrize(
    ("kind", "samples", "minutes", "folds"),
    [
        ("table", 599, 0.5, 5),
        ("table", 600, 2.9, None),
        ("table", 1999, 3.0, 5),
        ("table", 2000, 60.0, None),
        ("table", None, 60.0, None),
        ("series", 599, 10.0, 3),
        ("series", 600, 10.0, None),
        ("images", 100, 10.0, None),
    ],
)
def test_few_samples_are_judged_by_folds_where_there_is_time(
    kind: Kind, samples: int | None, minutes: float, folds: int | None
) -> None:
    found = Guess(kind, {"class": CLASSES[kind]}, "val_loss", (), samples)

    lines = study_text(found, "s", minutes, 0).splitlines()

    assert [line.split()[1] for line in lines if line.startswith("folds:")] == ([str(folds)] if folds else [])
