"""What a study keeps when its trials end, and that nothing is taken from a worker that resumes one."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import pytorch_lightning as pl
import torch
from projects.launch import PROJECT, Hpo, descendants, finish, wait_for
from projects.nets import Points
from projects.service import invoke, running
from sqlalchemy import select

import hpo as package
from hpo.errors import LoadError
from hpo.results.study import Study
from hpo.store import Store
from hpo.store.tables import hpo_attempts, trials


@pytest.fixture
def here(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def checkpoints(here: Hpo) -> list[str]:
    """Their paths within the study's folder."""
    return sorted(str(Path(*path.relative_to(here.folder / "art").parts[1:])) for path in here.folder.rglob("*.ckpt"))


# ---- keep


def test_a_study_ends_with_the_best_checkpoints_and_says_what_they_take(here: Hpo) -> None:
    file = here.study("few", budget={"trials": 4}, keep={"checkpoints": 2})

    code, output = here.run("run", file, "--slots", 1)
    status = invoke(here, "status", "few")[1]

    assert code == 0, output
    best = sorted(f"{trial.number:05d}/best.ckpt" for trial in Study(Store.open(here.url), "few").best(2))
    assert checkpoints(here) == best
    size = sum(path.stat().st_size for path in here.folder.rglob("*.ckpt"))
    said = re.search(
        r"^kept: the checkpoints of 2 trials, ([\d.]+) MiB; ([\d.]+) MiB of others were removed$", output, re.M
    )
    assert said is not None, output
    assert said[1] == f"{size / 2**20:.1f}"
    assert f"keeps:   the checkpoints of 2 trials, {size / 2**20:.1f} MiB\n" in status


@pytest.mark.parametrize(
    ("length", "end"),
    [({"epochs": 2}, 2), ({"steps": 7, "trainer": {"val_check_interval": 3}}, 7)],
    ids=["epochs", "steps"],
)
@pytest.mark.parametrize("executor", ["lean", "lightning"])
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks")  # ours, which has reported
@pytest.mark.filterwarnings("ignore:The dataloader, .*, does not have many workers")
def test_with_last_the_best_trials_can_be_trained_further(
    here: Hpo, executor: str, length: dict[str, object], end: int
) -> None:
    keep = {"checkpoints": 1, "last": True}
    file = here.study("going-on", budget={"trials": 3}, keep=keep, executor=executor, **({"epochs": None} | length))

    code, output = here.run("run", file, "--slots", 1)

    assert code == 0, output
    [best] = Study(Store.open(here.url), "going-on").best(1)
    assert checkpoints(here) == [f"{best.number:05d}/best.ckpt", f"{best.number:05d}/last.ckpt"]
    last = Path(best.checkpoint or "").with_name("last.ckpt")
    contents = torch.load(last, weights_only=True)
    assert contents["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["completed"] >= end
    model = package.load_model(last, project=PROJECT).train()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=contents["epoch"] + 3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Begins(weights)],
    )
    trainer.fit(model, datamodule=Points(), ckpt_path=str(last), weights_only=True)
    assert trainer.global_step > contents["global_step"]


