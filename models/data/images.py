"""Images from a folder, an .npz or IDX files, decoded once for all trials, augmented in training."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpo.space import Float, Int
from models.data.augmentation import Augmentation, FlipName
from models.data.base import DataModule, Part, PartName, Samples
from models.data.batches import Batch, Batches, Inputs
from models.data.decoding import Found, decoded, decoded_test, find_source
from models.data.image_sources import Form, Layout, Source, check_choices, is_bytes
from models.data.new_data import NewData
from models.data.new_images import NewImages
from models.data.splits import Folds, Ints, Rows, check_fractions, stratified_choice, stratified_split, time_split

CHOICES = {"scaling": ("unit", "standard", "none"), "split": ("stratified", "order")}


class Images(DataModule):
    """Images of two or more classes, all of one size.

    Batches are images (batch, channels, height, width), float32, and class numbers (batch,), int64; with mix-up
    or cut-mix, training has probabilities (batch, classes) instead, float32, and (batch,) for two classes. Classes are
    numbered from 0 in the order of their labels. Pixels in bytes are cached as bytes, in a file that all trials share
    (models.data.cache), and converted to float32 batch by batch.

    `source` is one of
        a folder with a folder of images for each class, in any format that Pillow decodes (PNG, JPEG, WebP, TIFF, ...);
        a folder with such folders in `train` and, each where there is one, `validation` and `test`, or in folders of
        similar names (Train, training_set, seg_train, val, ...);
        an .npz with x (images, height, width), with channels before or after that, and y (images,); or with x_train
        and y_train and, optionally, the same of validation and test;
        a folder with IDX files named like MNIST's: train-images-idx3-ubyte, train-labels-idx1-ubyte, and the same of
        t10k, which is the test part; with or without .gz.
    A test part that comes separately is read by a test only.

    Args:
        scaling: unit is from black at 0 to white at 1; for images not in bytes, from the smallest to the largest
            value of the training part. standard subtracts each channel's mean over the training part and divides by
            its standard deviation. none leaves the values unchanged.
        flip, shift, rotate, crop, erase, mix_up, cut_mix: described in models.data.augmentation; 0 is off.
        size: pixels in each direction to resize images to; 0 leaves them unchanged.
        fit: squeeze resizes the whole image, crop the largest square in its middle.
        colour: grey has one channel, colour three; auto keeps the images' channels.
        layout: the position of the channels in an .npz; auto is the first or the last dimension, if it is at most 4.
        split: stratified is random, by `split_seed`, with the same fractions of each class; order keeps the images'
            order: the first for training, the next for validation, the last for the test.
        validation_fraction, test_fraction: of the images; not used for a part that comes separately.
        train_samples: at most so many for training, the first ones in order or a stratified choice; 0 uses all.
        validation_samples: the same for validation; in an ordered split, the last ones.
        corrupt: files that cannot be read are an error (refuse), or left out with a warning (skip).

    Raises:
        ValueError: there is no source, or its images cannot be used for training.
    """

    standalone = "models.data.standalone.images"

    def __init__(
        self,
        source: str,
        batch_size: Annotated[int, Int(16, 512, log=True)] = 64,
        scaling: Literal["unit", "standard", "none"] = "unit",
        flip: FlipName = "none",
        shift: Annotated[float, Float(0.0, 0.2, step=0.05)] = 0.0,
        rotate: float = 0.0,
        crop: float = 0.0,
        erase: float = 0.0,
        mix_up: float = 0.0,
        cut_mix: float = 0.0,
        size: int = 0,
        fit: Literal["squeeze", "crop"] = "squeeze",
        colour: Literal["auto", "grey", "colour"] = "auto",
        layout: Layout = "auto",
        split: Literal["stratified", "order"] = "stratified",
        validation_fraction: float = 0.2,
        test_fraction: float = 0.15,
        train_samples: int = 0,
        validation_samples: int = 0,
        split_seed: int = 0,
        corrupt: Literal["refuse", "skip"] = "refuse",
    ) -> None:
        super().__init__()
        check_fractions(validation_fraction, test_fraction, who="Images")
        for name, count in (("train_samples", train_samples), ("validation_samples", validation_samples)):
            if count < 0:
                raise ValueError(f"Images: {name}: {count} should be a number of images, or 0 for all")
        check_choices({"scaling": scaling, "split": split}, CHOICES, who="Images")
        with _errors_of_images():
            self._augmentation = Augmentation(flip, shift, rotate, crop, erase, mix_up, cut_mix)
            self._form = Form(size=size, fit=fit, colour=colour, layout=layout, corrupt=corrupt)
        self.save_hyperparameters()
        self._found: Found | None = None
        self._origin: Source | None = None

    def prepare_data(self) -> None:
        """Decode the images once, before the ranks read them."""
        self._find()

    def read(self) -> Samples:
        """Pixels (images, channels, height, width), class numbers, and which images are a separate validation part.

        A separate test part is not included.
        """
        found = self._find()
        _warn(found)
        self.class_names, self._white = found.names, found.white
        return Samples(found.pixels, found.classes, found.is_validation)

    def prepare(self) -> None:
        self._pixels, self._classes, is_validation = self.read()
        self.input_shape = self._pixels.shape[1:]
        self.outputs = 1 if len(self.class_names) == 2 else len(self.class_names)
        self.task = "binary" if self.outputs == 1 else "multiclass"
        self._check_classes(np.arange(len(self._classes)), least=2, problem="but needs two")
        self.rows = self._split(is_validation)
        self._check_classes(
            self.rows.train, least=1, problem=f"in the training part, by split: {self.hparams['split']}"
        )
        self.class_counts = tuple(self._counts(self.rows.train).tolist())
        self._scale = _fitted(self._pixels, self.rows.train, self.hparams["scaling"])

    def part(self, name: PartName) -> Part:
        if name == "test" and "test" in self._source().parts:
            with _errors_of_images():
                test = decoded_test(self._source(), self._form, self.class_names, self.input_shape)
            _warn(test)
            return Part(torch.from_numpy(test.pixels), torch.from_numpy(test.classes))
        rows = getattr(self.rows, name)
        pixels, classes = torch.from_numpy(self._pixels), torch.from_numpy(_taken(self._classes, rows))
        return Part(pixels, classes, torch.from_numpy(rows))  # the pixels stay in the memory shared by all processes

    def fitted(self) -> dict[str, Any]:
        return super().fitted() | {"scalings": torch.cat([self._scale.factor, self._scale.offset])}

    def fitted_state(self) -> dict[str, Any]:
        return super().fitted_state() | {
            "factor": self._scale.factor.numpy(),
            "offset": self._scale.offset.numpy(),
            "shape": list(self.input_shape),
            "is_bytes": is_bytes(self._pixels),
            "white": self._white,
            "form": {name: self.hparams[name] for name in ("size", "fit", "colour", "layout")},
        }

    def write_sample(self, folder: Path, count: int) -> Path:
        pixels = self._pixels[self.rows.validation[:count]]
        pixels = pixels.transpose(0, 2, 3, 1) if self.hparams["layout"] == "channels_last" else pixels
        np.savez(folder / "sample.npz", x=pixels)
        return folder / "sample.npz"

    def new_data(self, source: Any, state: Mapping[str, Any]) -> NewData:
        """A folder of images, an image, an .npz with x, an IDX file, or an array as x of an .npz."""
        with _errors_of_images():
            found = NewImages(source, state)
        return {"batches": found.batches(), "rows": found.rows, "remarks": found.remarks}

    def _batches(self, name: PartName, batch_size: int, *, training: bool = False) -> Batches:
        batches = super()._batches(name, batch_size, training=training)
        scale = self._scale.to(batches.targets.device)
        augmentation = self._augmentation if training else Augmentation()
        batches.change = partial(_presented, scale=scale, augmentation=augmentation, classes=len(self.class_names))
        return batches

    def _find(self) -> Found:
        if self._found is None:
            with _errors_of_images():
                self._found = decoded(self._source(), self._form)
        return self._found

    def _source(self) -> Source:
        if self._origin is None:
            self._origin = find_source(Path(self.hparams["source"]).expanduser())
        return self._origin

    def _split(self, is_validation: NDArray[np.bool_]) -> Rows:
        given = self.hparams
        free, own = np.flatnonzero(~is_validation), np.flatnonzero(is_validation)
        validation = 0.0 if len(own) else given["validation_fraction"]
        test = 0.0 if "test" in self._source().parts else given["test_fraction"]
        if given["split"] == "order":
            self.folds = Folds("order")
            cut = time_split(len(free), validation, test)
        else:
            self.folds = Folds("stratified", self._classes, given["split_seed"])
            cut = stratified_split(self._classes[free], validation, test, seed=given["split_seed"])
        return Rows(
            self._limited(free[cut.train], "train_samples"),
            self._limited(own if len(own) else free[cut.validation], "validation_samples"),
            free[cut.test],
        )

    def _limited(self, rows: Ints, name: str) -> Ints:
        most = self.hparams[name]
        if most == 0:
            return rows
        if most > len(rows):
            raise ValueError(f"Images: {name}: {most:,} are requested, but there are {len(rows):,}")
        if self.hparams["split"] == "order":
            return rows[:most] if name == "train_samples" else rows[-most:]
        return stratified_choice(rows, self._classes, most, seed=self.hparams["split_seed"])

    def _counts(self, rows: Ints) -> Ints:
        return np.bincount(self._classes[rows], minlength=len(self.class_names))

    def _check_classes(self, rows: Ints, *, least: int, problem: str) -> None:
        for name, count in zip(self.class_names, self._counts(rows), strict=True):
            if count < least:
                images = "one image" if count else "no image"
                raise ValueError(f"Images: {self.hparams['source']}: class '{name}' has {images} {problem}")
        if len(self.class_names) < 2:
            raise ValueError(f"Images: {self.hparams['source']}: all images are of class '{self.class_names[0]}'")


class _Scale(NamedTuple):
    """A model's input is pixels * factor + offset; black is the scaled value of black. Each is (channels, 1, 1)."""

    factor: Tensor
    offset: Tensor
    black: Tensor

    def to(self, device: torch.device) -> _Scale:
        return _Scale(*(value.to(device) for value in self))


