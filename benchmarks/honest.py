"""How much of a search's best score is luck: the shipped supervised studies, searched and finalized with several seeds.

    python benchmarks/honest.py [--studies digits_cnn ...] [--seeds 3] [--trials 40] [--reruns 5] [--write]

Prints the table of benchmarks/README.md, with --write into it. All six studies with three seeds take about an hour on
two cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import readme

from hpo.results.final import Final, mean_of
from hpo.results.final_words import number_between
from hpo.study.study_file import read_study

ROOT = Path(__file__).parents[1]
STUDIES = (
    "breast_cancer_dnn",
    "diabetes_dnn",
    "digits_dnn",
    "digits_cnn",
    "japanese_vowels_lstm",
    "co2_forecast_gru",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", nargs="+", default=STUDIES, choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=3, help="of the search [default: 3]")
    parser.add_argument("--trials", type=int, help="of a search [default: the file's]")
    parser.add_argument("--reruns", type=int, default=5, help="seeds of each of the best three trials [default: 5]")
    readme.add_options(parser)
    options = parser.parse_args()
    output = readme.Output("honest", options)
    output.line(
        "| study | objective | search's best | the same again | luck | on the test part | simple models beaten |"
    )
    output.line("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for study in options.studies:
            found = [finalized(Path(name), study, seed, options) for seed in range(options.seeds)]
            for final in found:
                output.line(row(study, final))
            output.line(summary(study, found))
    output.write()


def finalized(folder: Path, study: str, seed: int, options: argparse.Namespace) -> Final:
    """Search with this seed, and finalize, in a project folder of its own."""
    project = folder / f"{study}-{seed}"
    project.mkdir()
    for part in ("models", "studies"):
        shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    file = f"studies/{study}.yaml"
    trials = [] if options.trials is None else ["--trials", str(options.trials)]
    hpo(project, "run", file, "--set", f"seed={seed}", *trials)
    spec, _ = read_study(project / file)
    said = hpo(project, "finalize", spec.study, "--test", "--seeds", str(options.reruns), "--json")
    plain: dict[str, Any] = json.loads(said)
    return Final.from_json(plain)


def hpo(project: Path, *arguments: str) -> str:
    """What a verb prints, which succeeds."""
    done = subprocess.run([sys.executable, "-m", "hpo", *arguments], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def row(study: str, final: Final) -> str:
    """A search with one seed."""
    first, test = final.reruns[0], final.test or {}
    assert first.mean is not None
    assert final.luck is not None
    objective = test["objective"]
    beaten = [baseline["is_beaten"] for baseline in test["baselines"]]
    cells = (
        study,
        final.metric.removeprefix("val_"),
        f"{first.searched:.4g}",
        number_between(first.mean),
        number_between(final.luck),
        f"{objective['name']} {number_between(test['metrics'][objective['name']])}",
        f"{sum(beaten)} of {len(beaten)}",
    )
    return f"| {' | '.join(cells)} |"


def summary(study: str, found: list[Final]) -> str:
    """The mean over the seeds of the search."""
    luck = mean_of([final.luck.value for final in found if final.luck is not None])
    best = statistics.fmean(final.reruns[0].searched for final in found)
    told = "-" if luck is None else number_between(luck)
    return f"| **{study}**, {len(found)} searches | | {best:.4g} | | **{told}** | | |"


if __name__ == "__main__":
    main()
