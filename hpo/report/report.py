"""The sections of a report in their order: the answer first."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from hpo.report import about_model as model
from hpo.report import about_search as search
from hpo.report import about_study as study
from hpo.report.about_answer import answer
from hpo.report.card import model_card
from hpo.report.contents import Report
from hpo.report.reading import Material


def report_of(material: Material) -> Report:
    """Everything there is to say of a study; sections without anything to show are left out."""
    sections = (
        answer(material),
        search.best_trials(material),
        search.history(material),
        search.learning_curves(material),
        search.parallel_coordinates(material),
        search.parameter_slices(material),
        search.importances(material),
        model.mistakes_by_kind(material),
        model.worst_mistakes(material),
        model.parts_where_it_is_worse(material),
        model.explanations(material),
        search.time_spent(material),
        search.failures(material),
        study.environment(material),
        study.study_file(material),
        study.how_to_reproduce(material),
        model_card(material),
    )
    directions = ", ".join(map(str, material.objectives.directions))
    objective = str(material.objectives) if material.objectives.are_several else f"{material.metric}, {directions}"
    facts = [objective, f"{material.made:%Y-%m-%d %H:%M} UTC"]
    if material.resolved is not None:
        spec = material.resolved.spec
        facts = [f"{spec.model_in_words} on {spec.data.label}", *facts]
    return Report(material.name, facts, [one for one in sections if one is not None], _own_version())


def _own_version() -> str:
    try:
        return version("hpo-service")
    except PackageNotFoundError:  # a source tree that was not installed
        return "of a source tree"
