"""Three published convolutional networks, with their open choices as search space: LeNet-5, AlexNet and ZFNet."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.space import Choice, Float, Int
from models.base import Supervised
from models.cnn import image_shape, with_channels
from models.layers import ACTIVATIONS, ActivationName, InitializerName, initialize
from models.layout import Layer, Layout

# For each of the sixteen maps of C3, the maps of S2 that it is connected to; LeCun et al. 1998, table I.
TABLE_I: tuple[tuple[int, ...], ...] = (
    *(tuple(sorted((first + step) % 6 for step in range(3))) for first in range(6)),
    *(tuple(sorted((first + step) % 6 for step in range(4))) for first in range(6)),
    *(tuple(sorted((first + step) % 6 for step in (0, 1, 3, 4))) for first in range(3)),
    (0, 1, 2, 3, 4, 5),
)


class LeNet5(Supervised):
    """LeNet-5: LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition.

    Takes images (batch, channels, height, width), gives (batch, outputs). For a grey image of 32 x 32 pixels:

        layer  maps  size     of                                                             parameters
        C1        6  28 x 28  5 x 5 convolution                                                     156
        S2        6  14 x 14  subsampling: the mean of 2 x 2, times a weight, plus a bias            12
        C3       16  10 x 10  5 x 5 convolution of 3, 4 or 6 of the maps, by the paper's table I  1,516
        S4       16  5 x 5    subsampling                                                            32
        C5      120  1 x 1    5 x 5 convolution                                                  48,120
        F6       84           fully connected                                                    10,164
        output   10           fully connected, where the paper has radial basis functions           850

    After each of them but the last, the activation; the paper's is 1.7159 tanh(2 x / 3).

    An image that is up to 4 pixels smaller gets a blank frame, like the paper's 28 x 28 digits; an image of any other
    size is resampled to 32 x 32, bilinearly.

    Args:
        width: a factor on the paper's numbers of maps, and of units of F6.
        pooling: subsampling is the paper's; max and average have no weights and no activation.
        connections: table is the paper's; with full, every map of C3 is connected to all maps of S2.
        batch_norm: after each convolution.
        dropout: before F6 and before the output.
    """

    SIDE: ClassVar[int] = 32

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        width: Annotated[int, Int(1, 4)] = 1,
        activation: Annotated[ActivationName, Choice("tanh", "relu", "sigmoid")] = "tanh",
        pooling: Annotated[Literal["subsampling", "average", "max"], Choice()] = "subsampling",
        connections: Annotated[Literal["table", "full"], Choice()] = "table",
        batch_norm: Annotated[bool, Choice()] = False,
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.0,
        initializer: InitializerName = "lecun_uniform",
        initializer_std: float = 0.05,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.save_hyperparameters()
        channels, self._height, self._width = image_shape(input_shape, who=type(self).__name__)
        act = ACTIVATIONS[activation]

        def subsampling(maps: int) -> list[nn.Module]:
            if pooling == "subsampling":
                return [_Subsampling(maps), act()]
            return [nn.MaxPool2d(2) if pooling == "max" else nn.AvgPool2d(2)]

        def norm(maps: int) -> list[nn.Module]:
            return [nn.BatchNorm2d(maps)] if batch_norm else []

        second = _TableConvolution(width) if connections == "table" else nn.Conv2d(6 * width, 16 * width, 5)
        self.layers = nn.Sequential(
            *(nn.Conv2d(channels, 6 * width, 5), *norm(6 * width), act(), *subsampling(6 * width)),
            *(second, *norm(16 * width), act(), *subsampling(16 * width)),
            *(nn.Conv2d(16 * width, 120 * width, 5), *norm(120 * width), act(), nn.Flatten()),
            *(nn.Dropout(dropout), nn.Linear(120 * width, 84 * width), act()),
            *(nn.Dropout(dropout), nn.Linear(84 * width, outputs)),
        )
        initialize(self, initializer, initializer_std)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layers(self.fitted(with_channels(x)))
        return outputs

    def fitted(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels, 32, 32)"""
        missing = [self.SIDE - self._height, self.SIDE - self._width]
        if all(0 <= pixels <= 4 for pixels in missing):
            top, left = missing[0] // 2, missing[1] // 2
            return functional.pad(x, (left, missing[1] - left, top, missing[0] - top))
        return functional.interpolate(x, (self.SIDE, self.SIDE), mode="bilinear", antialias=True)


