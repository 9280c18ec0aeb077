"""Checkpoints that no trial needs go with the end of the trial, the study or its rows, also those of callbacks."""

from __future__ import annotations

import signal
from pathlib import Path

from projects.launch import Hpo, finish, wait_for


def checkpoints(folder: Path) -> dict[str, int]:
    """How many checkpoints there are, by the trial's folder."""
    found = [path.relative_to(folder).parts[1] for path in folder.rglob("*.ckpt")]
    return {trial: found.count(trial) for trial in sorted(set(found))}


def test_only_the_best_trial_keeps_checkpoints_also_of_callbacks(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = here.study("saving", model="projects.nets:Saving", budget={"trials": 4}, keep={"checkpoints": 1})

    code, output = here.run("run", file, "--slots", 1)

    assert code == 0, output
    [best] = [trial.number for trial in here.trials("saving") if trial.checkpoint is not None]
    assert checkpoints(tmp_path / "art") == {f"{best:05d}": 3}  # of two epochs, and of the best one


def test_trials_that_are_killed_or_stopped_keep_no_checkpoint_to_resume_from(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    model = {"class": "projects.nets:Saving", "seconds": 1.2}
    file = here.study("ended", model=model, epochs=100, budget={"trials": 2}, keep={"checkpoints": 1})
    run = here.start("run", file, "--slots", 2)
    wait_for(lambda: len(list((tmp_path / "art").rglob("last.ckpt"))) == 2)
    run.send_signal(signal.SIGTERM)  # both are idle afterwards
    finish(run)
    idle = checkpoints(tmp_path / "art")

    killed, said = here.run("kill", "ended", 0)
    after_kill = checkpoints(tmp_path / "art")
    stopped, said_too = here.run("stop", "ended")

    assert killed == stopped == 0, said + said_too
    assert [count > 2 for count in idle.values()] == [True, True]
    assert list(after_kill) == ["00001"]
    left = [path.name for path in (tmp_path / "art").rglob("*.ckpt")]
    assert "last.ckpt" not in left
    assert "previous.ckpt" not in left
    [trial] = [trial for trial in here.trials("ended") if trial.state == "pruned"]
    assert trial.checkpoint is not None  # it is the best of the study, which has no complete one
    assert Path(trial.checkpoint).is_file()


def test_the_folder_of_a_study_that_is_deleted_while_it_trains_does_not_come_back(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    model = {"class": "projects.nets:Line", "seconds": 0.3}
    file = here.study("gone", model=model, epochs=200, budget={"trials": 2})
    run = here.start("run", file, "--slots", 1)
    wait_for(lambda: any(trial.epochs for trial in here.trials("gone")))

    code, said = here.run("delete", "gone", "--yes", "--force")
    _, output = finish(run)

    assert code == 0, said
    assert "Traceback" not in output
    assert list((tmp_path / "art").iterdir()) == []
