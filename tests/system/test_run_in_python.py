"""`hpo.run`, `hpo.submit` and `hpo.check` in users' programs: modules, scripts, notebooks; real training."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from projects import nets
from projects.launch import PROJECT, Hpo, wait_for

import hpo
from hpo.queue.studies import load_study
from hpo.store import Store
from hpo.study.states import StudyState, TrialState

SHORT: dict[str, Any] = {
    "epochs": 2,
    "sampler": "random",
    "pruner": "none",
    "early_stopping": None,
    "resources": {"accelerator": "cpu"},
}

# As people write it: annotations as texts, a range with a name of its own, globals, a base class of their own.
CLASSES = """
from __future__ import annotations
import json, os, sys, threading
from typing import Annotated
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import hpo

FEATURES = 4
LearningRate = Annotated[float, hpo.Float(1e-3, 1e-1, log=True)]

class Points(LightningDataModule):
    def __init__(self, batch_size: int = 8):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str):
        x = torch.randn(16, FEATURES)
        self.points = TensorDataset(x, x.sum(dim=1, keepdim=True))

    def train_dataloader(self):
        return DataLoader(self.points, self.batch_size)

    def val_dataloader(self):
        return DataLoader(self.points, self.batch_size)

class Base(LightningModule):
    def __init__(self, lr: LearningRate = 1e-2):
        super().__init__()
        self.lr = lr

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.layers(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

class Net(Base):
    def __init__(self, width: Annotated[int, hpo.Int(1, 8)] = 2, **rest):
        super().__init__(**rest)
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Linear(FEATURES, width), nn.Linear(width, 1))

SHORT = dict(epochs=2, sampler="random", pruner="none", resources={"accelerator": "cpu"})
"""

RUN = """
study = hpo.run(model=Net, data=Points, objective="val_loss", trials=3, slots=1, **SHORT)
best = study.best(1)[0]
found = {"state": study.status().state, "params": sorted(best.params), "model": best.config["model"]["class"]}
found["loaded"] = type(best.load_model()) is Net
print(json.dumps(found))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and an environment that names no store."""
    monkeypatch.chdir(tmp_path)
    for name in ("HPO_STORE", "HPO_PROJECT", "HPO_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def python(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program of the text as a script, or as a notebook does: without a file to read its source from."""

    def run(text: str, *, is_script: bool) -> subprocess.CompletedProcess[str]:
        file = folder / "search.py"
        if is_script:
            file.write_text(text)
        return subprocess.run(
            [sys.executable, *([str(file)] if is_script else ["-"])],
            input=None if is_script else text,
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            timeout=180,
        )

    return run


# ---- classes of modules


