"""Finds images, decodes them once, and numbers their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.data.cache import Kept, cached, room_for
from models.data.image_folder import FolderSource
from models.data.image_sources import ArraySource, Form, IdxSource, PartName, Source, recoloured

Ints = NDArray[np.int64]


class Found(NamedTuple):
    """pixels: (images, channels, height, width), bytes or float32; classes: (images,), numbers from 0.

    names: of the classes. is_validation: (images,), whether the source has an image in its validation part.
    warnings: texts that begin with the file or folder. white: the value of white; 0 if there is none.
    """

    pixels: NDArray[Any]
    classes: Ints
    names: tuple[str, ...]
    is_validation: NDArray[np.bool_]
    warnings: tuple[str, ...]
    white: float


def find_source(path: Path) -> Source:
    """The source at the path.

    Raises:
        ValueError: there is none, or no images can be read from it.
    """
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if path.is_dir():
        return IdxSource(path) if IdxSource.is_at(path) else FolderSource(path)
    if path.suffix == ".npz":
        return ArraySource(path)
    raise ValueError(f"{path}: should be an .npz file, or a folder with a folder of images for each class or IDX files")


def decoded(source: Source, form: Form) -> Found:
    """All images but those of a test part that comes separately.

    Raises:
        ValueError: they cannot be read or combined; the message begins with the file.
    """
    parts: list[PartName] = [part for part in source.parts if part != "test"]
    kept = _cached(source, parts, form)
    arrays, note = kept
    return Found(
        arrays["pixels"],
        arrays["classes"],
        tuple(str(label) for label in note["labels"]),
        arrays["is_validation"],
        (*source.warnings, *note["left_out"], *_about_labels(note["labels"]), *_lacking_validation(kept)),
        note["white"],
    )


def decoded_test(source: Source, form: Form, names: Sequence[str], shape: tuple[int, ...]) -> Found:
    """The images of a test part that comes separately, with the known classes.

    Args:
        shape: (channels, height, width) of the training images.

    Raises:
        ValueError: they are of another shape, or of unknown classes.
    """
    arrays, note = _cached(source, ["test"], form)
    own = [str(label) for label in note["labels"]]
    unknown = sorted(set(own) - set(names))
    if unknown:
        raise ValueError(f"the test part has images of class '{unknown[0]}', but the training part has none")
    numbers = np.array([names.index(name) for name in own])
    pixels = _of_shape(arrays["pixels"], shape, "test")
    about = (*note["left_out"], *_lacking("test", [name for name in names if name not in own]))
    return Found(pixels, numbers[arrays["classes"]], tuple(names), arrays["is_validation"], about, note["white"])


def _lacking_validation(kept: Kept) -> list[str]:
    """A warning of classes that a validation part of its own has no image of."""
    is_validation, classes = kept.arrays["is_validation"], kept.arrays["classes"]
    if not is_validation.any():
        return []
    counts = np.bincount(classes[is_validation], minlength=len(kept.note["labels"]))
    return _lacking("validation", [str(kept.note["labels"][number]) for number in np.flatnonzero(counts == 0)])


def _lacking(part: PartName, names: list[str]) -> list[str]:
    return [f"the {part} part has no image of class {', '.join(names)}"] if names else []


def _cached(source: Source, parts: list[PartName], form: Form) -> Kept:
    key = {"what": "images 4", "form": asdict(form), "parts": {part: source.identity(part) for part in parts}}
    return cached(key, lambda: _decode(source, parts, form))


def _decode(source: Source, parts: list[PartName], form: Form) -> Kept:
    several = [source.decode(part, form) for part in parts]
    shape = several[0].pixels.shape[1:]
    kinds = {one.pixels.dtype for one in several}
    if len(kinds) > 1 and isinstance(source, FolderSource):
        raise ValueError(f"the parts {', '.join(parts)} differ in the bits of their images: convert them to one kind")
    pixels = [_of_shape(one.pixels, shape, part) for one, part in zip(several, parts, strict=True)]
    labels, classes = _numbered(np.concatenate([one.labels for one in several]))
    lengths = [len(one.labels) for one in several]
    arrays = {
        "pixels": pixels[0] if len(pixels) == 1 else _joined(pixels),
        "classes": classes,
        "is_validation": np.repeat([part == "validation" for part in parts], lengths),
    }
    left_out = [text for one in several for text in one.warnings]
    return Kept(arrays, {"labels": labels, "left_out": left_out, "white": several[0].white})


def _joined(several: list[NDArray[Any]]) -> NDArray[Any]:
    shape = sum(map(len, several)), *several[0].shape[1:]
    joined = room_for(shape, np.result_type(*several))
    np.concatenate(several, out=joined)
    return joined


def _of_shape(pixels: NDArray[Any], shape: tuple[int, ...], part: PartName) -> NDArray[Any]:
    """Pixels of the given shape: grey images are converted to coloured ones."""
    if pixels.shape[1] == 1 and shape[0] == 3:
        pixels = recoloured(pixels, "colour", where=part)
    if pixels.shape[1:] != shape:
        own, wanted = (" x ".join(str(size) for size in sizes) for sizes in (pixels.shape[1:], shape))
        raise ValueError(
            f"the {part} part has images of {own} (channels, height, width), the train part of {wanted}: give a common "
            "form by size and colour"
        )
    return pixels


def _numbered(labels: NDArray[Any]) -> tuple[list[Any], Ints]:
    """The distinct labels, in order, and each image's class number; texts that are all numbers are ordered as such."""
    values, numbers = np.unique(labels, return_inverse=True)
    if values.dtype.kind == "U" and all(text.isdecimal() for text in values):
        order = np.argsort([int(text) for text in values], kind="stable")
        return values[order].tolist(), np.argsort(order)[numbers].astype(np.int64)
    return values.tolist(), numbers.astype(np.int64)


def _about_labels(labels: list[Any]) -> list[str]:
    if not isinstance(labels[0], int) or labels == list(range(len(labels))):
        return []
    listed = f"{labels[0]} to {labels[-1]}" if labels[-1] - labels[0] == len(labels) - 1 else f"{labels}"
    return [f"the {len(labels)} labels are {listed}: class numbers start at 0 and are consecutive"]
