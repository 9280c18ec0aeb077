"""Training speed of one thread in samples a second: by a raw loop, the lean executor, and Lightning's Trainer.

    python benchmarks/train_step.py [--rounds 5] [--only dnn] [--device cuda] [--write]

Four ways to train the same network of Fashion-MNIST's shapes with Adam, in turns in one process of one thread:

    raw       a PyTorch loop over sliced batches, Adam fused
    lean      the same network as a LightningModule, over the same batches, Adam fused, as by `executor: lean` with the
              logger of a trial
    Trainer   the same, with everything optional off, as by `executor: lightning`
    tutorial  as in tutorials: a DataLoader over a TensorDataset, Adam with its defaults, self.log in every step, and
              the Trainer's own logger and checkpoints, but no progress bar

Prints the table of benchmarks/README.md, with --write into it: medians of the rounds, then their spread. Seconds are
processor time of the process, so that other work on the machine has little effect; the first epoch of each training is
not counted.

With `--device cuda` all ways use the first GPU, whose name is printed: except for the tutorial's, batches are sliced
there, and seconds are wall-clock time, until the GPU has finished. There is one more way:

    graphs    lean with `cuda_graphs: true`
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import readme

ROOT = Path(__file__).resolve().parents[1]
WAYS = {
    "cpu": ("raw", "lean", "Trainer", "tutorial"),
    "cuda": ("raw", "lean", "graphs", "Trainer", "tutorial"),
}
RATIOS = {
    "cpu": (("lean", "raw"), ("lean", "Trainer"), ("lean", "tutorial")),
    "cuda": (("lean", "raw"), ("lean", "Trainer"), ("graphs", "raw"), ("graphs", "Trainer")),
}
SAMPLES = {"dnn": 12_800, "cnn": 3_200, "lstm": 6_400, "tabular": 25_600}
LABELS = {
    "dnn": "DNN 784-256-128-10",
    "cnn": "CNN conv16-pool-conv32-pool-fc64",
    "lstm": "LSTM 28 x 28, hidden 64",
    "tabular": "tabular DNN 28-16-16-10",
}
BATCHES = (64, 512)
EPOCHS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=SAMPLES)
    readme.add_options(parser)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--measure", nargs=2, metavar=("SHAPE", "BATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        shape, batch = options.measure
        measure(shape, int(batch), options.rounds, options.device)
        return
    if options.only and options.write:
        parser.error("--write takes the whole table: leave out --only")
    output = readme.Output("train_step" if options.device == "cpu" else "train_step_cuda", options)
    if options.device == "cuda":
        output.line(name_of_gpu())
    for line in head(options.device):
        output.line(line)
    for shape in [options.only] if options.only else SAMPLES:
        for batch in BATCHES:
            output.line(row(shape, batch, options.rounds, options.device))
    output.write()


def name_of_gpu() -> str:
    """The heading of the table, with the GPU's name; exits if there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        sys.exit("--device cuda: there is no GPU that torch can use")
    return f"On one {torch.cuda.get_device_name()}, torch {torch.__version__}:\n"


def head(device: str) -> list[str]:
    cells = ["network", "batch", *WAYS[device], *(f"{one} / {other}" for one, other in RATIOS[device])]
    return ["| " + " | ".join(cells) + " |", "|" + "---|" * len(cells)]


def row(shape: str, batch: int, rounds: int, device: str) -> str:
    """A line of the table, measured in a new process."""
    from hpo.ipc.fork_server import MEMORY_IS_KEPT  # as in trial processes, for all four ways

    environment = os.environ | MEMORY_IS_KEPT
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--measure", shape, str(batch), "--rounds", str(rounds)]
    command += ["--device", device]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=folder, env=environment, timeout=3600
        )
    rates: dict[str, list[float]] = {way: [] for way in WAYS[device]}
    for line in done.stdout.splitlines():
        word, _, rate = line.partition(" ")
        if word in rates:
            rates[word].append(float(rate))
    cells = [f"{statistics.median(r) / 1000:.1f}k ({min(r) / 1000:.1f}-{max(r) / 1000:.1f})" for r in rates.values()]
    ratios = []
    for one, other in RATIOS[device]:
        of_rounds = [mine / theirs for mine, theirs in zip(rates[one], rates[other], strict=True)]
        ratios.append(f"{statistics.median(of_rounds):.2f} ({min(of_rounds):.2f}-{max(of_rounds):.2f})")
    return f"| {LABELS[shape]} | {batch} | " + " | ".join(cells + ratios) + " |"


