"""A checkpoint that cannot be written does not end a trial, nor make its other processes wait."""

from __future__ import annotations

from pathlib import Path

from projects.launch import Hpo


def test_a_full_disk_of_one_process_does_not_make_the_other_wait(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    here.study(
        "full",
        model="projects.ranks:Cramped",
        epochs=4,
        logger="none",
        resources={"devices_per_trial": 2, "accelerator": "cpu"},
        budget={"stall_minutes": 2},
    )

    code, output = here.run("run", "full.yaml", "--trials", 1, "--slots", 1, "--verbose")

    [trial] = here.trials("full")
    assert (trial.state, trial.epochs, trial.attempts) == ("complete", 4, 1), output
    assert code == 0
    assert output.count("its checkpoint could not be written: [Errno 27] File too large") >= 1
    assert "UnwrittenByAnother" not in output
