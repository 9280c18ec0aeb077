"""What a search has ended in, in sentences: for the terminal, the report and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from hpo.printable import counted
from hpo.results.final import Final, Interval, Kept
from hpo.study.plan import TRAIN


def number_between(interval: Interval | Mapping[str, float]) -> str:
    """`0.972 (0.958 to 0.986)`."""
    return str(interval if isinstance(interval, Interval) else Interval(**interval))


def untested_in_words(study: str) -> str:
    """What stands in place of the answer before a test."""
    return f"{study}: not yet tested; 'hpo finalize {study} --test' looks at the test part, once"


def tested_in_words(final: Final) -> list[str]:
    """The answer: how good the model is on the test part, or that this is not known yet."""
    if final.test is None:
        return [untested_in_words(final.study)]
    found = final.test
    if "objective" not in found:
        logged = ", ".join(f"{name} {value:.4g}" for name, value in found.get("logged", {}).items())
        lines = [f"{final.study}: test: {logged or 'nothing was logged'}", *found.get("notes", [])]
    else:
        name = found["objective"]["name"]
        lines = [
            f"{final.study}: {name} {number_between(found['metrics'][name])} on {counted(found['samples'], 'sample')} "
            "of the test part (95 % interval)"
        ]
    if final.looks:
        lines.append(
            f"This is look {final.looks + 1} at this test part: a result that was chosen after a look is biased upwards"
        )
    return lines


def luck_in_words(final: Final) -> str:
    """How much of the search's best score was luck, and what the winner of the re-runs gives."""
    first, luck, won = final.reruns[0], final.luck, final.won
    best = "Chosen" if final.is_named else "The best"
    text = f"{best} of {counted(final.trials, 'trial')} was trial {first.trial}: {final.metric} {first.searched:.4g}"
    if luck is None or first.mean is None:
        text += "; all of its re-runs failed"
    else:
        sign = "worse" if luck.value >= 0 else "better"
        sure = luck.low is not None and (luck.low > 0 or (luck.high or 0.0) < 0)
        differs = f"{abs(luck.value):.2g} {sign}{'' if sure else ' and may be chance'}"
        is_same = f"{luck.value:.2g}" in ("0", "-0")
        text += f"; trained again, {number_between(first.mean)}, which is {'the same' if is_same else differs}"
    if won.trial != first.trial and won.mean is not None:
        text += f". The best on average is trial {won.trial}: {number_between(won.mean)}"
    return text


def ensemble_in_words(final: Final) -> list[str]:
    """Which ensemble was chosen, and whether it pays; nothing where none was asked for."""
    found = final.ensemble
    if found is None:
        return []
    if len(found.members) < 2:
        return [f"No ensemble of {counted(found.candidates, 'kept model')} is better than the best one of them"]
    how = "no better" if found.gain.value == 0 else _gain(asdict(found.gain))
    text = (
        f"An ensemble of {len(found.members)} of {counted(found.candidates, 'kept model')}: {found.metric} "
        f"{found.value:.4g} on the validation part, the best one alone {found.best:.4g}; on samples that have chosen "
        f"neither, {how}. It takes {found.cost:.2g} times as long to predict"
    )
    if final.kept.trained_on != TRAIN:
        text += ". The final model averages networks of its configurations, trained on both parts"
    else:
        text += ". It is kept" if found.pays else ". It is not kept: the gain is not larger than its standard error"
    return [text, *found.notes]


def kept_in_words(kept: Kept) -> str:
    """`trial 3 of digits.final`, or `the average of 3 models: trials 1 (50 %), 4 (25 %) of digits; trial ...`."""
    if len(kept.members) == 1:
        return f"trial {kept.trial} of {kept.study}"
    weights = [member.weight for member in kept.members]
    total = sum(weights) if len(set(weights)) > 1 else 0
    studies = dict.fromkeys(member.study for member in kept.members)
    parts = []
    for study in studies:
        mine = [member for member in kept.members if member.study == study]
        numbers = [f"{member.trial}{_share(member.weight, total)}" for member in mine]
        parts.append(f"trial{'s' if len(mine) > 1 else ''} {', '.join(numbers)} of {study}")
    return f"the average of {counted(len(kept.members), 'model')}: {'; '.join(parts)}"


def _share(weight: int, total: int) -> str:
    """Of one of the weights, where they differ."""
    return f" ({100 * weight / total:.0f} %)" if total else ""


def baselines_in_words(final: Final) -> list[str]:
    """Whether the network is worth its while, on the test part or else on the validation part."""
    found = final.test or final.validation or {}
    baselines = found.get("baselines", [])
    if not baselines:
        return []
    name, part = found["objective"]["name"], found["part"]
    own = found["metrics"][name]["value"]
    beaten = [one for one in baselines if one["is_beaten"]]
    lines = [
        f"  {one['name']}: {name} {one['metrics'][name]:.4g}; the network is {_gain(one['gain'])}"
        for one in sorted(baselines, key=lambda one: one["gain"]["value"])
    ]
    if len(beaten) == len(baselines):
        head = f"The network ({own:.4g}) beats all simple models on the {part} part:"
    else:
        not_beaten = " and ".join(one["name"] for one in baselines if not one["is_beaten"])
        head = f"The network ({own:.4g}) is not shown to be better than {not_beaten} on the {part} part:"
    return [head, *lines]


def _gain(gain: Mapping[str, float]) -> str:
    value = gain["value"]
    between = f" ({gain['low']:.2g} to {gain['high']:.2g})" if gain.get("low") is not None else ""
    return f"{abs(value):.2g} {'better' if value >= 0 else 'worse'}{between}"
