"""Small modules as users write them, each with one peculiarity; `noted` records what it saw, for comparison."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
import torchmetrics
from pytorch_lightning import callbacks
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, Optimizer, lr_scheduler
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

Batch = Any


class Points(pl.LightningDataModule):
    """Sixty points of four numbers, in shuffled batches of eight; to be validated in batches of sixteen."""

    def __init__(self, loaders: int = 1) -> None:
        super().__init__()
        self.loaders = loaders
        x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        self.samples = TensorDataset(x, (x.sum(1) > 0).long())

    def train_dataloader(self) -> Any:
        return DataLoader(self.samples, 8, shuffle=True)

    def val_dataloader(self) -> Any:
        several = [DataLoader(self.samples, 16), DataLoader(self.samples, 32)]
        return several[0] if self.loaders == 1 else several[: self.loaders]


class Small(pl.LightningModule):
    """Draws random numbers wherever a module may; what the others derive from."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
        self.noted: list[Any] = []

    def loss(self, batch: Batch) -> Tensor:
        x, y = batch
        return nn.functional.cross_entropy(self.net(x + 0.01 * torch.randn_like(x)), y)

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        return self.loss(batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> Any:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return Adam(self.parameters(), lr=0.05)


# ---- steps


class ADictOfOutputs(Small):
    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        return {"loss": self.loss(batch), "more": batch_idx}

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.noted.append((outputs, batch_idx))

    def on_validation_batch_end(self, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.noted.append((outputs, batch_idx))


class Skips(Small):
    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        return None if batch_idx % 3 == 1 else self.loss(batch)


class TakesTheBatchOnly(Small):
    def training_step(self, batch: Batch) -> Any:  # type: ignore[override]
        return self.loss(batch)

    def validation_step(self, batch: Batch) -> Any:  # type: ignore[override]
        self.log("val_loss", self.loss(batch))


class NeverValidates(Small):
    validation_step = pl.LightningModule.validation_step

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss


class EndsItsEpochs(Small):
    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> int | None:
        self.log("started", float(batch_idx))
        return -1 if batch_idx == 3 else None


class StopsItself(Small):
    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        if self.current_epoch == 1 and batch_idx == 2:
            self.trainer.should_stop = True
        return self.loss(batch)


class BuildsItselfLate(Small):
    def __init__(self) -> None:
        super().__init__()
        self.late: nn.Module | None = None

    def setup(self, stage: str) -> None:
        self.noted.append(stage)

    def configure_model(self) -> None:
        if self.late is None:
            self.late = nn.Linear(2, 2)

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        assert self.late is not None
        return nn.functional.cross_entropy(self.late(self.net(batch[0])), batch[1])


# ---- optimizers and schedules


class OneInAList(Small):
    def configure_optimizers(self) -> Any:
        return [SGD(self.parameters(), lr=0.1, momentum=0.9)]


class TwoInATuple(Small):
    """Which Lightning refuses, unless they are stepped by hand."""

    def configure_optimizers(self) -> Any:
        return Adam(self.net[0].parameters(), lr=0.05), SGD(self.net[4].parameters(), lr=0.1)


class TwoLists(Small):
    def configure_optimizers(self) -> Any:
        adam = Adam(self.parameters(), lr=0.05)
        return [adam], [lr_scheduler.ExponentialLR(adam, 0.5)]


class ADictWithASchedule(Small):
    def configure_optimizers(self) -> Any:
        adam = Adam(self.parameters(), lr=0.05)
        return {"optimizer": adam, "lr_scheduler": lr_scheduler.StepLR(adam, 1, 0.3)}


class ADictWithAnOptimizer(Small):
    def configure_optimizers(self) -> Any:
        return {"optimizer": Adam(self.parameters(), lr=0.05)}


class ListOfDicts(Small):
    def configure_optimizers(self) -> Any:
        adam = Adam(self.parameters(), lr=0.05)
        return ({"optimizer": adam, "lr_scheduler": {"scheduler": lr_scheduler.ExponentialLR(adam, 0.9)}},)


class EverySecondStep(Small):
    def configure_optimizers(self) -> Any:
        adam = Adam(self.parameters(), lr=0.05)
        schedule = {"scheduler": lr_scheduler.ExponentialLR(adam, 0.9), "interval": "step", "frequency": 2}
        return {"optimizer": adam, "lr_scheduler": schedule}


class TwoSchedules(Small):
    def configure_optimizers(self) -> Any:
        adam = Adam(self.parameters(), lr=0.05)
        steps = int(self.trainer.estimated_stepping_batches)
        cycle = {"scheduler": lr_scheduler.OneCycleLR(adam, 0.05, total_steps=steps), "interval": "step"}
        return [adam], [cycle, {"scheduler": lr_scheduler.ExponentialLR(adam, 0.9), "frequency": 2}]


class OnPlateau(Small):
    def configure_optimizers(self) -> Any:
        adam = Adam(self.parameters(), lr=0.05)
        lowered = lr_scheduler.ReduceLROnPlateau(adam, patience=0, factor=0.5)
        return {"optimizer": adam, "lr_scheduler": lowered, "monitor": "val_loss"}


class OnPlateauOfSteps(Small):
    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True)
        return loss

    def configure_optimizers(self) -> Any:
        adam = Adam(self.parameters(), lr=0.05)
        lowered = lr_scheduler.ReduceLROnPlateau(adam, patience=0, factor=0.5)
        schedule = {"scheduler": lowered, "monitor": "train_loss", "interval": "step", "frequency": 3}
        return {"optimizer": adam, "lr_scheduler": schedule}


class OnPlateauOfNothing(Small):
    def configure_optimizers(self) -> Any:
        adam = Adam(self.parameters(), lr=0.05)
        lowered = lr_scheduler.ReduceLROnPlateau(adam)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": lowered, "monitor": "nothing", "strict": False}}


class NeedsItsClosure(Small):
    def configure_optimizers(self) -> Any:
        return LBFGS(self.parameters(), lr=0.05, max_iter=3)


class Sharp(Optimizer):
    """Takes the gradient of a point near by, so that it calls its closure twice: Foret et al. 2021."""

    def __init__(self, parameters: Iterator[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": 0.05})

    def step(self, closure: Any = None) -> Any:
        loss = closure()
        parameters = [p for group in self.param_groups for p in group["params"]]
        with torch.no_grad():
            moves = [0.01 * p.grad for p in parameters]
            for parameter, move in zip(parameters, moves, strict=True):
                parameter.add_(move)
        closure()
        with torch.no_grad():
            for parameter, move in zip(parameters, moves, strict=True):
                parameter.sub_(move).sub_(0.05 * parameter.grad)
        return loss


class AnOptimizerOfItsOwn(Small):
    def configure_optimizers(self) -> Any:
        return Sharp(self.parameters())


class LooksBeforeTheStep(Small):
    def configure_optimizers(self) -> Any:
        adam = Adam(self.parameters(), lr=0.05)
        adam.register_step_pre_hook(lambda *_: self.noted.append(len(self.noted)))
        return adam


class NoOptimizer(Small):
    def configure_optimizers(self) -> Any:
        return None


# ---- hooks


class NotesEverything(Small):
    """Whatever is called, when, and what self.log and the counters say then."""

    def note(self, hook: str, *seen: Any) -> None:
        trainer = self.trainer
        metrics = {name: value.clone() for name, value in trainer.callback_metrics.items()}
        batch = trainer.fit_loop.batch_idx, trainer.fit_loop.total_batch_idx, trainer.is_last_batch
        self.noted.append((hook, self.current_epoch, self.global_step, batch, metrics, seen, torch.is_grad_enabled()))

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.note("training_step", batch_idx, self.training)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Any:
        super().validation_step(batch, batch_idx)
        self.note("validation_step", batch_idx, self.training)


def _noting(hook: str) -> Any:
    def method(self: NotesEverything, *arguments: Any, **named: Any) -> None:
        self.note(hook, *(value for value in arguments if isinstance(value, Tensor | int)))

    return method


NOTED_HOOKS = (
    "on_fit_start", "on_fit_end", "on_train_start", "on_train_end", "on_train_epoch_start", "on_train_epoch_end",
    "on_train_batch_start", "on_train_batch_end", "on_validation_start", "on_validation_end",
    "on_validation_epoch_start", "on_validation_epoch_end", "on_validation_batch_start", "on_validation_batch_end",
    "on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step", "teardown",
)  # fmt: skip
for _hook in NOTED_HOOKS:
    setattr(NotesEverything, _hook, _noting(_hook))


class NotesInCallbacks(NotesEverything):
    """The same, with a callback beside it, whose hooks come first."""

    def configure_callbacks(self) -> Any:
        def noting(hook: str) -> Any:
            return lambda trainer, module, *_: module.noted.append(("callback", hook, trainer.global_step))

        return [callbacks.LambdaCallback(**{hook: noting(hook) for hook in NOTED_HOOKS if hook != "teardown"})]


class ActsInEveryHook(Small):
    """Does by itself what Lightning would do for it."""

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        self.noted.append((epoch, batch_idx))
        optimizer.step(closure=optimizer_closure)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        optimizer.zero_grad(set_to_none=False)

    def backward(self, loss: Tensor, *arguments: Any, **named: Any) -> None:
        loss.backward(retain_graph=False)  # type: ignore[no-untyped-call]

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.log("gradient", self.net[0].weight.grad.norm())  # type: ignore[union-attr, operator]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        self.noted.append((metric, scheduler.get_last_lr()))
        scheduler.step()

    def configure_optimizers(self) -> Any:
        sgd = SGD(self.parameters(), lr=0.1)
        return [sgd], [{"scheduler": lr_scheduler.ExponentialLR(sgd, 0.9), "interval": "step"}]


class ZeroesItself(Small):
    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        optimizer.zero_grad(set_to_none=False)


class ClipsItself(Small):
    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        self.clip_gradients(optimizer, gradient_clip_val=0.05, gradient_clip_algorithm="norm")
        self.log("clipped", self.net[0].weight.grad.norm())  # type: ignore[union-attr, operator]


class MovesItsBatches(Small):
    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Any:
        return {"x": batch[0], "y": batch[1]}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Any:
        self.noted.append((str(device), dataloader_idx))
        return {name: value.to(device) for name, value in batch.items()}

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Any:
        return batch["x"] * 2, batch["y"]


class MovingPoints(Points):
    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Any:
        return batch[0] + torch.randn(4), batch[1]


# ---- logging


class LogsInEveryWay(Small):
    def __init__(self) -> None:
        super().__init__()
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(2)
        self.scores = torchmetrics.MetricCollection({"f1": torchmetrics.classification.MulticlassF1Score(2)})
        self.largest = torchmetrics.MaxMetric()

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        loss, rows = self.loss(batch), batch[0].shape[0]
        self.log("plain", loss)
        self.log("mean", loss, on_step=False, on_epoch=True)
        self.log("both", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=rows + 1)
        self.log("sum", loss, on_epoch=True, reduce_fx="sum")
        self.log("least", loss, on_epoch=True, reduce_fx=torch.min)
        self.log("most", loss, on_step=False, on_epoch=True, reduce_fx=max)
        self.log("double", loss.double(), on_epoch=True)
        self.log("half", loss.half(), on_epoch=True)
        self.log("number", 0.1 * batch_idx, on_epoch=True, sync_dist=True)
        self.log("with_graph", loss, on_epoch=True, enable_graph=True)
        if batch_idx == 1:
            self.log("once", loss)
        self.accuracy(self.net(batch[0]), batch[1])
        self.log("accuracy", self.accuracy, on_step=True, on_epoch=True)
        self.largest.update(loss)
        self.log("largest", self.largest, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Any:
        logits = self.net(batch[0])
        self.log_dict({"val_loss": nn.functional.cross_entropy(logits, batch[1]), "rows": float(len(batch[1]))})
        self.log("val_both", logits.mean(), on_step=True, on_epoch=True)
        self.log(f"of_{dataloader_idx}", logits.std(), add_dataloader_idx=False)
        self.scores.update(logits, batch[1])

    def on_train_epoch_start(self) -> None:
        self.log("epoch_started", float(self.current_epoch))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.log("batch_started", float(batch_idx), on_step=True, on_epoch=True)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.log("batch_ended", outputs["loss"], on_epoch=True)
        self.noted.append({name: value.clone() for name, value in self.trainer.callback_metrics.items()})

    def on_train_epoch_end(self) -> None:
        self.log("epoch_ended", self.trainer.callback_metrics["mean"] * 2)
        self.noted.append({name: value.clone() for name, value in self.trainer.logged_metrics.items()})
        self.noted.append(dict(self.trainer.progress_bar_metrics))

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.scores.compute())
        self.scores.reset()
        self.noted.append({name: value.clone() for name, value in self.trainer.logged_metrics.items()})


class LogsWithWordsAndCollections(Small):
    """What `LogsInEveryWay` logs with functions and by itself."""

    def __init__(self) -> None:
        super().__init__()
        of = torchmetrics.classification
        self.scores = torchmetrics.MetricCollection([of.MulticlassF1Score(2), of.MulticlassRecall(2)], prefix="val_")

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        loss = self.loss(batch)
        for word in ("min", "max", "mean", "sum"):
            self.log(word, loss, on_step=True, on_epoch=True, reduce_fx=word)
        self.log_dict({"a": loss, "b": 2 * loss}, on_step=True, on_epoch=True, reduce_fx="max")
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Any:
        self.scores.update(self.net(batch[0]), batch[1])
        self.log_dict(self.scores)


class ReducesItsOwnWay(Small):
    """Which Lightning refuses, and says to log a Metric instead."""

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("median", loss, on_epoch=True, reduce_fx=torch.median)
        return loss


class ReadsItsTrainer(Small):
    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        trainer = self.trainer
        self.noted.append([
            self.current_epoch, self.global_step, trainer.max_epochs, trainer.estimated_stepping_batches,
            trainer.num_training_batches, trainer.num_val_batches, str(trainer.strategy.root_device),
            trainer.precision, trainer.is_global_zero, trainer.world_size, type(trainer.datamodule).__name__,  # type: ignore[attr-defined]
            trainer.should_stop, len(trainer.optimizers), len(trainer.lr_scheduler_configs), trainer.training,
            trainer.sanity_checking, trainer.state.fn, trainer.global_rank,
            trainer.accumulate_grad_batches, trainer.gradient_clip_val, trainer.is_last_batch, trainer.validating,
            self.optimizers().param_groups[0]["lr"], self.lr_schedulers(), trainer.fit_loop.epoch_progress.state_dict(),  # type: ignore[union-attr]
        ])  # fmt: skip
        return trainer.strategy.reduce(self.loss(batch))


# ---- callbacks of a module's own


class StopsEarly(Small):
    def configure_callbacks(self) -> Any:
        return [callbacks.EarlyStopping("val_loss", patience=1, min_delta=10.0)]


class Accumulates(Small):
    def configure_callbacks(self) -> Any:
        return [callbacks.GradientAccumulationScheduler({0: 1, 1: 3})]


class Averages(Small):
    def configure_callbacks(self) -> Any:
        return [callbacks.StochasticWeightAveraging(0.01, swa_epoch_start=1, annealing_epochs=1)]


class ChecksPoints(Small):
    def configure_callbacks(self) -> Any:
        return [callbacks.ModelCheckpoint(every_n_train_steps=3, save_top_k=-1), callbacks.Timer()]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.noted.append((checkpoint["epoch"], checkpoint["global_step"], checkpoint["loops"]["fit_loop"]))


class FindsItsLearningRate(Small):
    """Trains a few steps before it trains, and takes back what they did."""

    def __init__(self) -> None:
        super().__init__()
        self.lr = 0.05

    def configure_callbacks(self) -> Any:
        return [callbacks.LearningRateFinder(num_training_steps=6, early_stop_threshold=None)]

    def configure_optimizers(self) -> Any:
        self.noted.append(self.lr)
        return Adam(self.parameters(), lr=self.lr)


class ThawsLater(Small):
    def configure_callbacks(self) -> Any:
        return [_FreezesTheFirst()]

    def configure_optimizers(self) -> Any:
        return Adam([parameter for parameter in self.parameters() if parameter.requires_grad], lr=0.05)


class _FreezesTheFirst(callbacks.BaseFinetuning):
    def freeze_before_training(self, pl_module: pl.LightningModule) -> None:
        self.freeze(pl_module.get_submodule("net.0"))

    def finetune_function(self, pl_module: pl.LightningModule, epoch: int, optimizer: Optimizer) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.get_submodule("net.0"), optimizer)


class Prunes(Small):
    def configure_callbacks(self) -> Any:
        return [callbacks.ModelPruning("l1_unstructured", amount=0.2, use_lottery_ticket_hypothesis=False)]


class AveragesExponentially(Small):
    def configure_callbacks(self) -> Any:
        return [callbacks.EMAWeightAveraging(decay=0.9)]


# ---- data


class Stream(IterableDataset[Any]):
    """Does not know how long it is."""

    def __iter__(self) -> Iterator[Any]:
        for _ in range(20):
            x = torch.randn(4)
            yield x, (x.sum() > 0).long()


class Streamed(Points):
    def train_dataloader(self) -> Any:
        return DataLoader(Stream(), 8)


class TwoAtOnce(Points):
    def train_dataloader(self) -> Any:
        return {"a": super().train_dataloader(), "b": DataLoader(self.samples, 16, shuffle=True)}


class TakesTwoAtOnce(Small):
    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        return self.loss(batch["a"]) + self.loss(batch["b"])


class SaysTooMuch(Points):
    """Promises more batches than it gives."""

    def train_dataloader(self) -> Any:
        batches = list(itertools.islice(super().train_dataloader(), 4))

        class Loader:
            def __len__(self) -> int:
                return 6

            def __iter__(self) -> Iterator[Any]:
                return iter(batches)

        return Loader()


class NoBatch(Points):
    def train_dataloader(self) -> Any:
        first, second, *_ = super().train_dataloader()
        return DataLoader([first, None, second], batch_size=None)  # type: ignore[arg-type]
