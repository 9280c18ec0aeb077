"""Checkpoints of trainings that hold more than tensors: they are written, resumed from and loaded as Lightning's."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from projects.answering import Worker
from pytorch_lightning.callbacks import EMAWeightAveraging, StochasticWeightAveraging, WeightAveraging
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from hpo.errors import LoadError
from hpo.study.job import BEST_CHECKPOINT, LAST_CHECKPOINT
from hpo.training.checkpoint import RECORD, RestoringCheckpointIO, dump
from hpo.training.executor import choose_executor, use
from hpo.training.load_model import load_model
from hpo.training.report import Report
from hpo.training.resume import find_saved
from hpo.training.scored_weights import ScoredWeights

EPOCHS = 6
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*", "ignore:.*is an instance of `nn.Module` and is already saved.*"
)


class Points(pl.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(64, 4, generator=generator)
        self.points = TensorDataset(x, x.sum(1, keepdim=True))
        self.scale = np.array([2.0, 3.0])

    def train_dataloader(self) -> Any:
        return DataLoader(self.points, 16, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.points, 64)

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert isinstance(state_dict["scale"], np.ndarray)


class Line(pl.LightningModule):
    """A network on four features."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])


class WithArray(Line):
    def __init__(self, lr: float = 0.05, weights: Any = np.array([1.0, 2.0])) -> None:  # noqa: B008
        super().__init__(lr)
        self.save_hyperparameters()


class WithPath(Line):
    def __init__(self, lr: float = 0.05, cache: Path = Path("/cache")) -> None:
        super().__init__(lr)
        self.save_hyperparameters()


class WithClass(Line):
    def __init__(self, lr: float = 0.05, activation: Any = nn.ReLU) -> None:
        super().__init__(lr)
        self.save_hyperparameters()


class WithModule(Line):
    def __init__(self, lr: float = 0.05, criterion: Any = nn.MSELoss()) -> None:  # noqa: B008
        super().__init__(lr)
        self.save_hyperparameters()