def test_keywords_a_dict_a_file_and_a_spec_are_one_study(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    frames = []
    space = {"lr": hpo.Float(1e-3, 1e-2, log=True), "batch_size": hpo.Choice(4, 8)}
    keys = {"model": nets.Line, "data": nets.Points, "objective": "val_loss", "space": space, **SHORT}
    file = Hpo(folder, "").study("Line", space={"lr": {"low": 1e-3, "high": 1e-2}, "batch_size": [4, 8]})

    study = hpo.run(**keys, trials=2, slots=1, on_frame=lambda counts: frames.append((counts.ended, counts.target)))
    again = hpo.run({"study": "Line", **keys}, trials=3)
    hpo.submit(hpo.StudySpec(study="Line", **keys), trials=4)
    hpo.submit(file, trials=5, project=PROJECT, store=str(folder / "hpo.db"))

    assert capfd.readouterr() == ("", "")
    assert isinstance(study, hpo.Study)
    assert (study.name, again.name) == ("Line", "Line")
    assert frames[-1] == (2, 2)
    assert [trial.state for trial in again.trials()] == [TrialState.COMPLETE] * 3
    assert all(set(trial.params) == {"lr", "batch_size"} for trial in study.trials())
    assert study.best(1)[0].load_model().hparams["lr"] == study.best(1)[0].params["lr"]
    assert (study.status().state, study.status().budget["trials"]["target"]) == (StudyState.RUNNING, 5)
    assert {path.name for path in folder.iterdir()} >= {"hpo.db", "hpo-artifacts"}
    with Store.open(f"sqlite:///{folder}/hpo.db") as store:
        assert load_study(store, "Line").resolved.spec.models[0].label == "projects.nets:Line"


def test_a_run_shows_its_counts_once_a_second_and_at_its_end(folder: Path) -> None:
    frames: list[tuple[float, int]] = []
    model = {"class": nets.Line, "seconds": 0.8}

    hpo.run(
        model=model,
        data=nets.Points,
        objective="val_loss",
        trials=2,
        slots=1,
        on_frame=lambda counts: frames.append((time.monotonic(), counts.ended)),
        **SHORT,
    )

    moments = [moment for moment, _ in frames]
    assert len(frames) >= 3
    assert min(later - before for before, later in itertools.pairwise(moments[:-1])) >= 1
    assert frames[-1][1] == 2


def test_a_check_says_what_a_study_searches_and_costs_and_creates_nothing(folder: Path) -> None:
    found = hpo.check(model=nets.Line, data=nets.Points, objective="val_loss", trials=7, name="checked", **SHORT)

    assert isinstance(found, hpo.StudyCheck)
    assert (found.study, found.metric, found.direction) == ("checked", "val_loss", "minimize")
    assert (found.space.names, found.metrics, found.parameters) == (("lr",), ("val_loss",), nets.FEATURES + 1)
    assert (found.trials, found.max_epochs, found.epochs) == (7, 2, 14)
    assert set(found.devices) == {"cpu"}
    assert list(folder.iterdir()) == []


def test_a_study_that_fails_says_why_and_where(folder: Path) -> None:
    with pytest.raises(hpo.SpecError) as unlogged:
        hpo.run(model=nets.Silent, data=nets.Points, objective="val_loss", **SHORT)
    with pytest.raises(hpo.SpecError) as unknown:
        hpo.run(model=nets.Line, data=nets.Points, objective="val_loss", space={"lrr": hpo.Float(0, 1)}, **SHORT)

    assert str(unlogged.value).startswith("hpo.run: objective: the model never logs 'val_loss'")
    assert str(unknown.value).startswith("hpo.run: space.lrr: 'lrr' is not searched by projects.nets:Line")
    assert "did you mean 'lr'" in str(unknown.value)
    with Store.open(f"sqlite:///{folder}/hpo.db") as store, pytest.raises(hpo.StoreError, match="no study 'Silent'"):
        load_study(store, "Silent")


@pytest.mark.parametrize(
    ("study", "keys", "message"),
    [
        (None, {"modle": nets.Line}, "hpo.run takes no 'modle', did you mean 'model'? It takes name, trials, slots, "),
        (None, {"trial": 3}, "hpo.run takes no 'trial', did you mean 'trials'?"),
        ({"modle": "a:B"}, {}, "hpo.run: modle: unknown key, did you mean 'model'?"),
        (None, {"data": nets.Points, "objective": "val_loss"}, "hpo.run: model: is missing"),
        (None, {"model": 3, "data": nets.Points, "objective": "loss"}, "hpo.run: model: should name a class"),
        (nets.Line, {}, "hpo.run: a study is a file's path, a dict or hpo.StudySpec, not"),
        ("nothing.yaml", {}, "nothing.yaml: there is no such file"),
    ],
)
def test_mistakes_are_reported_before_anything_is_imported(folder: Path, study: Any, keys: Any, message: str) -> None:
    with pytest.raises(hpo.SpecError) as caught:
        hpo.run(study, **keys)

    assert message in str(caught.value)
    assert list(folder.iterdir()) == []


def test_classes_of_two_folders_are_refused_in_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "elsewhere.py").write_text("class Points: pass\n")
    monkeypatch.syspath_prepend(str(folder))
    import elsewhere  # type: ignore[import-not-found]

    with pytest.raises(hpo.SpecError) as caught:
        hpo.run(model=nets.Line, data=elsewhere.Points, objective="val_loss")

    assert f"hpo.run: data: elsewhere:Points was imported from {folder}, and projects.nets:Line from {PROJECT}" in str(
        caught.value
    )


# ---- classes of a script or notebook


@pytest.mark.parametrize("is_script", [True, False], ids=["script", "notebook"])
def test_classes_of_the_program_itself_are_searched_and_loaded(
    folder: Path, python: Callable[..., subprocess.CompletedProcess[str]], is_script: bool
) -> None:
    done = python(CLASSES + RUN, is_script=is_script)

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "state": "done",
        "params": ["lr", "width"],
        "model": "__main__:Net",
        "loaded": True,
    }
    kept = b"".join(path.read_bytes() for path in folder.glob("hpo.db*"))
    assert b"__main__:Net" in kept
    assert b"cloudpickle" not in kept
    assert b"gAWV" not in kept  # what a pickle begins with, as text

    worker = subprocess.run(
        [sys.executable, "-m", "hpo", "worker", "Net", "--until-idle"], capture_output=True, text=True, timeout=120
    )

    assert worker.returncode == 2
    assert (
        "__main__:Net: Net was defined in a script or notebook, from which this process cannot import it"
        in worker.stderr
    )
    assert "Move it to a file of the project folder, such as mynets.py" in worker.stderr
    assert "Traceback" not in worker.stderr
    with pytest.raises(hpo.LoadError, match="__main__:Net: Net was defined in a script or notebook"):
        hpo.open_study("Net").best(1)[0].load_model()


