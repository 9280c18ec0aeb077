"""The choice of the executor for a module, and the message when it is not the requested one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from torch import Tensor, nn
from torch.utils.data import DataLoader

from hpo.errors import ExecutorError, SpecError
from hpo.study.study_file import read_study
from hpo.training.executor import choose_executor, use
from hpo.training.lean import support
from hpo.training.lean.epoch import LeanEpochLoop
from hpo.training.lean.validation import LeanValidationLoop


class Plain(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.layer(batch).mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.log("val_loss", self.layer(batch).mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class ByHand(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.manual_backward(self.layer(batch).mean())
        self.optimizers().step()  # type: ignore[union-attr]


class ByHandFromItsSetupOn(ByHand):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = True

    def setup(self, stage: str) -> None:
        self.automatic_optimization = False


class TwoByHand(ByHand):
    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD([parameter], lr=0.1) for parameter in self.layer.parameters()]

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.manual_backward(self.layer(batch).mean())
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.step()


class OwnLoop(_TrainingEpochLoop):
    pass


class BringsItsLoop(Plain):
    def setup(self, stage: str) -> None:
        own, before = OwnLoop(self.trainer), self.trainer.fit_loop.epoch_loop
        own.val_loop = before.val_loop  # which knows the data already
        self.trainer.fit_loop.epoch_loop = own


class TakesAnIterator(Plain):
    def training_step(self, dataloader_iter: Any) -> Any:  # type: ignore[override]
        return self.layer(next(dataloader_iter)[0]).mean()


@pytest.mark.parametrize(
    ("module", "ranks", "reason"),
    [
        (Plain, 1, None),
        (Plain, 2, "the trial has several devices"),
        (ByHand, 1, "ByHand optimises manually (automatic_optimization is False)"),
        (TwoByHand, 1, "TwoByHand optimises manually (automatic_optimization is False)"),
        (TakesAnIterator, 1, "TakesAnIterator.training_step takes the loader's iterator (dataloader_iter)"),
    ],
)
def test_auto_takes_the_lean_one_where_it_can_and_logs_why_it_cannot(
    module: type[pl.LightningModule], ranks: int, reason: str | None
) -> None:
    chosen = choose_executor("auto", module(), ranks=ranks)

    assert str(chosen) == ("lean" if reason is None else f"lightning, because {reason}")
    assert str(choose_executor("lightning", module(), ranks=ranks)) == "lightning, because the study asks for it"
    if reason is not None:
        with pytest.raises(ExecutorError) as raised:
            choose_executor("lean", module(), ranks=ranks)
        assert str(raised.value) == f"lean is not possible, because {reason}: write auto, or omit the key"


def test_another_lightning_than_the_known_one_is_left_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "lightning_version", "2.7.0")

    chosen = choose_executor("auto", Plain())

    assert str(chosen) == "lightning, because pytorch-lightning is 2.7.0, and the lean loops are made for 2.6.x"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (ByHandFromItsSetupOn, "ByHandFromItsSetupOn optimises manually (automatic_optimization is False)"),
        (BringsItsLoop, "BringsItsLoop has replaced the loop by its own (OwnLoop)"),
    ],
)
def test_obstacles_found_in_training_switch_the_loop_and_are_logged_once(
    module: type[pl.LightningModule], reason: str
) -> None:
    notes: list[str] = []
    model = module()
    before = model.get_parameter("layer.weight").clone()

    _fit(model, "auto", notes)

    assert notes == [f"the lean loop does not train it, because {reason}"]
    assert not torch.equal(model.get_parameter("layer.weight"), before)
    with pytest.raises(ExecutorError, match=f"lean is not possible, because {module.__name__}"):
        _fit(module(), "lean", notes)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"strategy": "ddp"}, "its strategy is DDPStrategy"),
        ({"profiler": "simple"}, "it has a profiler"),
    ],
)
def test_trainer_options_that_the_lean_loop_lacks_are_named(options: dict[str, Any], reason: str) -> None:
    trainer = pl.Trainer(**{"accelerator": "cpu", "devices": 1, "logger": False, **options})
    trainer.strategy.connect(Plain())

    assert support.obstacle_in(trainer) == reason


def test_the_lean_loops_stand_where_lightnings_would() -> None:
    """What of Lightning they build on: its next version must have it, or this fails."""
    trainer = _fit(Plain(), "lean", [])

    own = trainer.fit_loop.epoch_loop
    assert type(own) is LeanEpochLoop
    assert type(own.val_loop) is LeanValidationLoop
    lightnings = _fit(Plain(), "lightning", [])
    assert trainer.fit_loop.state_dict() == lightnings.fit_loop.state_dict()
    assert vars(own).keys() - vars(lightnings.fit_loop.epoch_loop).keys() == {"_on_obstacle", "_graphs"}


def test_a_study_that_demands_the_lean_one_for_several_devices_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        "model: a.b:C\ndata: a.b:D\nobjective: {metric: m, direction: minimize}\n"
        "executor: lean\nresources: {devices_per_trial: 2}\n"
    )

    with pytest.raises(SpecError, match=r"study.yaml:4: executor: lean trains on one device: with several devices"):
        read_study(file)
    with pytest.raises(SpecError, match=r"executor: should be 'auto', 'lean' or 'lightning' \(it is 'fast'\)"):
        read_study(file, changes=["executor=fast"])


def _fit(model: pl.LightningModule, request: Any, notes: list[str]) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    use(choose_executor(request, model), trainer, notes.append)
    rows: Any = torch.arange(8.0).reshape(4, 2)
    trainer.fit(model, DataLoader(rows, 2), DataLoader(rows, 2))
    return trainer
