"""How long it takes to predict a large CSV: `hpo predict` on one core, and what it takes after its imports.

    python benchmarks/predict.py [--rows 100000] [--columns 30] [--write]

Prints the table of benchmarks/README.md, with --write into it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import readme

TRAINED_ROWS = 3000
SCALINGS = ("standard", "quantile")  # the quickest, and the one that takes longest
STUDY = """\
model: models.dnn:DNN
data: {{class: models.data:Table, source: train.csv, target: y, scaling: {scaling}}}
objective: val_accuracy
epochs: 2
budget: {{trials: 1}}
pruner: none
resources: {{accelerator: cpu}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=30, help="three of them texts or dates [default: 30]")
    readme.add_options(parser)
    options = parser.parse_args()
    output = readme.Output("predict", options)
    output.line("| scaling | rows | columns | MiB | s, the command | s, after its imports |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table(TRAINED_ROWS, options.columns, seed=0).to_csv(folder / "train.csv", index=False)
        table(options.rows, options.columns, seed=1).drop(columns="y").to_csv(folder / "new.csv", index=False)
        size = f"{options.rows:,} | {options.columns} | {(folder / 'new.csv').stat().st_size / 2**20:.0f}"
        for scaling in SCALINGS:
            (folder / f"{scaling}.yaml").write_text(STUDY.format(scaling=scaling))
            run(folder, "run", f"{scaling}.yaml")
            started = time.perf_counter()
            said = run(folder, "predict", scaling, "new.csv", "-o", "predictions.csv", "--proba")
            whole = time.perf_counter() - started
            [(rows, seconds)] = re.findall(r"^([\d,]+) rows predicted in ([\d.]+) s", said, flags=re.MULTILINE)
            assert rows == f"{options.rows:,}" == f"{len(pd.read_csv(folder / 'predictions.csv')):,}"
            output.line(f"| {scaling} | {size} | {whole:.1f} | {seconds} |")
    output.write()


def run(folder: Path, *arguments: str) -> str:
    """What a verb says, which runs on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # also of the processes that it starts
    command = [sys.executable, "-m", "hpo", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def table(rows: int, columns: int, *, seed: int) -> pd.DataFrame:
    """Numbers with a town, a kind and a day, and classes that depend on the numbers."""
    generator = np.random.default_rng(seed)
    numbers = pd.DataFrame(generator.normal(size=(rows, columns - 3)).round(4)).add_prefix("x")
    days = np.datetime64("2020-01-01") + generator.integers(0, 900, rows)
    others = {
        "town": generator.choice(["Ulm", "Bonn", "Köln", "Jena", "Trier"], rows),
        "kind": generator.choice(["a", "b", "c"], rows),
        "day": days.astype(str),
        "y": np.where(numbers["x0"] + numbers["x1"] > 0, "yes", "no"),
    }
    return numbers.assign(**others)


if __name__ == "__main__":
    main()
