"""Everything that wants a GPU, what is worth most first, within some minutes: one table, and what it left out.

    python benchmarks/gpu.py [--minutes 8] [--write] [--logs FOLDER]

    probes    what this version of torch, this driver and this GPU do: forks, captures that fail, memory between trials
    tests     tests/gpu, without the fixtures that need databases and a browser
    steps     `train_step.py --device cuda`: raw, lean, lean with graphs, Lightning's Trainer, and as in tutorials

Prints the table of benchmarks/README.md, with --write into it. On a machine without a GPU, it runs what does not need
one, and says what it left out. The exit code is 1 if a probe or a test failed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import readme

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT, FAILED = "left out", "FAILED"
SHAPES = (("dnn", 64), ("cnn", 64), ("lstm", 64), ("tabular", 512), ("dnn", 512), ("cnn", 512), ("lstm", 512))
LEAST_SECONDS = 20.0  # in which a part that starts can get somewhere
# Another torch has other warnings, and the machine may have neither a database nor a browser.
PYTEST = [
    "-m",
    "pytest",
    "-q",
    "--noconftest",
    "-p",
    "no:cacheprovider",
    "-o",
    "addopts=",
    "-o",
    "filterwarnings=default",
]


class Row(NamedTuple):
    part: str
    state: str
    what: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3, help="of each line of steps")
    parser.add_argument("--logs", type=Path, help="folder for what each part prints; by default a temporary one")
    readme.add_options(parser)
    options = parser.parse_args()
    output = readme.Output("gpu", options)
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(options.logs or Path(folder), time.monotonic() + 60 * options.minutes)
        output.line(heading())
        output.line("| part | | |")
        output.line("|---|---|---|")
        failed = False
        for row in (*probes(runs), *tests(runs), *steps(runs, options.rounds)):
            failed |= row.state == FAILED
            output.line("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |")
    output.write()
    sys.exit(failed)


class Runs:
    """Runs commands until the time is over; what they print is kept in files of this folder."""

    def __init__(self, folder: Path, end: float) -> None:
        self._folder, self._end = folder, end
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, arguments: list[str], limit: float) -> tuple[int | None, str]:
        """(exit code, output); the code is None if there was no time left, and 124 after the limit in seconds."""
        limit = min(limit, self._end - time.monotonic())
        if limit < LEAST_SECONDS:
            return None, ""
        log = self._folder / f"{name}.log"
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with log.open("w", encoding="utf-8") as file:
            try:
                code = subprocess.run(
                    [sys.executable, *arguments], stdout=file, stderr=subprocess.STDOUT, timeout=limit, env=environment,
                    check=False, cwd=ROOT,
                ).returncode  # fmt: skip
            except subprocess.TimeoutExpired:
                code = 124
        return code, log.read_text(encoding="utf-8", errors="replace")


def heading() -> str:
    import torch

    place = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU that torch can use"
    return f"On {place}, torch {torch.__version__}, CUDA {torch.version.cuda or 'not built in'}:\n"


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def probes(runs: Runs) -> Iterator[Row]:
    code, said = runs.run("probes", [str(ROOT / "benchmarks" / "experiments" / "gpu_probes.py")], 120)
    for line in said.splitlines():
        if line.startswith("ROW "):
            name, state, what = line[4:].split(" | ", 2)
            yield Row(name, state, what)
    if code != 0:
        yield not_ended("probes", code, said)


def tests(runs: Runs) -> Iterator[Row]:
    if not has_gpu():
        yield Row("tests/gpu", LEFT_OUT, "no GPU that torch can use")
        return
    code, said = runs.run("tests", [*PYTEST, "-rA", "--tb=short", "--timeout=120", "tests/gpu"], 240)
    for state, test, why in re.findall(r"^(FAILED|ERROR) \S*?::(\S+)(?: - (.*))?$", said, re.MULTILINE):
        yield Row(test, FAILED, f"{state.lower()}: {why[:200]}")
    counts = re.findall(r"^=*\s*(.*\d+ (?:passed|failed|error).*?)\s*=*$", said, re.MULTILINE)
    yield Row("tests/gpu", "ok" if code == 0 else FAILED, counts[-1]) if counts else not_ended("tests/gpu", code, said)


def steps(runs: Runs, rounds: int) -> Iterator[Row]:
    """Microseconds a step of each way, and ratios, by the medians of the rounds."""
    from statistics import median

    from train_step import RATIOS, WAYS

    if not has_gpu():
        yield Row("steps", LEFT_OUT, "no GPU that torch can use")
        return
    for shape, batch in SHAPES:
        name = f"{shape}, batch {batch}"
        command = [str(ROOT / "benchmarks" / "train_step.py"), "--measure", shape, str(batch)]
        code, said = runs.run(f"step-{shape}-{batch}", [*command, "--rounds", str(rounds), "--device", "cuda"], 90)
        rates = {
            way: [float(found) for found in re.findall(rf"^{way} ([\d.e+]+)$", said, re.MULTILINE)]
            for way in WAYS["cuda"]
        }
        middle = {way: median(found) for way, found in rates.items() if found}
        if len(middle) < len(rates):
            yield not_ended(name, code, said)
            continue
        cells = [f"{way} {batch / rate * 1e6:.0f} us" for way, rate in middle.items()]
        cells += [f"{one} / {other} {middle[one] / middle[other]:.2f}" for one, other in RATIOS["cuda"]]
        notes = sorted(set(re.findall(r"steps are not replayed.*", said)))
        yield Row(name, "ok", "; ".join([*cells, *notes]))


def not_ended(part: str, code: int | None, said: str) -> Row:
    if code is None:
        return Row(part, LEFT_OUT, "no time left")
    last = said.strip().splitlines()[-1:] or [""]
    return Row(part, FAILED, "it took too long" if code == 124 else f"exit code {code}: {last[0][:200]}")


if __name__ == "__main__":
    main()
