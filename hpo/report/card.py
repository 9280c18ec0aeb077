"""The model card: what its users have to know, after Mitchell et al. 2019, arxiv.org/abs/1810.03993."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.printable import counted
from hpo.report.accounts import accounts_of
from hpo.report.contents import Block, Items, Section
from hpo.report.reading import Material
from hpo.report.words import device_hours, shown, with_interval
from hpo.results.final import AT_MOST_ONE, Final
from hpo.results.final_words import baselines_in_words, tested_in_words, untested_in_words

TO_FILL_IN = "[to be filled in by a person"
FEW_SAMPLES = 1000  # of which an accuracy of 95 % has an interval of more than two and a half points
SPLIT = (
    "validation_fraction",
    "test_fraction",
    "split_seed",
    "train_samples",
    "validation_samples",
    "split",
    "group",
    "time",
)


def model_card(material: Material) -> Section:
    """The card, with what no program can know left for a person."""
    blocks: list[Block] = []
    for title, lines in (
        ("Purpose", [f"{TO_FILL_IN}: what the model is for, and what it must not be used for]"]),
        ("Data and splits", _data(material)),
        ("How good it is", _metrics(material)),
        ("Beside simple models", _beside(material)),
        ("Limits", _limits(material)),
        ("What was searched", _searched(material)),
        ("Where it is worse", _worse(material)),
        ("Who answers for its use", [f"{TO_FILL_IN}: a name, and how to reach them]"]),
    ):
        if lines:
            blocks.append(Items(lines, title))
    return Section("card", "Model card", blocks)


def _data(material: Material) -> list[str]:
    if material.resolved is None:
        return []
    spec, config = material.resolved.spec, material.best[0].config.get("data", {}) if material.best else {}
    given = {name: value for name, value in spec.data.arguments.items() if name not in SPLIT}
    lines = [f"{spec.data.label}{', with ' if given else ''}{_listed(given)}"]
    if split := {name: config[name] for name in SPLIT if config.get(name) not in (None, "", [])}:
        lines.append(f"Split: {_listed(split)}")
    for part in (material.final.validation, material.final.test) if material.final is not None else ():
        if part and "samples" in part:
            lines.append(f"The {part['part']} part has {counted(part['samples'], 'sample')}")
    files = sorted(name for name in material.resolved.inputs if name.startswith("data "))
    if files:
        lines.append(f"Files, whose fingerprints the report lists: {', '.join(files)}")
    return lines


def _metrics(material: Material) -> list[str]:
    final = material.final
    if final is None:
        return [untested_in_words(material.name)]
    lines = tested_in_words(final)
    for part in (final.test, final.validation):
        if part and part.get("metrics"):
            found = ", ".join(f"{name} {with_interval(value)}" for name, value in part["metrics"].items())
            lines.append(f"On the {part['part']} part, with intervals of 95 %: {found}")
    return lines


def _beside(material: Material) -> list[str]:
    lines = [] if material.final is None else baselines_in_words(material.final)
    return [line.strip().removesuffix(":") for line in lines]


def _limits(material: Material) -> list[str]:
    """What is known to be weak about the figures above."""
    judged = len(material.complete) + len(material.pruned)
    lines = [
        f"The validation part was used for each of {counted(judged, 'trial')} of the search, to choose and to prune: "
        "scores on it are too good, by an amount that the search itself cannot tell"
    ]
    if any(one.before_change for one in material.records):
        lines.append("The data or the code was changed during the search: trials from before are not compared")
    final = material.final
    if final is None:
        return ["It has not been tested: no score here is one that new data can be expected to give", *lines]
    lines += _limits_of_test(final)
    if final.luck is None or final.luck.low is None:
        lines.append("How much of the search's best score is luck is not known: there were too few re-runs")
    lines.append("All intervals are for samples like these: data of another source or time may give less")
    return lines


def _limits_of_test(final: Final) -> list[str]:
    if final.test is None:
        return ["It has not been tested: no score here is one that new data can be expected to give"]
    lines = []
    looks = final.looks + 1
    if looks > 1:
        lines.append(
            f"The test part was looked at {looks} times: a result that was chosen after a look is biased upwards"
        )
    samples = final.test.get("samples")
    if isinstance(samples, int) and samples < FEW_SAMPLES:
        lines.append(f"The test part has {counted(samples, 'sample')} only: small differences on it mean nothing")
    rivals = [one["name"] for one in final.test.get("baselines", []) if not one["is_beaten"]]
    if rivals:
        lines.append(f"It is not shown to be better than a simpler model: {', '.join(rivals)}")
    return lines


def _searched(material: Material) -> list[str]:
    found = accounts_of(material)
    names = material.parameters
    lines = [f"{counted(len(material.records), 'trial')} over {counted(len(names), 'parameter')}: {', '.join(names)}"]
    if material.resolved is not None:
        spec = material.resolved.spec
        sampler, pruner = (one.name or one.label for one in (spec.sampler, spec.pruner))
        lines.append(f"{spec.model_in_words}, proposed by {sampler}, pruned by {pruner}")
    text = f"{device_hours(found.spent)} for the search"
    text += f", about {device_hours(found.saved)} saved by pruning" if found.saved else ""
    text += f", {device_hours(material.rerun_seconds)} for re-runs" if material.rerun_seconds else ""
    return [*lines, text]


def _worse(material: Material) -> list[str]:
    """The slices whose whole interval is worse than the value on all samples."""
    found = (material.final.test if material.final is not None else None) or {}
    slices = found.get("slices", [])
    lines = []
    for one in slices:
        name, whole = one.get("metric"), found.get("metrics", {}).get(one.get("metric"))
        if whole is None or one.get("low") is None:
            continue
        is_worse = one["high"] < whole["value"] if name in AT_MOST_ONE else one["low"] > whole["value"]
        if is_worse:
            value = with_interval({"value": one["value_of_metric"], "low": one["low"], "high": one["high"]})
            lines.append(f"{one['of']} {shown(one['value'])}: {name} {value} on {counted(one['samples'], 'sample')}")
    return lines or (["No part of the samples is shown to be worse than the whole"] if slices else [])


def _listed(plain: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in plain.items())
