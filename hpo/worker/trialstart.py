"""How a claimed trial starts: its parameters are sampled and written down, and its processes get their jobs."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from typing import Any

from optuna.trial import TrialState

from hpo import writes
from hpo.definition import Definition
from hpo.devices import Slot
from hpo.queue import Claim
from hpo.search.algorithms import derive_seed
from hpo.search.grid import grid_points
from hpo.weights import Weights
from hpo.worker.runningtrial import RunningTrial, trial_jobs
from hpo.worker.trialend import hand_back
from hpo.worker.trialreport import take_up
from hpo.worker.workplace import Workplace

log = logging.getLogger(__name__)


def start_trial(
    place: Workplace, definition: Definition, claim: Claim, *, slot: Slot, weights: Weights, claimed_at: float
) -> RunningTrial | None:
    """Start what was claimed; None when it is over already, or handed back.

    Args:
        weights: the checkpoints that `find_weights` found for the study.
        claimed_at: monotonic seconds.
    """
    place.history.adopt(claim.number, is_new=claim.is_new)
    params = claim.params
    if params is None:
        params = _sample(place, definition, claim)
    if params is None:
        return None
    config = _config(definition, params, number=claim.number, weights=weights)
    if claim.params is None:
        stored = place.history.params_to_store(claim.number)
        attributes = place.history.attributes_to_store(claim.number)
        with place.store.write() as connection:
            is_ours = writes.begin(
                connection, claim, params=stored, config=config, seed=config["seed"], system_attributes=attributes
            )
        if not is_ours:  # this worker was away for longer than a lease
            place.history.release(claim.trial_id, claim.number)
            log.warning("trial %d was taken over by another worker before it began", claim.number)
            return None
    trial = RunningTrial(
        claim=claim,
        slot=slot,
        epochs=config["epochs"],
        config=config,
        directory=place.directory / f"{claim.number:05d}",
        claimed_at=claimed_at,
    )
    if claim.is_promoted:
        trial.granted = max(place.history.curve(claim.number), default=0)
    # Its time may be over before it has begun: then it ends with what the attempts before have reached.
    take_up(place, definition.spec, trial)
    try:
        trial.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        place.outbox.went_down(f"the folder {trial.directory} cannot be made ({error.strerror})")
        hand_back(place, trial, "paused")
        return None
    jobs = trial_jobs(
        definition,
        config,
        trial=claim.number,
        slot=slot,
        project=place.project,
        directory=trial.directory,
        attempt=claim.attempt,
    )
    trial.processes = [place.server.fork(job, with_spare=True) for job in jobs]
    attempt = f", attempt {claim.attempt}" if claim.attempt > 1 else ""
    log.info("trial %d started on slot %d (%s)%s", claim.number, slot.number, slot.device, attempt)
    return trial


def _sample(place: Workplace, definition: Definition, claim: Claim) -> dict[str, Any] | None:
    """The trial's parameters; None when it asks for a point outside of the space, and has failed for it."""
    space = definition.space
    try:
        params = place.history.suggest(claim.number, space, point=_given_point(definition, claim.number))
        problem = None if space.contains(params) else f"{params} is not in the study's space"
    except (ValueError, KeyError) as error:
        params, problem = {}, str(error)
    if problem is None:
        return params
    cause = "error: outside of the space"
    log.warning("trial %d failed: %s: %s", claim.number, cause, problem)
    with place.store.write() as connection:
        writes.finish(
            connection, claim, state="FAIL", value=None, seconds=0.0, kind="error", cause=cause, error=problem
        )
    place.history.end(claim.number, TrialState.FAIL, None)
    return None


def _given_point(definition: Definition, number: int) -> Mapping[str, Any] | None:
    """The point that a trial takes without sampling: the grid's, or the defaults for the first trial."""
    if definition.spec.sampler.name == "grid":
        return next(itertools.islice(grid_points(definition.space), number, None), None)
    takes_defaults = number == 0 and definition.spec.first_trial == "defaults"
    return definition.space.defaults() if takes_defaults else None


def _config(definition: Definition, params: Mapping[str, Any], *, number: int, weights: Weights) -> dict[str, Any]:
    """The whole configuration of a trial, pinned and inactive parameters too."""
    spec = definition.spec
    config: dict[str, Any] = {
        "params": params,
        "model": {"class": spec.model.label, **definition.arguments("model", params)},
        "data": {"class": spec.data.label, **definition.arguments("data", params)},
        "epochs": definition.epochs(params),
        "seed": derive_seed(spec.seed, number, "trial"),
    }
    return config | ({"weights": weights} if weights else {})
