"""What `study.ensemble()` does: of the models that a search and its re-runs have kept, those that are best together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.errors import HpoError
from hpo.ipc.environment import clean_environment
from hpo.ipc.fork_server import ForkServer
from hpo.queue.plans import plans_of
from hpo.queue.studies import load_study
from hpo.results.final import Choice
from hpo.results.study import Study, Weighted
from hpo.service.assembly import Workspace
from hpo.service.evaluate import Evaluating
from hpo.store import Store

if TYPE_CHECKING:
    from hpo.service.export import Exported
    from hpo.training.prediction.predictor import Predictor


@dataclass(frozen=True)
class Ensemble:
    """Models of a study whose outputs are averaged.

    Attributes:
        choice: which ones, how good they are together, and whether that pays.
    """

    choice: Choice
    _study: Study
    _store: Store
    _project: Path

    def predictor(self) -> Predictor:
        """What predicts new data with the average of the models.

        Raises:
            HpoError: a file is missing or damaged, or the data module cannot read new data.
        """
        from hpo.service.predict import predictor_of

        return predictor_of(self._study.members(self.choice.members), self._project)

    def export(self, format: str = "onnx", *, out: str | Path | None = None) -> Exported:
        """Write the models to a folder that runs without this package, as `study.export` does.

        Raises:
            HpoError: a file or the data is missing, or they cannot be written so.
        """
        from hpo.service.export import export

        chosen = self._study.members(self.choice.members)
        server = ForkServer.start(clean_environment(self._store.url.password))
        try:
            return export(server, self._store, self._study, format, out, chosen=chosen, project=self._project)
        finally:
            server.stop()


def ensemble_here(store: Store, name: str, project: Path, artifacts: Path) -> Ensemble:
    """Choose the ensemble in a process of this machine.

    Raises:
        HpoError: no model was kept, the data or the code is other than in the search, or they cannot be evaluated.
    """
    search = load_study(store, name)
    with store.read() as connection:
        reruns = [rerun for _, rerun, plan in plans_of(connection, search.study_id) if plan.kind == "rerun"]
    server = ForkServer.start(clean_environment(store.url.password))
    try:
        workspace = Workspace(server, project.resolve(), store, artifacts)
        with Evaluating(workspace, search) as evaluating:
            evaluating.check_inputs()
            choice = evaluating.ensemble(pool_of(store, name, reruns))
    finally:
        server.stop()
    return Ensemble(choice, Study(store, name), store, project.resolve())


def pool_of(store: Store, search: str, reruns: Sequence[str]) -> list[Weighted]:
    """The models that an ensemble may be chosen from: those that the search and its re-runs have kept on this machine.

    The best of the search first.

    Args:
        reruns: the names of their studies.

    Raises:
        HpoError: there are none.
    """
    study = Study(store, search)
    found = [Weighted(record, search) for record in study.trials(has_curves=False)]
    found.sort(key=lambda one: (one.record.value is None, study.direction.cost(one.record.value or 0.0)))
    for name in reruns:
        found += [Weighted(record, name) for record in Study(store, name).trials(has_curves=False)]
    here = [one for one in found if one.record.checkpoint is not None and one.record.kept_checkpoint().exists()]
    if not here:
        raise HpoError(
            f"study '{search}' has kept no model on this machine: an ensemble is chosen among the checkpoints of its "
            "best trials (keep: {checkpoints: 5} in the study file)"
        )
    return here
