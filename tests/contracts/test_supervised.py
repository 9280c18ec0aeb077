"""The base of all supervised models: exact scores, on any number of ranks and in any precision."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from hpo.space import SearchSpace
from models.base import IGNORED, Supervised
from models.data import Digits
from models.data.base import DataModule, Part, PartName
from models.dnn import DNN

from .model_contract import cpu_trainer
from .ranks import on_ranks

OPTIMIZERS = ("adam", "adamw", "nadam", "rmsprop", "adagrad", "adadelta", "sgd")
SCHEDULES = ("constant", "cosine", "one_cycle", "step", "plateau")
MEAN, SCALE = (150.3, -2.0), (77.7, 0.01)


class Linear(Supervised):
    """Inputs (batch, ..., features) to outputs (batch, ..., outputs)."""

    def __init__(self, features: int, outputs: int, **common: Any) -> None:
        super().__init__(**common)
        self.save_hyperparameters()
        self.layer = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x)
        return outputs


class Made(DataModule):
    """Samples (batch, 4) or sequences of 5 steps (batch, 5, 4); of a sequence, the steps after its end are padding."""

    def __init__(self, task: Any = "multiclass", samples: int = 64, batch_size: int = 16, steps: int = 0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.task = task
        self.outputs = {"binary": 1, "multiclass": 3, "regression": 2}[task]

    def prepare(self) -> None:
        pass

    def part(self, name: PartName) -> Part:
        given = self.hparams
        generator = torch.Generator().manual_seed(len(name))
        shape = (given["samples"], given["steps"]) if given["steps"] else (given["samples"],)
        inputs = torch.randn(*shape, 4, generator=generator)
        values = inputs[..., :3] + torch.randn(*shape, 3, generator=generator)
        targets = values[..., :2] if self.task == "regression" else values[..., : max(self.outputs, 2)].argmax(-1)
        if given["steps"]:
            lengths = torch.randint(1, given["steps"] + 1, (given["samples"], 1), generator=generator)
            is_padding = torch.arange(given["steps"]) >= lengths
            targets[is_padding] = float("nan") if self.task == "regression" else IGNORED
        return Part(inputs, targets)


def linear(task: Any = "multiclass", **common: Any) -> Linear:
    outputs = {"binary": 1, "multiclass": 3, "regression": 2}[task]
    unit = {"target_mean": MEAN, "target_scale": SCALE} if task == "regression" else {}
    torch.manual_seed(0)
    return Linear(features=4, outputs=outputs, task=task, **unit, **common)


def digits_dnn(**arguments: Any) -> DNN:
    return DNN(in_features=64, outputs=10, **arguments)


@cache
def whole(part: PartName, **arguments: Any) -> tuple[Tensor, Tensor]:
    """All inputs and targets of a part of the digits."""
    data = Digits(**arguments)
    data.setup("test" if part == "test" else "fit")
    inputs, targets, _ = data.part(part)
    assert isinstance(inputs, Tensor)
    return inputs, targets


def loss_and_accuracy(model: LightningModule, part: PartName) -> tuple[float, float]:
    """Over all samples at once, in double precision."""
    inputs, targets = whole(part)
    with torch.no_grad():
        logits = model.eval().double()(inputs.double())
    model.float()
    return functional.cross_entropy(logits, targets).item(), (logits.argmax(1) == targets).double().mean().item()


def metrics_of(trainer: Trainer) -> dict[str, float]:
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


# ---- scores


def test_metrics_are_exact_means_over_the_samples() -> None:
    model = digits_dnn(lr=0.0)
    trainer = cpu_trainer(max_epochs=1)
    trainer.fit(model, datamodule=Digits(batch_size=100))  # the last batch has 69

    seen = metrics_of(trainer)
    train_loss, _ = loss_and_accuracy(model, "train")
    val_loss, val_accuracy = loss_and_accuracy(model, "validation")
    expected = {"train_loss": train_loss, "val_loss": val_loss, "val_accuracy": val_accuracy}
    assert {name: seen[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert model.confusion is not None
    assert model.confusion.sum() == len(whole("validation")[1])


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("binary", {"loss", "accuracy", "balanced_accuracy", "precision", "recall", "f1", "auroc"}),
        ("multiclass", {"loss", "accuracy", "balanced_accuracy", "precision", "recall", "f1", "auroc"}),
        ("regression", {"loss", "mae", "mse", "rmse", "r2"}),
    ],
)
def test_every_task_has_its_scores_in_validation_and_test(task: Any, names: set[str]) -> None:
    model, trainer = linear(task), cpu_trainer(max_epochs=1)
    trainer.fit(model, datamodule=Made(task))
    assert trainer.callback_metrics.keys() == {"train_loss", *(f"val_{name}" for name in names)}
    (validated,) = trainer.validate(model, datamodule=Made(task), verbose=False)
    assert validated.keys() == {f"val_{name}" for name in names}
    (tested,) = trainer.test(model, datamodule=Made(task), verbose=False)
    assert tested.keys() == {f"test_{name}" for name in names}


def test_scores_of_a_regression_are_in_the_datas_own_unit() -> None:
    model, data = linear("regression"), Made("regression")
    (scores,) = cpu_trainer().validate(model, datamodule=data, verbose=False)

    inputs, targets, _ = data.part("validation")
    assert isinstance(inputs, Tensor)
    error = ((model(inputs) - targets) * torch.tensor(SCALE)).detach().double()
    assert scores["val_mae"] == pytest.approx(error.abs().mean().item(), rel=1e-5)
    assert scores["val_rmse"] == pytest.approx(error.square().mean().sqrt().item(), rel=1e-5)
    assert scores["val_loss"] == pytest.approx(functional.mse_loss(model(inputs), targets).item(), rel=1e-5)


class Validations(Callback):
    """Keeps what each validation logged."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen.append({name: trainer.callback_metrics[name].item() for name in ("val_loss", "val_accuracy")})


