"""`import hpo` in a user's script: open a study, read its trials, and load its best model."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from pytorch_lightning import LightningModule

import hpo
from hpo.store import StoreUrl
from hpo.store.optuna_storage import optuna_storage

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `hpo.db` with a finished study of the shipped models, and its checkpoints."""
    folder = tmp_path_factory.mktemp("api")
    study = str(ROOT / "studies" / "digits_dnn.yaml")
    changes = ["--set", "epochs=2", "--set", "keep.checkpoints=2", "--set", "pruner=none", "--set", "model.width=32"]
    changes += ["--set", "space={depth: 1, batch_size: 128}"]
    places = ["--project", str(ROOT), "--store", "hpo.db", "--artifacts", "art"]
    command = [sys.executable, "-m", "hpo", "run", study, "--trials", "3", *changes, *places]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def study(folder: Path) -> hpo.Study:
    return hpo.open_study("digits-dnn", store=str(folder / "hpo.db"))


def accuracy(model: LightningModule, record: hpo.TrialRecord) -> float:
    """The share of the validation images that the model names rightly, computed from the data's own loader."""
    from models.data import Digits

    arguments: Any = {name: value for name, value in record.config["data"].items() if name != "class"}
    data = Digits(**arguments)
    data.setup("fit")
    right = total = 0
    with torch.no_grad():
        for images, labels in data.val_dataloader():
            right += int((model(images).argmax(1) == labels).sum())
            total += len(labels)
    return right / total


# ---- records


def test_the_best_trials_come_as_records(study: hpo.Study) -> None:
    best = study.best(5)

    assert len(best) == 3
    assert [record.value for record in best] == sorted((r.value or 0.0 for r in best), reverse=True)
    for record in best:
        assert isinstance(record, hpo.TrialRecord)
        assert record.state == "complete"
        assert [epoch for epoch, _ in record.curve] == [1, 2]
        assert record.value == max(metrics["val_accuracy"] for _, metrics in record.curve)
        assert record.best_epoch in (1, 2)
        assert "width" not in record.params
        assert (record.config["model"]["width"], record.config["model"]["depth"]) == (32, 1)
        assert (record.config["data"]["batch_size"], record.config["epochs"]) == (128, 2)


def test_records_and_the_status_do_not_change(study: hpo.Study) -> None:
    status = study.status()

    for value in (study.best()[0], status):
        for name in (field.name for field in dataclasses.fields(value)):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(value, name, None)
    assert study.best() == study.best()


def test_the_frame_has_the_trials_and_their_parameters(study: hpo.Study) -> None:
    frame = study.frame()

    assert list(frame["number"]) == [0, 1, 2]
    assert set(frame["state"]) == {"complete"}
    assert frame["value"].max() == study.best()[0].value
    assert list(frame["params_lr"]) == [record.params["lr"] for record in study.trials()]


# ---- the model


def test_a_loaded_model_is_as_good_as_it_was_recorded(study: hpo.Study) -> None:
    record = study.best()[0]

    model = record.load_model(project=ROOT)

    assert type(model).__name__ == "DNN"
    assert not model.training
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert accuracy(model, record) == pytest.approx(record.value, abs=1e-6)


def test_a_model_loads_in_another_process_than_the_run(folder: Path, study: hpo.Study) -> None:
    script = "import hpo, json; m = hpo.open_study('digits-dnn').best(1)[0].load_model(); print(type(m).__module__)"
    environment = os.environ | {"HPO_STORE": str(folder / "hpo.db")}

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == "models.dnn\n"


def test_only_the_best_trials_keep_a_model(study: hpo.Study) -> None:
    kept = [record.checkpoint is not None for record in study.best(3)]

    assert kept == [True, True, False]
    with pytest.raises(hpo.HpoError, match=r"has no checkpoint: a study keeps those of its best trials \(keep: "):
        study.best(3)[2].load_model(project=ROOT)


class Opens:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def with_file(record: hpo.TrialRecord, file: Path) -> hpo.TrialRecord:
    """The record of an earlier release, without a hash, that names this file."""
    return dataclasses.replace(record, checkpoint=str(file), checkpoint_sha256=None)


