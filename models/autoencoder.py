"""An autoencoder: learns a short code for each sample from the samples alone, without labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.space import Choice, Float, FromData, Int, When
from models.clustering import cluster_scores
from models.cnn import image_shape
from models.layers import ACTIVATIONS, ActivationName, InitializerName, initialize
from models.metrics import Predictions
from models.optimized import Optimized

MOST_CHANNELS = 256
CLUSTERS = 8  # if neither the study nor the data gives a number

Inputs = Tensor | tuple[Tensor, ...]
Batch = tuple[Inputs, Tensor]


class Autoencoder(Optimized):
    """An encoder to `latent` numbers, and a decoder back: hidden layers of half the size each, and their mirror image.

    Takes samples (batch, ...) of `input_shape`, of several inputs the first; returns their reconstruction, of the same
    shape. `encode` returns the codes (batch, latent). Hidden layers are linear or convolutional, [batch norm],
    activation, [dropout]; the layers that output the code and the reconstruction have none of these.
        dense          `width` units, then half as many, ...
        convolutional  3 x 3 with a stride of 2 to `channels`, then twice as many, 256 at most; the decoder enlarges by
                       the nearest pixel and convolves: Odena et al. 2016, Distill. Images of any size are halved down
                       to one pixel; samples of one dimension are treated as a row of pixels.

    Logs once an epoch, over all samples of all ranks:
        train_loss, val_loss   mean squared error per number, in the data's scaling
        val_silhouette         of k-means on the codes, and, where the data has labels,
        val_adjusted_rand      the clusters' agreement with them; both are described in models.clustering
    and the same with `test_` in a test. A longer code reconstructs better, and a shorter one gives clearer clusters:
    compare losses at one `latent` and one scaling.

    Args:
        clusters: of k-means; 0 is the number of the data's classes, or 8 where it has none.
        class_counts, cardinalities, task: from the data module.
        optimization: of models.optimized.Optimized.

    Raises:
        ValueError: a convolutional one gets samples of more than three dimensions, or the data has categories.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        kind: Annotated[Literal["dense", "convolutional"], Choice()] = "dense",
        depth: Annotated[int, Int(1, 3)] = 2,
        width: Annotated[int, Int(16, 512, log=True), When(kind="dense")] = 128,
        channels: Annotated[int, Int(4, 64, log=True), When(kind="convolutional")] = 16,
        latent: Annotated[int, Int(2, 32, log=True)] = 8,
        activation: ActivationName = "relu",
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.0,
        batch_norm: bool = False,
        initializer: InitializerName = "he_normal",
        initializer_std: float = 0.02,
        clusters: int = 0,
        task: Annotated[str, FromData()] = "multiclass",
        class_counts: Annotated[tuple[int, ...], FromData()] = (),
        cardinalities: Annotated[tuple[int, ...], FromData()] = (),
        **optimization: Any,
    ) -> None:
        super().__init__(**optimization)
        self.save_hyperparameters()
        if cardinalities:
            raise ValueError(
                f"Autoencoder: reconstructs numbers only, but {len(cardinalities)} columns of the data are categories: "
                "convert them to numbers, as a table does with categories: one_hot"
            )

        hidden = _Hidden(ACTIVATIONS[activation], dropout=dropout, batch_norm=batch_norm)
        if kind == "dense":
            units = [math.prod(input_shape), *(max(2, width // 2**layer) for layer in range(depth))]
            self.encoder, self.decoder = _dense(units, latent, hidden)
        else:
            shape = (1, 1, *input_shape) if len(input_shape) == 1 else input_shape
            wide = [min(MOST_CHANNELS, channels * 2**block) for block in range(depth)]
            self.encoder, self.decoder = _convolutional(image_shape(shape, who="Autoencoder"), wide, latent, hidden)
        initialize(self, initializer, initializer_std)
        self._seen = Predictions()

    def forward(self, inputs: Inputs) -> Tensor:
        x = _first(inputs)
        reconstruction: Tensor = self.decoder(self.encode(x))
        return reconstruction.reshape(x.shape)

    def encode(self, inputs: Inputs) -> Tensor:
        """Codes (batch, latent)."""
        codes: Tensor = self.encoder(_first(inputs).flatten(1))
        return codes

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x = _first(batch[0])
        return self.learn_from(functional.mse_loss(self(x), x), len(x))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x, labels = _first(batch[0]), batch[1]
        codes = self.encode(x)
        errors = (self.decoder(codes) - x.flatten(1)).square().mean(1, keepdim=True)
        self._seen.add(torch.cat([codes, errors], dim=1), labels)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> dict[str, Tensor]:
        """`error` (batch,) of the reconstruction, large for samples unlike the training's; `code` (batch, latent)."""
        x = _first(batch if isinstance(batch, Tensor) else batch[0])
        codes = self.encode(x)
        return {"error": (self.decoder(codes) - x.flatten(1)).square().mean(1), "code": codes}

    def on_validation_epoch_start(self) -> None:
        self._seen.clear()

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val")

    def on_test_epoch_start(self) -> None:
        self._seen.clear()

    def on_test_epoch_end(self) -> None:
        self._log_scores("test")

    def _log_scores(self, prefix: str) -> None:
        gathered = self._seen.gather()
        self._seen.clear()
        if gathered is None:
            return
        codes_and_errors, labels = (part.cpu().numpy() for part in gathered)
        has_labels = self.hparams["task"] != "regression" and labels.ndim == 1 and labels.dtype.kind == "i"
        clusters = self.hparams["clusters"] or len(self.hparams["class_counts"]) or CLUSTERS
        codes, errors = codes_and_errors[:, :-1], codes_and_errors[:, -1]
        scores = {"loss": float(errors.mean())}
        scores |= cluster_scores(codes, labels if has_labels else None, clusters=clusters)
        # The scores are already the same on every rank; sync_dist avoids Lightning's warning.
        self.log_dict({f"{prefix}_{name}": value for name, value in scores.items()}, sync_dist=True)


class _Hidden:
    """The modules after a hidden layer's weights."""

    def __init__(self, activation: Callable[[], nn.Module], *, dropout: float, batch_norm: bool) -> None:
        self._activation, self._dropout = activation, dropout
        self.batch_norm = batch_norm

    def __call__(self, norm: nn.Module) -> list[nn.Module]:
        dropout = [nn.Dropout(self._dropout)] if self._dropout > 0 else []
        return [*([norm] if self.batch_norm else []), self._activation(), *dropout]


def _dense(units: list[int], latent: int, hidden: _Hidden) -> tuple[nn.Sequential, nn.Sequential]:
    encoder, decoder = nn.Sequential(), nn.Sequential()
    for wide, narrow in itertools.pairwise(units):
        encoder.extend([nn.Linear(wide, narrow, bias=not hidden.batch_norm), *hidden(nn.BatchNorm1d(narrow))])
    encoder.append(nn.Linear(units[-1], latent))
    for narrow, wide in itertools.pairwise([latent, *reversed(units[1:])]):
        decoder.extend([nn.Linear(narrow, wide, bias=not hidden.batch_norm), *hidden(nn.BatchNorm1d(wide))])
    decoder.append(nn.Linear(units[1], units[0]))
    return encoder, decoder


def _convolutional(
    image: tuple[int, int, int], channels: list[int], latent: int, hidden: _Hidden
) -> tuple[nn.Sequential, nn.Sequential]:
    colours, height, width = image
    encoder, decoder = nn.Sequential(nn.Unflatten(1, image)), nn.Sequential()
    sizes = [(height, width)]
    for wide, wider in itertools.pairwise([colours, *channels]):
        convolution = nn.Conv2d(wide, wider, 3, stride=2, padding=1, bias=not hidden.batch_norm)
        encoder.extend([convolution, *hidden(nn.BatchNorm2d(wider))])
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    last = (channels[-1], *sizes[-1])
    encoder.extend([nn.Flatten(), nn.Linear(math.prod(last), latent)])
    decoder.extend([nn.Linear(latent, math.prod(last)), nn.Unflatten(1, last)])
    for wide, narrow, size in zip(reversed(channels), [*reversed(channels[:-1]), colours], sizes[-2::-1], strict=True):
        # Normalisation precedes the convolution here: nothing follows the reconstruction.
        decoder.extend([*hidden(nn.BatchNorm2d(wide)), nn.Upsample(size=size)])
        decoder.append(nn.Conv2d(wide, narrow, 3, padding=1))
    decoder.append(nn.Flatten())
    return encoder, decoder


def _first(inputs: Inputs) -> Tensor:
    return inputs if isinstance(inputs, Tensor) else inputs[0]