def test_every_validation_starts_from_nothing() -> None:
    torch.manual_seed(0)
    model, validations = digits_dnn(), Validations()
    cpu_trainer(max_epochs=3, callbacks=[validations]).fit(model, datamodule=Digits())

    losses = [seen["val_loss"] for seen in validations.seen]
    assert losses == sorted(set(losses), reverse=True)
    last = validations.seen[-1]
    assert (last["val_loss"], last["val_accuracy"]) == pytest.approx(loss_and_accuracy(model, "validation"), rel=1e-5)


def test_the_test_part_is_scored_on_demand() -> None:
    model = digits_dnn()
    (scores,) = cpu_trainer().test(model, datamodule=Digits(), verbose=False)
    assert (scores["test_loss"], scores["test_accuracy"]) == pytest.approx(loss_and_accuracy(model, "test"), rel=1e-5)


def test_one_class_alone_has_scores_but_no_auroc() -> None:
    inputs = torch.randn(6, 4)
    (scores,) = cpu_trainer().validate(linear("binary"), _loader(inputs, torch.ones(6).long()), verbose=False)
    assert "val_auroc" not in scores
    assert scores["val_balanced_accuracy"] == scores["val_accuracy"]


def test_smoothing_and_weights_are_in_the_loss_that_is_learned_from() -> None:
    common = {"class_weight": "balanced", "class_counts": [40, 15, 9]}
    plain, smooth = linear(lr=0.0, **common), linear(lr=0.0, label_smoothing=0.2, **common)
    seen = []
    for model in (plain, smooth):
        trainer = cpu_trainer(max_epochs=1)
        trainer.fit(model, datamodule=Made(batch_size=64))
        seen.append(metrics_of(trainer))
    inputs, targets, _ = Made().part("train")
    weights = 64 / (3 * torch.tensor([40.0, 15.0, 9.0]))
    expected = functional.cross_entropy(smooth(inputs), targets, weights, label_smoothing=0.2)
    assert seen[1]["train_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert seen[1]["train_loss"] != pytest.approx(seen[0]["train_loss"], rel=1e-3)
    assert seen[1]["val_loss"] == pytest.approx(seen[0]["val_loss"])


# ---- sequences with a target a step


def known(part: Part) -> tuple[Tensor, Tensor]:
    """The steps that have a target."""
    inputs, targets, _ = part
    assert isinstance(inputs, Tensor)
    is_known = ~targets.isnan().any(-1) if targets.is_floating_point() else targets != IGNORED
    assert 0 < is_known.sum() < is_known.numel()
    return inputs[is_known], targets[is_known]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_padding_counts_nowhere(task: Any) -> None:
    model, trainer, data = linear(task, lr=0.0), cpu_trainer(max_epochs=1), Made(task, steps=5)
    trainer.fit(model, datamodule=data)

    seen = metrics_of(trainer)
    for name, part in (("train_loss", data.part("train")), ("val_loss", data.part("validation"))):
        inputs, targets = known(part)
        outputs = model(inputs)
        if task == "multiclass":
            expected = functional.cross_entropy(outputs, targets)
        elif task == "binary":
            expected = functional.binary_cross_entropy_with_logits(outputs.squeeze(-1), targets.float())
        else:
            expected = functional.mse_loss(outputs, targets)
        assert seen[name] == pytest.approx(expected.item(), rel=1e-5)
    if task == "multiclass":
        inputs, targets = known(data.part("validation"))
        right = (model(inputs).argmax(1) == targets).double().mean().item()
        assert seen["val_accuracy"] == pytest.approx(right)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_batch_of_nothing_but_padding_is_no_exception(task: Any) -> None:
    model = linear(task)
    shape = (4, 5, 2) if task == "regression" else (4, 5)
    targets = torch.full(shape, float("nan")) if task == "regression" else torch.full(shape, IGNORED)
    loss = model.training_step((torch.randn(4, 5, 4), targets), 0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert model.layer.weight.grad is not None
    assert not model.layer.weight.grad.any()
    (scores,) = cpu_trainer().validate(model, _loader(torch.randn(4, 5, 4), targets), verbose=False)
    assert scores == {}


# ---- several ranks


class Trained:
    """What is left of a training: metrics and weights."""

    def __init__(self, metrics: dict[str, float], weights: dict[str, Tensor]) -> None:
        self.metrics = metrics
        self.weights = weights


def test_metrics_are_exact_means_over_two_ranks(tmp_path: Path) -> None:
    first, second = on_ranks(_train_on_this_rank, tmp_path)
    assert [trained.metrics for trained in first] == [trained.metrics for trained in second]

    digits, sequences = first
    model = digits_dnn(batch_norm=True)
    model.load_state_dict(digits.weights)
    loss, accuracy = loss_and_accuracy(model, "validation")  # of 359 samples: the ranks' shares differ
    assert digits.metrics["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert digits.metrics["val_accuracy"] == pytest.approx(accuracy, rel=1e-6)

    alone, trainer = linear(lr=0.0), cpu_trainer(max_epochs=1)
    trainer.fit(alone, datamodule=Made(steps=5))  # the ranks have targets of different numbers
    assert sequences.metrics == pytest.approx(metrics_of(trainer), rel=1e-5)


def _train_on_this_rank() -> list[Trained]:
    trained = []
    for model, data in ((digits_dnn(batch_norm=True), Digits()), (linear(lr=0.0), Made(steps=5))):
        torch.manual_seed(0)
        trainer = cpu_trainer(max_epochs=1, strategy="ddp", devices=2, plugins=[TorchElasticEnvironment()])
        trainer.fit(model, datamodule=data)
        trained.append(Trained(metrics_of(trainer), model.state_dict()))
    return trained


# ---- precision


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-true", "64-true"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_precision_scores_almost_the_same(task: Any, precision: Any) -> None:
    counts = {"binary": (20, 44), "multiclass": (9, 20, 35), "regression": ()}[task]
    seen = []
    for chosen in ("32-true", precision):
        model = linear(task, class_counts=counts, class_weight="balanced" if counts else "none")
        trainer = cpu_trainer(max_epochs=2, precision=chosen)
        trainer.fit(model, datamodule=Made(task))
        seen.append(metrics_of(trainer))
    assert seen[1] == pytest.approx(seen[0], rel=0.05)


def test_losses_in_half_precision_are_summed_in_full() -> None:
    model, trainer = linear(lr=0.0), cpu_trainer(max_epochs=1, precision="bf16-true")
    trainer.fit(model, datamodule=Made(samples=1200, batch_size=2))

    inputs, targets, _ = Made(samples=1200).part("train")
    assert isinstance(inputs, Tensor)
    expected = functional.cross_entropy(model(inputs.bfloat16()).float(), targets)
    assert metrics_of(trainer)["train_loss"] == pytest.approx(expected.item(), rel=1e-4)


def test_half_precision_does_not_round_the_unit() -> None:
    model = linear("regression").bfloat16()
    inputs = torch.zeros(3, 4, dtype=torch.bfloat16)
    predicted = model.predict_step((inputs, torch.zeros(3, 2)), 0)
    expected = model(inputs).double() * torch.tensor(SCALE).double() + torch.tensor(MEAN).double()
    torch.testing.assert_close(predicted.double(), expected, rtol=1e-6, atol=0)


# ---- predictions


def _loader(*tensors: Tensor) -> Any:
    return DataLoader(TensorDataset(*tensors), batch_size=4)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.parametrize("steps", [(), (5,)])
def test_predictions_are_probabilities_or_values_in_the_datas_unit(steps: tuple[int, ...]) -> None:
    inputs = torch.randn(6, *steps, 4)
    for task, shape in (("multiclass", (6, *steps, 3)), ("binary", (6, *steps)), ("regression", (6, *steps, 2))):
        model = linear(task)
        outputs = model(inputs).detach()
        match task:
            case "multiclass":
                expected = outputs.softmax(-1)
            case "binary":
                expected = outputs[..., 0].sigmoid()
            case _:
                expected = outputs * torch.tensor(SCALE) + torch.tensor(MEAN)
        # with targets, without, and a data set of bare tensors
        bare: Any = list(inputs)
        loaders: list[Any] = [_loader(inputs, torch.zeros(6)), _loader(inputs), DataLoader(bare, batch_size=4)]
        for loader in loaders:
            batches: Any = cpu_trainer().predict(model, loader)
            predicted = torch.cat(batches)
            assert predicted.shape == shape
            torch.testing.assert_close(predicted, expected)


# ---- optimizers, schedules, clipping


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_optimizer_learns_with_every_schedule(optimizer: Any, schedule: Any) -> None:
    lr = 0.5 if optimizer == "adadelta" else 0.02
    common = {"momentum": 0.5, "nesterov": True, "warmup": 0.2, "gradient_clip": 1.0}
    model = linear(optimizer=optimizer, schedule=schedule, lr=lr, **common)
    (before,) = cpu_trainer().validate(model, datamodule=Made(), verbose=False)
    trainer = cpu_trainer(max_epochs=2)
    trainer.fit(model, datamodule=Made())
    assert all(np.isfinite(value) for value in metrics_of(trainer).values())
    assert metrics_of(trainer)["val_loss"] < before["val_loss"]


class Rates(Callback):
    """Keeps the learning rate of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_a_schedule_spans_all_steps_of_the_training() -> None:
    rates = Rates()
    model = linear(schedule="cosine", warmup=0.25, lr=1e-2)
    cpu_trainer(max_epochs=4, callbacks=[rates]).fit(model, datamodule=Made())  # 4 steps an epoch
    assert len(rates.seen) == 16
    assert max(rates.seen) == rates.seen[4] == pytest.approx(1e-2)
    assert rates.seen[0] == pytest.approx(1e-4)
    assert rates.seen[-1] < 1e-3


def test_a_plateau_is_noticed_in_validation() -> None:
    rates = Rates()
    model = linear(optimizer="sgd", schedule="plateau", lr=1e-6, weight_decay=0.0)  # too small to learn
    cpu_trainer(max_epochs=6, callbacks=[rates]).fit(model, datamodule=Made(batch_size=64))
    assert rates.seen == [1e-6] * 4 + [0.5e-6] * 2


def test_a_schedule_of_endless_training_is_refused() -> None:
    trainer = cpu_trainer(max_epochs=-1, max_time="00:00:00:01")
    with pytest.raises(ValueError, match="Linear: schedule 'cosine' needs the number of epochs: set max_epochs"):
        trainer.fit(linear(schedule="cosine"), datamodule=Made())


def _moved(model: Supervised, **options: Any) -> float:
    """How far one step moves the weights."""
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    cpu_trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=0, **options).fit(model, datamodule=Made())
    moved: float = (nn.utils.parameters_to_vector(model.parameters()).detach() - before).norm().item()
    return moved


SGD = {"optimizer": "sgd", "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_gradient_is_clipped_to_its_largest_norm_and_0_clips_nothing(precision: Any) -> None:
    free = _moved(linear(**SGD), precision=precision)
    assert free > 0.1
    assert _moved(linear(**SGD, gradient_clip=0.01), precision=precision) == pytest.approx(0.01, rel=1e-3)
    assert _moved(linear(**SGD, gradient_clip=100.0), precision=precision) == pytest.approx(free, rel=1e-6)


def test_the_trainers_clipping_takes_precedence() -> None:
    assert _moved(linear(**SGD, gradient_clip=0.01), gradient_clip_val=0.02) == pytest.approx(0.02, rel=1e-3)
    assert _moved(linear(**SGD, gradient_clip=0.01), gradient_clip_val=0.0) > 0.1


def test_the_step_is_fused_unless_gradients_are_clipped_in_mixed_precision() -> None:
    fused = {}
    for precision, clip in (("32-true", 1.0), ("bf16-mixed", 0.0), ("bf16-mixed", 1.0)):
        trainer = cpu_trainer(max_epochs=1, limit_train_batches=1, precision=precision)
        trainer.fit(linear(gradient_clip=clip), datamodule=Made())
        fused[precision, clip] = bool(trainer.optimizers[0].defaults["fused"])
    assert fused == {("32-true", 1.0): True, ("bf16-mixed", 0.0): True, ("bf16-mixed", 1.0): False}


# ---- arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_weight": "even"}, "Linear: class_weight 'even' should be none or balanced"),
        (
            {"class_weight": "balanced"},
            "Linear: class_weight 'balanced' needs class_counts, which classification data has",
        ),
        ({"loss": "mse"}, "Linear: loss 'mse' is not for a multiclass task"),
        ({"label_smoothing": 1.5}, "Linear: label_smoothing 1.5 should be a fraction from 0 to 1"),
        ({"warmup": -0.1}, "Linear: warmup -0.1 should be a fraction from 0 to 1"),
        ({"gradient_clip": -1.0}, "Linear: gradient_clip -1.0 should be the largest norm, or 0 for any"),
        (
            {"task": "regression", "label_smoothing": 0.1},
            "Linear: label_smoothing 0.1 is for classes, not for a regression",
        ),
    ],
)
def test_invalid_values_are_refused_with_a_reason(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Linear(features=4, outputs=3, **arguments)


def test_a_model_takes_the_space_of_its_base() -> None:
    assert set(SearchSpace.of(Supervised)) == set(SearchSpace.of(Linear)) < set(SearchSpace.of(DNN))
