"""Transfer: initial weights, frozen and thawed layers, learning rates, and refused arguments."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from hpo.training.load_model import load_model
from models.backbones import blocks_of, head_of
from models.cnn import CNN
from models.data import Digits
from models.dnn import DNN
from models.recurrent import Recurrent
from models.transfer import Transfer

torch.set_num_threads(1)

NEW_DIGITS = partial(Digits, only="567", batch_size=64)
DEEP: dict[str, Any] = {"in_features": 64, "outputs": 5, "depth": 3, "width": 16, "batch_norm": True}


def trainer(**options: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return Trainer(**{"accelerator": "cpu", "enable_checkpointing": False, **quiet, **options})


def left_by_a_trial(folder: Path, model: LightningModule, label: str) -> str:
    """A checkpoint with its config.json, as a trial leaves them."""
    checkpoint = folder / "best.ckpt"
    fitted = trainer(max_epochs=1, limit_train_batches=2, limit_val_batches=1)
    fitted.fit(model, datamodule=Digits(only="01234"))
    fitted.save_checkpoint(checkpoint, weights_only=True)
    plain = {"class": label, **json.loads(json.dumps(dict(model.hparams)))}
    (folder / "config.json").write_text(json.dumps({"model": plain}))
    return str(checkpoint)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    return left_by_a_trial(tmp_path_factory.mktemp("pretrained"), DNN(**DEEP), "models.dnn:DNN")


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights, and of the statistics of batch normalisation."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


class Changes(Callback):
    """The names of what each epoch changed."""

    def __init__(self) -> None:
        self.seen: list[set[str]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before = weights_of(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen.append(changed(self._before, weights_of(pl_module)))


def fitted(model: Transfer, *, epochs: int = 1, **options: Any) -> list[set[str]]:
    changes = Changes()
    trainer(max_epochs=epochs, callbacks=[changes], **options).fit(model, datamodule=NEW_DIGITS())
    return changes.seen


def blocks_in(names: set[str]) -> set[str]:
    """`hidden.0` for the hidden layers of a DNN, `head` for the new layer."""
    return {match[0] for name in names if (match := re.search(r"hidden\.\d|head", name))}


# ---- what it starts from


def test_it_begins_with_the_weights_of_the_trial_and_a_head_of_its_own(pretrained: str) -> None:
    model = Transfer(outputs=3, weights=pretrained, freeze="all", lr=1e-6)

    fitted(model)

    theirs = torch.load(pretrained, weights_only=True)["state_dict"]
    ours = {name.removeprefix("net."): value for name, value in model.state_dict().items()}
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if not name.startswith("head"))
    assert ours["head.1.weight"].shape == (3, 16)
    assert json.loads(model.hparams["backbone_arguments"])["width"] == 16
    assert model.hparams["backbone"] == "models.dnn:DNN"


def test_a_state_dict_needs_the_backbone_to_be_named(pretrained: str, tmp_path: Path) -> None:
    path = str(tmp_path / "weights.pt")
    torch.save(torch.load(pretrained, weights_only=True)["state_dict"], path)
    with pytest.raises(ValueError, match=r"which network\? Give .*there is no config.json"):
        Transfer(outputs=3, weights=path)

    model = Transfer(outputs=3, weights=path, backbone="models.dnn:DNN", backbone_arguments=DEEP)
    fitted(model, limit_train_batches=1)

    assert blocks_of(model.net, "head")[0].parameters[0].shape == (16, 64)


def test_a_checkpoint_of_lightning_contains_the_backbones_arguments(pretrained: str, tmp_path: Path) -> None:
    path = tmp_path / "alone.ckpt"
    path.write_bytes(Path(pretrained).read_bytes())

    model = Transfer(outputs=3, weights=str(path), backbone="models.dnn:DNN")

    assert json.loads(model.hparams["backbone_arguments"])["width"] == 16


def test_it_is_rebuilt_without_its_initial_weights(pretrained: str, tmp_path: Path) -> None:
    model = Transfer(outputs=3, weights=pretrained)
    fit = trainer(max_epochs=1)
    fit.fit(model, datamodule=NEW_DIGITS())
    fit.save_checkpoint(tmp_path / "best.ckpt", weights_only=True)
    x = torch.rand(4, 1, 8, 8)
    config = {**json.loads(json.dumps(dict(model.hparams))), "class": "models.transfer:Transfer"}

    # as the store has it: the study's words stand for a file that is gone
    again = load_model({"model": config | {"weights": "trial:digits-pretrain/best"}}, tmp_path / "best.ckpt", Path())

    assert torch.equal(again(x), model.eval()(x))
    # and it can go on learning
    trainer(max_epochs=1, limit_train_batches=1).fit(again.train(), datamodule=NEW_DIGITS())


def test_it_can_start_from_another_transfer(pretrained: str, tmp_path: Path) -> None:
    first = Transfer(outputs=5, weights=pretrained, freeze="all")
    path = left_by_a_trial(tmp_path, first, "models.transfer:Transfer")
    second = Transfer(outputs=3, weights=path, freeze="all")

    fitted(second)

    name = "net.hidden.0.linear.weight"
    assert torch.equal(second.state_dict()[f"net.{name}"], first.state_dict()[name])
    assert second(torch.rand(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_a_package_that_is_not_installed_is_named(package: str) -> None:
    with pytest.raises(ValueError, match=f"needs the package {package}, which is not installed: pip install {package}"):
        Transfer(outputs=3, backbone=f"{package}/resnet18", weights="pretrained")


# What the two packages' documentation promises of their functions, in the place of packages of many megabytes.
PACKAGED = """
from torch import nn

