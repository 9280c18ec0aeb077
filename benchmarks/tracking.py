"""What `track:` costs an epoch: the same training without trackers and with each, in turns.

    python benchmarks/tracking.py [--rounds 5] [--write]

A network of Fashion-MNIST's shapes is trained by the lean executor in one thread, in batches of 64; after each epoch
its metrics are told, as a trial does after its report. Seconds are processor time of the whole process, so of the
trackers' threads too, from the end of the first epoch, which lets trackers begin, to the end of the last one. MLflow
writes files, and W&B is offline, in a process of its own that is not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import readme

ROOT = Path(__file__).resolve().parents[1]
WAYS = {"none": [], "tensorboard": ["tensorboard"], "mlflow": ["mlflow"], "wandb": ["wandb"]}
WAYS["all three"] = ["tensorboard", "mlflow", "wandb"]
SAMPLES, BATCH, EPOCHS = 12_800, 64, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    readme.add_options(parser)
    options = parser.parse_args()
    if options.measure:
        print(measure(WAYS[options.measure]))
        return
    output = readme.Output("tracking", options)
    # a trial with trackers has a process of its own
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            seconds[way].append(in_a_process(way))
    output.line("| track | ms an epoch | of that without |\n|---|---|---|")
    for way, found in seconds.items():
        ratios = [mine / without for mine, without in zip(found, seconds["none"], strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        output.line(f"| {way} | {1000 * statistics.median(found):.0f} | {ratio if way != 'none' else '1'} |")
    output.write()


def in_a_process(way: str) -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "WANDB_"))}
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--measure", way]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=3600)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout.splitlines()[-1])


def measure(names: list[str]) -> float:
    """Seconds of an epoch, on average."""
    import logging
    import warnings

    import pytorch_lightning as pl
    import torch
    from torch import Tensor, nn

    from hpo.ipc.messages import Epoch
    from hpo.study.job import Call, TrialJob
    from hpo.training.executor import choose_executor, use
    from hpo.training.loggers import make_logger
    from hpo.training.trackers import Trackers
    from models.data.batches import Batches

    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    folder = Path("artifacts/study/00000").resolve()
    folder.mkdir(parents=True)
    call = Call("none:None")
    job = TrialJob(0, "tracking", ".", call, call, "loss", EPOCHS, 1, directory=str(folder), track=names)
    trackers = Trackers(job, {"width": 256}, lambda text: sys.exit(text))

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            x, y = batch
            return nn.functional.cross_entropy(self.net(x), y)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3, fused=True)

    class Told(pl.Callback):
        began = ended = 0.0

        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            epoch = trainer.current_epoch + 1
            metrics = {name: 1.0 / epoch for name in ("val_loss", "val_accuracy", "val_f1", "train_loss")}
            trackers.tell(Epoch(epoch=epoch, value=1.0, metrics=metrics, seconds=float(epoch), is_judged=True))
            if epoch == 1:
                time.sleep(5.0)  # trackers begin meanwhile: imports take them a second or two
                self.began = time.process_time()
            self.ended = time.process_time()

    told = Told()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        callbacks=[told],
        logger=make_logger("csv", folder, resumes=False, warn=print) or False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    use(choose_executor("lean", model := Module()), trainer, print)
    x, y = torch.randn(SAMPLES, 784), torch.randint(0, 10, (SAMPLES,))
    with trackers:
        trainer.fit(model, Batches(x, y, BATCH, training=True))
    return (told.ended - told.began) / (EPOCHS - 1)


if __name__ == "__main__":
    main()
