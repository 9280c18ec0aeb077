"""What a report says of a study, on both databases: the answer, the trials, the time, the failures, the card."""

from __future__ import annotations

import re
from typing import Any

import optuna
import pytest
from projects.reported import add_final, add_trials, explained, final_of, of_classes, of_values
from projects.synthetic import create_study
from sqlalchemy import select, update

from hpo.errors import StoreError
from hpo.queue.findings import add_finding
from hpo.queue.studies import StoredStudy
from hpo.report.accounts import accounts_of, failures_of
from hpo.report.contents import Report
from hpo.report.markdown import markdown_of
from hpo.report.page import page_of
from hpo.report.reading import read_material
from hpo.report.report import report_of
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_epochs, hpo_trials, trials

FILLED_IN = "[to be filled in by a person"


def reported(store: Store, name: str = "synthetic") -> Report:
    return report_of(read_material(store, name))


def words(report: Report) -> str:
    """What its text says, in one line, without the escapes of Markdown."""
    return re.sub(r"\s+", " ", re.sub(r"\\([^\w\s])", r"\1", markdown_of(report)))


def titles(report: Report) -> list[str]:
    return [section.title for section in report.sections]


def test_before_a_finalize_it_says_not_yet_tested_in_place_of_the_answer(store: Store, study: StoredStudy) -> None:
    add_trials(store, study)

    report = reported(store)

    assert report.sections[0].title == "The answer"
    text = words(report)
    assert "| final score | not yet tested |" in text
    assert "'hpo finalize synthetic --test' looks at the test part, once" in text
    assert "| best val_accuracy of the search | 0.53 | trial 3; the best of many, so it is partly luck |" in text
    assert "no score here is one that new data can be expected to give" in text


def test_the_answer_stands_first_with_interval_test_simple_models_and_luck(store: Store, study: StoredStudy) -> None:
    add_trials(store, study)
    add_final(store, study, final_of("synthetic", looks=1))

    text = words(reported(store)).partition("## Best trials")[0]

    assert "| accuracy on the test part | 0.9 | 0.85 to 0.94 (95 % interval) on 120 samples |" in text
    assert "| simple models beaten | 1 of 2 | the best of them: logistic regression |" in text
    assert "| luck of the search | 0.025 | -0.04 to 0.09; " in text
    assert "This is look 2 at this test part" in text
    assert "trained again, 0.505 (0.44 to 0.57), which is 0.025 worse and may be chance" in text
    assert "The best on average is trial 2: 0.52 (0.495 to 0.545)" in text
    assert "is not shown to be better than logistic regression on the test part" in text
    assert "| logistic regression, on the columns | 0.89 | 0.01 (-0.02 to 0.04) | not shown to be worse |" in text


def test_a_finalized_study_without_a_test_is_not_tested_yet(store: Store, study: StoredStudy) -> None:
    add_trials(store, study)
    add_final(store, study, final_of("synthetic", test=None))

    text = words(reported(store))

    assert "| final score | not yet tested |" in text
    assert "| val_accuracy, trained again | 0.52 | 0.495 to 0.545; the mean of 3 fresh seeds |" in text
    assert "Confusion matrix on the validation part" in text


def test_a_test_of_a_module_without_predictions_shows_what_it_logged(store: Store, study: StoredStudy) -> None:
    add_trials(store, study)
    logged = {"part": "test", "logged": {"test_accuracy": 0.87}, "notes": ["its predictions are no tensors"]}
    add_final(store, study, final_of("synthetic", test=logged, validation=logged))

    text = words(reported(store))

    assert "| test_accuracy, as it is logged | 0.87 |" in text
    assert "not yet tested" not in text
    assert "- its predictions are no tensors" in text


def test_all_sections_stand_in_their_order(store: Store, study: StoredStudy) -> None:
    add_trials(store, study)
    add_final(store, study, final_of("synthetic", test=of_classes("test", **explained())))

    assert titles(reported(store)) == [
        "The answer",
        "Best trials",
        "Optimisation history",
        "Learning curves",
        "Parallel coordinates",
        "Each parameter by itself",
        "Importances of the parameters",
        "Confusion matrix on the test part",
        "Worst mistakes",
        "Where it is better or worse",
        "What the model looks at",
        "Time and device-hours",
        "Failures by cause",
        "Environment",
        "The study file",
        "How to reproduce it",
        "Model card",
    ]


def test_what_was_not_found_out_has_no_section(store: Store, study: StoredStudy) -> None:
    add_trials(store, study, failed=0)
    add_final(store, study, final_of("synthetic", test=of_values("test")))

    found = titles(reported(store))

    assert "Residuals on the test part" in found
    absent = {"Worst mistakes", "Where it is better or worse", "What the model looks at", "Failures by cause"}
    assert not absent & {*found}


def test_the_best_trials_have_their_parameters_beside_each_other(store: Store, study: StoredStudy) -> None:
    add_trials(store, study)

    text = words(reported(store))

    assert "| trial | val_accuracy | epoch | epochs trained | time |" in text
    assert re.search(r"\| 3 \| 0.53 \| 9 \| 9 \| 2.5 s \| \| 2 \| 0.52 ", text)
    assert "| parameter | trial 3 | trial 2 | trial 1 | trial 0 | searched in |" in text
    assert "| lr | " in text
    assert "0.0001 to 0.1, log |" in text


def test_time_is_accounted_by_state_with_what_pruning_saved(store: Store, study: StoredStudy) -> None:
    add_trials(store, study, complete=4, pruned=3, failed=2)
    with store.write() as connection:
        config = '{"params": {}, "epochs": 9}'
        connection.execute(update(hpo_trials).values(config=config))

    found = accounts_of(read_material(store, "synthetic"))

    assert found.by_state == {"COMPLETE": 10.0, "PRUNED": 7.5, "FAIL": 5.0}
    assert found.spent == 22.5
    # each was trained for 3 of 9 epochs in 2.5 s
    assert found.pruned == 3
    assert found.saved == pytest.approx(3 * 6 * 2.5 / 3)