class Net(nn.Module):
    def __init__(self, number):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.fc = nn.Linear(4, 1000)
        nn.init.constant_(self.conv.weight, number)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))

def get_model(name, **config):
    if name != "tiny":
        raise ValueError(f"Unknown model {name}")
    return Net(0.5 if config["weights"] == "DEFAULT" else 0.25)

def create_model(model_name, pretrained=False, **kwargs):
    if model_name != "tiny":
        raise RuntimeError(f"Unknown model ({model_name})")
    return Net(0.5 if pretrained else 0.25)
"""


@pytest.fixture(params=["torchvision", "timm"])
def package(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of networks that is installed."""
    name: str = request.param
    folder = tmp_path / name / ("models" if name == "torchvision" else "")
    folder.mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    (folder / "__init__.py").write_text(PACKAGED)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    for loaded in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[loaded]


@pytest.mark.parametrize(("weights", "number"), [("", 0.25), ("pretrained", 0.5)])
def test_a_network_of_an_installed_package_gets_a_head_of_its_own(package: str, weights: str, number: float) -> None:
    model = Transfer(outputs=3, backbone=f"{package}/tiny", weights=weights, freeze="all")

    learned = fitted(model)

    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 3)
    assert model.state_dict()["net.conv.weight"].unique().tolist() == [number]
    assert learned[0] == {"net.fc.1.weight", "net.fc.1.bias"}


def test_a_network_that_an_installed_package_has_not_is_named(package: str) -> None:
    with pytest.raises(ValueError, match=rf"^Transfer: backbone '{package}/huge' cannot be built: Unknown model"):
        Transfer(outputs=3, backbone=f"{package}/huge")


def test_without_weights_the_backbone_is_not_trained() -> None:
    assert fitted(Transfer(outputs=3, backbone="models.dnn:DNN", backbone_arguments=DEEP))


# ---- what is frozen


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "nadam", "rmsprop", "adagrad", "adadelta", "sgd"])
def test_frozen_all_changes_nothing_but_the_new_layer(pretrained: str, optimizer: Any) -> None:
    model = Transfer(outputs=3, weights=pretrained, freeze="all", optimizer=optimizer, weight_decay=0.1)

    (names,) = fitted(model)

    assert names == {"net.head.1.weight", "net.head.1.bias"}


def test_frozen_blocks_count_from_the_input_and_keep_their_statistics(pretrained: str) -> None:
    (names,) = fitted(Transfer(outputs=3, weights=pretrained, freeze="blocks", frozen_blocks=2))

    assert blocks_in(names) == {"hidden.2", "head"}
    assert "net.hidden.2.rest.0.running_mean" in names


def test_more_frozen_blocks_than_there_are_freeze_all(pretrained: str) -> None:
    (names,) = fitted(Transfer(outputs=3, weights=pretrained, freeze="blocks", frozen_blocks=4))

    assert blocks_in(names) == {"head"}