class WithScaler(Line):
    """Keeps a fitted scaler in its checkpoints, and needs it to go on."""

    mean: Any = None

    def on_train_epoch_end(self) -> None:
        self.mean = np.full(4, float(self.current_epoch)) if self.mean is None else self.mean + 1

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["scaler"] = {"mean": self.mean, "folder": Path("/scaler")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.mean, folder = checkpoint["scaler"]["mean"], checkpoint["scaler"]["folder"]
        assert isinstance(self.mean, np.ndarray)
        assert folder == Path("/scaler")


class WithSchedule(Line):
    """Its schedule keeps the function that it was made with."""

    def configure_optimizers(self) -> Any:
        adam = super().configure_optimizers()
        schedule = lr_scheduler.ExponentialLR(adam, 0.9)
        schedule.anneal = torch.cos  # type: ignore[attr-defined]
        schedule.history = [np.float64(0.5)]  # type: ignore[attr-defined]
        return [adam], [schedule]


class Counting(pl.Callback):
    def __init__(self, count: Any) -> None:
        self.count = count

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "seen": np.int64(3)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count = state_dict["count"]


class WithCallback(Line):
    def configure_callbacks(self) -> Any:
        return [Counting(np.arange(3))]


class WithObjectInCallback(Line):
    def configure_callbacks(self) -> Any:
        return [Counting(nn.ReLU())]


class WithObject(Line):
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["tokenizer"] = functools.partial(int, base=2)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.tokenizer = checkpoint["tokenizer"]


def train(
    folder: Path,
    model: pl.LightningModule,
    *,
    end_at: int = EPOCHS,
    checkpoint: str | None = None,
    executor: Any = "auto",
    given: dict[str, Any] | None = None,
) -> Worker:
    """Train; each epoch's weights are taken as the best."""
    pl.seed_everything(1, verbose=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    scored, worker = ScoredWeights(), Worker(end_at, range(1, EPOCHS + 1))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        callbacks=[scored, Report(worker.connection, "val_loss", folder, scored, given)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    use(choose_executor(executor, model), trainer, pytest.fail)
    if checkpoint:
        trainer.strategy.checkpoint_io = RestoringCheckpointIO()
    trainer.fit(model, datamodule=Points(), ckpt_path=checkpoint, weights_only=True)
    return worker


def score(model: pl.LightningModule) -> float:
    with torch.no_grad():
        return float(model.loss(Points().points.tensors))  # type: ignore[operator]


def loaded(folder: Path, model_class: type[pl.LightningModule], **arguments: Any) -> Any:
    config = {"model": {"class": f"{__name__}:{model_class.__name__}", **arguments}}
    return load_model(config, folder / BEST_CHECKPOINT, Path(__file__).parent)


@pytest.mark.parametrize(
    "model_class", [Line, WithArray, WithPath, WithClass, WithModule, WithScaler, WithSchedule, WithCallback]
)
def test_a_training_resumes_whatever_its_checkpoint_holds(
    tmp_path: Path, model_class: type[pl.LightningModule]
) -> None:
    whole = train(tmp_path, model_class()).values
    first = train(tmp_path, model_class(), end_at=3)
    saved, unusable = find_saved([str(tmp_path / LAST_CHECKPOINT)])
    assert saved is not None
    rest = train(tmp_path, model_class(), checkpoint=saved.path)

    assert (saved.epochs, unusable, first.warnings, rest.warnings) == (3, [], [], [])
    assert first.values | rest.values == whole
    assert list(rest.values) == [4, 5, 6]
    # and Lightning reads both by itself
    for name in (LAST_CHECKPOINT, BEST_CHECKPOINT):
        torch.load(tmp_path / name, weights_only=True)
        model_class.load_from_checkpoint(tmp_path / name, weights_only=True) if model_class is not WithScaler else None


def test_the_hyperparameters_that_a_file_can_hold_come_back_as_they_were(tmp_path: Path) -> None:
    weights = np.array([3.0, 4.0])
    train(tmp_path, WithArray(weights=weights), end_at=1)

    again = loaded(tmp_path, WithArray, lr=0.05)

    np.testing.assert_array_equal(again.hparams["weights"], weights)


@pytest.mark.parametrize(
    ("model_class", "what"),
    [
        (WithObject, "tokenizer (functools.partial)"),
        (WithObjectInCallback, "callbacks.Counting.count (torch.nn.modules.activation.ReLU)"),
    ],
)
def test_what_a_training_would_need_to_resume_is_named(
    tmp_path: Path, model_class: type[pl.LightningModule], what: str
) -> None:
    worker = train(tmp_path, model_class(), end_at=2)

    found = find_saved([str(tmp_path / LAST_CHECKPOINT)])

    assert found == (None, [f"{tmp_path / LAST_CHECKPOINT} is without {what}"])
    [warning] = worker.warnings
    assert warning.startswith(f"its checkpoints are without {what}, and no attempt can resume from them: ")


def test_what_load_model_would_need_is_named(tmp_path: Path) -> None:
    train(tmp_path, WithObject(), end_at=1)

    with pytest.raises(LoadError, match=r"KeyError: 'tokenizer'; the checkpoint is without tokenizer \(functools"):
        loaded(tmp_path, WithObject)


def test_hyperparameters_that_are_left_out_are_named_in_the_log_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = train(tmp_path, WithClass(), end_at=3)

    what = "hyper_parameters.activation (the class torch.nn.modules.activation.ReLU)"
    assert capsys.readouterr().out.count(f"checkpoints: without {what}") == 1
    assert worker.warnings == []
    assert isinstance(loaded(tmp_path, WithClass), WithClass)


def test_a_configuration_that_is_tried_out_tells_what_its_checkpoints_would_be_without() -> None:
    model, worker, scored = WithObject(), Worker(1), ScoredWeights()
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=[scored, Report(worker.connection, "val_loss", None, scored)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_train_batches=1,
        max_epochs=1,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, datamodule=Points())

    assert "without tokenizer (functools.partial)" in worker.warnings[0]


# ---- the weights that were scored


class Averaged(Line):
    def configure_callbacks(self) -> Any:
        return [EMAWeightAveraging(decay=0.9)]


class AveragedLate(Line):
    def configure_callbacks(self) -> Any:
        return [EMAWeightAveraging(decay=0.9, update_starting_at_step=6)]


class AveragedEqually(Line):
    def configure_callbacks(self) -> Any:
        return [WeightAveraging(use_buffers=False)]


class Swa(Line):
    def configure_callbacks(self) -> Any:
        return [StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=2)]


class SwapsItself(Line):
    """Scores an average that it keeps itself, outside of its state."""

    def on_fit_start(self) -> None:
        self.averages = [parameter.detach().clone() for parameter in self.parameters()]

    def on_train_batch_end(self, *_: Any) -> None:
        for average, parameter in zip(self.averages, self.parameters(), strict=True):
            average.lerp_(parameter.detach(), 0.1)

    def swap(self) -> None:
        for average, parameter in zip(self.averages, self.parameters(), strict=True):
            kept = parameter.detach().clone()
            parameter.data.copy_(average)
            average.copy_(kept)

    def on_validation_epoch_start(self) -> None:
        self.swap()

    def on_validation_end(self) -> None:
        self.swap()


class RoundsAfterwards(Line):
    def on_train_epoch_end(self) -> None:
        for parameter in self.parameters():
            parameter.data.mul_(10).round_().div_(10)


@pytest.mark.parametrize("executor", ["lean", "lightning"])
@pytest.mark.parametrize("most_held", [64 << 20, 0], ids=["held", "written at once"])
@pytest.mark.parametrize(
    "model_class", [Line, Averaged, AveragedLate, AveragedEqually, Swa, SwapsItself, RoundsAfterwards, WithScaler]
)
def test_the_weights_that_are_kept_are_those_that_were_scored(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model_class: type[pl.LightningModule],
    most_held: int,
    executor: str,
) -> None:
    monkeypatch.setattr("hpo.training.best.MOST_HELD_BYTES", most_held)
    worker = train(tmp_path, model_class(), end_at=4, executor=executor)

    assert score(loaded(tmp_path, model_class)) == pytest.approx(worker.values[4], rel=1e-5)


@pytest.mark.parametrize("model_class", [Averaged, Swa, WithScaler])
def test_to_keep_the_scored_weights_does_not_change_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_class: type[pl.LightningModule]
) -> None:
    kept = train(tmp_path, model_class()).values
    monkeypatch.setattr(Report, "_name_left_out", lambda *_: None)
    monkeypatch.setattr("hpo.training.best.Best.take", lambda *_: None)

    assert train(tmp_path, model_class()).values == kept


@pytest.mark.filterwarnings("ignore:.*WeightAveraging callback.*")
@pytest.mark.parametrize("model_class", [Averaged, AveragedLate, AveragedEqually, Swa])
def test_a_training_with_averages_resumes_with_them(tmp_path: Path, model_class: type[pl.LightningModule]) -> None:
    whole = train(tmp_path, model_class()).values
    first = train(tmp_path, model_class(), end_at=3).values

    rest = train(tmp_path, model_class(), checkpoint=str(tmp_path / LAST_CHECKPOINT)).values

    assert first | rest == pytest.approx(whole, rel=1e-6)


def test_nothing_is_copied_where_no_hook_may_change_the_weights(tmp_path: Path) -> None:
    scored, model = ScoredWeights(), Line()
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(callbacks=[scored], accelerator="cpu", **quiet)
    trainer.strategy.connect(model)
    scored.on_validation_epoch_end(trainer, model)

    assert scored._scored == {}


# ---- loading as Lightning does


class Grows(Line):
    """Its layers are created late, and not all of its weights are kept."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__(lr)
        self.late: nn.Module | None = None
        self.frozen = nn.Linear(1, 1)
        self.strict_loading = False

    def configure_model(self) -> None:
        if self.late is None:
            self.late = nn.Linear(4, 1)

    def loss(self, batch: Any) -> Tensor:
        assert self.late is not None
        return nn.functional.mse_loss(self.net(batch[0]) + self.late(batch[0]), batch[1])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name in [name for name in checkpoint["state_dict"] if name.startswith("frozen")]:
            del checkpoint["state_dict"][name]


@pytest.mark.filterwarnings("ignore:Found keys that are in the model state dict but not in the checkpoint.*")
def test_late_layers_and_weights_that_are_not_kept_are_loaded_as_lightning_loads_them(tmp_path: Path) -> None:
    worker = train(tmp_path, Grows(), end_at=2)

    assert score(loaded(tmp_path, Grows)) == pytest.approx(worker.values[2], rel=1e-5)


def test_what_the_module_put_into_its_checkpoint_comes_back(tmp_path: Path) -> None:
    train(tmp_path, WithScaler(), end_at=3)

    np.testing.assert_array_equal(loaded(tmp_path, WithScaler).mean, np.full(4, 2.0))


class Fed(Line):
    """Takes what only the data module has."""

    def __init__(self, weights: Any, shape: Any, tokenizer: Any, lr: float = 0.05) -> None:
        super().__init__(lr)
        self.weights, self.shape, self.tokenizer = weights, shape, tokenizer


class Feeding(Points):
    def setup(self, stage: str | None = None) -> None:
        self.weights, self.shape, self.tokenizer = np.array([1.0, 2.0]), (1, 4), functools.partial(int, base=2)


def test_arguments_of_the_data_module_come_from_the_checkpoint_or_from_the_data_module(tmp_path: Path) -> None:
    data = Feeding()
    data.setup()
    given = {name: getattr(data, name) for name in ("weights", "shape", "tokenizer")}
    train(tmp_path, Fed(**given), end_at=1, given=given)
    given["weights"] += 1  # after the file was written

    config = {"model": {"class": f"{__name__}:Fed", "shape": [1, 4], "lr": 0.05}}
    again = load_model(
        {**config, "data": {"class": f"{__name__}:Feeding"}}, tmp_path / BEST_CHECKPOINT, Path(__file__).parent
    )

    assert isinstance(again, Fed)
    assert (again.weights.tolist(), again.shape, again.tokenizer("10")) == ([1.0, 2.0], (1, 4), 2)
    with pytest.raises(LoadError, match="Fed needs tokenizer, which the checkpoint does not hold"):
        load_model(config, tmp_path / BEST_CHECKPOINT, Path(__file__).parent)


class Wider(Line):
    def __init__(self, lr: float = 0.05) -> None:
        super().__init__(lr)
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))


def test_a_file_without_weights_or_of_another_class_is_refused_in_words(tmp_path: Path) -> None:
    train(tmp_path, Line(), end_at=1)
    path = tmp_path / BEST_CHECKPOINT

    with pytest.raises(LoadError, match=r"does not hold the weights of \S+:Wider: RuntimeError: (.|\n)*size mismatch"):
        loaded(tmp_path, Wider)
    torch.save({"weights": torch.ones(1)}, path)
    with pytest.raises(LoadError, match="it has no state_dict"):
        loaded(tmp_path, Line)


def test_our_record_says_what_a_checkpoint_is_without(tmp_path: Path) -> None:
    model = WithClass()
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", max_epochs=0)
    trainer.fit(model, datamodule=Points())

    contents = dump(trainer, weights_only=True)

    assert contents.needed == []
    assert contents.values[RECORD]["left_out"] == [
        "hyper_parameters.activation (the class torch.nn.modules.activation.ReLU)"
    ]
