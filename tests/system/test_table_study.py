"""A user's table, with categories, dates and missing values, from its file to the best trial."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.results.status import list_studies
from hpo.results.study import Study
from hpo.store import Store

ROOT = Path(__file__).parent.parent.parent
FLATS = ROOT / "tests" / "contracts" / "flats.csv"

STUDY = """\
study: flats
model: models.dnn:DNN
data:
  class: models.data:Table
  source: flats.csv
  target: rent
  most_categories: 20
objective: {metric: val_r2, direction: maximize}
space:
  missing: [median, mean, drop, indicator]
  depth: 1
  width: 32
  lr: 0.01
  optimizer: adam
  schedule: constant
  batch_size: 16
epochs: 20
budget: {trials: 4}
pruner: none
"""


def hpo_run(folder: Path, study: str) -> subprocess.CompletedProcess[str]:
    (folder / "flats.yaml").write_text(study)
    command = [sys.executable, "-m", "hpo", "run", "flats.yaml", "--project", str(folder), "--store", "hpo.db"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "models").symlink_to(ROOT / "models")
    shutil.copy(FLATS, tmp_path)
    return tmp_path


def test_rents_are_learned_from_a_file_of_all_kinds_of_columns(project: Path) -> None:
    done = hpo_run(project, STUDY)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    with Store.open(str(project / "hpo.db")) as store:
        records = Study(store, "flats").trials()
    assert [record.state for record in records] == ["complete"] * 4
    assert max(record.value or 0 for record in records) > 0.7
    assert {record.params["missing"] for record in records} <= {"median", "mean", "drop", "indicator"}
    assert output.count("column 'landlord' is left out: it has 24 different texts in 104 rows") == 1


def test_a_wrong_column_is_reported_before_the_first_trial(project: Path) -> None:
    done = hpo_run(project, STUDY.replace("target: rent", "target: rents"))
    assert done.returncode == 2
    assert "Table: flats.csv has no column 'rents' (target); did you mean 'rent'?" in done.stdout + done.stderr
    with Store.open(str(project / "hpo.db")) as store:
        assert list_studies(store) == []