class Begins(pl.Callback):
    """Compares the weights with which a training begins."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self._weights = weights

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for name, value in pl_module.state_dict().items():
            assert torch.equal(value, self._weights[name])


def test_what_is_kept_follows_the_policy_as_it_is_now(here: Hpo) -> None:
    file = here.study("changing", budget={"trials": 3}, keep={"checkpoints": 2, "last": True})
    assert here.run("run", file, "--slots", 1)[0] == 0
    before = checkpoints(here)
    unneeded = json.loads(invoke(here, "clean", "--json", "--artifacts", here.folder / "art")[1])["unneeded_bytes"]

    changed, output = here.run("run", file, "--slots", 1, "--set", "keep.last=false", "--set", "keep.checkpoints=1")
    cleaned = invoke(here, "clean", "--yes", "--artifacts", here.folder / "art")[1]

    assert (len(before), unneeded, changed) == (4, 0, 0), output
    [best] = Study(Store.open(here.url), "changing").best(1)
    assert "removed" in cleaned
    assert checkpoints(here) == [f"{best.number:05d}/best.ckpt"]


# ---- a worker that resumes


def test_nothing_is_taken_from_a_worker_that_resumes_a_trial(here: Hpo) -> None:
    """Workers are killed, and others resume their trials, while the disk is cleaned all the time and trials end."""
    file = here.study(
        "taken",
        model={"class": "projects.nets:Line", "seconds": 0.25},
        epochs={"low": 4, "high": 24},
        budget={"trials": 8},
        keep={"checkpoints": 1},
        retries={"crash": 5},
    )
    is_over = threading.Event()
    cleaned: list[tuple[int, str]] = []

    def clean() -> None:
        while not is_over.is_set():
            cleaned.append(here.run("clean", "--yes", "--artifacts", here.folder / "art"))

    assert here.run("submit", file)[0] == 0
    cleaner = threading.Thread(target=clean)
    cleaner.start()
    try:
        for _ in range(2):
            killed = here.start("worker", "taken", "--slots", 2)
            wait_for(saved_by_running(here, 2))
            for process in [*descendants(killed), psutil.Process(killed.pid)]:
                process.send_signal(signal.SIGKILL)
            killed.communicate()
            here.expire_leases()
        with running(here, "worker", "taken", "--slots", 2, "--until-idle") as last:
            finish(last)
    finally:
        is_over.set()
        cleaner.join()

    assert {code for code, _ in cleaned} == {0}, cleaned[-1]
    assert here.counts("taken") == {"complete": 8}
    with Store.open(here.url) as store, store.read() as connection:
        attempts = connection.execute(
            select(trials.c.number, hpo_attempts.c.number.label("attempt"), hpo_attempts.c.from_epoch)
            .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
            .where(hpo_attempts.c.number > 1)
        ).all()
    assert len(attempts) >= 2
    assert [row for row in attempts if not row.from_epoch] == []  # each went on from its checkpoint
    [best] = Study(Store.open(here.url), "taken").best(1)
    assert checkpoints(here) == [f"{best.number:05d}/best.ckpt"]


def saved_by_running(here: Hpo, count: int) -> Callable[[], bool]:
    """Whether so many trials train, and have a checkpoint to resume from."""

    def is_so() -> bool:
        training = [trial.number for trial in here.trials("taken") if trial.state == "running"]
        return len(training) == count and all(
            list((here.folder / "art").glob(f"taken-*/{number:05d}/last.ckpt")) for number in training
        )

    return is_so


# ---- load_model


def test_a_model_is_loaded_from_a_record_a_folder_and_a_file(here: Hpo) -> None:
    file = here.study(
        "loads", model="projects.nets:Saving", budget={"trials": 2}, keep={"checkpoints": 1, "last": True}
    )
    assert here.run("run", file, "--slots", 1)[0] == 0
    study = package.open_study("loads", store=here.url)
    [best] = study.best(1)
    folder = Path(best.checkpoint or "").parent
    [of_callback, *_] = sorted(folder.rglob("epoch=*.ckpt"))

    of_record, of_folder, of_file, of_last, of_own = (
        package.load_model(given, project=PROJECT)
        for given in (best, folder, str(folder / "best.ckpt"), folder / "last.ckpt", of_callback)
    )

    assert type(of_record).__name__ == "Saving"
    assert not of_record.training
    for same in (of_folder, of_file):
        for name, value in of_record.state_dict().items():
            assert torch.equal(same.state_dict()[name], value)
    assert of_last.hparams == of_own.hparams == of_record.hparams
    other = next(path for path in folder.parent.iterdir() if path.is_dir() and path != folder)
    with pytest.raises(LoadError, match=r"has no best\.ckpt\. It has no checkpoint; a study keeps those of its best"):
        package.load_model(other, project=PROJECT)


def test_a_file_that_holds_code_or_is_in_no_folder_of_a_trial_is_refused(tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path(mark).touch, ()  # type: ignore[return-value]

    folder = tmp_path / "00000"
    folder.mkdir()
    torch.save({"state_dict": {}, "evil": Evil()}, folder / "best.ckpt")
    with pytest.raises(LoadError, match=r"is in no trial's folder: there is no config\.json beside it"):
        package.load_model(folder / "best.ckpt")
    (folder / "config.json").write_text('{"model": {"class": "projects.nets:Line"}}')

    with pytest.raises(LoadError, match=r"does not hold the weights of projects\.nets:Line"):
        package.load_model(folder, project=PROJECT)
    with pytest.raises(LoadError, match="there is no such file or folder"):
        package.load_model(folder / "bets.ckpt")
    for text in ("{", "[]", '{"model": {}}', '{"model": {"class": 3}}', "[" * 100_000):
        (folder / "config.json").write_text(text)
        with pytest.raises(LoadError, match=r"config\.json is not the configuration of a trial"):
            package.load_model(folder)
    made = json.dumps({"model": {"class": "subprocess:Popen", "args": ["touch", str(mark)]}})
    (folder / "config.json").write_text(made)
    with pytest.raises(LoadError, match="subprocess:Popen is not a LightningModule"):
        package.load_model(folder)
    assert not mark.exists()
