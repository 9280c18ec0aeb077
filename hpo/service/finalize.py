"""From a search to a model: its best trials again with fresh seeds, the winner by its mean, and the model that is kept.

The re-runs are trials of a study of their own, `STUDY.final`: any worker of the store trains them, and after a crash
the same call goes on. Those of a final model that is trained on both parts are in `STUDY.retrained`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median_high
from typing import Any

from hpo.errors import HpoError, RunError, SpecError, StoreError
from hpo.ipc.environment import clean_environment
from hpo.ipc.fork_server import ForkServer
from hpo.printable import all_of
from hpo.queue.best import best_trials
from hpo.queue.findings import add_finding
from hpo.queue.plans import plans_of, standings
from hpo.queue.progress import counts_of, progress_of
from hpo.queue.studies import StoredStudy, load_study
from hpo.results.final import FINAL, Choice, Final, Kept, Member, luck_of, reruns_of, winner_of
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.results.trial_records import read_records
from hpo.search.algorithms import derive_seed
from hpo.service.assembly import Search, Workspace, begin
from hpo.service.ensemble import pool_of
from hpo.service.evaluate import Evaluating
from hpo.service.preflight import slots_for
from hpo.store import Store
from hpo.study.budget import Budget
from hpo.study.plan import TRAIN, TRAIN_AND_VALIDATION, Candidate, Plan, shares
from hpo.study.spec import AlgorithmSpec, Keep, StudySpec
from hpo.study.states import TrialState
from hpo.study.study_file import Source

Train = Callable[[Search], None]

REPLAYED = 2  # epochs, or validations, of the best trial: whether the search can be reproduced shows at once
BOTH = "train+val"  # how people write the parts of a final model's training


@dataclass(frozen=True)
class Request:
    """What a search is to end in.

    Attributes:
        top: the number of its best trials that are trained again.
        seeds: of each of them.
        retrains: the final model is trained on the training and validation parts together.
        tests: the final model is tested on the test part.
        tests_again: although that part was looked at before.
        is_ensemble: the final model is the average of several: those that are best together on the validation part;
            of a model that learns from this part too, their configurations trained again, `seeds` networks by their
            weights.
        trial: the only one that is trained again, such as one of a front; by default the best ones.
    """

    top: int = 3
    seeds: int = 5
    retrains: bool = False
    tests: bool = False
    tests_again: bool = False
    is_ensemble: bool = False
    trial: int | None = None

    @staticmethod
    def of(
        top: int,
        seeds: int,
        *,
        retrain: str | None,
        ensemble: bool,
        test: bool,
        test_again: bool,
        trial: int | None = None,
    ) -> Request:
        """From the words of the command line and of Python.

        Raises:
            SpecError: one of them is invalid.
        """
        if retrain not in (None, BOTH):
            raise SpecError(f"retrain: '{retrain}' should be {BOTH}, the only parts that there are besides a test's")
        if top < 1 or seeds < 2:
            raise SpecError(f"top {top} should be 1 or more, and seeds {seeds} should be 2 or more: one is no mean")
        return Request(top, seeds, retrain == BOTH, test or test_again, test_again, ensemble, trial)


def finalize_here(
    store: Store, name: str, request: Request, project: Path, artifacts: Path, *, slots: int | None = None
) -> Final:
    """`finalize` in this process, with a worker of its own.

    Raises:
        HpoError, KeyboardInterrupt: as `finalize`.
    """
    server = ForkServer.start(clean_environment(store.url.password))
    try:
        return finalize(Workspace(server, project.resolve(), store, artifacts), name, request, slots=slots)
    finally:
        server.stop()


def finalize(
    workspace: Workspace,
    name: str,
    request: Request,
    *,
    slots: int | None = None,
    train: Train = lambda search: search.worker.run_until_done(),
    say: Callable[[str], None] = lambda line: None,
    draw: Callable[[], None] = lambda: None,
) -> Final:
    """Train the best trials again, choose the winner by its mean, and evaluate the model that is kept.

    Args:
        slots: trials at a time; by default as many as the study requests.
        train: trains a study that this machine's worker has adopted, until it is over.
        say: is told what begins, in a line.
        draw: called a few times a second while a study is trained.

    Raises:
        HpoError: the study has no complete trial, its data or its code is other than in the search, its data has no
            test part, or the test part was looked at before.
        RunError: all re-runs failed, or were stopped.
        KeyboardInterrupt: it was interrupted; the same call goes on.
    """
    return _Finalizing(workspace, name, request, slots=slots, train=train, say=say, draw=draw).result()


class _Finalizing:
    def __init__(
        self,
        workspace: Workspace,
        name: str,
        request: Request,
        *,
        slots: int | None,
        train: Train,
        say: Callable[[str], None],
        draw: Callable[[], None],
    ) -> None:
        self._workspace = workspace
        self._store = workspace.store
        self._search = load_study(self._store, name)
        self._request = request
        self._slots = slots
        self._train = train
        self._say = say
        self._draw = draw

    def result(self) -> Final:
        search, request = self._search, self._request
        plan = self._plan()
        with Evaluating(self._workspace, search) as evaluating:
            evaluating.check_inputs()
            if request.tests:
                evaluating.check_test_part()
            self._say(f"replaying the first epochs of trial {plan.candidates[0].trial}")
            best = Study(self._store, search.name).trial(plan.candidates[0].trial)
            warning = None if best is None else evaluating.reproduce(best, reports=REPLAYED)
            if warning is not None:
                self._say(f"warning: {warning}")
        reruns = self._trained(plan)
        plan = reruns.plan or plan  # an earlier call may have asked for more seeds
        final = replace(self._judged(reruns, plan), warnings=() if warning is None else (warning,))
        records = {record.number: record for record in Study(self._store, reruns.name).trials(has_curves=False)}
        mine = [
            record
            for number, record in records.items()
            if plan.candidate(number).trial == final.winner and record.state == TrialState.COMPLETE
        ]
        direction = search.resolved.spec.objective.direction
        chosen = min(mine, key=lambda record: (direction.cost(record.value or 0.0), record.number))
        members, trained_on = [Member(reruns.name, chosen.number)], TRAIN
        if request.is_ensemble:
            ensemble = self._ensemble(reruns.name)
            final = replace(final, ensemble=ensemble)
            members = list(ensemble.members) if ensemble.pays else members
        study = Study(self._store, search.name)
        judged = study.members(members)
        if request.retrains:
            members, trained_on = self._retrained(self._recipe(plan, final, records)), TRAIN_AND_VALIDATION
        kept = Kept.of(members, trained_on)
        with Evaluating(self._workspace, search) as evaluating:
            self._say("evaluating on the validation part")
            final = replace(final, kept=kept, validation=evaluating.validation(judged))
            if request.tests:
                self._say("testing")
                test, looks = evaluating.test(study.members(members), kept, is_again=request.tests_again)
                final = replace(final, test=test, looks=looks)
        with self._store.write() as connection:
            add_finding(connection, search.study_id, FINAL, final.to_json())
        return final

    def _ensemble(self, reruns: str) -> Choice:
        """The best ensemble of the models that the search and its re-runs have kept."""
        self._say("choosing an ensemble on the validation part")
        with Evaluating(self._workspace, self._search) as evaluating:
            return evaluating.ensemble(pool_of(self._store, self._search.name, [reruns]))

    def _plan(self) -> Plan:
        """The best trials of the search, each with its seeds; of a search in which none is complete, of what is there.

        Raises:
            HpoError: none is complete, and the search goes on.
        """
        search = self._search
        if search.plan is not None:
            raise HpoError(f"study '{search.name}' trains the best trials of a search again: finalize that search")
        objectives = search.resolved.spec.objectives
        if self._request.trial is not None:
            return Plan("rerun", (self._named(self._request.trial),), self._request.seeds)
        with self._store.read() as connection:
            progress = progress_of(connection, search.study_id)
            rows = best_trials(connection, search.study_id, objectives, limit=self._request.top)
            if not progress.is_over and not progress.counts.complete:
                rows = ()
            records = read_records(
                connection, search.study_id, [row.trial_id for row in rows], objectives=objectives, has_curves=False
            )
        if not rows:
            raise HpoError(
                f"study '{search.name}' has no complete trial yet, so there is nothing to finalize; "
                f"'hpo status {search.name}' shows how far it is"
            )
        if objectives.are_several:
            first = objectives.metrics[0]
            self._say(
                f"chosen by {first}, the first objective: --trial N takes a trial that 'hpo pareto' shows instead"
            )
        candidates = tuple(Candidate(row.number, row.value, dict(records[row.trial_id].params)) for row in rows)
        return Plan("rerun", candidates, self._request.seeds)

    def _named(self, number: int) -> Candidate:
        """The trial that the request names.

        Raises:
            HpoError: there is none, or it has not reached a value.
        """
        name = self._search.name
        record = Study(self._store, name).trial(number)
        if record is None:
            raise HpoError(f"study '{name}' has no trial {number}; 'hpo trials {name}' lists those it has")
        if record.state not in (TrialState.COMPLETE, TrialState.PRUNED) or record.value is None:
            raise HpoError(f"trial {number} of study '{name}' ({record.state}) has no result to train again for")
        return Candidate(number, record.value, dict(record.params))

    def _trained(self, plan: Plan) -> StoredStudy:
        """The study of the plan, with all its trials ended.

        Raises:
            RunError: it was stopped.
            KeyboardInterrupt: it was interrupted.
        """
        search, workspace = self._search, self._workspace
        name, plan = self._name(plan)
        spec, source = _spec(search.resolved.spec, name, plan), Source.of_stored(name)
        machine = slots_for(spec, source, wanted=self._slots)
        begun = begin(
            workspace,
            spec,
            source,
            machine=machine,
            on_frame=lambda _: self._draw(),
            plan=plan,
            parent_id=search.study_id,
        )
        self._say(begun.message)
        self._train(begun)
        begun.check_end()
        if begun.run.progress.is_held or not begun.run.progress.is_over:
            raise RunError(f"study {name} waits: {begun.run.waiting_for}; then the same call goes on")
        return load_study(self._store, name)

    def _name(self, plan: Plan) -> tuple[str, Plan]:
        """The study that trains this plan: the one that has the same candidates, with as many seeds, or a new one."""
        search = self._search
        with self._store.read() as connection:
            known = {name: its for _, name, its in plans_of(connection, search.study_id)}
        for name, its in known.items():
            if its.is_of_the_same(plan):
                return name, replace(plan, seeds=max(its.seeds, plan.seeds))
        base = f"{search.name}.{'final' if plan.kind == 'rerun' else 'retrained'}"
        names = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
        return next(name for name in names if name not in known and not self._is_taken(name)), plan

    def _is_taken(self, name: str) -> bool:
        try:
            load_study(self._store, name)
        except StoreError as error:
            return "no study" not in str(error)
        return True

    def _judged(self, reruns: StoredStudy, plan: Plan) -> Final:
        """The winner, and how much of its score was luck.

        Raises:
            RunError: all re-runs failed.
        """
        search, objective = self._search, self._search.resolved.spec.objective
        with self._store.read() as connection:
            stand = standings(connection, reruns.study_id, plan, objective.direction)
            ended = counts_of(connection, search.study_id).ended
        winner = winner_of(plan, stand, objective.direction)
        if winner is None:
            raise RunError(f"{all_of(plan.trials, 're-run')} failed: 'hpo trials {reruns.name}' shows why")
        found = reruns_of(plan, stand, metric=objective.metric)
        return Final(
            study=search.name,
            metric=objective.metric,
            direction=objective.direction,
            trials=ended,
            reruns_study=reruns.name,
            reruns=found,
            winner=winner,
            luck=luck_of(found[0], objective.direction),
            kept=Kept(reruns.name, 0, TRAIN, ()),  # replaced when it is known
            is_named=self._request.trial is not None,
        )

    def _recipe(self, plan: Plan, final: Final, records: Mapping[int, TrialRecord]) -> Plan:
        """What is trained on both parts: the winner; of an ensemble, its configurations by their weights.

        Each until the epoch that was the best of most of its trainings.

        Args:
            records: of the re-runs, by number.
        """
        weights, networks = {final.winner: 1}, 1
        if final.ensemble is not None:
            networks = self._request.seeds
            weights = Counter()
            for member in final.ensemble.resampled:
                is_rerun = member.study == final.reruns_study
                weights[plan.candidate(member.trial).trial if is_rerun else member.trial] += member.weight
        search = Study(self._store, self._search.name)
        candidates = []
        for trial, count in shares(weights, networks).items():
            again = [
                one
                for number, one in records.items()
                if plan.candidate(number).trial == trial and one.state == TrialState.COMPLETE
            ]
            found = search.trial(trial)
            assert found is not None  # its model is in the ensemble, or it has won
            stop_after = median_high(one.best_epoch or one.epochs for one in again or [found])
            candidates += count * [Candidate(trial, found.value or 0.0, dict(found.params), stop_after)]
        return Plan("retrain", tuple(candidates), 1)

    def _retrained(self, plan: Plan) -> list[Member]:
        study = self._trained(plan)
        found = [
            one for one in Study(self._store, study.name).trials(has_curves=False) if one.state == TrialState.COMPLETE
        ]
        if not found:
            raise RunError(f"the final model could not be trained: 'hpo trials {study.name}' shows why")
        return [Member(study.name, one.number) for one in found]


def _spec(search: StudySpec, name: str, plan: Plan) -> StudySpec:
    """The study file of a plan: as the search's, without what searches, prunes, or ends it early."""
    # What is trained on both parts has the length of the re-runs: cut off, it would have no model.
    minutes = search.budget.trial_minutes if plan.kind == "rerun" else None
    budget = Budget(trials=plan.trials, trial_minutes=minutes, stall_minutes=search.budget.stall_minutes)
    changes: dict[str, Any] = {
        "study": name,
        "objective": search.objective.model_copy(update={"further": ()}),  # the first one chooses
        "sampler": AlgorithmSpec(name="random"),
        "pruner": AlgorithmSpec(name="none"),
        "first_trial": "sampled",
        "points": (),
        "start_from": (),
        "constraints": (),  # the candidates have satisfied them, and what is measured differs a little each time
        "budget": budget,
        "keep": Keep(checkpoints=plan.trials),
        # Others than the search has used; the same ones after both have got other names.
        "seed": derive_seed(search.seed, name.removeprefix(search.study), plan.kind),
    }
    if plan.kind == "retrain":  # its objective is of rows that it learns from
        changes |= {"early_stopping": None, "folds": None, "repeats": None}
    return search.model_copy(update=changes)
