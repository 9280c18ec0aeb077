"""What changes between two steps is not replayed with its earlier value; short trainings are not captured at all."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from recorder import Recorder

from hpo.training.executor import Executor, use
from hpo.training.lean.epoch import LeanEpochLoop
from hpo.training.lean.graphed import GraphedSteps

from .hooked import Points, Small
from .model_contract import cpu_trainer
from .test_graphs import NOT, REPLAYED, counted, fit

torch.set_num_threads(1)

CHANGED = f"{NOT}attributes of its modules change in the middle of an epoch"
AFTER_THE_PROBES = 5


class Anneals(Small):
    """From a batch on, it should learn nothing more."""

    tau = 1.0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch) * self.factor()

    def factor(self) -> Any:
        return self.tau

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == AFTER_THE_PROBES:
            self.anneal()

    def anneal(self) -> None:
        self.tau = 0.0


class AnnealsInADictionary(Anneals):
    def __init__(self) -> None:
        super().__init__()
        self.options = {"tau": 1.0}

    def factor(self) -> Any:
        return self.options["tau"]

    def anneal(self) -> None:
        self.options["tau"] = 0.0


class AnnealsInAnObject(Anneals):
    def __init__(self) -> None:
        super().__init__()
        self.options = SimpleNamespace(tau=1.0)

    def factor(self) -> Any:
        return self.options.tau

    def anneal(self) -> None:
        self.options.tau = 0.0


class AnnealsALayer(Anneals):
    def factor(self) -> Any:
        return 1.0

    def anneal(self) -> None:
        self.net[1].momentum = 0.9  # type: ignore[assignment]


class AnnealsATensor(Anneals):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.ones(())

    def factor(self) -> Any:
        return self.weight

    def anneal(self) -> None:
        self.weight = torch.zeros(())


class AnnealsInPlace(AnnealsATensor):
    def anneal(self) -> None:
        self.weight.zero_()


# The loss of some becomes the number 0, of which Lightning's loop warns.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize(
    "module", [Anneals, AnnealsInADictionary, AnnealsInAnObject, AnnealsALayer, AnnealsATensor],
)  # fmt: skip
def test_what_a_hook_changes_between_two_steps_ends_the_replays(module: type[Any]) -> None:
    messages, _, replays = counted(lambda: (module(), Points()), max_epochs=1)

    assert messages == [REPLAYED, CHANGED]
    assert replays >= 4


def test_a_tensor_that_is_changed_in_place_is_seen_by_a_replay() -> None:
    messages, _, _ = counted(lambda: (AnnealsInPlace(), Points()), max_epochs=2)

    assert messages == [REPLAYED]


def test_replays_are_compared_in_the_epochs_1_2_4_8_only() -> None:
    replays = []
    for epochs in range(2, 10):
        before = Recorder.replays
        fit(lambda: (Small(), Points()), is_graphed=True, max_epochs=epochs)
        replays.append(Recorder.replays - before)

    # An epoch has 7 whole batches. The first is replayed only to compare it; in the first epoch, it is watched.
    assert [more - less for less, more in itertools.pairwise([6, *replays])] == [7, 6, 7, 6, 6, 6, 7, 6]


@pytest.mark.parametrize(
    ("least", "reason"),
    [
        ((9, 0), "an epoch has 8 steps, fewer than 9"),
        ((8, 25), "the training has 24 steps, fewer than 25"),
        ((8, 24), None),
    ],
)
def test_short_trainings_are_not_captured(least: tuple[int, int], reason: str | None) -> None:
    messages: list[str] = []
    trainer = cpu_trainer(max_epochs=3)
    begun = Recorder.begun
    trainer.fit_loop.epoch_loop = LeanEpochLoop(trainer, pytest.fail, GraphedSteps(messages.append, Recorder, least))

    trainer.fit(Small(), datamodule=Points())

    assert messages == [REPLAYED if reason is None else f"{NOT}{reason}"]
    assert (Recorder.begun == begun) is (reason is not None)


def test_a_step_that_reads_a_value_on_the_host_is_refused_before_a_capture_begins() -> None:
    class Reads(Small):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            return loss * 2 if loss.item() > 0.5 else loss

    begun = Recorder.begun
    messages: list[str] = []

    fit(lambda: (Reads(), Points()), is_graphed=True, messages=messages)

    assert "called a synchronizing operation" in messages[0]
    assert Recorder.begun == begun


def test_without_the_key_no_step_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.training.lean.graphed.graph_on", Recorder)
    notes: list[str] = []
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)

    use(Executor("lean"), trainer, pytest.fail, notes.append)

    assert isinstance(trainer.fit_loop.epoch_loop, LeanEpochLoop)
    assert trainer.fit_loop.epoch_loop._graphs is None
    use(Executor("lean"), trainer, pytest.fail, notes.append, cuda_graphs=True)
    assert isinstance(trainer.fit_loop.epoch_loop, LeanEpochLoop)
    assert trainer.fit_loop.epoch_loop._graphs is not None
