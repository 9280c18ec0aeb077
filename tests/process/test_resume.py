"""A training that resumes from its checkpoint gives the same weights, bit by bit, as without the interruption."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from projects.answering import Worker
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from hpo.study.job import BEST_CHECKPOINT, LAST_CHECKPOINT, PREVIOUS_CHECKPOINT
from hpo.training.best import MOST_HELD_BYTES
from hpo.training.executor import Request, choose_executor, use
from hpo.training.report import Report
from hpo.training.resume import find_saved
from hpo.training.scored_weights import ScoredWeights

EPOCHS = 6


class Noisy(pl.LightningModule):
    """Draws random numbers wherever a module may: dropout, the order of its samples, its own."""

    def __init__(self, schedule: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))
        self._schedule = schedule

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return nn.functional.mse_loss(self.layers(x + 0.1 * torch.randn_like(x)), y)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        self.log("val_loss", nn.functional.mse_loss(self.layers(x), y))
        self.log("val_mean", self.layers(x).double().mean())

    def configure_optimizers(self) -> Any:
        adam = torch.optim.Adam(self.parameters(), lr=0.05)
        match self._schedule:
            case "epoch":
                return [adam], [lr_scheduler.ExponentialLR(adam, 0.5)]
            case "step":
                return [adam], [{"scheduler": lr_scheduler.ExponentialLR(adam, 0.9), "interval": "step"}]
            case "plateau":
                lowered = lr_scheduler.ReduceLROnPlateau(adam, factor=0.5, patience=0)
                # Not strict: there may be an epoch before the first validation.
                config = {"scheduler": lowered, "monitor": "val_loss", "strict": False}
                return {"optimizer": adam, "lr_scheduler": config}
        return adam


def train(
    folder: Path,
    schedule: str,
    executor: Request = "lightning",
    *,
    end_at: int = EPOCHS,
    checkpoint: str | None = None,
    best_at: Sequence[int] = (),
    is_pruned: bool = False,
    validates_every: int = 1,
) -> Worker:
    """Its reports, and the weights at the end in `folder`."""
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    points = TensorDataset(x, x.sum(1, keepdim=True))
    pl.seed_everything(1, verbose=False)
    worker, model, scored = Worker(end_at, best_at, is_pruned=is_pruned), Noisy(schedule), ScoredWeights()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        check_val_every_n_epoch=validates_every,
        callbacks=[scored, Report(worker.connection, "val_loss", folder, scored)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    use(choose_executor(executor, model), trainer, pytest.fail)
    shuffled, ordered = DataLoader(points, 16, shuffle=True), DataLoader(points, 64)
    trainer.fit(model, shuffled, ordered, ckpt_path=checkpoint, weights_only=True)
    torch.save(model.state_dict(), folder / f"weights-{checkpoint is None}-{end_at}.pt")
    return worker


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.parametrize("schedule", ["none", "epoch", "step", "plateau"])
@pytest.mark.parametrize("executors", [*itertools.product(["lightning", "lean"], repeat=2)], ids="-then-".join)
def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path, schedule: str, executors: tuple[Request, Request]
) -> None:
    before, after = executors
    whole = train(tmp_path, schedule).values
    (tmp_path / LAST_CHECKPOINT).unlink()
    first = train(tmp_path, schedule, before, end_at=3).values
    saved, unusable = find_saved([str(tmp_path / LAST_CHECKPOINT), str(tmp_path / PREVIOUS_CHECKPOINT)])
    assert saved is not None
    assert unusable == []
    assert (saved.epochs, {epoch.epoch: epoch.value for epoch in saved.curve}) == (3, first)

    rest = train(tmp_path, schedule, after, checkpoint=saved.path).values

    assert first | rest == whole
    assert list(rest) == [4, 5, 6]
    assert_ends_are_equal(tmp_path)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:ReduceLROnPlateau conditioned on metric")
@pytest.mark.parametrize("schedule", ["none", "plateau"])
@pytest.mark.parametrize("executor", ["lightning", "lean"])
@pytest.mark.parametrize("end_at", [2, 3])
def test_a_training_that_is_interrupted_between_two_validations_logs_and_schedules_as_without(
    tmp_path: Path, schedule: str, executor: Request, end_at: int
) -> None:
    whole = train(tmp_path, schedule, executor, validates_every=2).metrics
    (tmp_path / LAST_CHECKPOINT).unlink()
    first = train(tmp_path, schedule, executor, end_at=end_at, validates_every=2).metrics

    rest = train(tmp_path, schedule, executor, checkpoint=str(tmp_path / LAST_CHECKPOINT), validates_every=2).metrics

    assert first | rest == whole
    assert whole[3].keys() == {"val_mean"}  # the last validation's; the objective is told once
    assert_ends_are_equal(tmp_path)


def assert_ends_are_equal(folder: Path) -> None:
    """The weights at the end of a whole training, and of a resumed one."""
    ends = [torch.load(folder / f"weights-{is_whole}-6.pt", weights_only=True) for is_whole in (True, False)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.parametrize("most_held", [MOST_HELD_BYTES, 0], ids=["held", "too large to be held"])
def test_the_weights_of_the_best_epoch_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_held: int
) -> None:
    monkeypatch.setattr("hpo.training.best.MOST_HELD_BYTES", most_held)
    train(tmp_path, "none", end_at=4)
    train(tmp_path, "none", best_at=(1, 4))

    assert_best_is_of(4, tmp_path)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_the_best_weights_are_on_the_disk_before_a_checkpoint_after_them(tmp_path: Path) -> None:
    train(tmp_path, "none", end_at=2)
    train(tmp_path, "none", end_at=3, best_at=(2,))

    assert_best_is_of(2, tmp_path)
    train(tmp_path, "none", checkpoint=str(tmp_path / LAST_CHECKPOINT))
    assert_best_is_of(2, tmp_path)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_a_pruned_trial_writes_no_weights(tmp_path: Path) -> None:
    train(tmp_path, "none", end_at=3, best_at=(1, 2, 3), is_pruned=True)

    assert not list(tmp_path.glob("*.ckpt"))


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_lightning_loads_the_checkpoints_of_a_lean_training(tmp_path: Path) -> None:
    train(tmp_path, "step", "lean", end_at=3, best_at=(3,))

    then = torch.load(tmp_path / "weights-True-3.pt", weights_only=True)
    for name in (BEST_CHECKPOINT, LAST_CHECKPOINT):
        loaded = Noisy.load_from_checkpoint(tmp_path / name, schedule="step", weights_only=True).state_dict()
        assert loaded.keys() == then.keys()
        assert all(torch.equal(loaded[name], then[name]) for name in then)


def assert_best_is_of(epoch: int, folder: Path) -> None:
    """The weights of the best epoch are those with which a training ended there."""
    best = torch.load(folder / BEST_CHECKPOINT, weights_only=True)["state_dict"]
    then = torch.load(folder / f"weights-True-{epoch}.pt", weights_only=True)
    assert best.keys() == then.keys()
    assert all(torch.equal(best[name], then[name]) for name in best)


def test_a_checkpoint_that_is_cut_off_gives_way_to_the_one_before_and_then_to_none(tmp_path: Path) -> None:
    last, previous = tmp_path / LAST_CHECKPOINT, tmp_path / PREVIOUS_CHECKPOINT
    for path in (last, previous):
        loops = {"fit_loop": {"epoch_progress": {"current": {"processed": 1}}}}
        torch.save({"callbacks": {}, "loops": loops, "weights": torch.arange(1000)}, path)
    paths = [str(last), str(previous)]

    found = [find_saved(paths)]
    last.write_bytes(last.read_bytes()[:-500])
    found.append(find_saved(paths))
    previous.write_bytes(b"")
    found.append(find_saved(paths))
    last.unlink()
    previous.unlink()
    found.append(find_saved(paths))

    assert [saved and saved.path for saved, _ in found] == [str(last), str(previous), None, None]
    assert [[reason.split(" (")[0] for reason in reasons] for _, reasons in found] == [
        [],
        [f"{last} cannot be read"],
        [f"{last} cannot be read", f"{previous} cannot be read"],
        [],
    ]


def test_a_file_without_a_training_state_is_skipped_too(tmp_path: Path) -> None:
    path = str(tmp_path / LAST_CHECKPOINT)
    torch.save({"weights": torch.arange(3)}, path)

    assert find_saved([path]) == (None, [f"{path} cannot be read (KeyError: 'callbacks')"])


def test_a_checkpoint_with_code_in_it_is_not_read(tmp_path: Path) -> None:
    path = str(tmp_path / LAST_CHECKPOINT)
    torch.save({"model": Noisy("none")}, path)

    reason = "it holds objects, and to read them could run code"
    assert find_saved([path]) == (None, [f"{path} cannot be read ({reason})"])
