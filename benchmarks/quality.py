"""How good the models become that the shipped studies find, over seeds of the search.

    python benchmarks/quality.py [STUDY ...] [--seeds 0 1 2]

Prints a table for benchmarks/README.md. Each study runs with its own budget; its objective on the validation part is
told. For the series, the best model is tested once on the years that no trial has seen, and compared with the forecast
that next week will be like this week.
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
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# By study: what is measured, and what is to be reached.
GOALS = {
    "digits_cnn": ("validation accuracy", 0.985),
    "breast_cancer_dnn": ("validation AUROC", 0.99),
    "diabetes_dnn": ("validation R2", 0.45),
    "japanese_vowels_lstm": ("validation accuracy", 0.97),
    "co2_forecast_gru": ("test RMSE over that of the last value", 0.9),
    "fashion_mnist_cnn": ("validation accuracy, after 8 of its 24 trials", 0.89),
}
# Where a part of the budget is enough to reach it.
LESS = {"fashion_mnist_cnn": ["--trials", "8"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", default=list(GOALS), metavar="STUDY", help=", ".join(GOALS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args()
    print("| study | measured | to reach | " + " | ".join(f"seed {seed}" for seed in chosen.seeds) + " | median s |")
    print("|---|---|---|" + "---|" * (len(chosen.seeds) + 1))
    for study in chosen.studies:
        measured, goal = GOALS[study]
        results = [search(study, seed) for seed in chosen.seeds]
        values = " | ".join(f"{value:.4f}" for value, _ in results)
        seconds = statistics.median(seconds for _, seconds in results)
        print(f"| `{study}` | {measured} | {goal} | {values} | {seconds:.0f} |", flush=True)


def search(study: str, seed: int) -> tuple[float, float]:
    """(what the best trial of a search reaches, seconds that the command took)."""
    with tempfile.TemporaryDirectory() as folder:
        places = ["--project", str(ROOT), "--store", f"sqlite:///{folder}/hpo.db", "--artifacts", f"{folder}/art"]
        file = ROOT / "studies" / f"{study}.yaml"
        started = time.perf_counter()
        hpo("run", str(file), "--set", f"seed={seed}", *LESS.get(study, []), *places)
        seconds = time.perf_counter() - started
        name = json.loads(hpo("ls", *places[:4], "--json"))[0]["study"]
        [best] = json.loads(hpo("best", name, "-k", "1", *places[:4], "--json"))
        is_series = best["config"]["data"]["class"].endswith(":Series")
        return (tested(best) if is_series else best["value"]), seconds


def tested(trial: dict[str, Any]) -> float:
    """The test's RMSE of a trial's model, over the one of the last value."""
    program = (
        "import json, sys, warnings; warnings.simplefilter('ignore')\n"
        "import pytorch_lightning as pl\n"
        "from pathlib import Path\n"
        "from hpo.loading import load_class\n"
        "from hpo.training.checkpoint import load_model\n"
        "trial = json.load(sys.stdin)\n"
        "given = {name: value for name, value in trial['config']['data'].items() if name != 'class'}\n"
        "data = load_class(trial['config']['data']['class'], Path('.'))(**given)\n"
        "model = load_model(trial['config']['model'], Path(trial['checkpoint']), Path('.'))\n"
        "trainer = pl.Trainer(accelerator='cpu', logger=False, enable_progress_bar=False)\n"
        "[scores] = trainer.test(model, datamodule=data, verbose=False)\n"
        "print(scores['test_rmse'] / data.naive_rmse('test'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, input=json.dumps(trial), capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def hpo(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "hpo", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"hpo {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