def test_thawing_begins_at_the_epoch_with_the_last_block(pretrained: str) -> None:
    epochs = fitted(Transfer(outputs=3, weights=pretrained, freeze="epochs", frozen_epochs=2), epochs=6)

    below = [sorted(blocks_in(names) - {"head"}) for names in epochs]
    assert below == [
        [],
        [],
        ["hidden.2"],
        ["hidden.1", "hidden.2"],
        ["hidden.0", "hidden.1", "hidden.2"],
        ["hidden.0", "hidden.1", "hidden.2"],
    ]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_layers_that_thaw_begin_with_a_momentum_of_their_own(pretrained: str, optimizer: Any) -> None:
    given = {"freeze": "epochs", "frozen_epochs": 1, "optimizer": optimizer, "momentum": 0.9}
    epochs = fitted(Transfer(outputs=3, weights=pretrained, **given), epochs=3)
    assert "hidden.2" in blocks_in(epochs[-1])


def test_thawing_may_be_at_once(pretrained: str) -> None:
    model = Transfer(outputs=3, weights=pretrained, freeze="epochs", frozen_epochs=1, gradually=False)

    frozen, thawed = fitted(model, epochs=2)

    assert blocks_in(frozen) == {"head"}
    assert blocks_in(thawed) == {"hidden.0", "hidden.1", "hidden.2", "head"}


def test_nothing_is_frozen_by_default(pretrained: str) -> None:
    (names,) = fitted(Transfer(outputs=3, weights=pretrained))

    assert blocks_in(names) == {"hidden.0", "hidden.1", "hidden.2", "head"}


def test_the_backbone_learns_more_slowly(pretrained: str) -> None:
    model = Transfer(outputs=3, weights=pretrained, lr=0.01, backbone_lr=0.05)
    new, backbone = model.configure_optimizers().param_groups

    assert (new["lr"], len(new["params"])) == (0.01, 2)
    assert (backbone["lr"], len(backbone["params"])) == (pytest.approx(0.0005), 3 * 3)
    # what never learns is not the optimizer's
    groups = Transfer(outputs=3, weights=pretrained, freeze="all").configure_optimizers().param_groups
    assert [len(group["params"]) for group in groups] == [2]


def test_a_schedule_keeps_the_ratio_of_the_learning_rates(pretrained: str) -> None:
    model = Transfer(outputs=3, weights=pretrained, lr=0.01, backbone_lr=0.1, schedule="one_cycle")

    fitted(model)

    optimizer = model.optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    new, backbone = (group["lr"] for group in optimizer.param_groups)
    assert new < 0.01 / 2
    assert backbone == pytest.approx(new / 10)


# ---- which networks


class Plain(nn.Module):
    """Somebody's network: a parameter of its own, and layers without a Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(64))
        self.first = nn.Linear(64, 8)
        self.norm = nn.BatchNorm1d(8)
        self.second = nn.Linear(8, 8)
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x.flatten(1) + self.shift)))
        outputs: Tensor = self.last(torch.relu(self.second(x)))
        return outputs


class HeadFirst(Plain):
    """Its last layer in the registry is not the one that gives the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x.flatten(1) + self.shift)))
        outputs: Tensor = self.last(torch.relu(self.middle(self.second(x))))
        return outputs


class NoLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 3, 8)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.convolution(x).flatten(1)
        return outputs


HERE = __name__


@pytest.mark.parametrize(
    ("net", "head", "blocks"),
    [
        (DNN(in_features=4, outputs=2, depth=0), "head", []),
        (DNN(in_features=4, outputs=2, depth=2, width=8), "head", [2, 2]),
        (DNN(in_features=4, outputs=2, depth=2, width=8, cardinalities=(3,)), "head", [1, 2, 2]),
        (CNN(input_shape=(1, 8, 8), outputs=2, depth=2, convolutions=2), "head.5", [3, 3, 3, 3, 2]),
        (Recurrent(input_shape=(5, 3), outputs=2, layers=2, bidirectional=True), "head", [8, 8]),
        (Recurrent(input_shape=(5, 3), outputs=2, readout="attention"), "head", [4, 3]),
        (Plain(), "last", [2 + 2 + 1, 2]),
    ],
    ids=["perceptron", "DNN", "DNN with embeddings", "CNN", "LSTM", "attention", "another's"],
)
def test_the_blocks_of_a_network_contain_all_its_weights(net: nn.Module, head: str, blocks: list[int]) -> None:
    assert head_of(net) == head

    found = blocks_of(net, head)

    assert [len(block.parameters) for block in found] == blocks
    below = {id(p) for p in net.parameters()} - {id(p) for p in net.get_submodule(head).parameters()}
    assert {id(p) for block in found for p in block.parameters} == below