def measure(shape: str, batch: int, rounds: int, device: str) -> None:
    """Print the rate of each way, in turns."""
    import logging
    import time
    import warnings

    import pytorch_lightning as pl
    import torch
    from torch import Tensor, nn
    from torch.utils.data import DataLoader, TensorDataset

    import hpo.training.preload  # noqa: F401 # as in a trial process
    from hpo.training.executor import choose_executor, use
    from hpo.training.loggers import make_logger
    from models.data.batches import Batches

    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    samples, on_gpu = SAMPLES[shape], device == "cuda"
    if on_gpu:
        samples *= 8  # fewer samples take a GPU too short a time to measure

    def seconds_now() -> float:
        if not on_gpu:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    size = {"dnn": (784,), "cnn": (1, 28, 28), "lstm": (28, 28), "tabular": (28,)}[shape]
    x, y = torch.randn(samples, *size), torch.randint(0, 10, (samples,))
    sliced_x, sliced_y = x.to(device), y.to(device)

    class LSTM(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(28, 64, batch_first=True), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(self.lstm(x)[0][:, -1])
            return logits

    def network() -> nn.Module:
        match shape:
            case "cnn":
                blocks = [nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU()]
                head = [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(800, 64), nn.ReLU(), nn.Linear(64, 10)]
                return nn.Sequential(*blocks, *head)
            case "lstm":
                return LSTM()
        first, *widths = (784, 256, 128) if shape == "dnn" else (28, 16, 16)
        layers: list[nn.Module] = []
        for width in widths:
            layers += [nn.Linear(first, width), nn.ReLU()]
            first = width
        return nn.Sequential(*layers, nn.Linear(first, 10))

    class Module(pl.LightningModule):
        def __init__(self, *, is_tutorial: bool) -> None:
            super().__init__()
            self.net, self.is_tutorial = network(), is_tutorial

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            x, y = batch
            loss = nn.functional.cross_entropy(self.net(x), y)
            if self.is_tutorial:
                self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3, fused=None if self.is_tutorial else True)

    class Clock(pl.Callback):
        """Seconds from the second epoch on."""

        began = ended = 0.0

        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 1:
                self.began = seconds_now()

        def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.ended = seconds_now()

    def by_hand() -> float:
        net = network().to(device)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
        began = 0.0
        for epoch in range(EPOCHS):
            if epoch == 1:
                began = seconds_now()
            for inputs, targets in Batches(sliced_x, sliced_y, batch, training=True):
                loss = nn.functional.cross_entropy(net(inputs), targets)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return seconds_now() - began

    def by_trainer(way: str) -> float:
        clock, model = Clock(), Module(is_tutorial=way == "tutorial")
        common: dict[str, Any] = {
            "accelerator": "gpu" if on_gpu else "cpu",
            "devices": 1,
            "max_epochs": EPOCHS,
            "callbacks": [clock],
            "enable_progress_bar": False,
        }
        trimmed: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
        is_lean = way in ("lean", "graphs")
        if is_lean:  # as a trial has it
            folder = Path(tempfile.mkdtemp(dir="."))
            trimmed["logger"] = make_logger("csv", folder, resumes=False, warn=print)
        trainer = pl.Trainer(**common, **({} if way == "tutorial" else trimmed))
        if is_lean:
            note = partial(print, file=sys.stderr)
            use(choose_executor("lean", model), trainer, print, note, cuda_graphs=way == "graphs")
        if way == "tutorial":
            trainer.fit(model, DataLoader(TensorDataset(x, y), batch, shuffle=True))
        else:
            trainer.fit(model, Batches(sliced_x, sliced_y, batch, training=True))
        return clock.ended - clock.began

    for turn in range(rounds):
        for way in WAYS[device]:
            torch.manual_seed(turn)
            seconds = by_hand() if way == "raw" else by_trainer(way)
            print(way, samples * (EPOCHS - 1) / seconds, flush=True)


if __name__ == "__main__":
    main()