def test_a_trial_that_a_person_stopped_saved_nothing_by_pruning(store: Store, study: StoredStudy) -> None:
    add_trials(store, study, pruned=1)
    with store.write() as connection:
        connection.execute(update(hpo_trials).values(config='{"epochs": 9}', cause="stopped: by request"))

    assert accounts_of(read_material(store, "synthetic")).saved == 0


def test_failures_are_told_by_cause_with_the_first_error_of_each(store: Store, study: StoredStudy) -> None:
    add_trials(store, study, complete=1, pruned=0, failed=5)

    found = failures_of(read_material(store, "synthetic"))

    assert [(one.cause, one.trials) for one in found] == [("error: ValueError", (1, 3, 5)), ("oom", (2, 4))]
    assert found[0].example == "error: ValueError: the width is 0"
    text = words(reported(store))
    assert "| error: ValueError | 3 | 1, 3, 5 |" in text
    assert "trial 1: error: ValueError: the width is 0" in text


def test_the_commands_that_do_it_again_have_the_options_of_the_finalize(store: Store, study: StoredStudy) -> None:
    add_trials(store, study)
    add_final(store, study, final_of("synthetic"))

    text = words(reported(store))

    assert "hpo run synthetic.yaml # the study file above hpo finalize synthetic --top 2 --seeds 3 --test" in text
    assert "study: synthetic model: nets:Line data: nets:Points" in text


def test_the_model_card_names_limits_and_leaves_to_people_what_is_theirs(store: Store, study: StoredStudy) -> None:
    add_trials(store, study)
    add_final(store, study, final_of("synthetic", looks=2, test=of_classes("test", **explained())))

    card = words(reported(store)).partition("## Model card")[2]

    assert card.count(FILLED_IN) == 2
    assert "The validation part was used for each of 7 trials" in card
    assert "The test part was looked at 3 times" in card
    assert "The test part has 120 samples only" in card
    assert "It is not shown to be better than logistic regression, which are simpler" not in card
    assert "It is not shown to be better than a simpler model: logistic regression" in card
    assert "class cat: accuracy 0.7 (0.6 to 0.8) on 60 samples" in card
    assert "class dog: accuracy" not in card
    assert "9 trials over 5 parameters: lr, optimizer, momentum, depth, dropout" in card


def test_what_a_replay_found_is_told(store: Store, study: StoredStudy) -> None:
    add_trials(store, study)
    add_final(store, study, final_of("synthetic"))
    with store.write() as connection:
        add_finding(connection, study.study_id, "replay", {"text": "the same to the last bit"})

    assert "('hpo replay'): the same to the last bit" in words(reported(store))


def test_a_study_without_trials_has_a_report(store: Store, study: StoredStudy) -> None:
    report = reported(store)

    assert "No epoch has ended yet." in words(report)
    assert "not yet tested" in page_of(report)


def test_values_that_are_no_numbers_are_left_out_of_plots(store: Store, study: StoredStudy) -> None:
    add_trials(store, study)
    with store.write() as connection:
        connection.execute(
            update(hpo_epochs).where(hpo_epochs.c.epoch == 2).values(metrics='{"val_accuracy": NaN, "x": Infinity}')
        )
        connection.execute(update(hpo_epochs).where(hpo_epochs.c.epoch == 3).values(metrics='{"x": 1e999}'))

    page = page_of(reported(store))

    assert not re.search(r'(?:d|cx|cy|x|y|width|height)="[^"]*(?:nan|inf)', page)


def test_a_study_that_is_not_there_names_the_nearest(store: Store, study: StoredStudy) -> None:
    with pytest.raises(StoreError, match="did you mean 'synthetic'"):
        read_material(store, "synthetik")


@pytest.mark.parametrize("name", ["one", "two"])
def test_studies_of_optunas_own_have_a_report(store: Store, name: str) -> None:
    distributions: dict[str, Any] = {
        "a": optuna.distributions.FloatDistribution(0, 1),
        "kind": optuna.distributions.CategoricalDistribution([None, True, "x"]),
    }
    with optuna_storage(store.url) as storage:
        one = optuna.create_study(storage=storage, study_name="one", direction="minimize")
        two = optuna.create_study(storage=storage, study_name="two", directions=["maximize", "minimize"])
        for place in range(25):
            params = {"a": place / 25, "kind": [None, True, "x"][place % 3]}
            more: Any = {"intermediate_values": {0: 1.0, 5: 0.5}}
            one.add_trial(optuna.create_trial(params=params, distributions=distributions, value=place / 25, **more))
            two.add_trial(
                optuna.create_trial(params=params, distributions=distributions, values=[place / 25, place % 7])
            )

    report = reported(store, name)

    text = words(report)
    assert "It was made by another program, without a study file" in text
    assert "The study file" not in titles(report)
    assert "<svg" in page_of(report)
    if name == "two":
        assert "no other one beats in an objective without losing in another" in text


def test_trials_from_before_a_change_do_not_count_as_important(store: Store) -> None:
    study = create_study(store, budget={"trials": 30})
    add_trials(store, study, complete=22, pruned=0, failed=0)
    with store.write() as connection:
        early = select(trials.c.trial_id).where(trials.c.number < 5)
        connection.execute(update(hpo_trials).where(hpo_trials.c.trial_id.in_(early)).values(before_change="data"))

    material = read_material(store, "synthetic")

    assert material.importances.trials == 17
    assert material.importances.remark is not None
    assert "The data or the code was changed during the search" in words(report_of(material))
