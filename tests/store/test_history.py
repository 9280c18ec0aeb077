"""Workers read each other's trials, and their samplers and pruners use them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from projects.proposals import propose
from projects.synthetic import GRID, SPACE, Claimant, create_study, make_spec
from sqlalchemy import update
from stores import hand_back

from hpo.queue.claim import Claim
from hpo.queue.leases import LOST
from hpo.search.algorithms import make_pruner, sampler_factory
from hpo.search.grid import grid_points
from hpo.search.rungs import Verdict
from hpo.space import Float, Parameter, SearchSpace
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_attempts
from hpo.study.states import AttemptEnd

SAMPLERS = ["tpe", "random", "grid", "qmc", "gp", "nsga2"]


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """For tests that bring a study of their own."""
    with Store.create(f"sqlite:///{tmp_path_factory.mktemp('history')}/hpo.db") as store:
        yield store


# ---- what two workers see of each other


def test_a_worker_that_claims_its_own_lost_trial_forgets_unwritten_reports(store: Store) -> None:
    """Or the epochs that its checkpoint tells of would be taken for known, and be missing in the store forever."""
    study = create_study(store)
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim)
    worker.report(claim, 1, 0.5)
    worker.history.report(claim.number, 2, 0.6)  # known here, and on its way to the store when the lease ran out
    with store.write() as connection:
        connection.execute(update(hpo_attempts).values(ended=1.0, lease_until=1.0, kind=AttemptEnd.CRASH, cause=LOST))
    worker.history.release(claim.trial_id, claim.number)

    again = worker.claim()

    assert again is not None
    assert (again.number, again.attempt) == (claim.number, 2)
    assert worker.history.curve(claim.number) == {1: 0.5}


def test_a_worker_sees_what_the_other_samples_reports_and_ends(store: Store) -> None:
    study = create_study(store)
    mine, other = Claimant(store, study), Claimant(store, study)
    claim, waiting = mine.claim(), mine.claim()
    assert claim is not None
    assert waiting is not None
    other.history.sync()
    before = other.history._memory.get_trial(0)

    params = mine.begin(claim)
    mine.report(claim, 1, 0.5)
    mine.report(claim, 2, 0.75)
    other.history.sync()
    during = other.history._memory.get_trial(0)
    mine.finish(claim, 0.75)
    other.history.sync()
    after, second = (other.history._memory.get_trial(number) for number in (0, 1))

    assert (before.params, before.state) == ({}, TrialState.RUNNING)
    assert (during.params, during.intermediate_values) == (params, {1: 0.5, 2: 0.75})
    assert during.state == TrialState.RUNNING
    assert (after.state, after.values) == (TrialState.COMPLETE, [0.75])
    assert (second.params, second.state) == ({}, TrialState.RUNNING)


def test_a_claim_in_a_large_fleet_counts_others_trials_and_learns_of_them_later(store: Store) -> None:
    study = create_study(store)
    mine, other = Claimant(store, study), Claimant(store, study)
    mine.history.is_sparing = True
    ended, running = other.claim(), other.claim()
    assert ended is not None
    assert running is not None
    params = [other.begin(ended), other.begin(running)]
    other.report(running, 1, 0.25)
    assert other.finish(ended, 0.75)

    claim = mine.claim()
    assert claim is not None
    counted = [mine.history._memory.get_trial(number) for number in (0, 1)]
    mine.begin(claim)
    mine.history.sync()
    learned = [mine.history._memory.get_trial(number) for number in (0, 1)]

    assert claim.number == 2
    assert [(trial.state, trial.params) for trial in counted] == [(TrialState.RUNNING, {})] * 2
    assert [trial.params for trial in learned] == params
    assert [(trial.state, trial.values) for trial in learned] == [
        (TrialState.COMPLETE, [0.75]),
        (TrialState.RUNNING, None),
    ]
    assert learned[1].intermediate_values == {1: 0.25}


def test_a_worker_that_comes_late_sees_all_there_was(store: Store) -> None:
    study = create_study(store)
    early = Claimant(store, study)
    ends = [("COMPLETE", 0.75), ("PRUNED", 0.5), ("FAIL", None), ("COMPLETE", 0.875)]
    params = []
    for state, value in ends:
        claim = early.claim()
        assert claim is not None
        params.append(early.begin(claim))
        early.finish(claim, value, state=state)

    late = Claimant(store, study)
    late.history.sync()

    trials = [late.history._memory.get_trial(number) for number in range(4)]
    assert [(trial.state.name, trial.value) for trial in trials] == ends
    assert [trial.params for trial in trials] == params


def test_a_trial_that_changes_hands_keeps_its_parameters_in_every_memory(store: Store) -> None:
    study = create_study(store)
    first, second = Claimant(store, study), Claimant(store, study)
    claim = first.claim()
    assert claim is not None
    params = first.begin(claim)
    first.report(claim, 1, 0.25)
    hand_back(store, claim, seconds=1.0)
    first.history.release(claim.trial_id, claim.number)

    taken = second.claim()
    assert taken is not None
    second.report(taken, 1, 0.5)
    second.finish(taken, 0.5)
    first.history.sync()

    known = first.history._memory.get_trial(0)
    assert (known.params, known.value, known.intermediate_values) == (params, 0.5, {1: 0.5})


# ---- pruning


def curves(count: int, epochs: int) -> list[list[float]]:
    """Synthetic learning curves that cross."""
    generator = random.Random(7)
    made = []
    for _ in range(count):
        final, speed = generator.uniform(0.5, 1.0), generator.uniform(0.2, 2.0)
        noise = [generator.gauss(0, 0.02) for _ in range(epochs)]
        made.append([final * (1 - 2 ** (-speed * (epoch + 1))) + noise[epoch] for epoch in range(epochs)])
    return made


def test_asha_over_two_workers_decides_as_one_optuna_study_does(store: Store) -> None:
    """Six trials train at a time; who reports next is drawn by lot."""
    study = create_study(store, epochs=27, pruner={"name": "asha", "mode": "stop", "eta": 3, "min_epochs": 1})
    workers = [Claimant(store, study), Claimant(store, study)]
    plain = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.SuccessiveHalvingPruner(reduction_factor=3, min_resource=1)
    )
    lot = random.Random(3)
    values = curves(30, 27)
    ours: dict[tuple[int, int], bool] = {}
    theirs: dict[tuple[int, int], bool] = {}
    running: dict[int, tuple[Claim, optuna.Trial]] = {}
    begun = 0

    while begun < 30 or running:
        while begun < 30 and len(running) < 6:
            claim = workers[begun % 2].claim()
            assert claim is not None
            assert claim.number == begun
            running[begun] = (claim, plain.ask())
            begun += 1
        number = lot.choice(list(running))
        claim, trial = running[number]
        worker = workers[number % 2]
        epoch = sum(reported == number for reported, _ in ours) + 1
        value = values[number][epoch - 1]

        worker.history.sync()
        ours[number, epoch], _ = worker.report(claim, epoch, value)
        trial.report(value, epoch)
        theirs[number, epoch] = trial.should_prune()
        if ours[number, epoch] or epoch == 27:
            state = "PRUNED" if ours[number, epoch] else "COMPLETE"
            worker.finish(claim, value, state=state)
            plain.tell(trial, value if state == "COMPLETE" else None, state=TrialState[state])
            del running[number]

    assert ours == theirs
    assert 10 <= sum(ours.values()) < 30  # it was not all the same


RISING = [0.1 * epoch for epoch in range(1, 10)]
SINKING = [0.04 - 0.002 * epoch for epoch in range(1, 10)]
PRUNERS = [
    # pruner, epoch at which a low curve that sinks is ended after six that rise
    ({"name": "asha", "mode": "stop"}, 3),
    ({"name": "asha", "mode": "stop", "eta": 2, "min_epochs": 1}, 1),
    ("median", 1),
    ({"name": "median", "n_warmup_steps": 3}, 4),
    ({"name": "percentile", "percentile": 25.0}, 1),
    ({"name": "hyperband", "min_epochs": 1, "eta": 9}, None),  # by bracket, which depends on the trial's number
    ({"name": "threshold", "lower": 0.05}, 1),
    ({"name": "patient", "patience": 3}, 5),
    ({"name": "patient", "patience": 2, "wrapped_pruner": "median"}, 4),
    ("none", 0),
    (None, 0),
    ({"class": "optuna.pruners:ThresholdPruner", "lower": 0.05, "n_warmup_steps": 2}, 2),
]


@pytest.mark.parametrize(("pruner", "ends_at"), PRUNERS, ids=str)
def test_each_pruner_continues_good_trials_and_prunes_hopeless_ones(
    shared_store: Store, request: pytest.FixtureRequest, pruner: object, ends_at: int | None
) -> None:
    study = create_study(shared_store, study=f"pruner {abs(hash(request.node.name))}", pruner=pruner)
    worker = Claimant(shared_store, study)

    lengths = []
    for curve in [RISING] * 6 + [SINKING] * 6:
        claim = worker.claim()
        assert claim is not None
        decisions = [worker.history.report(claim.number, epoch, value)[0] for epoch, value in enumerate(curve, 1)]
        lengths.append(decisions.index(Verdict.PRUNE) + 1 if Verdict.PRUNE in decisions else 0)
        worker.finish(claim, curve[-1], state="PRUNED" if Verdict.PRUNE in decisions else "COMPLETE")

    assert lengths[:6] == [0] * 6
    if ends_at is None:
        assert any(lengths[6:])
    else:
        assert lengths[6] == ends_at


# ---- sampling


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_sampler_proposes_points_of_the_space(shared_store: Store, sampler: str) -> None:
    space = GRID if sampler == "grid" else SPACE

    points = propose(shared_store, sampler, 12, name=f"points of {sampler}")

    assert [space.problems(point) for point in points] == [[]] * 12
    assert {"momentum" in point for point in points} == {True, False}
    assert len({point["depth"] for point in points}) > 1


@pytest.mark.parametrize(
    ("name", "options", "count", "workers"),
    # A second worker's NSGA-II draws other numbers than the one that has chosen a generation's parents before.
    [("tpe", {}, 40, 2), ("gp", {}, 14, 2), ("nsga2", {"population_size": 8}, 40, 1)],
)
def test_workers_propose_what_one_optuna_study_would_of_all_trials_so_far(
    shared_store: Store, name: str, options: dict[str, object], count: int, workers: int
) -> None:
    study = create_study(shared_store, study=f"learning {name}", sampler={"name": name, **options})
    claimants = [Claimant(shared_store, study) for _ in range(workers)]
    plain = optuna.create_study(direction="maximize")
    samplers = sampler_factory(study.resolved.spec, SPACE, Path())

    for number in range(count):
        worker = claimants[number % workers]
        claim = worker.claim()
        assert claim is not None
        plain.sampler = samplers(number)
        asked = plain.ask()
        ours, theirs = worker.begin(claim), SPACE.suggest(asked)
        assert ours == theirs
        value = -abs(math.log10(ours["lr"]) + 2) - 0.1 * abs(ours["depth"] - 3)
        worker.finish(claim, value)
        plain.tell(asked, value)


def test_workers_fill_the_generations_of_a_population_together(shared_store: Store) -> None:
    study = create_study(shared_store, study="generations", sampler={"name": "nsga2", "population_size": 4})
    workers = [Claimant(shared_store, study), Claimant(shared_store, study)]

    for number in range(12):
        worker = workers[number % 2]
        claim = worker.claim()
        assert claim is not None
        worker.finish(claim, worker.begin(claim)["lr"])

    with optuna_storage(shared_store.url) as storage:
        found = optuna.load_study(study_name="generations", storage=storage).get_trials(deepcopy=False)
    assert [trial.system_attrs["NSGAIISampler:generation"] for trial in found] == [0] * 4 + [1] * 4 + [2] * 4


def test_two_workers_take_every_point_of_a_grid_once(shared_store: Store) -> None:
    points = propose(shared_store, "grid", 12, name="a grid for two")

    assert points == list(grid_points(GRID))


@pytest.mark.parametrize("sampler", ["qmc", "random"])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_sequence_never_gives_two_trials_the_same_number(shared_store: Store, sampler: str, workers: int) -> None:
    points = propose(shared_store, sampler, 12, name=f"{sampler} for {workers}", workers=workers)

    for name in ("lr", "momentum"):
        drawn = [point[name] for point in points if name in point]
        assert len(drawn) > 1
        assert len(set(drawn)) == len(drawn)


def test_a_sobol_sequence_is_the_same_however_many_workers_share_it(shared_store: Store) -> None:
    alone = propose(shared_store, "qmc", 12, name="qmc alone", workers=1)
    shared = propose(shared_store, "qmc", 12, name="qmc shared", workers=3)

    assert shared == alone


def test_a_point_that_is_given_is_taken_as_it_is(shared_store: Store) -> None:
    space = SearchSpace((Parameter("lr", Float(0.0, 1.0), default=0.25, has_default=True),))
    worker = Claimant(shared_store, create_study(shared_store, space, study="given"))
    claim = worker.claim()
    assert claim is not None

    assert worker.history.suggest(claim.number, space, point=space.defaults()) == {"lr": 0.25}


def test_a_pruner_of_ones_own_is_given_its_options() -> None:
    pruner = make_pruner(make_spec(pruner={"class": "optuna.pruners:ThresholdPruner", "upper": 3.0}), Path())

    assert isinstance(pruner, optuna.pruners.ThresholdPruner)
    assert pruner._upper == 3.0