def test_a_checkpoint_that_carries_code_is_refused_and_runs_none(study: hpo.Study, tmp_path: Path) -> None:
    record, trace = study.best()[0], tmp_path / "it-ran"
    state = torch.load(str(record.checkpoint), weights_only=True) | {"more": Opens(trace)}
    zipped, bare = tmp_path / "zipped.ckpt", tmp_path / "bare.ckpt"
    torch.save(state, zipped)
    bare.write_bytes(pickle.dumps(Opens(trace), protocol=2))

    for checkpoint in (zipped, bare):
        with pytest.raises(hpo.LoadError, match=r"does not hold the weights of models\.dnn:DNN"):
            with_file(record, checkpoint).load_model(project=ROOT)

    assert zipfile.is_zipfile(zipped)
    assert not trace.exists()


def test_the_error_of_an_unusable_checkpoint_names_the_reason(study: hpo.Study, tmp_path: Path) -> None:
    record = study.best()[0]
    torn = tmp_path / "torn.ckpt"
    shutil.copy(str(record.checkpoint), torn)
    torn.write_bytes(torn.read_bytes()[:1000])
    wider = {**record.config, "model": {**record.config["model"], "width": 64}}
    elsewhere = {**record.config, "model": {**record.config["model"], "class": "models.dnn:CNN"}}

    with pytest.raises(hpo.LoadError, match=r"gone\.ckpt: there is no such file; it is on the machine that trained"):
        dataclasses.replace(record, checkpoint=str(tmp_path / "gone.ckpt")).load_model(project=ROOT)
    with pytest.raises(hpo.LoadError, match=r"torn\.ckpt does not hold the weights of models\.dnn:DNN"):
        with_file(record, torn).load_model(project=ROOT)
    with pytest.raises(hpo.LoadError, match=r"(?s)does not hold the weights of models\.dnn:DNN: .*size mismatch"):
        dataclasses.replace(record, config=wider).load_model(project=ROOT)
    with pytest.raises(hpo.LoadError, match=r"models\.dnn .* has no class 'CNN'"):
        dataclasses.replace(record, config=elsewhere).load_model(project=ROOT)


# ---- opening


def test_the_environment_names_the_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_STORE", str(folder / "hpo.db"))
    assert hpo.open_study("digits-dnn").status().state == "done"

    monkeypatch.delenv("HPO_STORE")
    assert hpo.open_study("digits-dnn", project=folder).status().state == "done"


def test_opening_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(hpo.StoreError, match="there is no store"):
        hpo.open_study("digits-dnn", store=str(tmp_path / "none.db"))

    assert list(tmp_path.iterdir()) == []


def test_the_error_of_a_wrong_name_suggests_the_nearest(folder: Path) -> None:
    with pytest.raises(hpo.StoreError, match="no study 'digits', did you mean 'digits-dnn'"):
        hpo.open_study("digits", store=str(folder / "hpo.db"))


def test_a_script_that_only_reads_needs_no_torch(folder: Path) -> None:
    script = "import hpo, sys; r = hpo.open_study('digits-dnn').best(2); print(len(r), 'torch' in sys.modules)"
    environment = os.environ | {"HPO_STORE": str(folder / "hpo.db")}

    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300)

    assert (done.stdout, done.stderr) == ("2 False\n", "")


# ---- beside Optuna


def test_optuna_reads_our_study_and_we_read_optunas(folder: Path, study: hpo.Study) -> None:
    with optuna_storage(StoreUrl.parse(str(folder / "hpo.db"))) as storage:
        ours = optuna.load_study(study_name="digits-dnn", storage=storage)
        assert ours.best_value == study.best()[0].value
        assert [trial.params for trial in ours.trials] == [record.params for record in study.trials()]
        assert [list(trial.intermediate_values) for trial in ours.trials] == [[1, 2]] * 3
        theirs = optuna.create_study(study_name="plain", storage=storage)
        theirs.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=3)
        best = theirs.best_trial

    plain = hpo.open_study("plain", store=str(folder / "hpo.db"))
    assert (plain.best()[0].number, plain.best()[0].value) == (best.number, best.value)
    assert plain.best()[0].params == best.params
    assert len(plain.frame()) == 3
    assert json.dumps([record.to_json() for record in plain.trials()])
    with pytest.raises(hpo.HpoError, match="no checkpoint"):
        plain.best()[0].load_model()


# ---- documentation


def test_every_public_name_is_documented() -> None:
    for name in hpo.__all__:
        public = getattr(hpo, name)
        assert public.__doc__, name
        for attribute, member in vars(public).items() if inspect.isclass(public) else ():
            if not attribute.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                assert member.__doc__ or attribute == "to_json", f"{name}.{attribute}"
