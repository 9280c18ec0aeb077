"""Checkpoints of a study: attempts that resume from them, that cannot, and models that are loaded from them."""

from __future__ import annotations

import hashlib
import logging
import signal
from pathlib import Path

import pytest
import torch
from projects.launch import PROJECT, Hpo, finish, read_until, wait_for
from projects.service import running, submit

from hpo.errors import HpoError, LoadError
from hpo.ipc.fork_server import ForkServer
from hpo.service.check import check_study
from hpo.study.length import Unit
from hpo.study.study_file import read_study

NEEDED = "tokenizer (functools.partial)"


@pytest.fixture
def hpo(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def hand_over(hpo: Hpo, study: str, server: ForkServer, *, model: str, data: str) -> tuple[int, str]:
    """Train a trial by one worker, which is asked to end, and then by another: the epochs by the first, and its log."""
    gate = hpo.folder / "gate"
    file = hpo.study(
        study, model={"class": model, "gate": str(gate)}, data=data, space={"lr": [0.01]}, epochs=4,
        budget={"trials": 1},
    )  # fmt: skip
    submit(hpo, file, server)
    with running(hpo, "worker", study, "--slots", 1) as first:
        wait_for(lambda: [record.epochs for record in hpo.trials(study)] == [1])
        first.send_signal(signal.SIGTERM)
        read_until(first, "handing back")
        gate.touch()
        finish(first)
    [between] = hpo.trials(study)
    code, output = finish(hpo.start("worker", "--until-idle", "--slots", 1))
    assert code == 0, output
    return between.epochs, output


def test_a_trial_whose_checkpoint_holds_arrays_and_paths_goes_on_where_it_was(hpo: Hpo, server: ForkServer) -> None:
    trained, output = hand_over(hpo, "fed", server, model="projects.kept:Feeding", data="projects.kept:Fed")

    [record] = hpo.trials("fed")
    assert f"trial 0 resumes after epoch {trained}" in output
    assert "begins again" not in output
    assert [metrics["epochs"] for _, metrics in record.curve] == list(range(1, 5))
    assert record.config["model"]["classes"] == 2
    model = record.load_model(project=PROJECT)
    assert model.given == (2, [1.0, 2.0], 2)
    assert model.epochs == record.best_epoch
    path = Path(record.checkpoint or "")
    assert record.checkpoint_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    torch.save({"state_dict": {}}, path)
    with pytest.raises(HpoError, match="it was replaced or changed"):
        record.load_model(project=PROJECT)


def test_a_trial_that_cannot_resume_says_why_and_what_it_trains_again(hpo: Hpo, server: ForkServer) -> None:
    trained, output = hand_over(hpo, "hoarding", server, model="projects.kept:Hoarding", data="projects.nets:Points")

    [record] = hpo.trials("hoarding")
    words = f"trial 0 begins again, and trains {Unit.EPOCH.counted(trained)} a second time: "
    assert words in output
    assert f"last.ckpt is without {NEEDED}" in output
    assert f"trial 0: its checkpoints are without {NEEDED}" in output
    assert (record.state, record.epochs) == ("complete", 4)
    with pytest.raises(LoadError, match=r"KeyError: 'tokenizer'; the checkpoint is without tokenizer"):
        record.load_model(project=PROJECT)


def test_a_check_tells_that_trials_will_not_resume(
    hpo: Hpo, server: ForkServer, caplog: pytest.LogCaptureFixture
) -> None:
    file = hpo.study("hoarding", model={"class": "projects.kept:Hoarding", "gate": ""}, space={"lr": [0.01]})

    with caplog.at_level(logging.WARNING):
        check_study(*read_study(file), server=server, project=PROJECT, open_store=pytest.fail)

    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"projects.kept:Hoarding: its checkpoints are without {NEEDED}, and no attempt can res")
