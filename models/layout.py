"""A network from a published table of layers, fitted to images that are smaller than the publication's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from hpo.space import Choice, Float
from models.base import Supervised
from models.cnn import image_shape, with_channels
from models.layers import ACTIVATIONS, Activation, Initializer, initialize

LAST_MAP = 6  # pixels in each direction of the last map of the published networks
SMALLEST_LAST_MAP = 3  # strides are halved to avoid much smaller ones
POOL = 3  # pixels in each direction, at a stride of 2


@dataclass(frozen=True)
class Layer:
    """A convolution and its activation, optionally followed by a normalisation across maps and a max pool."""

    maps: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    is_normalized: bool = False
    is_pooled: bool = False
    pool_padding: int = 0


class Layout(Supervised):
    """Convolutions as LAYERS lists them, two hidden fully connected layers, and one to the outputs.

    Takes images (batch, channels, height, width), returns (batch, outputs). Smaller images are fitted as follows, in
    each direction separately, where s is the number of pixels of a layer's input:
        A stride is halved while s, divided by it and by all later strides and pools, is below 3.
        A convolution whose stride was halved, or whose kernel is larger than s with its padding, is padded by half of
        its kernel; the kernel is cut to 2 s - 1, as the rest would cover only padding.
        The window of a pool is cut to s; where one pixel is left, there is no pool.
    A last map of more than 6 x 6 pixels is averaged down to it.

    Args:
        width: times the published maps and units, in even numbers; 1 is the published network.
        normalization: response is the published one, after the first two layers: each value is divided by (2 + 1e-4
            times the sum of the squares of 5 neighbouring maps) ** 0.75; batch is batch norm after each convolution.
        dropout: before each hidden fully connected layer; 0.5 was published.
        initializer: a normal one with a standard deviation of 0.01 was published; it learns slowly.
    """

    LAYERS: ClassVar[tuple[Layer, ...]]
    HIDDEN: ClassVar[int] = 4096
    NORMALIZES_AFTER_POOLING: ClassVar[bool] = False

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        width: Annotated[float, Float(1 / 16, 1.0, log=True)] = 1.0,
        activation: Activation = "relu",
        normalization: Annotated[Literal["response", "batch", "none"], Choice()] = "response",
        dropout: Annotated[float, Float(0.0, 0.7)] = 0.5,
        initializer: Initializer = "he_normal",
        initializer_std: float = 0.01,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.save_hyperparameters()
        channels, *size = image_shape(input_shape, who=type(self).__name__)
        layers = nn.Sequential()
        for number, layer in enumerate(self.LAYERS):
            shrinking = math.prod(_shrinking(later) for later in self.LAYERS[number:]) // layer.stride
            windows = _Windows(*(_convolution_window(layer, side, shrinking) for side in size))
            maps = scaled(layer.maps, width)
            layers.append(nn.Conv2d(channels, maps, **windows.options(), groups=layer.groups))
            if normalization == "batch":
                layers.append(nn.BatchNorm2d(maps))
            layers.append(ACTIVATIONS[activation]())
            channels, size = maps, windows.sizes(size)
            after: list[nn.Module] = []
            if normalization == "response" and layer.is_normalized:
                # Torch divides alpha by the number of maps.
                after.append(nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0))
            if layer.is_pooled and max(size) > 1:
                windows = _Windows(*(_pool_window(layer, side) for side in size))
                after.insert(0 if self.NORMALIZES_AFTER_POOLING else 1, nn.MaxPool2d(**windows.options()))
                size = windows.sizes(size)
            layers.extend(after)
        if max(size) > LAST_MAP:
            size = [min(LAST_MAP, side) for side in size]
            layers.append(nn.AdaptiveAvgPool2d((size[0], size[1])))
        self.convolutions = layers
        hidden, act = scaled(self.HIDDEN, width), ACTIVATIONS[activation]
        self.head = nn.Sequential(
            *(nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels * math.prod(size), hidden), act()),
            *(nn.Dropout(dropout), nn.Linear(hidden, hidden), act()),
            nn.Linear(hidden, outputs),
        )
        initialize(self, initializer, initializer_std)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.convolutions(with_channels(x)))
        return outputs


def scaled(count: int, width: float) -> int:
    """The scaled number of maps or units, rounded to an even number, so that it can be halved."""
    return max(2, 2 * round(count * width / 2))


class _Window(NamedTuple):
    """The window of a convolution or a pool in one direction."""

    kernel: int
    stride: int
    padding: int

    def size(self, side: int) -> int:
        """The output's pixels for an input of so many."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1


class _Windows(NamedTuple):
    """The window in each direction."""

    vertical: _Window
    horizontal: _Window

    def options(self) -> dict[str, Any]:
        kernel, stride, padding = zip(*self, strict=True)
        return {"kernel_size": kernel, "stride": stride, "padding": padding}

    def sizes(self, sides: list[int]) -> list[int]:
        return [window.size(side) for window, side in zip(self, sides, strict=True)]


def _shrinking(layer: Layer) -> int:
    return layer.stride * (2 if layer.is_pooled else 1)


def _convolution_window(layer: Layer, side: int, shrinking: int) -> _Window:
    """`shrinking` is the factor by which this layer's pool and all later layers reduce the image's side."""
    stride = layer.stride
    while stride > 1 and side < stride * shrinking * SMALLEST_LAST_MAP:
        stride //= 2
    if stride == layer.stride and side + 2 * layer.padding >= layer.kernel:
        return _Window(layer.kernel, stride, layer.padding)
    kernel = min(layer.kernel, 2 * side - 1)
    return _Window(kernel, stride, kernel // 2)


def _pool_window(layer: Layer, side: int) -> _Window:
    if side < POOL:
        return _Window(side, side, 0)
    return _Window(POOL, 2, layer.pool_padding)
