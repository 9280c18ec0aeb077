"""The section that stands first: how good the final model is, beside simple models, and how much of it was luck."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.printable import counted
from hpo.report import plots_of_model as plots
from hpo.report.contents import Block, Folded, Items, Section, Table, Text, Tile, Tiles
from hpo.report.reading import Material
from hpo.report.words import NONE, shown, with_interval
from hpo.results.final import Final
from hpo.results.final_words import (
    baselines_in_words,
    ensemble_in_words,
    kept_in_words,
    luck_in_words,
    tested_in_words,
    untested_in_words,
)
from hpo.study.states import TrialState


def answer(material: Material) -> Section:
    """How good the model is, and how sure that is; before `hpo finalize`, that this is not known."""
    final = material.final
    if final is None:
        return Section("answer", "The answer", _unknown(material))
    blocks: list[Block] = [Tiles(_tiles(final)), Text([*tested_in_words(final), f"{luck_in_words(final)}."])]
    if lines := baselines_in_words(final):
        blocks += [Text(lines[:1]), _baselines(material.evaluation or {})]
    blocks += [Text([f"{line}." for line in lines])] if (lines := ensemble_in_words(final)) else []
    blocks += [Text([f"Warning: {warning}" for warning in final.warnings])] if final.warnings else []
    blocks.append(plots.reruns(final))
    blocks.append(Folded("all metrics", [_metrics(final), *_notes(final)]))
    blocks.append(Text([f"The final model is {kept_in_words(final.kept)}, trained on {final.kept.trained_on}."]))
    if material.replay is not None and material.replay.get("text"):
        blocks.append(Text([f"Trained again from its record ('hpo replay'): {material.replay['text']}"]))
    return Section("answer", "The answer", blocks)


def _headline(final: Final) -> tuple[str, Mapping[str, Any]] | None:
    """The name and value of the metric that counts, with its interval, on the test part; None before a test."""
    if final.test is None or "objective" not in final.test:
        return None
    name = str(final.test["objective"]["name"])
    return name, final.test["metrics"][name]


def _unknown(material: Material) -> list[Block]:
    """What can be said before `hpo finalize`."""
    status, best = material.status, material.best[0] if material.best else None
    tiles = [Tile("final score", "not yet tested", is_main=True)]
    if best is not None:
        remark = f"trial {best.number}; the best of many, so it is partly luck"
        tiles.append(Tile(f"best {material.metric} of the search", shown(best.value), remark))
    begun = sum(count for state, count in status.counts.items() if state != TrialState.WAITING)
    tiles.append(Tile("search", str(status.state), f"{counted(begun, 'trial')} begun"))
    lines = [untested_in_words(material.name)] if material.resolved is not None else []
    lines += [f"The study waits: {status.waiting_for}."] if status.waiting_for else []
    return [Tiles(tiles), Text(lines)]


def _tiles(final: Final) -> list[Tile]:
    found, head = final.test or final.validation or {}, _headline(final)
    if head is not None:
        name, value = head
        samples = counted(found["samples"], "sample")
        remark = f"{_between(value)} (95 % interval) on {samples}" if "low" in value else f"on {samples}"
        tiles = [Tile(f"{name} on the test part", f"{value['value']:.4g}", remark, is_main=True)]
    elif final.test is not None:  # by a module whose predictions cannot be compared
        name = final.metric.replace("val_", "test_", 1)
        logged = final.test.get("logged", {}).get(name)
        if logged is None:
            tiles = [Tile("final score", "tested", "see all metrics", is_main=True)]
        else:
            tiles = [Tile(f"{name}, as it is logged", shown(logged), is_main=True)]
    else:
        tiles = [Tile("final score", "not yet tested", is_main=True)]
    mean = final.won.mean
    if mean is not None:
        seeds = f"the mean of {counted(len(final.won.scores), 'fresh seed')}"
        remark = f"{_between(vars(mean))}; {seeds}" if mean.low is not None else seeds
        tiles.append(Tile(f"{final.metric}, trained again", f"{mean.value:.4g}", remark))
    if final.luck is not None:
        remark = "its best score less the mean of that trial's re-runs"
        remark = f"{_between(vars(final.luck))}; {remark}" if final.luck.low is not None else remark
        tiles.append(Tile("luck of the search", f"{final.luck.value:.2g}", remark))
    rivals = found.get("baselines", [])
    if rivals:
        beaten = sum(one["is_beaten"] for one in rivals)
        hardest = min(rivals, key=lambda one: one["gain"]["value"])
        tiles.append(Tile("simple models beaten", f"{beaten} of {len(rivals)}", f"the best of them: {hardest['name']}"))
    return tiles


def _between(found: Mapping[str, Any]) -> str:
    return f"{found['low']:.3g} to {found['high']:.3g}"


def _baselines(found: Mapping[str, Any]) -> Table:
    name = found["objective"]["name"]
    rows = [["the network", with_interval(found["metrics"][name]), NONE, ""]]
    for one in sorted(found["baselines"], key=lambda one: float(one["gain"]["value"])):
        verdict = "beaten" if one["is_beaten"] else "not shown to be worse"
        model = ", ".join(filter(None, [one["name"], one.get("what")]))
        rows.append([model, shown(one["metrics"][name]), with_interval(one["gain"]), verdict])
    return Table(["model", name, "the network's gain", ""], rows, frozenset({1, 2}))


def _metrics(final: Final) -> Table:
    parts = {name: part for name, part in (("test", final.test), ("validation", final.validation)) if part}
    names = dict.fromkeys(name for part in parts.values() for name in part.get("metrics", {}))
    rows = [[name, *(with_interval(part.get("metrics", {}).get(name)) for part in parts.values())] for name in names]
    logged = dict.fromkeys(name for part in parts.values() for name in part.get("logged", {}))
    rows += [
        [f"{name} (logged)", *(shown(part.get("logged", {}).get(name)) for part in parts.values())] for name in logged
    ]
    return Table(["metric", *(f"{name} part" for name in parts)], rows, frozenset(range(1, 1 + len(parts))))


def _notes(final: Final) -> list[Block]:
    notes = dict.fromkeys(note for part in (final.test, final.validation) if part for note in part.get("notes", []))
    return [Items([*notes])] if notes else []
