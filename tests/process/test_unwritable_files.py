"""Files that cannot be written, or looked at: no trial fails for good, no result is lost, nobody sees a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from projects.faulty_files import Plan
from projects.faulty_runs import FaultyRuns, run_with_faults
from projects.launch import Hpo, finish, read_until, wait_for

from hpo.ipc.fork_server import ForkServer
from hpo.results.study import Study
from hpo.store import Store

# Of both kinds of processes; the later ones once failed a trial: libraries hide that they could not look at a folder.
SEEDS = (0, 2, 3, 5, 7, 16, 25, 40, 23, 41, 47, 50)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, server: ForkServer) -> FaultyRuns:
    return run_with_faults(tmp_path_factory.mktemp("faults"), SEEDS, server=server)


def test_the_seeds_make_calls_of_worker_and_trials_fail(runs: FaultyRuns) -> None:
    assert {Plan.of(seed).role for seed in SEEDS} == {"worker", "trial"}
    assert [seed for seed, outcome in runs.outcomes.items() if len(outcome.failures) != outcome.plan.count] == []


def test_no_trial_fails_for_good_because_a_file_call_fails(runs: FaultyRuns) -> None:
    assert {seed: [trial.error for trial in outcome.failed] for seed, outcome in runs.outcomes.items()} == {
        seed: [] for seed in SEEDS
    }


def test_no_result_is_lost_because_a_file_call_fails(runs: FaultyRuns) -> None:
    assert {seed: outcome.lost for seed, outcome in runs.outcomes.items()} == dict.fromkeys(SEEDS, 0)


def test_a_file_call_that_fails_costs_few_attempts_and_no_traceback(runs: FaultyRuns) -> None:
    assert runs.code == 0, runs.output
    assert "Traceback" not in runs.output
    assert [seed for seed, outcome in runs.outcomes.items() if outcome.tracebacks] == []
    assert max(outcome.attempts - len(outcome.trials) for outcome in runs.outcomes.values()) <= 6


def test_no_trial_is_claimed_while_the_folder_cannot_be_written_and_the_search_goes_on_when_it_can(
    tmp_path: Path,
) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = here.study("closed", budget={"trials": 3})
    (tmp_path / "art").write_text("a file, where no folder can be made, also not by root")

    run = here.start("run", file, "--slots", 2)
    before = read_until(run, "no trial begins until they can")
    waits = wait_for(lambda: here.trials("closed") == [])
    (tmp_path / "art").unlink()
    code, output = finish(run)

    assert waits
    assert code == 0, output
    assert (before + output).count("no trial begins until they can") == 1
    assert [(trial.state, trial.attempts) for trial in here.trials("closed")] == [("complete", 1)] * 3


def test_a_folder_that_is_removed_under_a_run_costs_checkpoints_and_no_trial(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = here.study("swept", model={"class": "projects.nets:Line", "seconds": 0.2}, epochs=4, budget={"trials": 4})
    run = here.start("run", file, "--slots", 1)
    wait_for(lambda: any(trial.epochs for trial in here.trials("swept")))

    [folder] = (tmp_path / "art").glob("swept-*")
    folder.rename(tmp_path / "elsewhere")
    code, output = finish(run)

    assert code == 0, output
    assert "Traceback" not in output
    trials = here.trials("swept")
    assert [trial.state for trial in trials] == ["complete"] * 4
    assert all([epoch for epoch, _ in trial.curve] == [1, 2, 3, 4] for trial in trials)
    assert all(trial.checkpoint is None or Path(trial.checkpoint).is_file() for trial in trials)


def test_a_trial_whose_log_and_checkpoints_cannot_be_written_is_trained_to_its_end_and_says_so(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = here.study("speechless", model="projects.cramped:Speechless", epochs=3, budget={"trials": 1})

    code, output = here.run("run", file, "--slots", 1)

    [trial] = here.trials("speechless")
    assert (trial.state, trial.epochs, trial.attempts) == ("complete", 3, 1), output
    assert code == 0
    assert "its log could not be written: File too large" in output
    assert "its checkpoint could not be written: [Errno 27] File too large" in output


def test_trials_that_the_disk_ended_are_trained_again_without_a_failure(tmp_path: Path) -> None:
    attempts = tmp_path / "attempts"
    attempts.mkdir()
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    model = {"class": "projects.cramped:OwnFile", "attempts": str(attempts)}
    file = here.study("full", model=model, budget={"trials": 6}, retries={"error": 0, "crash": 0})

    code, output = here.run("run", file, "--slots", 2)

    trials = here.trials("full")
    assert [(trial.state, trial.attempts) for trial in trials] == [("complete", 2)] * 6, output
    assert code == 0
    assert output.count("no trial begins until they can") == 1
    assert "Traceback" not in output
    with Store.open(here.url) as store:
        causes = {attempt.cause for trial in trials for attempt in Study(store, "full").attempts(trial.number)[:1]}
    assert causes == {"files could not be written: File too large"}


def test_a_log_is_bounded_and_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = here.study("endless", model={"class": "projects.cramped:Endless", "mebibytes": 40}, budget={"trials": 1})

    code, output = here.run("run", file, "--slots", 1)
    shown, log = here.run("logs", "endless", 0)

    assert code == shown == 0, output
    [path] = (tmp_path / "art").glob("endless-*/00000/log.txt")
    assert path.stat().st_size < 20 << 20
    lines = log.splitlines()
    assert "the first line of the model" in lines
    assert "the last line of the model" in lines
    left_out = [line for line in lines if "bytes of output were left out here" in line]
    assert len(left_out) == 1
    assert path.stat().st_size + int(left_out[0].split()[1].replace(",", "")) > 60 << 20
    assert "left out of its middle" in log
    assert lines.count("x" * 1023) > 4 << 10