class AlexNet(Layout):
    """AlexNet: Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep convolutional networks, NIPS.

    Takes images (batch, channels, height, width), gives (batch, outputs). For 3 x 224 x 224 and 1,000 classes:

        layer   maps  size     of                                                                   parameters
        1         96  55 x 55  11 x 11 convolution, stride 4, padding 2; response norm; pool            34,944
        2        256  27 x 27  5 x 5 convolution of half the maps; response norm; pool                 307,456
        3        384  13 x 13  3 x 3 convolution                                                       885,120
        4        384  13 x 13  3 x 3 convolution of half the maps                                      663,936
        5        256  13 x 13  3 x 3 convolution of half the maps; pool, to 6 x 6                      442,624
        6, 7   4,096           fully connected                                     37,752,832 and   16,781,312
        8      1,000           fully connected                                                       4,097,000

    A pool is the largest of 3 x 3 pixels, at a stride of 2; the halves of the maps were on two GPUs. The paper gives
    224 x 224, which needs a padding of 2 for its 55 x 55. models.layout:Layout has the arguments, and describes how
    smaller images are fitted.
    """

    LAYERS = (
        Layer(96, kernel=11, stride=4, padding=2, is_normalized=True, is_pooled=True),
        Layer(256, kernel=5, padding=2, groups=2, is_normalized=True, is_pooled=True),
        Layer(384, kernel=3, padding=1),
        Layer(384, kernel=3, padding=1, groups=2),
        Layer(256, kernel=3, padding=1, groups=2, is_pooled=True),
    )


class ZFNet(Layout):
    """ZFNet: Zeiler and Fergus 2014, Visualizing and understanding convolutional networks, arXiv 1311.2901, figure 3.

    Takes images (batch, channels, height, width), gives (batch, outputs). For 3 x 224 x 224 and 1,000 classes:

        layer   maps  size       of                                                                 parameters
        1         96  110 x 110  7 x 7 convolution, stride 2, padding 1; pool; response norm            14,208
        2        256  26 x 26    5 x 5 convolution, stride 2; pool; response norm                      614,656
        3        384  13 x 13    3 x 3 convolution                                                     885,120
        4        384  13 x 13    3 x 3 convolution                                                   1,327,488
        5        256  13 x 13    3 x 3 convolution; pool, to 6 x 6                                     884,992
        6, 7   4,096             fully connected                                   37,752,832 and   16,781,312
        8      1,000             fully connected                                                     4,097,000

    A pool is the largest of 3 x 3 pixels, at a stride of 2; the first two are padded by 1, to 55 x 55 and 13 x 13.
    models.layout:Layout has the arguments, and describes how smaller images are fitted.
    """

    LAYERS = (
        Layer(96, kernel=7, stride=2, padding=1, is_normalized=True, is_pooled=True, pool_padding=1),
        Layer(256, kernel=5, stride=2, is_normalized=True, is_pooled=True, pool_padding=1),
        Layer(384, kernel=3, padding=1),
        Layer(384, kernel=3, padding=1),
        Layer(256, kernel=3, padding=1, is_pooled=True),
    )
    NORMALIZES_AFTER_POOLING = True


class _Subsampling(nn.Module):
    """The mean of each 2 x 2 pixels, times the map's weight, plus the map's bias."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        # The paper's weight is of the sum of the four, not of their mean: 1 here is 1 / 4 there.
        self.weight = nn.Parameter(torch.ones(maps, 1, 1))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 2) * self.weight + self.bias


class _TableConvolution(nn.Module):
    """C3: from 6 groups of `width` maps to 16 groups of `width` maps, each connected to the groups in table I."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.parts = nn.ModuleDict()
        for seen in sorted({len(row) for row in TABLE_I}):
            rows = [row for row in TABLE_I if len(row) == seen]
            maps = [group * width + number for row in rows for group in row for number in range(width)]
            self.register_buffer(f"chosen_{seen}", torch.tensor(maps), persistent=False)
            self.parts[str(seen)] = nn.Conv2d(len(maps), len(rows) * width, 5, groups=len(rows))

    def forward(self, x: Tensor) -> Tensor:
        parts = self.parts.items()
        return torch.cat([part(x.index_select(1, self.get_buffer(f"chosen_{seen}"))) for seen, part in parts], dim=1)
