"""Tells folders that are parts of a data set, such as train, from folders that are classes, and lists their images."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from models.data.image_file import SUFFIXES
from models.data.image_sources import PartName

# In the name of a folder: Train, training_set, seg_train, trainset, ...
_WORDS: dict[PartName, tuple[str, ...]] = {
    "train": ("train", "training", "trainset", "trainingset"),
    "validation": ("validation", "valid", "val", "dev", "valset", "validset", "validationset", "devset"),
    "test": ("test", "testing", "testset", "testingset"),
}
_OF_THE_SYSTEM = ("thumbs.db", "desktop.ini")


class Parts(NamedTuple):
    """The folder of each part; warnings: of folders that are none."""

    roots: dict[PartName, Path]
    warnings: tuple[str, ...]


class Listed(NamedTuple):
    """files: (label, file), in the order of the names. left_out: the number of other files, by reason."""

    files: list[tuple[str, os.DirEntry[str]]]
    left_out: dict[str, int]


def find_parts(folder: Path) -> Parts:
    """The parts of a folder; the folder itself is the training part if it has classes.

    Folders are parts if their names say so and their images are in folders of classes.

    Raises:
        ValueError: the folders are parts, but it is not clear which.
    """
    folder = _entered(folder)
    named = [(entry, part) for entry in _folders(folder) if (part := _part_of(entry.name)) is not None]
    with_classes = [(entry, part) for entry, part in named if _has_classes(entry.path)]
    found: dict[PartName, list[str]] = {}
    for entry, part in with_classes:
        found.setdefault(part, []).append(entry.name)
    for part, names in found.items():
        if len(names) > 1:
            raise ValueError(f"{folder}: the folders {', '.join(names)} all seem to be the {part} part: keep one")
    if "train" in found:
        others = [entry.name for entry in _folders(folder) if [entry.name] not in found.values()]
        left_out = (f"{folder}: the folder '{name}' is no part with folders of classes: left out" for name in others)
        return Parts({part: _entered(folder / found[part][0]) for part in _WORDS if part in found}, tuple(left_out))
    alike = _alike(folder)
    if len({part for _, part in named}) > 1 or (found and alike):
        listed = ", ".join(alike or [entry.name for entry, _ in named])
        raise ValueError(
            f"{folder}: the folders {listed} are parts rather than classes: name the one to train on 'train', with a "
            "folder for each class in it, and beside it 'validation' and 'test', if there are such parts"
        )
    warning = (
        f"{folder}: {', '.join(alike)} are taken for classes, but hold the same folders, as parts do: if they are "
        "parts, name them train, validation and test"
    )
    return Parts({"train": folder}, (warning,) if alike else ())


def listed(root: Path) -> Listed:
    """The images below each class's folder."""
    left_out: Counter[str] = Counter()
    files = [(folder.name, file) for folder in _folders(root) for file in _pictures(folder.path, left_out, above=())]
    if loose := sum(_is_picture(entry.name) for entry in _entries(root) if not _is_folder(entry)):
        left_out["images outside of the folders of classes"] = loose
    return Listed(files, dict(sorted(left_out.items())))


def pictures_below(folder: Path) -> Listed:
    """All images below a folder, without a label, in the order of their names."""
    left_out: Counter[str] = Counter()
    files = [("", file) for file in _pictures(str(folder), left_out, above=())]
    return Listed(files, dict(sorted(left_out.items())))


def empty_folders(root: Path, labels: set[str]) -> list[str]:
    """The names of the folders below that hold no image."""
    return [entry.name for entry in _folders(root) if entry.name not in labels]


def has_loose_pictures(root: Path) -> bool:
    """Whether there are images in the folder itself."""
    return any(_is_picture(entry.name) for entry in _entries(root) if not _is_folder(entry))


def _part_of(name: str) -> PartName | None:
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    found = [part for part, its in _WORDS.items() if words & set(its)]
    return found[0] if len(found) == 1 else None


def _has_classes(folder: str | Path) -> bool:
    """Whether there are folders, and no images beside them."""
    has_folders = False
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                is_folder = _is_folder(entry)
                if not is_folder and _is_picture(entry.name):  # as the first of a class with many
                    return False
                has_folders |= is_folder
    return has_folders


def _entered(folder: Path) -> Path:
    """The folder, or the only one in it if it has folders, as some archives are packed."""
    while len(inner := _folders(folder)) == 1 and _has_classes(folder) and _has_classes(inner[0].path):
        folder = Path(inner[0].path)
    return folder


def _alike(folder: Path) -> list[str]:
    """The folders, if each of them has the same two or more folders and no images of its own."""
    folders = _folders(folder)
    if len(folders) < 2 or not all(_has_classes(entry.path) for entry in folders):
        return []
    inner = [{below.name for below in _folders(entry.path)} for entry in folders]
    is_alike = len(inner[0]) > 1 and all(names == inner[0] for names in inner)
    return [entry.name for entry in folders] if is_alike else []


def _pictures(folder: str, left_out: Counter[str], *, above: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
    here = (*above, os.path.realpath(folder))
    for entry in _entries(folder):
        if _is_folder(entry):
            if os.path.realpath(entry.path) not in here:  # a link to a parent folder has no new images
                yield from _pictures(entry.path, left_out, above=here)
        elif _is_picture(entry.name):
            yield entry
        elif entry.name.lower() not in _OF_THE_SYSTEM:
            left_out[Path(entry.name).suffix.lower() or "without a suffix"] += 1


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _folders(folder: str | Path) -> list[os.DirEntry[str]]:
    return [entry for entry in _entries(folder) if _is_folder(entry)]


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
