"""Warnings as sentences: the findings of the checks, with the user's names for columns and classes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from hpo.training.inspection import checks
from hpo.training.inspection.layout import Layout
from hpo.training.inspection.samples import Samples

MOST_COLUMNS = 4096  # up to which each is compared with the target
MOST_ROWS = 20_000
NAMES_IN_WORDS = 5
SEVERE_IMBALANCE = 10.0  # ratio of the most frequent class to the rarest
FAR_OUTSIDE = 0.1  # of the validation targets

DESCRIPTIONS = {
    "equal": "the same as the target",
    "linear": "the target apart from a shift and a scale (correlation 1)",
    "monotone": "a function of the target that only rises or only falls",
    "one-to-one": "one to one with the classes: each of its values stands for one of them",
    "determines": "enough to determine the class: each of its values occurs with one class only",
    "separates": "enough to determine the class: thresholds on it separate all classes",
    "indicator": "an indicator of some classes: it has two values, which depend on the class only",
}


class Finding(NamedTuple):
    """A kind of warning (leak, duplicates, constant, ...) and its sentence."""

    kind: str
    text: str


def findings_of(layout: Layout, parts: Sequence[Samples]) -> list[Finding]:
    """All warnings, the most serious first."""
    return [
        *_not_finite(layout, parts),
        *_leaks(layout, parts[0]),
        *_duplicates(parts),
        *_constants(layout, parts[0]),
        *_classes(layout, parts),
        *_ranges(layout, parts),
    ]


def _not_finite(layout: Layout, parts: Sequence[Samples]) -> list[Finding]:
    found = []
    for samples in parts:
        for name, array in {**samples.inputs, "targets": samples.targets}.items():
            if array is None or not np.issubdtype(array.dtype, np.floating):
                continue
            counts = {"missing (NaN)": int(np.isnan(array).sum()), "infinite": int(np.isinf(array).sum())}
            if not any(counts.values()):
                continue
            text = " and ".join(f"{count:,} {word}" for word, count in counts.items() if count)
            text += " value" if sum(counts.values()) == 1 else " values"
            where = ""
            if layout.kind == "table" and name == layout.main and array.ndim == 2:
                bad = np.flatnonzero(~np.isfinite(array).all(axis=0))
                where = f", {_listed([layout.features[column] for column in bad], 'column')}"
            found.append(Finding("non-finite", f"{samples.part}: {text} in the {_plural(name)}{where}"))
    return found


def _leaks(layout: Layout, train: Samples) -> list[Finding]:
    if train.targets is None or layout.task == "none" or layout.is_reconstruction:
        return []
    columns, targets = layout.predictors(train)
    if columns.shape[1] > MOST_COLUMNS:
        return []
    some = slice(None, None, -(-len(columns) // MOST_ROWS) or 1)
    targets = targets[some].reshape(len(targets[some]), -1)
    if layout.has_classes and targets.shape[1] > 1:
        return []  # several labels per sample, not one class
    leaks = checks.leaks(columns[some], targets, are_classes=layout.has_classes)
    found = []
    for how, same in groupby(
        sorted(leaks, key=lambda leak: list(DESCRIPTIONS).index(leak.how)), key=lambda leak: leak.how
    ):
        names = list(dict.fromkeys(layout.column_name(leak.column, train) for leak in same))
        is_or_are = "is" if len(names) == 1 else "are each"
        found.append(Finding("leak", f"a leak? {_and(names)} {is_or_are} {DESCRIPTIONS[how]}"))
    return found


def _duplicates(parts: Sequence[Samples]) -> list[Finding]:
    found = []
    train = parts[0]
    keys = {samples.part: checks.fingerprints(samples.inputs) for samples in parts}
    for samples in parts[1:]:
        count = checks.shared(keys[train.part], keys[samples.part])
        if count:
            found.append(
                Finding(
                    "duplicates across parts",
                    f"{_share(count, samples.seen, 'samples')} of {samples.part} are also in {train.part}, input for "
                    "input: they are not new to the model",
                )
            )
    if count := checks.repeated(keys[train.part]):
        text = f"{_share(count, train.seen, 'samples')} of {train.part} are copies of others"
        if train.targets is not None and (torn := checks.contradictions(keys[train.part], train.targets)):
            text += f"; {torn} have a duplicate with another target"
        found.append(Finding("duplicates", text))
    return found


def _constants(layout: Layout, train: Samples) -> list[Finding]:
    if layout.kind not in ("table", "sequences"):
        return []  # the corners of images may be blank
    constant = checks.constant_columns(layout.values(train))
    if not constant:
        return []
    names = [layout.features[column] for column in constant]
    have = "has" if len(names) == 1 else "have"
    word = "column" if layout.kind == "table" else "feature"
    return [
        Finding("constant", f"{_listed(names, word)} {have} one value in all of {train.part}: nothing to learn from")
    ]


def _classes(layout: Layout, parts: Sequence[Samples]) -> list[Finding]:
    if not layout.has_classes:
        return []
    found = []
    for samples in parts:
        if samples.targets is None:
            continue
        counts = layout.class_counts(samples)
        absent = [layout.classes[number] for number in checks.absent(counts)]
        if absent:
            where = samples.part if samples.is_whole else f"the {samples.seen} samples of {samples.part} looked at"
            found.append(Finding("missing classes", f"{where}: no sample of {_listed(absent, 'class')}"))
        ratio = checks.imbalance(counts)
        if samples is parts[0] and ratio >= SEVERE_IMBALANCE:
            most, least = (layout.classes[at] for at in (int(np.argmax(counts)), _rarest(counts)))
            always = max(counts) / sum(counts)
            found.append(
                Finding(
                    "imbalance",
                    f"{samples.part}: class '{most}' is {ratio:.0f} times as frequent as '{least}'; predicting always "
                    f"'{most}' is right in {always:.0%}: compare accuracy with that, or use balanced accuracy",
                )
            )
    return found


def _ranges(layout: Layout, parts: Sequence[Samples]) -> list[Finding]:
    train = parts[0]
    if layout.task != "regression" or layout.is_reconstruction or train.targets is None:
        return []
    found = []
    for samples in parts[1:]:
        share = 0.0 if samples.targets is None else checks.outside(train.targets, samples.targets)
        if share >= FAR_OUTSIDE:
            found.append(
                Finding(
                    "other range",
                    f"{share:.0%} of the targets of {samples.part} are outside the range of those of {train.part}: "
                    "the model has to extrapolate",
                )
            )
    return found


def _rarest(counts: Sequence[int]) -> int:
    return min((number for number, count in enumerate(counts) if count), key=lambda number: counts[number])


def _share(count: int, of: int, things: str) -> str:
    return f"{count:,} of {of:,} {things} ({count / of:.1%})"


def _plural(name: str) -> str:
    return "inputs" if name == "input" else name


def _listed(names: Sequence[str], word: str) -> str:
    plural = "classes" if word == "class" else f"{word}s"
    return f"{word if len(names) == 1 else plural} {_and([repr(name) for name in names])}"


def _and(names: Sequence[str]) -> str:
    if len(names) > NAMES_IN_WORDS:
        return f"{', '.join(names[:NAMES_IN_WORDS])} and {len(names) - NAMES_IN_WORDS} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
