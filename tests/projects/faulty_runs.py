"""Studies whose files fail by a seed, trained by one real worker, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo.ipc.fork_server import ForkServer
from hpo.results.trial import TrialRecord
from hpo.study.artifacts import sha256_of
from projects.faulty_files import Plan, calls, environment, failures
from projects.launch import Hpo, finish
from projects.service import submit

TRIALS, EPOCHS = 3, 2
LIMIT_SECONDS = 800.0  # only ends what hangs


@dataclass(frozen=True)
class Outcome:
    """What became of the study of one seed.

    Attributes:
        failures: the file calls that failed.
        unfaithful: checkpoints that the store names, and that are not there as they were written.
        tracebacks: in the logs of its trials.
    """

    plan: Plan
    failures: Sequence[str]
    trials: Sequence[TrialRecord]
    unfaithful: Sequence[Path]
    tracebacks: int

    @property
    def attempts(self) -> int:
        return sum(trial.attempts for trial in self.trials)

    @property
    def failed(self) -> list[TrialRecord]:
        """Trials that failed for good."""
        return [trial for trial in self.trials if trial.state == "failed"]

    @property
    def lost(self) -> int:
        """Results that are not in the store: trials without a value, or without their epochs; and checkpoints."""
        whole = [
            trial
            for trial in self.trials
            if trial.state == "complete"
            and trial.value is not None
            and [epoch for epoch, _ in trial.curve] == list(range(1, EPOCHS + 1))
        ]
        return TRIALS - len(whole) + len(self.unfaithful)


@dataclass(frozen=True)
class FaultyRuns:
    """The end of the worker, and the studies by their seeds."""

    code: int
    output: str
    outcomes: dict[int, Outcome]


def run_with_faults(folder: Path, seeds: Sequence[int], *, server: ForkServer) -> FaultyRuns:
    """Train a study of each seed, one trial at a time, with one worker, until all are over.

    Args:
        folder: an empty one, for the store, the artifacts and the diary of the failed calls.
        server: imports the studies' classes.
    """
    artifacts, faults = folder / "art", folder / "faults"
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db", environment=environment(faults, artifacts))
    names = {seed: f"faults-{seed}" for seed in seeds}
    for name in names.values():
        submit(hpo, hpo.study(name, epochs=EPOCHS, budget={"trials": TRIALS}), server)
    worker = hpo.start("worker", *names.values(), "--until-idle", "--slots", 1, "--verbose")
    code, output = finish(worker, timeout=LIMIT_SECONDS)
    outcomes = {}
    for seed, name in names.items():
        trials = hpo.trials(name)
        named = [trial for trial in trials if trial.checkpoint is not None]
        logs = artifacts.glob(f"{name}-2*/*/log.txt")
        outcomes[seed] = Outcome(
            Plan.of(seed),
            failures(faults, name),
            trials,
            [Path(trial.checkpoint) for trial in named if trial.checkpoint is not None and not _is_whole(trial)],
            sum("Traceback" in log.read_text(errors="replace") for log in logs),
        )
        assert calls(faults, name), f"no file call of {name} was watched"
    return FaultyRuns(code, output, outcomes)


def _is_whole(trial: TrialRecord) -> bool:
    path = Path(trial.checkpoint or "")
    return path.is_file() and trial.checkpoint_sha256 in (None, sha256_of(path))
