"""A convolutional network: the model to start from when the inputs are images, of any size and number of channels."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from hpo.space import Choice, Float, Int
from models.base import Supervised
from models.layers import ACTIVATIONS, Activation, Initializer, initialize

PoolingName = Literal["max", "average", "none"]
MONOTONIC = ("relu", "leaky_relu", "elu", "softplus", "tanh", "sigmoid")
POOLS: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}

MOST_CHANNELS = 512  # those of VGG's widest block, arXiv 1409.1556
WIDEST_MAP = 8  # pixels, in each direction, of the head's input


class CNN(Supervised):
    """`depth` blocks of convolutions and a pooling of 2 x 2; then a hidden layer, and a linear layer to the outputs.

    Takes images (batch, channels, height, width), or (batch, height, width) where `input_shape` is that of a grey
    image; returns (batch, outputs). A block is `convolutions` times convolution, [batch norm], activation; then the
    pooling, which may also come before the block's last activation. With a monotonic activation, the largest of four
    values remains the largest: then max pooling always comes first, with the same result and a quarter of the
    activations to compute. With `residual`, a block's input is added to its output before the last activation (He et
    al. 2016, arXiv 1512.03385); with `global_pooling`, the last map is averaged to a value a channel (Lin et al. 2014,
    arXiv 1312.4400).

    Every combination fits every image, down to one pixel:
        Convolutions are padded by half of their kernel, so that only stride and pooling shrink an image of s pixels,
        to s / stride, rounded up. A kernel is cut to 2 s - 1 in each direction: the rest would cover only padding.
        Pooling is omitted in a direction in which one pixel is left.
        No block has more than 512 channels.
        A last map of more than 8 x 8 pixels is averaged down to that, which bounds the hidden layer's weights.

    Args:
        input_shape: (channels, height, width) or (height, width).
        width: channels of the first block; each further block has `growth` times those of the one before it.
        stride: of each block's first convolution.
        residual: a convolution of 1 x 1 and stride fits a block's input to its output, where their shapes differ.
        head: units of the hidden layer.
        dropout: before and after the hidden layer.
        initializer: described in models.layers.initialize.
    """

    # Found on six kinds of images by benchmarks/portfolio.py: of 19 points, the three that are best together. Over
    # kinds that were left out, the best of them and the defaults is 0.04 behind the best of all, in units of how far
    # the median is; the best of the defaults and three random points 0.21, the defaults 0.31.
    portfolio: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "depth": 4, "width": 109, "activation": "relu", "batch_norm": True, "dropout": 0.15, "lr": 2.2e-4,
            "initializer": "glorot_uniform", "optimizer": "nadam", "weight_decay": 8.8e-6, "batch_size": 29,
            "shift": 0.15,
        },
        {
            "depth": 3, "width": 103, "activation": "relu", "batch_norm": True, "dropout": 0.016, "lr": 5e-3,
            "initializer": "glorot_uniform", "optimizer": "nadam", "weight_decay": 5.1e-6, "batch_size": 18,
            "shift": 0.15,
        },
        {
            "depth": 1, "width": 18, "activation": "relu", "batch_norm": True, "dropout": 0.13, "lr": 1e-2,
            "initializer": "orthogonal", "optimizer": "adam", "weight_decay": 4e-5, "batch_size": 16, "shift": 0.0,
        },
    )  # fmt: skip

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        depth: Annotated[int, Int(1, 4)] = 2,
        convolutions: int = 1,
        width: Annotated[int, Int(16, 128, log=True)] = 32,
        growth: float = 2.0,
        kernel: int = 3,
        stride: int = 1,
        pooling: PoolingName = "max",
        activation: Activation = "relu",
        activation_place: Literal["before_pooling", "after_pooling"] = "before_pooling",
        batch_norm: Annotated[bool, Choice()] = True,
        residual: bool = False,
        global_pooling: bool = False,
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.0,
        head: int = 128,
        initializer: Initializer = "he_normal",
        initializer_std: float = 0.02,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.save_hyperparameters()
        channels, *size = image_shape(input_shape, who=type(self).__name__)
        layers = nn.Sequential()
        for block in range(depth):
            wide = min(MOST_CHANNELS, round(width * growth**block))
            body = nn.Sequential() if residual else layers
            before, sides = channels, size
            for number in range(convolutions):
                step = stride if number == 0 else 1
                kernels = [min(kernel, 2 * side - 1) for side in size]
                body.append(_convolution(channels, wide, kernels, step, bias=not batch_norm))
                if batch_norm:
                    body.append(nn.BatchNorm2d(wide))
                if not residual or number < convolutions - 1:
                    body.append(ACTIVATIONS[activation]())
                channels, size = wide, [-(-side // step) for side in size]
            if residual:
                is_same = before == wide and sides == size
                layers.append(_Residual(body, None if is_same else _shortcut(before, wide, stride, batch_norm)))
                layers.append(ACTIVATIONS[activation]())
            windows = [min(2, side) for side in size]
            if pooling != "none" and windows != [1, 1]:
                is_the_same = pooling == "max" and activation in MONOTONIC
                place = len(layers) - (activation_place == "after_pooling" or is_the_same)
                layers.insert(place, POOLS[pooling]((windows[0], windows[1])))
                size = [side // window for side, window in zip(size, windows, strict=True)]
        most = 1 if global_pooling else WIDEST_MAP
        if max(size) > most:
            size = [min(most, side) for side in size]
            layers.append(nn.AdaptiveAvgPool2d((size[0], size[1])))
        self.blocks = layers
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(channels * size[0] * size[1], head),
            ACTIVATIONS[activation](),
            nn.Dropout(dropout),
            nn.Linear(head, outputs),
        )
        initialize(self, initializer, initializer_std)

    def forward(self, x: Tensor) -> Tensor:
        images = with_channels(x)
        if images.device.type == "cpu":
            # With channels last, an epoch of 28 x 28 pixels takes three quarters of the time.
            images = images.contiguous(memory_format=torch.channels_last)
        outputs: Tensor = self.head(self.blocks(images))
        return outputs


def image_shape(input_shape: tuple[int, ...] | list[int], *, who: str) -> tuple[int, int, int]:
    """(channels, height, width); (height, width) is a grey image.

    Raises:
        ValueError: it is not the shape of an image; the message begins with `who`.
    """
    shape = (1, *input_shape) if len(input_shape) == 2 else tuple(input_shape)
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(
            f"{who}: takes images, whose input_shape is (channels, height, width) or (height, width), "
            f"not {tuple(input_shape)}"
        )
    return shape[0], shape[1], shape[2]


def with_channels(x: Tensor) -> Tensor:
    """Images as (batch, channels, height, width); grey ones may be (batch, height, width)."""
    return x.unsqueeze(1) if x.ndim == 3 else x


class _Residual(nn.Module):
    """The body's output, to which its input is added."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.body(x) + self.shortcut(x)
        return total


def _shortcut(inputs: int, outputs: int, stride: int, batch_norm: bool) -> nn.Sequential:
    fitted = nn.Sequential(_convolution(inputs, outputs, [1, 1], stride, bias=not batch_norm))
    return fitted.append(nn.BatchNorm2d(outputs)) if batch_norm else fitted


def _convolution(inputs: int, outputs: int, kernels: list[int], stride: int, *, bias: bool) -> nn.Conv2d:
    # Without a bias before batch norm, which subtracts it with the mean.
    size, padding = (kernels[0], kernels[1]), (kernels[0] // 2, kernels[1] // 2)
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding, bias=bias)
