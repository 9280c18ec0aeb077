"""Pretrained networks: rebuilds them from their description, loads their weights, and finds their layers."""

from __future__ import annotations

import importlib
import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PACKAGES = ("torchvision", "timm")
PRETRAINED = "pretrained"  # instead of a file: the weights that the package offers
NORMALIZATIONS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.GroupNorm,
    nn.LayerNorm,
)
HEADS = ("head", "heads", "fc", "classifier")  # names of the last layers in our, torchvision's and timm's models


def describe(weights: str, backbone: str, arguments: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The network's name and its constructor's arguments: as given, or from the weights' file or folder.

    Beside the checkpoint of a trial there is `config.json`; a checkpoint of Lightning has `hyper_parameters`.

    Raises:
        ValueError: the network is unknown, or the arguments are not a mapping.
    """
    given = _mapping(arguments)
    if not backbone or given is None:
        config = _config_beside(weights)
        is_same = not backbone or backbone == config.get("class")
        backbone = backbone or config.get("class", "")
        if given is None and is_same:
            given = {name: value for name, value in config.items() if name != "class"}
    if not backbone:
        raise ValueError(_unknown(weights))
    if not given and ":" in backbone and Path(weights).is_file():
        given = read(weights).get("hyper_parameters", {})
    return backbone, dict(given or {})


def build(backbone: str, arguments: Mapping[str, Any], *, pretrained: bool = False) -> nn.Module:
    """The network, with its initial weights, or with those that its package offers.

    Raises:
        ValueError: its package is not installed, there is no such class, or it does not take the arguments.
    """
    package, slash, name = backbone.partition("/")
    if slash and package in PACKAGES:
        return _from_package(package, name, arguments, pretrained=pretrained)
    module_name, colon, class_name = backbone.partition(":")
    if not colon:
        raise ValueError(
            f"Transfer: backbone '{backbone}' should be a class, package.module:Class, or torchvision/NAME or timm/NAME"
        )
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Transfer: backbone '{backbone}' cannot be imported: {error}") from error
    try:
        net = found(**arguments)
    except TypeError as error:
        raise ValueError(f"Transfer: backbone '{backbone}' does not take its arguments: {error}") from error
    if not isinstance(net, nn.Module):
        raise ValueError(f"Transfer: backbone '{backbone}' should be an nn.Module, such as a LightningModule")
    return net


def load(net: nn.Module, weights: str, *, head: str) -> None:
    """Load the weights of a checkpoint or a state dict into the network, except for its head.

    Raises:
        ValueError: the file cannot be read, or its weights are not this network's.
    """
    content = read(weights)
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"Transfer: weights '{weights}' should be a checkpoint, or a state dict: tensors by name")
    theirs = {name: value for name, value in state.items() if not name.startswith(f"{head}.")}
    ours = {name: value for name, value in net.state_dict().items() if not name.startswith(f"{head}.")}
    problems = [f"{name} is not in the file" for name in ours if name not in theirs]
    problems += [f"the network has no {name}" for name in theirs if name not in ours]
    problems += [
        f"{name} is {tuple(theirs[name].shape)} in the file and {tuple(value.shape)} in the network"
        for name, value in ours.items()
        if name in theirs and theirs[name].shape != value.shape
    ]
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ValueError(f"Transfer: weights '{weights}' are not of this backbone: {'; '.join(problems[:4])}{more}")
    net.load_state_dict(theirs, strict=False)


def read(weights: str) -> dict[str, Any]:
    """The contents of a checkpoint or state dict, read as data: no code in it is run.

    Raises:
        ValueError: there is no such file, or it is not a checkpoint.
    """
    try:
        content = torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"Transfer: weights '{weights}': there is no such file{_hint(weights)}") from None
    except Exception as error:  # for other files, the unpickler may raise any error
        problem = str(error)
        if isinstance(error, pickle.UnpicklingError):  # whose own message advises to trust the file
            problem = "it is not one, or it has more than weights and plain values, which could run code"
        raise ValueError(f"Transfer: weights '{weights}' cannot be read as a checkpoint: {problem}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"Transfer: weights '{weights}' are a {type(content).__name__}, not weights by name")
    return dict(content)


def head_of(net: nn.Module, name: str = "") -> str:
    """The name of the output layer: the given one, or the last linear layer.

    Raises:
        ValueError: there is none, or the network's head is not a linear layer.
    """
    linear = {key: module for key, module in net.named_modules() if isinstance(module, nn.Linear)}
    names = ", ".join(linear) or "none"
    if name:
        if name not in linear:
            raise ValueError(f"Transfer: the backbone has no linear layer '{name}'; it has {names}")
        return name
    for usual in HEADS:
        head = getattr(net, usual, None)
        if isinstance(head, nn.Linear):
            return usual
        if isinstance(head, nn.Sequential):
            return f"{usual}.{head_of(head)}"
        if isinstance(head, nn.Module) and any(True for _ in head.parameters()):
            raise ValueError(
                f"Transfer: the backbone's {usual} is a {type(head).__name__}: name the linear output layer as `head`; "
                f"it has {names}"
            )
    if not linear:
        raise ValueError(f"Transfer: a {type(net).__name__} has no linear layer that a new one could replace")
    return str(list(linear)[-1])


@dataclass(frozen=True)
class Block:
    """Neighbouring layers that are frozen together.

    Attributes:
        modules: in evaluation mode while frozen.
    """

    modules: list[nn.Module]
    parameters: list[nn.Parameter]


def blocks_of(net: nn.Module, head: str) -> list[Block]:
    """The layers below the head from the input upwards, in the order in which the network registered them.

    A block is a child of the network (a layer, or a residual block); a Sequential stands for its own children, and a
    recurrent network for its layers. Normalisations, and layers without weights, belong to the block before them.
    Weights outside of children belong to the first block.
    """
    found: list[Block] = []
    for module in _children(net, net.get_submodule(head)):
        weights = list(module.parameters())
        if isinstance(module, nn.RNNBase):
            found += _recurrent_layers(module)
        elif found and (isinstance(module, NORMALIZATIONS) or not weights):
            found[-1].modules.append(module)
            found[-1].parameters.extend(weights)
        elif weights:
            found.append(Block([module], weights))
    known = {id(p) for block in found for p in block.parameters} | {id(p) for p in net.get_submodule(head).parameters()}
    others = [parameter for parameter in net.parameters() if id(parameter) not in known]
    if others and not found:
        found.append(Block([], []))
    if found:
        found[0].parameters.extend(others)
    return found


def _children(net: nn.Module, head: nn.Module) -> Iterator[nn.Module]:
    for module in net.children():
        if module is head:
            continue
        if isinstance(module, nn.Sequential) or head in module.modules():
            yield from _children(module, head)
        else:
            yield module


def _recurrent_layers(module: nn.RNNBase) -> list[Block]:
    layers = range(module.num_layers)
    endings = [(f"_l{layer}", f"_l{layer}_reverse") for layer in layers]
    return [
        Block([module], [weight for name, weight in module.named_parameters() if name.endswith(ending)])
        for ending in endings
    ]


def _from_package(package: str, name: str, arguments: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
    try:
        library = importlib.import_module("torchvision.models" if package == "torchvision" else package)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"Transfer: backbone '{package}/{name}' needs the package {package}, which is not installed: "
            f"pip install {package}"
        ) from error
    net: nn.Module
    try:
        if package == "torchvision":
            net = library.get_model(name, weights="DEFAULT" if pretrained else None, **arguments)
        else:
            net = library.create_model(name, pretrained=pretrained, **arguments)
    except (ValueError, RuntimeError, TypeError, KeyError) as error:  # an unknown name or argument
        raise ValueError(f"Transfer: backbone '{package}/{name}' cannot be built: {error}") from error
    return net


def _mapping(arguments: str | Mapping[str, Any]) -> dict[str, Any] | None:
    if isinstance(arguments, Mapping):
        return dict(arguments)
    if not arguments:
        return None
    try:
        plain = json.loads(arguments)
    except json.JSONDecodeError as error:
        raise ValueError(f'Transfer: backbone_arguments should be JSON, such as {{"width": 64}}: {error}') from error
    if not isinstance(plain, dict):
        raise ValueError(f'Transfer: backbone_arguments should be a mapping, such as {{"width": 64}}, not {arguments}')
    return plain


def _config_beside(weights: str) -> dict[str, Any]:
    """The model of the trial that wrote the checkpoint; empty if there is no such file."""
    path = Path(weights).parent / "config.json"
    if not weights or not path.is_file():
        return {}
    try:
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
        return dict(model)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"Transfer: {path} should be the configuration that a trial writes: {error}") from error


def _unknown(weights: str) -> str:
    what = "Transfer: which network?"
    if weights and not Path(weights).is_file():
        return f"{what} weights '{weights}': there is no such file{_hint(weights)}"
    beside = f"; beside '{weights}' there is no config.json of a trial" if weights else ""
    return f"{what} Give `weights` of a trial, or `backbone` as package.module:Class or torchvision/NAME{beside}"


def _hint(weights: str) -> str:
    if weights.startswith("trial:"):
        return ". `hpo run` finds a trial's checkpoint; elsewhere, give the file's path"
    return ""
