"""A trial's logger: the same files by both executors, in the trial's folder, over all attempts."""

from __future__ import annotations

import csv
import errno
from pathlib import Path
from typing import Any, cast

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from hpo.errors import LoggerError
from hpo.training.checkpoint import dump, write
from hpo.training.executor import Executor, use
from hpo.training.loggers import TrialLogger, make_logger

EXECUTORS = [Executor("lean", is_required=True), Executor("lightning", "it is compared with")]
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:Checkpoint directory .*")


class Talkative(pl.LightningModule):
    """Logs in every way, and uses its logger by itself."""

    def __init__(self, lr: float = 0.05, activation: Any = nn.ReLU) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(4, 1)

    def configure_callbacks(self) -> Any:
        return [LearningRateMonitor("step"), ModelCheckpoint(monitor="val_loss")]

    def on_train_start(self) -> None:
        assert isinstance(self.logger, TrialLogger)
        self.logger.log_hyperparams({"by_hand": 1})
        self.logger.experiment.log_metrics({"by_experiment": 2.0}, step=0)

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log("quiet", loss, on_step=True, logger=False)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))
        self.log("val_step", self.loss(batch), on_step=True, on_epoch=False)

    def on_train_epoch_end(self) -> None:
        self.log("epochs", float(self.current_epoch))

    def configure_optimizers(self) -> Any:
        sgd = torch.optim.SGD(self.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.ExponentialLR(sgd, 0.9)
        return [sgd], [{"scheduler": schedule, "interval": "step"}]


def train(
    folder: Path, executor: Executor, *, epochs: int = 3, checkpoint: Path | None = None, accumulate: int = 1
) -> pl.Trainer:
    pl.seed_everything(1, verbose=False)
    x = torch.randn(70, 4)
    points = TensorDataset(x, x.sum(1, keepdim=True))
    model = Talkative()
    folder.mkdir(exist_ok=True)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=make_logger("csv", folder, resumes=checkpoint is not None, warn=pytest.fail),
        log_every_n_steps=2,
        accumulate_grad_batches=accumulate,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    use(executor, trainer, pytest.fail)
    trainer.fit(model, DataLoader(points, 10), DataLoader(points, 40), ckpt_path=checkpoint, weights_only=True)
    return trainer


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_both_executors_log_the_same_numbers(tmp_path: Path, accumulate: int) -> None:
    for executor in EXECUTORS:
        train(tmp_path / executor.name, executor, accumulate=accumulate)

    lean, lightnings = (rows_of(tmp_path / executor.name) for executor in EXECUTORS)
    assert lean == lightnings
    logged = {name for row in lean for name, value in row.items() if value}
    assert logged >= {
        "train_loss_step",
        "train_loss_epoch",
        "val_loss",
        "val_step",
        "epochs",
        "by_experiment",
        "lr-SGD",
    }
    assert "quiet" not in logged


def test_all_files_are_in_the_trials_folder(tmp_path: Path) -> None:
    train(tmp_path / "trial", EXECUTORS[0])

    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"trial/metrics.csv", "trial/hparams.yaml", "trial/checkpoints/epoch=2-step=21.ckpt"}
    assert (tmp_path / "trial" / "hparams.yaml").read_text().splitlines() == [
        "activation: torch.nn.modules.activation.ReLU",
        "by_hand: 1",
        "lr: 0.05",
    ]


def test_calls_of_tensorboards_writer_are_taken_and_what_a_table_cannot_hold_is_told_once(tmp_path: Path) -> None:
    warnings: list[str] = []
    logger = make_logger("csv", tmp_path, resumes=False, warn=warnings.append)
    assert logger is not None
    writer: Any = cast(Any, logger).experiment

    writer.add_scalar("gain", torch.tensor(0.5), 3)
    writer.add_scalars("loss", {"real": 1, "fake": 2.0}, global_step=4)
    for step in range(2):
        writer.add_images("digits", torch.zeros(1, 1, 2, 2), step)
    writer.flush()
    logger.finalize("success")

    assert rows_of(tmp_path) == [
        {"gain": "0.5", "loss/fake": "", "loss/real": "", "step": "3"},
        {"gain": "", "loss/fake": "2.0", "loss/real": "1.0", "step": "4"},
    ]
    assert warnings == ["its metrics.csv has no place for add_images(): write 'logger: tensorboard' to keep that"]
    with pytest.raises(AttributeError, match="the writer of 'logger: csv' has no 'watch'"):
        writer.watch()


