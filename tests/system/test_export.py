"""`hpo export` and `study.export()`, as people use them; tests/contracts/test_exports.py compares all families."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from projects.launch import PROJECT, Hpo, finish

import hpo
from hpo import Study

FLATS = Path(__file__).parents[1] / "contracts" / "flats.csv"
POINTS = {"class": "projects.nets:Points"}
STUDIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "flats": (
        "models.dnn:DNN",
        {"class": "models.data:Table", "source": str(FLATS), "target": "pets", "ignore": "number"},
        "val_accuracy",
    ),
    "plain": ("projects.exported:Plain", POINTS, "val_loss"),
    "half": ("models.dnn:DNN", {"class": "models.data:Digits"}, "val_accuracy"),
    "gamma": ("projects.exported:Gamma", POINTS, "val_loss"),
    "branching": ("projects.exported:Branching", POINTS, "val_loss"),
}
ONNX_FILES = {
    *("README.md", "facts.json", "model.onnx", "predict.py", "preprocessing.npz", "sample.csv"),
    *("sample_input.npz", "expected_output.npz", "sample_predictions.csv"),
}


@dataclass(frozen=True)
class Trained:
    """A store with a study of each kind."""

    here: Hpo

    def study(self, name: str) -> Study:
        return hpo.open_study(name, self.here.url, project=PROJECT)

    def export(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """`hpo export ARGUMENTS`, with both outputs."""
        command = [sys.executable, "-m", "hpo", "export", *map(str, arguments), "--store", self.here.url]
        return subprocess.run(
            [*command, "--project", str(PROJECT)],
            cwd=self.here.folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("export")
    here = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    here.run("db", "init")
    for name, (model, data, metric) in STUDIES.items():
        precision = {"resources": {"precision": "bf16-true"}} if name == "half" else {}
        file = here.study(name, model=model, data=data, objective=metric, budget={"trials": 1}, **precision)
        code, output = finish(here.start("run", file, "--slots", 1))
        assert code == 0, output
    return Trained(here)


def test_an_export_says_what_it_is_and_predicts_without_this_package(trained: Trained, tmp_path: Path) -> None:
    done = trained.export("flats", "--format", "onnx", "--out", tmp_path / "flats")

    assert done.returncode == 0, done.stderr
    folder, best = tmp_path / "flats", trained.study("flats").best(1)[0]
    facts, text = json.loads((folder / "facts.json").read_text()), (folder / "README.md").read_text()
    assert {path.name for path in folder.iterdir()} == ONNX_FILES
    assert [path.name for path in tmp_path.iterdir()] == ["flats"]
    assert f"flats, trial {best.number}, {best.value:.4g} at epoch " in done.stdout
    assert "largest difference from the original: " in done.stdout
    assert facts["comparison"]["samples"] == 32
    assert facts["comparison"]["largest_difference"] < 1e-4
    assert (facts["class_names"], facts["value"]) == (["no", "yes"], best.value)
    assert [each["shape"][0] for each in facts["inputs"]] == ["batch", "batch"]
    assert f"val_accuracy {best.value:.4g} on the validation part" in text
    assert "It has not been scored on the test part" in text
    for arguments in (["--check"], [folder / "sample.csv", "--proba", "-o", tmp_path / "found.csv"]):
        ran = subprocess.run([sys.executable, folder / "predict.py", *arguments], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    found, expected = pd.read_csv(tmp_path / "found.csv"), pd.read_csv(folder / "sample_predictions.csv")
    pd.testing.assert_frame_equal(found, expected, atol=1e-4)


def test_predict_py_refuses_in_words_what_it_is_not_sure_of(trained: Trained, tmp_path: Path) -> None:
    assert trained.export("flats", "--out", tmp_path / "flats").returncode == 0
    table = pd.read_csv(tmp_path / "flats" / "sample.csv", dtype=str)

    def refused(changed: pd.DataFrame) -> str:
        changed.to_csv(tmp_path / "new.csv", index=False)
        script = tmp_path / "flats" / "predict.py"
        done = subprocess.run([sys.executable, script, tmp_path / "new.csv"], capture_output=True, text=True)
        assert done.returncode == 1
        assert not done.stdout
        return done.stderr

    assert "lacks 1 of the 8 columns that the model needs: 'area' (did you mean 'are'?)" in refused(
        table.rename(columns={"area": "are"})
    )
    assert "column 'area' holds numbers; '12 m2' in row 1 is not read as one here" in refused(
        table.assign(area=["12 m2", *table["area"][1:]])
    )
    assert "column 'built' holds dates; '1/2/03' in row 1 is not read as one here" in refused(
        table.assign(built=["1/2/03", *table["built"][1:]])
    )


def test_an_export_is_replaced_by_the_next_one_and_nothing_else_is(trained: Trained, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("text")
    first = trained.export("plain", "--format", "safetensors", "--out", tmp_path / "out")

    again = trained.export("plain", "--format", "torch-export", "--out", tmp_path / "out")
    refused = trained.export("plain", "--out", other)

    assert (first.returncode, again.returncode) == (0, 0), again.stderr
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert (tmp_path / "out" / "model.pt2").exists()
    assert refused.returncode == 2
    assert refused.stderr == f"error: --out {other}: holds something that no export wrote: name another folder\n"
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def test_a_file_of_torch_export_needs_no_code_of_ours(trained: Trained, tmp_path: Path) -> None:
    assert trained.export("flats", "--format", "torch-export", "--out", tmp_path / "flats").returncode == 0
    code = (tmp_path / "flats" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "flats" / "use.py").write_text(code)

    done = subprocess.run(
        [sys.executable, "-P", "use.py"], cwd=tmp_path / "flats", capture_output=True, text=True, timeout=300
    )

    assert done.returncode == 0, done.stderr
    name, difference = done.stdout.split()
    assert name == "prediction"
    assert float(difference) < 1e-4


def test_weights_are_the_checkpoints(trained: Trained, tmp_path: Path) -> None:
    from safetensors.torch import load_file  # of the extra `export`

    exported = trained.study("flats").export("safetensors", out=tmp_path / "flats")
    model = trained.study("flats").best(1)[0].load_model()
    weights = load_file(tmp_path / "flats" / "model.safetensors")
    assert exported.facts["comparison"]["largest_difference"] == 0
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    config = json.loads((tmp_path / "flats" / "config.json").read_text())["model"]
    assert config["class"] == "models.dnn:DNN"
    assert config["arguments"]["cardinalities"] == list(model.hparams["cardinalities"])


def test_a_model_of_half_precision_is_exported_in_single_precision_and_that_is_told(
    trained: Trained, tmp_path: Path
) -> None:
    exported = trained.study("half").export(out=tmp_path / "half")

    assert exported.facts["comparison"]["largest_difference"] < 1e-4
    assert exported.remarks == (
        "the trial was trained in precision bf16-true; what is exported computes in single precision",
    )


def test_a_module_of_its_own_predicts_from_the_networks_inputs(trained: Trained, tmp_path: Path) -> None:
    exported = trained.study("plain").export(out=tmp_path / "plain")

    folder = exported.folder
    done = subprocess.run(
        [sys.executable, folder / "predict.py", folder / "sample_input.npz"], capture_output=True, text=True
    )
    rows = list(csv.DictReader(done.stdout.splitlines()))
    with np.load(folder / "expected_output.npz") as expected:
        np.testing.assert_allclose([float(row["prediction"]) for row in rows], expected["prediction"][:, 0], atol=1e-4)


def test_an_operation_that_onnx_cannot_represent_is_named_and_torch_export_offered(
    trained: Trained, tmp_path: Path
) -> None:
    refused = trained.export("gamma", "--out", tmp_path / "gamma")
    offered = trained.export("gamma", "--out", tmp_path / "gamma", "--format", "torch-export")

    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ONNX cannot represent the operation lgamma of Gamma: ")
    assert "'--format torch-export' writes the same network for torch" in refused.stderr
    assert offered.returncode == 0, offered.stderr


def test_a_model_that_branches_on_values_is_told_and_its_weights_offered(trained: Trained, tmp_path: Path) -> None:
    refused = trained.export("branching", "--out", tmp_path / "branching", "--format", "torch-export")
    offered = trained.export("branching", "--out", tmp_path / "branching", "--format", "safetensors")

    assert refused.returncode == 2
    assert refused.stderr.startswith("error: Branching cannot be exported, since its operations depend on the values")
    assert "'--format safetensors' writes its weights" in refused.stderr
    assert offered.returncode == 0, offered.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["branching"]


def test_without_the_extra_the_error_names_it(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['onnxruntime'] = None\n")

    done = trained.export("plain", "--out", tmp_path / "out", PYTHONPATH=str(tmp_path))

    assert done.returncode == 2
    assert done.stderr == (
        "error: --format onnx needs onnxruntime, which is not installed: pip install 'hpo-service[export]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plain", "--format", "onx"), "error: --format 'onx' is not known, did you mean 'onnx'? It should be one of"),
        (("plain", "--trial", "7"), "error: study plain has no trial 7: 'hpo trials plain' lists them"),
        (("plane",), "error: the store has no study 'plane', did you mean 'plain'?"),
        (("plain", "--final"), "error: study plain has no final model yet: 'hpo finalize plain' makes one"),
        (("plain", "--out", "nowhere/out"), "error: --out nowhere/out: there is no folder "),
        (("plain", "--out", "plain.yaml"), "error: --out plain.yaml: is a file, and should be a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_message(trained: Trained, arguments: tuple[str, ...], message: str) -> None:
    (trained.here.folder / "plain.yaml").touch()

    done = trained.export(*arguments)

    assert done.returncode == 2
    assert done.stderr.startswith(message), done.stderr
    assert not done.stdout
