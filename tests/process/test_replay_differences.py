"""A replay that differs says what does, from which epoch on, by how much, and what was changed since."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from projects.launch import Hpo
from projects.service import invoke

import hpo as hpo_service
from hpo.errors import HpoError, RunError, SpecError
from hpo.ipc.fork_server import ForkServer
from hpo.queue.findings import findings_of
from hpo.queue.studies import load_study
from hpo.service.assembly import Workspace, begin
from hpo.service.prepare import prepare
from hpo.service.replay import replay_trial
from hpo.service.replay_result import Replay
from hpo.service.replay_stored import replay_stored
from hpo.store import Store
from hpo.study.devices import Slot
from hpo.study.study_file import Source, read_study

EPOCHS = 4
NETS = """
import os, time
from pathlib import Path
from typing import Annotated, Literal

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset

from hpo import Choice, Float


class Net(LightningModule):
    def __init__(
        self,
        does: Annotated[Literal["learn", "tell the time", "draw unseeded", "raise"], Choice()] = "learn",
        lr: float = 0.01,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(1, 1, bias=bias)

    def training_step(self, batch, _):
        return (self.layer(batch[0]) - batch[0]).square().mean()

    def on_train_epoch_start(self):
        if self.hparams.does == "raise" and self.current_epoch == 2:
            raise RuntimeError("the third epoch is too much")
        if self.hparams.does == "draw unseeded" and self.current_epoch == 1:
            with torch.no_grad():
                self.layer.weight += int.from_bytes(os.urandom(2), "big") / 2**20 + 1e-3

    def validation_step(self, batch, _):
        self.log("val_loss", (self.layer(batch[0]) - batch[0]).square().mean())
        if self.hparams.does == "tell the time":
            self.log("seconds", torch.tensor(time.time(), dtype=torch.float64))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class Numbers(LightningDataModule):
    def __init__(self, file: str = "numbers.txt") -> None:
        super().__init__()
        self.file = file

    def setup(self, stage) -> None:
        self.numbers = torch.tensor([[float(line)] for line in Path(self.file).read_text().split()])

    def train_dataloader(self):
        return DataLoader(TensorDataset(self.numbers), 4)

    val_dataloader = train_dataloader
"""
LEARNS, TELLS, DRAWS, RAISES = range(4)
SECONDS = itertools.count(1_700_000_000)


class Project(Hpo):
    """A project folder of its own, with a study that has been searched: a trial of each kind."""

    server: ForkServer

    def _options(self) -> list[str]:
        return ["--project", str(self.folder), "--store", self.url]

    def replay(self, number: int, epochs: int | None = None) -> Replay:
        with Store.open(self.url) as store:
            return replay_stored(store, "numbers", number, epochs=epochs, server=self.server, project=self.folder)


def rewrite(module: Path, text: str) -> None:
    """Write other code: Python compiles a module anew if its second of modification, or its size, is another one."""
    module.write_text(text)
    second = next(SECONDS)
    os.utime(module, (second, second))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, server: ForkServer) -> Project:
    folder = tmp_path_factory.mktemp("differences")
    hpo = Project(folder, f"sqlite:///{folder}/hpo.db")
    hpo.server = server
    (folder / "nets.py").write_text(NETS)
    (folder / "numbers.txt").write_text("1 2 3 4 5 6")
    does = ["learn", "tell the time", "draw unseeded", "raise"]
    keys = {"sampler": "grid", "space": {"does": does}, "budget": {"trials": len(does)}, "epochs": EPOCHS}
    file = hpo.study("numbers", model="nets:Net", data="nets:Numbers", **keys)
    with Store.create(hpo.url) as store:
        begin(Workspace(server, folder, store, folder / "art"), *read_study(file)).worker.run_until_done()
    assert [trial.params["does"] for trial in hpo.trials("numbers")] == does
    return hpo


@pytest.fixture
def unchanged(project: Project) -> Project:
    """The project with its files as they were."""
    rewrite(project.folder / "nets.py", NETS)
    (project.folder / "numbers.txt").write_text("1 2 3 4 5 6")
    return project


def test_equal_files_give_an_equal_trial_and_nothing_is_left_of_it(unchanged: Project) -> None:
    files = sorted(unchanged.folder.rglob("*"))
    trials = len(unchanged.trials("numbers"))

    found = unchanged.replay(LEARNS)

    assert (found.is_equal, found.tensors, found.epochs, found.provenance_changes) == (True, 2, EPOCHS, ())
    assert "versions, device, data and code are as when it was trained" in str(found)
    assert len(unchanged.trials("numbers")) == trials
    assert {path for path in unchanged.folder.rglob("*") if "hpo.db" not in path.name} <= set(files)


def test_a_metric_that_tells_the_time_differs_and_nothing_else(unchanged: Project) -> None:
    found = unchanged.replay(TELLS)

    assert [(each.name, each.kind, each.epoch, each.count) for each in found.differences] == [
        ("seconds", "metric", 1, EPOCHS)
    ]
    assert "bit-equal: val_loss" in str(found)
    assert found.verdict == (
        f"not reproduced: from epoch 1 on, seconds differs; the weights of epoch {found.weights_epoch} are bit-equal"
    )
    assert "draws on something that the seed does not determine" in str(found)


def test_a_training_that_draws_unseeded_numbers_differs_from_then_on_in_weights_too(unchanged: Project) -> None:
    found = unchanged.replay(DRAWS)

    metric, *tensors = found.differences
    assert (metric.name, metric.epoch, metric.count) == ("val_loss", 2, EPOCHS - 1)
    assert metric.largest is not None
    assert metric.largest > 0
    assert {tensor.name for tensor in tensors} <= {"layer.weight", "layer.bias"}
    assert tensors
    assert f"weights after epoch {found.weights_epoch}: {len(tensors)} of 2 tensors differ" in str(found)


def test_of_a_trial_that_failed_what_it_had_trained_is_replayed(unchanged: Project) -> None:
    found = unchanged.replay(RAISES)

    assert (found.is_equal, found.epochs) == (True, 2)
    assert found.weights_note == "the trial (failed) has no checkpoint"


def test_only_the_first_epochs_are_trained_when_asked(unchanged: Project) -> None:
    found = unchanged.replay(DRAWS, epochs=1)

    assert (found.is_equal, found.epochs, found.epochs_of_trial) == (True, 1, EPOCHS)
    assert str(found).startswith(f"numbers, trial {DRAWS}: trained again for one epoch of {EPOCHS} on cpu")
    assert "which was not reached" in found.weights_note


@pytest.mark.parametrize("epochs", [0, -1, True, 1.5, "2"])
def test_a_number_of_epochs_that_is_none_is_refused(unchanged: Project, epochs: object) -> None:
    with pytest.raises(SpecError, match="a replay trains a whole number of epochs, at least one"):
        unchanged.replay(LEARNS, epochs=epochs)  # type: ignore[arg-type]


def test_other_data_is_named(unchanged: Project) -> None:
    (unchanged.folder / "numbers.txt").write_text("1 2 3 4 5 7")

    found = unchanged.replay(LEARNS)

    assert found.provenance_changes == ("data numbers.txt: other contents",)
    assert found.differences[0].epoch == 1
    assert found.verdict == "not reproduced: from epoch 1 on, val_loss differs"


def test_other_code_and_what_it_changes_in_the_arguments_are_named(unchanged: Project) -> None:
    rewrite(unchanged.folder / "nets.py", NETS.replace("lr: float = 0.01", "lr: float = 0.02"))

    found = unchanged.replay(LEARNS)

    assert found.provenance_changes == (
        "code: other contents in the study's modules",
        "model's argument lr: 0.02, before 0.01",
    )
    assert not found.is_equal


def test_weights_of_another_shape_are_a_difference(unchanged: Project) -> None:
    rewrite(unchanged.folder / "nets.py", NETS.replace("bias: bool = True", "bias: bool = False"))

    found = unchanged.replay(LEARNS)

    assert ("layer.bias", None) in {(each.name, each.largest) for each in found.differences}
    assert "layer.bias: other shape, type or content" in str(found)


def test_a_training_that_fails_now_says_why_and_what_was_changed(unchanged: Project) -> None:
    (unchanged.folder / "numbers.txt").unlink()

    with pytest.raises(RunError) as failed:
        unchanged.replay(LEARNS)

    assert str(failed.value).startswith(
        f"trial {LEARNS} of study 'numbers' could not be trained again: FileNotFoundError: "
    )
    assert str(failed.value).endswith("\nWhat differs from when it was trained:\n  data numbers.txt: not there")


def test_a_class_that_is_gone_is_an_error_of_the_study(unchanged: Project) -> None:
    rewrite(unchanged.folder / "nets.py", NETS.replace("class Net(", "class Other("))

    with pytest.raises(HpoError, match="has no class 'Net'"):
        unchanged.replay(LEARNS)


def test_a_checkpoint_that_is_another_file_or_gone_is_not_compared(unchanged: Project) -> None:
    [path] = [Path(trial.checkpoint or "") for trial in unchanged.trials("numbers") if trial.number == LEARNS]
    contents = path.read_bytes()
    try:
        path.write_bytes(contents + b"!")
        other = unchanged.replay(LEARNS)
        path.unlink()
        gone = unchanged.replay(LEARNS)
    finally:
        path.write_bytes(contents)

    assert (other.is_equal, gone.is_equal) == (True, True)
    assert "is not the file that trial 0 wrote" in other.weights_note
    assert gone.weights_note == f"{path} is not on this machine"
    assert "weights: not compared: " in str(gone)
    assert gone.verdict == f"reproduced bit by bit: its one metric in {EPOCHS} epochs"


def test_the_threads_of_the_trial_are_used_again(unchanged: Project) -> None:
    [record] = [trial for trial in unchanged.trials("numbers") if trial.number == LEARNS]
    changed = replace(record, provenance={**(record.provenance or {}), "threads": 3})
    with Store.open(unchanged.url) as store:
        study = load_study(store, "numbers")
    source = Source.of_stored("numbers")
    slot = Slot(0, (), 1, 1)
    with prepare(study.resolved.spec, source, server=unchanged.server, project=unchanged.folder) as prepared:
        found, other = (replay_trial(prepared, each, slot=slot, epochs=1) for each in (changed, record))

    assert (found.provenance_changes, found.is_equal) == ((), True)
    assert (other.provenance_changes, other.is_equal) == ((), True)


def test_each_replay_is_kept_as_a_finding_about_its_study(unchanged: Project) -> None:
    with Store.open(unchanged.url) as store:
        study_id = load_study(store, "numbers").study_id
        with store.read() as connection:
            before = findings_of(connection, study_id, "replay")
        found = replay_stored(store, "numbers", TELLS, epochs=2, server=unchanged.server, project=unchanged.folder)
        with store.read() as connection:
            [*earlier, last] = findings_of(connection, study_id, "replay")

    assert earlier == before
    assert last.content == found.to_json()
    assert (last.content["trial"], last.content["is_equal"], last.content["verdict"]) == (TELLS, False, found.verdict)


def test_the_command_prints_the_verdict_and_ends_with_it(unchanged: Project) -> None:
    equal, differing = unchanged.run("replay", "numbers", LEARNS), unchanged.run("replay", "numbers", TELLS, "--json")

    assert equal[0] == 0, equal
    assert (
        equal[1]
        .splitlines()[-1]
        .startswith("reproduced bit by bit: its one metric in 4 epochs, and the weights of epoch ")
    )
    assert differing[0] == 1
    assert json.loads(differing[1])["is_equal"] is False


def test_python_replays_as_the_command_does(unchanged: Project) -> None:
    seen: list[tuple[int, int]] = []
    study = hpo_service.open_study("numbers", unchanged.url, project=unchanged.folder)

    found = study.replay(LEARNS, 2, on_epoch=lambda *epoch: seen.append(epoch))

    assert isinstance(found, hpo_service.Replay)
    assert found.is_equal
    assert seen == [(1, 2), (2, 2)]


def test_a_trials_page_shows_its_provenance(unchanged: Project) -> None:
    record = unchanged.trials("numbers")[LEARNS]

    _, page = invoke(unchanged, "show", "numbers", LEARNS)
    _, document = invoke(unchanged, "show", "numbers", LEARNS, "--json")

    assert record.provenance is not None
    assert json.loads(document)["trial"]["provenance"] == record.provenance
    assert f"torch {record.provenance['versions']['torch']}" in page
    assert f"numbers.txt ({record.provenance['data']['data numbers.txt'][:12]})" in page
    assert str(record.provenance["seed"]) in page