def test_the_folder_of_a_deleted_trial_does_not_come_back(tmp_path: Path) -> None:
    told: list[str] = []
    logger = make_logger("csv", tmp_path / "removed", resumes=False, warn=told.append)
    assert logger is not None

    logger.log_hyperparams({"lr": 0.1})
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.finalize("success")

    assert f"its metrics.csv could not be prepared: the trial's folder {tmp_path}/removed/ was removed" in told
    assert list(tmp_path.iterdir()) == []


def test_an_attempt_that_resumes_goes_on_in_the_same_file(tmp_path: Path) -> None:
    first = train(tmp_path, EXECUTORS[0], epochs=2)
    write(first, dump(first, weights_only=False).values, tmp_path / "last.ckpt")
    before = rows_of(tmp_path)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("0.5,1")  # what a killed process was writing

    train(tmp_path, EXECUTORS[0], epochs=3, checkpoint=tmp_path / "last.ckpt")

    after = rows_of(tmp_path)
    assert after[: len(before)] == before
    assert [row["epochs"] for row in after if row["epochs"]] == ["0.0", "1.0", "2.0"]


def test_an_attempt_that_begins_again_begins_the_file_again(tmp_path: Path) -> None:
    train(tmp_path, EXECUTORS[0], epochs=2)
    train(tmp_path, EXECUTORS[0], epochs=1)

    assert [row["epochs"] for row in rows_of(tmp_path) if row["epochs"]] == ["0.0"]


def test_a_training_outlives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    logger = TrialLogger(tmp_path, resumes=False, warn=warnings.append)
    monkeypatch.setattr("hpo.training.loggers.SECONDS_BETWEEN_WRITES", -1.0)
    logger.log_metrics({"a": 1.0}, step=0)
    (tmp_path / "metrics.csv").symlink_to("/dev/full")

    logger.save()
    logger.save()
    logger.finalize("success")

    assert len(warnings) == 1
    assert warnings[0].startswith("its metrics.csv could not be written: ")
    assert f"[Errno {errno.ENOSPC}]" in warnings[0]


def test_the_file_is_not_opened_at_every_call(tmp_path: Path) -> None:
    logger = TrialLogger(tmp_path, resumes=False, warn=pytest.fail)
    logger._written += 1e9  # as if the last write were in the future

    logger.log_metrics({"a": 1.0}, step=0)
    logger.save()
    assert not (tmp_path / "metrics.csv").exists()
    logger.finalize("success")

    assert rows_of(tmp_path) == [{"a": "1.0", "step": "0"}]


def test_there_is_no_logger_where_the_study_wants_none(tmp_path: Path) -> None:
    assert make_logger("none", tmp_path, resumes=False, warn=pytest.fail) is None
    assert make_logger("csv", None, resumes=False, warn=pytest.fail) is None


def test_tensorboard_is_refused_where_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.training.loggers.find_spec", lambda name: None)

    with pytest.raises(LoggerError, match=r"^tensorboard is not installed here: pip install 'hpo-s.*'"):
        make_logger("tensorboard", tmp_path, resumes=False, warn=pytest.fail)


def test_tensorboard_writes_into_the_trials_folder(tmp_path: Path) -> None:
    logger = make_logger("tensorboard", tmp_path / "trial", resumes=False, warn=pytest.fail)
    assert logger is not None
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.finalize("success")

    assert {path.name.split(".")[0] for path in (tmp_path / "trial").iterdir()} == {"events", "hparams"}
