"""Evaluates the models of a study's trials on its validation part, and on its test part once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, Self

from sqlalchemy import select

from hpo.errors import HpoError, StoreError
from hpo.ipc.channel import Message
from hpo.ipc.one_answer import answer_of
from hpo.queue.findings import Finding, add_finding, findings_of
from hpo.queue.studies import StoredStudy
from hpo.results.final import Choice, Kept
from hpo.results.study import Study, Weighted
from hpo.results.trial import TrialRecord
from hpo.service.assembly import Workspace
from hpo.service.predict import trained_models
from hpo.service.preflight import slots_for
from hpo.service.prepare import PreparedStudy, prepare
from hpo.service.replay import replay_trial
from hpo.store.tables import hpo_findings
from hpo.study.fingerprints import changed_inputs, inputs_of
from hpo.study.job import EvaluationJob
from hpo.study.study_file import Source

REPLAY = "replay"  # the kind of a finding of `hpo replay`
TEST: Literal["test"] = "test"  # the kind of a finding: a look at a test part


class Evaluating:
    """A study whose classes are imported, to evaluate its models; leaving its block ends its processes."""

    def __init__(self, workspace: Workspace, study: StoredStudy) -> None:
        self._workspace = workspace
        self._study = study
        spec = study.resolved.spec
        source = Source.of_stored(study.name)
        self._slot = slots_for(spec, source)[0]
        self._prepared: PreparedStudy = prepare(spec, source, server=workspace.server, project=workspace.project)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._prepared.close()

    def check_inputs(self) -> None:
        """
        Raises:
            StoreError: the data or the code is other than in the search, or searches something else; names each.
        """
        study, prepared = self._study, self._prepared
        changes = prepared.resolved.differences(study.resolved)
        changes += changed_inputs(inputs_of(prepared.code, prepared.paths), study.resolved.inputs)
        if changes:
            lines = "".join(f"\n  {line}" for line in changes)
            raise StoreError(
                f"the data or the code was changed since study '{study.name}' was searched:{lines}\nPut it back, or "
                "search again under another name: a result of other data is not the search's"
            )

    def reproduce(self, record: TrialRecord, *, reports: int) -> str | None:
        """Replay the first epochs of a trial, and keep what was found; a warning where they are other ones now.

        Args:
            record: with its curve.
            reports: the number of epochs, or validations.
        """
        reached = sorted(epoch for epoch, _ in record.curve)[:reports]
        if not reached:
            return None
        try:
            replay = replay_trial(self._prepared, record, slot=self._slot, epochs=reached[-1])
        except HpoError as error:
            return f"trial {record.number} of the search cannot be trained again: {error}"
        with self._workspace.store.write() as connection:
            add_finding(connection, self._study.study_id, REPLAY, replay.to_json())
        return None if replay.is_equal else f"the search cannot be reproduced: {replay.verdict}"

    def check_test_part(self) -> None:
        """
        Raises:
            HpoError: the data has no test part.
        """
        best = Study(self._workspace.store, self._study.name).best(1)
        try:
            self._ask(self._job([Weighted(one, self._study.name) for one in best], TEST, checks_only=True))
        except HpoError as error:
            raise HpoError(f"study '{self._study.name}' cannot be tested: {error}") from error

    def validation(self, models: Sequence[Weighted]) -> Message:
        """What these models, together, give on the validation part.

        Raises:
            HpoError: they cannot be evaluated.
        """
        return self._ask(self._job(models, "validation", explains=True))

    def ensemble(self, pool: Sequence[Weighted]) -> Choice:
        """The ensemble of some of these models that is best on the validation part, see hpo.training.evaluation.

        Raises:
            HpoError: they cannot be evaluated.
        """
        found = self._ask(self._job(pool, "validation", selects=True))
        named = {
            which: [
                {"study": pool[place].study, "trial": pool[place].record.number, "weight": weight}
                for place, weight in found[which]
            ]
            for which in ("members", "resampled")
        }
        return Choice.from_json({**found, **named})

    def test(self, models: Sequence[Weighted], kept: Kept, *, is_again: bool) -> tuple[Message, int]:
        """What they give on the test part; and how often it had been looked at before.

        The same models are tested once: another call returns what was found then.

        Args:
            is_again: although other models of the study were tested on it before.

        Raises:
            HpoError: they cannot be evaluated, or others were tested on it before.
        """
        store, study = self._workspace.store, self._study
        with store.read() as connection:
            before = findings_of(connection, study.study_id, TEST)
        for look in before:
            if Kept.from_json(look.content["kept"]) == kept:
                return dict(look.content["found"]), int(look.content["looks"])
        if before and not is_again:
            raise HpoError(_second_look(study.name, before[-1]))
        found = self._ask(self._job(models, TEST))
        with store.write() as connection:
            looks = _looks(connection, found.get("fingerprint"), before)
            add_finding(connection, study.study_id, TEST, {"kept": asdict(kept), "found": found, "looks": looks})
        return found, looks

    def _job(
        self,
        models: Sequence[Weighted],
        part: Literal["validation", "test"],
        *,
        checks_only: bool = False,
        explains: bool = False,
        selects: bool = False,
    ) -> EvaluationJob:
        spec, slot = self._study.resolved.spec, self._slot
        if selects:  # by their places
            trained = [trained_models([one], is_first_only=True)[0] for one in models]
        else:
            trained = trained_models(models, is_first_only=part == "validation")
        return EvaluationJob(
            project=str(self._workspace.project),
            models=trained,
            part=part,
            metric=spec.objective.metric,
            seed=spec.seed,
            precision=spec.resources.precision,
            accelerator=slot.accelerator,
            devices=list(slot.devices[:1]),
            threads=slot.threads,
            checks_only=checks_only,
            explains=explains,
            selects=selects,
        )

    def _ask(self, job: EvaluationJob) -> Message:
        answer = answer_of(self._prepared.server, job, did="evaluated a model")
        return {name: value for name, value in answer.items() if name != "kind"}


def _looks(connection: Any, fingerprint: str | None, before: Sequence[Finding]) -> int:
    """How often this test part was looked at before, by any study of the store."""
    if fingerprint is None:
        return len(before)
    contents = connection.scalars(select(hpo_findings.c.content).where(hpo_findings.c.kind == TEST))
    return sum(f'"fingerprint": "{fingerprint}"' in content for content in contents)


def _second_look(name: str, look: Finding) -> str:
    kept: Mapping[str, Any] = look.content["kept"]
    return (
        f"the test part of study '{name}' was looked at on {look.created:%Y-%m-%d %H:%M} UTC, with trial "
        f"{kept['trial']} of {kept['study']}. What is chosen after a look is no longer judged without bias: "
        "--test-again looks once more, and every report says so"
    )