def test_a_layer_of_a_recurrent_network_can_be_frozen_alone() -> None:
    arguments = {"input_shape": (8, 8), "outputs": 5, "layers": 2, "hidden": 8}
    model = Transfer(
        outputs=3, backbone="models.recurrent:Recurrent", backbone_arguments=arguments, freeze="blocks", frozen_blocks=1
    )
    before = weights_of(model)

    model.trainer = trainer(max_epochs=1)
    x, y = torch.rand(16, 8, 8), torch.arange(16) % 3
    model._freeze(1)
    optimizer = model.configure_optimizers()
    model.training_step((x, y), 0).backward()  # type: ignore[no-untyped-call]
    optimizer.step()

    names = changed(before, weights_of(model))
    assert not any(name.endswith("_l0") for name in names)
    assert any(name.endswith("_l1") for name in names)


def test_any_module_with_a_last_linear_layer_will_do() -> None:
    model = Transfer(outputs=3, backbone=f"{HERE}:Plain", freeze="blocks", frozen_blocks=1)

    (names,) = fitted(model)

    assert {name.split(".")[1] for name in names} == {"second", "last"}


def test_the_layer_that_is_replaced_can_be_named() -> None:
    with pytest.raises(ValueError, match=r"with layer 'middle' replaced, .* name that as `head`"):
        fitted(Transfer(outputs=3, backbone=f"{HERE}:HeadFirst"), limit_train_batches=1)

    fitted(Transfer(outputs=3, backbone=f"{HERE}:HeadFirst", head="last"), limit_train_batches=1)


# ---- what does not fit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"which network\? Give `weights` of a trial"),
        ({"weights": "nowhere.ckpt"}, "'nowhere.ckpt': there is no such file"),
        ({"weights": "trial:a/best"}, "`hpo run` finds a trial's checkpoint; elsewhere, give the file's path"),
        ({"backbone": "resnet18"}, "'resnet18' should be a class, package.module:Class, or torchvision/NAME"),
        ({"backbone": "models.nowhere:Net"}, "cannot be imported: No module named 'models.nowhere'"),
        ({"backbone": "models.dnn:CNN"}, "cannot be imported: module 'models.dnn' has no attribute 'CNN'"),
        ({"backbone": "models.dnn:DNN", "backbone_arguments": {"widht": 3}}, "does not take its arguments"),
        ({"backbone": "models.dnn:DNN", "backbone_arguments": "width=3"}, "backbone_arguments should be JSON"),
        ({"backbone": "models.dnn:DNN", "backbone_arguments": "[3]"}, "should be a mapping"),
        ({"backbone": "builtins:dict"}, "should be an nn.Module"),
        ({"backbone": f"{HERE}:NoLinear"}, "a NoLinear has no linear layer that a new one could replace"),
        ({"backbone": f"{HERE}:Plain", "head": "fc"}, "has no linear layer 'fc'; it has first, second, last"),
    ],
)
def test_invalid_networks_are_refused_with_a_reason(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"Transfer: .*{message}"):
        Transfer(outputs=3, **arguments)


def test_weights_of_another_shape_are_named(pretrained: str) -> None:
    model = Transfer(
        outputs=3, weights=pretrained, backbone="models.dnn:DNN", backbone_arguments={**DEEP, "width": 32, "depth": 4}
    )

    with pytest.raises(ValueError, match="are not of this backbone") as error:
        fitted(model)

    assert "hidden.3.linear.weight is not in the file" in str(error.value)
    assert "more" in str(error.value)


def test_weights_of_another_width_are_named_with_both_shapes(pretrained: str) -> None:
    model = Transfer(outputs=3, weights=pretrained, backbone="models.dnn:DNN", backbone_arguments={**DEEP, "width": 32})
    with pytest.raises(ValueError, match=r"hidden.0.linear.weight is \(16, 64\) in the file and \(32, 64\)"):
        fitted(model)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no checkpoint", "cannot be read as a checkpoint"),
        ([1, 2], "are a list, not weights by name"),
        ({"state_dict": {"a": 1}}, "should be a checkpoint, or a state dict: tensors by name"),
    ],
)
def test_a_file_without_weights_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)

    with pytest.raises(ValueError, match=message):
        fitted(Transfer(outputs=3, weights=str(path), backbone="models.dnn:DNN", backbone_arguments=DEEP))


def test_inputs_that_the_backbone_does_not_take_are_refused_with_a_reason() -> None:
    arguments = {**DEEP, "in_features": 100}

    with pytest.raises(ValueError, match=r"models.dnn:DNN, .* cannot process a batch \(64, 1, 8, 8\)"):
        fitted(Transfer(outputs=3, backbone="models.dnn:DNN", backbone_arguments=arguments))
