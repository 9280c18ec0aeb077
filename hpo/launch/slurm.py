"""Workers as the tasks of a job array of Slurm.

A task is one worker. When its time is up, or its machine is wanted for another job, it hands back its trials, and the
next task of the array takes its place: an array has more tasks than run at a time. A task that finds nothing left to do
ends those that wait.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpo.errors import SpecError
from hpo.launch.launchers import check_options, whole_number
from hpo.launch.order import Order, Workers, last_lines

# Options of sbatch by their own names; each is a line of the script.
SBATCH = (
    "partition", "time", "cpus_per_task", "gpus", "mem", "account", "qos", "constraint", "reservation", "nodelist",
    "exclude", "nice", "licenses",
)  # fmt: skip
OPTIONS = (*SBATCH, "turns", "warning")
TURNS = 50  # tasks of an array for each worker that runs at a time
WARNING_SECONDS = 60  # from the signal to the end of the time: Slurm sends it up to a minute early or late
GRACE_SECONDS = 90.0
COMMAND_SECONDS = 60.0
NOT_BEGUN = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED")

SCRIPT = """#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=0-{last}%{workers}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@{warning}
#SBATCH --chdir={project}
#SBATCH --output={logs}/%A_%a.log
{options}
# Slurm signals this shell, which hands the signal on: the worker's trials finish their epoch.
export HPO_CORES="${{HPO_CORES:-${{SLURM_CPUS_ON_NODE:-}}}}"
{command} &
worker=$!
trap 'kill -TERM $worker' TERM USR1 USR2
wait $worker
code=$?
while kill -0 $worker 2>/dev/null; do wait $worker; code=$?; done
echo "$SLURM_ARRAY_TASK_ID $code" >> {logs}/"$SLURM_ARRAY_JOB_ID".exits
# Nothing is left to train, or a mistake that every worker would meet: what waits need not begin.
if [ $code = 0 ] || [ $code = 2 ]; then scancel --state=PENDING "$SLURM_ARRAY_JOB_ID"; fi
exit $code
"""


class SlurmLauncher:
    """
    Args:
        lines: options of sbatch, such as `--partition=low`.
        turns: tasks of the array for each worker that runs at a time.
        warning: seconds before the end of a job's time, at which it is asked to hand back its trials.
    """

    is_cluster = True

    def __init__(self, lines: Sequence[str] = (), *, turns: int = TURNS, warning: int = WARNING_SECONDS) -> None:
        self._lines = tuple(lines)
        self._turns = turns
        self._warning = warning

    @staticmethod
    def of(options: Mapping[str, str]) -> SlurmLauncher:
        """
        Raises:
            SpecError: an option is invalid.
        """
        check_options("slurm", options, OPTIONS)
        for name in SBATCH:
            if any(not letter.isprintable() or letter in "\n\r" for letter in options.get(name, "")):
                raise SpecError(f"--launcher-option {name}: should be a line of text")
        lines = [f"--{name.replace('_', '-')}={options[name]}" for name in SBATCH if name in options]
        return SlurmLauncher(
            lines,
            turns=whole_number("turns", options.get("turns")) or TURNS,
            warning=whole_number("warning", options.get("warning")) or WARNING_SECONDS,
        )

    def start(self, order: Order) -> str:
        logs = order.artifacts / ".workers"
        logs.mkdir(parents=True, exist_ok=True)
        script = self.script(order, logs)
        environment = {**os.environ, **order.environment()}
        found = _answer(["sbatch", "--parsable", "--export=ALL"], input_text=script, environment=environment)
        return f"{found.strip().split(';')[0]} {logs}"

    def script(self, order: Order, logs: Path) -> str:
        """What sbatch is given."""
        return SCRIPT.format(
            name=f"hpo-{order.name}".replace(" ", "-"),
            last=order.workers * self._turns - 1,
            workers=order.workers,
            warning=self._warning,
            project=shlex.quote(str(order.project)),
            logs=shlex.quote(str(logs)),
            options="\n".join(f"#SBATCH {line}" for line in self._lines),
            command=shlex.join(order.command),
        )

    def look(self, job: str) -> Workers:
        number, _, logs = job.partition(" ")
        in_progress, reasons = 0, Counter[str]()
        for line in _queue(number):
            state, _, reason = line.partition("|")
            if state in NOT_BEGUN:
                reasons[reason.strip("()")] += 1
            else:
                in_progress += 1
        codes: dict[int, int] = {}
        output = ""
        with contextlib.suppress(FileNotFoundError):
            for line in (Path(logs) / f"{number}.exits").read_text().splitlines():
                task, _, code = line.partition(" ")
                codes[int(task)] = int(code)
        for index, ended in codes.items():
            if ended not in (0, 75):
                with contextlib.suppress(OSError):
                    text = (Path(logs) / f"{number}_{index}.log").read_text(encoding="utf-8", errors="replace")
                    output = last_lines(text)
        # Those that only wait for their turn are no workers that are missing.
        waits = {reason: count for reason, count in reasons.items() if reason != "JobArrayTaskLimit"}
        waiting = sum(waits.values()) if in_progress else min(1, sum(reasons.values()))
        reason = ", ".join(f"Slurm says {reason}" for reason in waits)
        return Workers(in_progress, waiting, reason, codes, output)

    def stop(self, job: str) -> None:
        number = job.partition(" ")[0]
        for words in (["--state=PENDING"], ["--batch", "--signal=TERM"]):
            with contextlib.suppress(SpecError):  # it has ended
                _answer(["scancel", "--quiet", *words, number])
        end = time.monotonic() + GRACE_SECONDS
        while _queue(number) and time.monotonic() < end:
            time.sleep(0.5)
        with contextlib.suppress(SpecError):
            _answer(["scancel", "--quiet", number])


def _queue(number: str) -> list[str]:
    """`STATE|REASON` of each task that waits or runs; one line for those that wait for the same."""
    try:
        found = _answer(["squeue", "--noheader", "--array", f"--job={number}", "--format=%T|%r"])
    except SpecError as error:
        if "Invalid job id" in str(error):
            return []
        raise
    return [line.strip() for line in found.splitlines() if line.strip()]


def _answer(command: list[str], *, input_text: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    if shutil.which(command[0]) is None:
        raise SpecError(f"--launcher slurm: there is no {command[0]} on this machine: run it where jobs are submitted")
    try:
        done = subprocess.run(
            command, input=input_text, env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise SpecError(f"--launcher slurm: {command[0]} does not answer within {COMMAND_SECONDS:g} s") from None
    if done.returncode:
        raise SpecError(f"--launcher slurm: {command[0]} says: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