def test_another_thread_than_the_main_one_can_search(python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    text = f"def search():\n{textwrap.indent(RUN, '    ')}\n"

    done = python(
        f"{CLASSES}\n{text}\nthread = threading.Thread(target=search)\nthread.start()\nthread.join()\n", is_script=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["loaded"] is True


REFUSALS = """
import threading
import projects.threaded

LOCK = threading.Lock()
WEIGHTS = bytes(40 << 20)

class Locked(Net):
    def on_train_start(self):
        with LOCK:
            pass

class Heavy(Net):
    def on_train_start(self):
        len(WEIGHTS)

class Threaded(Net):
    def on_train_start(self):
        projects.threaded.never

class Untyped(Net):
    def __init__(self, width: "Annotated[int, hpo.Int(1, Nothing)]" = 2):
        super().__init__(width)

for call, model in ((hpo.run, Locked), (hpo.run, Heavy), (hpo.run, Threaded), (hpo.run, Untyped), (hpo.submit, Net)):
    try:
        call(model=model, data=Points, objective="val_loss", trials=1, **SHORT)
    except hpo.HpoError as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""


def test_what_cannot_be_sent_is_refused_in_words(python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = python(CLASSES + REFUSALS, is_script=True)

    assert (done.returncode, done.stderr) == (0, "")
    locked, heavy, threaded, untyped, submitted = (json.loads(line) for line in done.stdout.splitlines())
    advice = "to a file, such as mynets.py, and import from there"
    assert locked.startswith("LoadError: hpo.run: model: Locked and Points cannot be sent to the trial processes: ")
    assert "cannot pickle '_thread.lock' object" in locked
    assert locked.endswith(f"Move Locked and Points {advice}")
    assert "Heavy and Points cannot be sent" in heavy
    assert "they take 40 MiB, but the limit is 32 MiB. Load the data in the data module's" in heavy
    assert "its imports start threads (sentinel), which do not survive a fork" in threaded
    assert threaded.endswith(f"Move Threaded and Points {advice}")
    assert "'width': its annotation cannot be read: name 'Nothing' is not defined" in untyped
    assert "workers cannot import what is defined in a script or notebook; only hpo.run can train it" in submitted
    assert submitted.startswith("LoadError: hpo.submit: model: ")


SLOW = """
import time

SECONDS = float(sys.argv[1])

class Slow(Net):
    def on_train_epoch_start(self):
        time.sleep(SECONDS)

SHORT["epochs"] = 40
print(len(hpo.run(model=Slow, data=Points, objective="val_loss", trials=2, slots=2, name="slow", **SHORT).best(9)))
"""


def test_an_interrupt_hands_trials_back_and_the_same_call_continues(folder: Path) -> None:
    file = folder / "search.py"
    file.write_text(CLASSES + SLOW)
    process = subprocess.Popen(
        [sys.executable, str(file), "0.3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    looking = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    wait_for(lambda: len([trial for trial in looking.trials("slow") if trial.epochs > 0]) == 2)

    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)

    assert process.returncode in (1, 130, -signal.SIGINT)
    assert output == ""
    assert "KeyboardInterrupt: study slow was interrupted: the same call continues it" in errors
    assert looking.counts("slow") == {"idle": 2}
    epochs = [trial.epochs for trial in looking.trials("slow")]

    done = subprocess.run([sys.executable, str(file), "0"], capture_output=True, text=True, timeout=120)

    assert (done.returncode, done.stdout) == (0, "2\n")
    assert [trial.epochs for trial in looking.trials("slow")] == [40, 40]
    assert all(epoch < 40 for epoch in epochs)


def test_a_class_of_a_script_that_was_changed_is_told(
    python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    other = CLASSES.replace("torch.randn(16, FEATURES)", "torch.rand(16, FEATURES)")

    first = python(CLASSES + RUN, is_script=True)
    again = python(CLASSES + RUN, is_script=True)
    changed = python(other + RUN, is_script=True)

    assert (first.returncode, again.returncode, changed.returncode) == (0, 0, 1), again.stderr
    assert "study 'Net' began with other data or code:\n  code Points: other contents\n" in changed.stderr
