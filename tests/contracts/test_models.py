"""The models against their contract, and what is particular to classifiers and to each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional

from hpo.space import SearchSpace
from models.base import Classifier, EpochSums
from models.data import Digits
from models.dnn import DNN

from .data_contract import ready
from .model_contract import ModelContract, cpu_trainer
from .ranks import on_ranks

# Lightning 2.6 asks newer versions of torch in a way that they deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")

MODELS = [(DNN, Digits)]


@pytest.mark.parametrize(("model_class", "data_class"), MODELS)
class TestModels(ModelContract):
    pass


def digits_dnn(**arguments: Any) -> DNN:
    return DNN(in_features=64, classes=10, **arguments)


def loss_and_accuracy(model: nn.Module, features: Tensor, targets: Tensor) -> tuple[float, float]:
    """Over all samples at once, in double precision."""
    with torch.no_grad():
        logits = model.double()(features.double())
    accuracy = (logits.argmax(1) == targets).double().mean()
    return functional.cross_entropy(logits, targets).item(), accuracy.item()


class Validations(Callback):
    """Keeps what each validation logged."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics
        self.seen.append({name: metrics[name].item() for name in ("val_loss", "val_accuracy")})


def test_metrics_are_exact_means_over_the_samples() -> None:
    data = ready(Digits, batch_size=100)  # the last batch has 69
    model = digits_dnn(lr=0.0)
    trainer = cpu_trainer(max_epochs=1)
    trainer.fit(model, datamodule=data)
    train, validation = data.train_dataloader(), data.val_dataloader()
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    train_loss, _ = loss_and_accuracy(model, train.features, train.targets)
    val_loss, val_accuracy = loss_and_accuracy(model, validation.features, validation.targets)
    assert metrics == pytest.approx(
        {"train_loss": train_loss, "val_loss": val_loss, "val_accuracy": val_accuracy}, rel=1e-6
    )


def test_every_validation_starts_from_nothing() -> None:
    torch.manual_seed(0)
    model, validations = digits_dnn(), Validations()
    cpu_trainer(max_epochs=3, callbacks=[validations]).fit(model, datamodule=Digits())
    validation = ready(Digits).val_dataloader()
    losses = [seen["val_loss"] for seen in validations.seen]
    assert losses == sorted(set(losses), reverse=True)
    assert (losses[-1], validations.seen[-1]["val_accuracy"]) == pytest.approx(
        loss_and_accuracy(model, validation.features, validation.targets), rel=1e-5
    )


def test_the_test_part_is_scored_on_demand() -> None:
    data, model = ready(Digits), digits_dnn()
    (scores,) = cpu_trainer().test(model, datamodule=data, verbose=False)
    test = data.test_dataloader()
    loss, accuracy = loss_and_accuracy(model, test.features, test.targets)
    assert scores == pytest.approx({"test_loss": loss, "test_accuracy": accuracy}, rel=1e-5)


def test_metrics_are_exact_means_over_two_ranks(tmp_path: Path) -> None:
    first, second = on_ranks(_train_on_this_rank, tmp_path)
    model = digits_dnn(batch_norm=True)
    model.load_state_dict(first.weights)
    validation = ready(Digits).val_dataloader()  # 359 samples: the ranks' shares differ
    loss, accuracy = loss_and_accuracy(model.eval(), validation.features, validation.targets)
    assert first.metrics == second.metrics
    assert first.metrics["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert first.metrics["val_accuracy"] == pytest.approx(accuracy, rel=1e-6)
    assert first.metrics["train_loss"] < math.log(10)


class Trained:
    """What is left of a training: metrics and weights."""

    def __init__(self, metrics: dict[str, float], weights: dict[str, Tensor]) -> None:
        self.metrics = metrics
        self.weights = weights


def _train_on_this_rank() -> Trained:
    torch.manual_seed(0)
    model = digits_dnn(batch_norm=True)
    trainer = cpu_trainer(
        max_epochs=2,
        strategy="ddp",
        devices=2,
        plugins=[TorchElasticEnvironment()],
        num_sanity_val_steps=0,
    )
    trainer.fit(model, datamodule=Digits())
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return Trained(metrics, model.state_dict())


def test_sums_in_half_precision_do_not_stop_growing() -> None:
    sums = EpochSums()
    for _ in range(1000):
        sums.add(1, loss=torch.tensor(1.0, dtype=torch.bfloat16))
    assert sums.means()["loss"].item() == 1.0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
        ("rmsprop", torch.optim.RMSprop),
    ],
)
def test_the_optimizer_is_the_one_named(name: Any, kind: type[torch.optim.Optimizer]) -> None:
    optimizer = digits_dnn(optimizer=name, lr=0.02, weight_decay=0.003, momentum=0.4).configure_optimizers()
    group = optimizer.param_groups[0]
    assert type(optimizer) is kind
    assert (group["lr"], group["weight_decay"]) == (0.02, 0.003)
    assert group.get("momentum", 0.4) == 0.4
    assert group.get("fused", True)
    assert len(group["params"]) == len(list(digits_dnn().parameters()))


def test_an_unknown_optimizer_is_refused_with_the_known_ones() -> None:
    unknown: Any = "lion"
    with pytest.raises(ValueError, match="'lion' should be adam, adamw, sgd or rmsprop"):
        digits_dnn(optimizer=unknown).configure_optimizers()


def test_momentum_exists_only_for_optimizers_that_use_it() -> None:
    assert SearchSpace.of(DNN)["momentum"].when == {"optimizer": ("sgd", "rmsprop")}


def test_a_model_takes_the_space_of_its_base() -> None:
    assert set(SearchSpace.of(Classifier)) < set(SearchSpace.of(DNN))


def test_depth_0_is_the_perceptron() -> None:
    model = digits_dnn(depth=0, batch_norm=True, dropout=0.5)
    assert [type(layer) for layer in model.layers] == [nn.Linear]
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_a_hidden_layer_is_linear_then_norm_then_activation_then_dropout() -> None:
    model = digits_dnn(depth=1, batch_norm=True, dropout=0.5, activation="gelu")
    kinds = [type(layer) for layer in model.layers]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.GELU, nn.Dropout, nn.Linear]
    assert model.layers[0].bias is None


@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        ("he_normal", 2 / 512),
        ("he_uniform", 2 / 512),
        ("glorot_normal", 2 / (512 + 256)),
        ("glorot_uniform", 2 / (512 + 256)),
        ("lecun_normal", 1 / 512),
    ],
)
def test_initial_weights_have_the_variance_of_the_formula(initializer: Any, variance: float) -> None:
    torch.manual_seed(0)
    weight = DNN(in_features=512, classes=10, depth=1, width=256, initializer=initializer).layers[0].weight
    assert isinstance(weight, Tensor)
    assert weight.var().item() == pytest.approx(variance, rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=1e-3)
    # the bound of the uniform distributions, which normal ones exceed
    assert (weight.abs().max().item() <= math.sqrt(3 * variance)) is initializer.endswith("uniform")


def test_orthogonal_initial_weights_are_orthonormal() -> None:
    weight = digits_dnn(depth=1, width=32, initializer="orthogonal").layers[0].weight
    assert isinstance(weight, Tensor)
    torch.testing.assert_close(weight @ weight.T, torch.eye(32), rtol=0, atol=1e-5)
