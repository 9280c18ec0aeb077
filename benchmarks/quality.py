"""The quality of the models that the shipped studies find, over seeds of the search.

    python benchmarks/quality.py [STUDY ...] [--seeds 0 1 2] [--write]

Prints the table of benchmarks/README.md, with --write into it. Each study runs with its own budget; the table has its
objective on the validation part. For the series, the best model is tested once on the years that no trial has seen, and
compared with the forecast that next week will be like this week.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import readme

ROOT = Path(__file__).resolve().parents[1]
# By study: the measured value, and the value to reach.
GOALS = {
    "digits_cnn": ("validation accuracy", 0.985),
    "breast_cancer_dnn": ("validation AUROC", 0.99),
    "diabetes_dnn": ("validation R2", 0.45),
    "japanese_vowels_lstm": ("validation accuracy", 0.97),
    "co2_forecast_gru": ("test RMSE over that of the last value", 0.9),
    "fashion_mnist_cnn": ("validation accuracy, after 8 of its 24 trials", 0.89),
}
# Studies that reach it with a part of their budget.
LESS = {"fashion_mnist_cnn": ["--trials", "8"]}
# Studies with an official test part.
ALSO_TESTED = ("japanese_vowels_lstm",)


class Result(NamedTuple):
    """The best value of a search, its seconds, and, if the best trial was tested, all test scores."""

    value: float
    seconds: float
    tested: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", default=list(GOALS), metavar="STUDY", help=", ".join(GOALS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    readme.add_options(parser)
    chosen = parser.parse_args()
    if chosen.write and set(chosen.studies) != set(GOALS):
        parser.error("--write takes the whole table: name no study")
    output = readme.Output("quality", chosen)
    seeds = " | ".join(f"seed {seed}" for seed in chosen.seeds)
    output.line(f"| study | measured | to reach | {seeds} | median s |")
    output.line("|---|---|---|" + "---|" * (len(chosen.seeds) + 1))
    for study in chosen.studies:
        measured, goal = GOALS[study]
        results = [search(study, seed) for seed in chosen.seeds]
        values = " | ".join(f"{result.value:.4f}" for result in results)
        seconds = statistics.median(result.seconds for result in results)
        output.line(f"| `{study}` | {measured} | {goal} | {values} | {seconds:.0f} |")
        if study in ALSO_TESTED:
            values = " | ".join(f"{result.tested['test_accuracy']:.4f}" for result in results)
            output.line(f"| the same, its best trial on the test part | test accuracy | | {values} | |")
    output.write()


def search(study: str, seed: int) -> Result:
    """Search once, with the study's budget or a sufficient part of it."""
    with tempfile.TemporaryDirectory() as folder:
        places = ["--project", str(ROOT), "--store", f"sqlite:///{folder}/hpo.db", "--artifacts", f"{folder}/art"]
        file = ROOT / "studies" / f"{study}.yaml"
        started = time.perf_counter()
        hpo("run", str(file), "--set", f"seed={seed}", *LESS.get(study, []), *places)
        seconds = time.perf_counter() - started
        name = json.loads(hpo("ls", *places[:4], "--json"))[0]["study"]
        [best] = json.loads(hpo("best", name, "-k", "1", *places[:4], "--json"))
        is_series = best["config"]["data"]["class"].endswith(":Series")
        scores = tested(best) if is_series or study in ALSO_TESTED else {}
        return Result(scores["over_naive"] if is_series else best["value"], seconds, scores)


def tested(trial: dict[str, Any]) -> dict[str, float]:
    """The scores of a trial's model on the test part; for a series also its RMSE relative to that of the last value."""
    program = (
        "import json, sys, warnings; warnings.simplefilter('ignore')\n"
        "import pytorch_lightning as pl\n"
        "from pathlib import Path\n"
        "from hpo.loading import load_class\n"
        "from hpo.training.load_model import load_model\n"
        "trial = json.load(sys.stdin)\n"
        "given = {name: value for name, value in trial['config']['data'].items() if name != 'class'}\n"
        "data = load_class(trial['config']['data']['class'], Path('.'))(**given)\n"
        "model = load_model(trial['config'], Path(trial['checkpoint']), Path('.'))\n"
        "trainer = pl.Trainer(accelerator='cpu', logger=False, enable_progress_bar=False)\n"
        "[scores] = trainer.test(model, datamodule=data, verbose=False)\n"
        "if hasattr(data, 'naive_rmse'):\n"
        "    scores['over_naive'] = scores['test_rmse'] / data.naive_rmse('test')\n"
        "print(json.dumps(scores))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, input=json.dumps(trial), capture_output=True, text=True, check=True
    )
    scores: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return scores


def hpo(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "hpo", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"hpo {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