def _presented(inputs: Inputs, targets: Tensor, *, scale: _Scale, augmentation: Augmentation, classes: int) -> Batch:
    assert isinstance(inputs, Tensor)
    images = inputs.to(torch.float32) * scale.factor + scale.offset
    return augmentation(images, targets, black=scale.black, classes=classes) if augmentation else (images, targets)


def _fitted(pixels: NDArray[Any], rows: Ints, scaling: str) -> _Scale:
    """The scale for a choice of `scaling`, fitted on these rows."""
    channels = pixels.shape[1]
    ones = torch.ones(channels, 1, 1)
    low, high = 0.0, 255.0
    if pixels.dtype != np.uint8:
        low, high = float(pixels[rows].min()), float(pixels[rows].max())
    match scaling:
        case "standard":
            mean, deviation = _moments(pixels, rows)
            factor = 1 / torch.where(deviation > 0, deviation, 1.0)
            offset = -mean * factor
        case "unit":
            factor = ones / ((high - low) or 1.0)
            offset = -low * factor
        case _:
            factor, offset = ones, 0 * ones
    return _Scale(factor, offset, low * factor + offset)


def _moments(pixels: NDArray[Any], rows: Ints) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (channels, 1, 1), computed in double precision, a few images at a time."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for start in range(0, len(rows), 256):
        some = torch.from_numpy(_taken(pixels, rows[start : start + 256])).double()
        count += some.numel() // some.shape[1]
        total = total + some.sum((0, 2, 3))
        squares = squares + some.square().sum((0, 2, 3))
    mean = total / count
    deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
    return mean.float().reshape(-1, 1, 1), deviation.float().reshape(-1, 1, 1)


def _taken(array: NDArray[Any], rows: Ints) -> NDArray[Any]:
    """The rows, without a copy if they are consecutive."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return array[rows[0] : rows[-1] + 1]
    return array[rows]


def _warn(found: Found) -> None:
    for warning in found.warnings:
        warnings.warn(f"Images: {warning}", stacklevel=3)


@contextlib.contextmanager
def _errors_of_images() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"Images: {error}") from error
