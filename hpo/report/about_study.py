"""The sections about how a study was made: its environment, its file, and how to do it again."""

from __future__ import annotations

import platform
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hpo.printable import counted
from hpo.report.contents import Block, Code, Folded, Section, Table, Text
from hpo.report.reading import Material
from hpo.report.study_text import study_text
from hpo.report.words import shown, span
from hpo.results.final import Final
from hpo.study.by_value import is_by_value
from hpo.study.plan import TRAIN

PACKAGES = ("torch", "pytorch-lightning", "optuna", "numpy", "scikit-learn")


def environment(material: Material) -> Section:
    """The machines and devices of the search, and the versions that its trials were trained with."""
    spent: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for one in material.spending:
        spent[one.host, one.device][0] += one.attempts
        spent[one.host, one.device][1] += one.seconds
    rows = [[host, device, f"{its[0]:,.0f}", span(its[1])] for (host, device), its in spent.items()]
    blocks: list[Block] = (
        [Table(["machine", "device", "attempts", "device time"], rows, frozenset({2, 3}))] if rows else []
    )
    # a store of an earlier release has none
    known = [(record, its) for record in material.best if (its := getattr(record, "provenance", None))]
    if known:
        record, provenance = known[0]
        blocks.append(Table([f"trial {record.number}", ""], [[name, text] for name, text in _flat(provenance)]))
    else:
        found = {name: installed for name in PACKAGES if (installed := _installed(name))}
        listed = ", ".join(f"{name} {its}" for name, its in {"Python": platform.python_version(), **found}.items())
        blocks.append(Text([f"The versions of trials were not recorded. Where this report was made: {listed}."]))
    executors = dict.fromkeys(str(one.config["executor"]) for one in material.records if one.config.get("executor"))
    if executors:
        blocks.append(Text([f"Trained by the executor {' and '.join(executors)}."]))
    return Section("environment", "Environment", blocks)


def study_file(material: Material) -> Section | None:
    """The study file; None of a study of another program."""
    if material.resolved is None:
        return None
    spec = material.resolved.spec
    blocks: list[Block] = [Code(study_text(spec), "yaml")]
    if any(map(is_by_value, spec.classes.values())):
        text = "Its classes were defined in a script or notebook: write them into a module, and name that in the file."
        blocks.append(Text([text]))
    return Section("file", "The study file", blocks)


def how_to_reproduce(material: Material) -> Section:
    """The commands that search again, and the fingerprints by which data and code are known to be the same."""
    if material.resolved is None:
        return Section(
            "again", "How to reproduce it", [Text(["It was made by another program, without a study file."])]
        )
    name = shlex.quote(material.name)
    lines = [f"hpo run {shlex.quote(f'{material.name}.yaml')}  # the study file above"]
    if material.final is not None:
        lines.append(f"hpo finalize {name}{_options(material.final)}")
    lines.append(f"hpo report {name}")
    text = (
        "The same file searches the same space, and each trial trains with its recorded seed. Where trials run in "
        "parallel, the order in which they end, and with it what is proposed next, may differ from search to search."
    )
    blocks: list[Block] = [Code("\n".join(lines), "sh"), Text([text])]
    if inputs := material.resolved.inputs:
        rows = [[name, print_] for name, print_ in sorted(inputs.items())]
        blocks.append(
            Folded(f"fingerprints of {counted(len(rows), 'file')} of data and code", [Table(["file", "SHA-256"], rows)])
        )
    return Section("again", "How to reproduce it", blocks)


def _options(final: Final) -> str:
    """Those that `hpo finalize` was called with, where they differ from the defaults."""
    top, seeds = len(final.reruns), max(len(rerun.scores) for rerun in final.reruns)
    text = "" if top == 3 else f" --top {top}"
    text += "" if seeds == 5 else f" --seeds {seeds}"
    text += "" if final.kept.trained_on == TRAIN else " --retrain train+val"
    text += " --ensemble" if len(final.kept.members) > 1 or final.ensemble is not None else ""
    return text if final.test is None else f"{text} --test"


def _flat(plain: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested values, each with the names above it: `packages torch`."""
    for key, value in plain.items():
        name = f"{above} {key}".strip()
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        elif value not in (None, ""):
            yield name, shown(value)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
