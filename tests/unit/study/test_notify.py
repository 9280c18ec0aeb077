"""`notify:` of a study file: its short forms, and what it must not hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpo.errors import SpecError
from hpo.study.notify import DEFAULT_EVENTS, NotifyEvent, targets_of
from hpo.study.spec import StudySpec
from hpo.study.study_file import Source, read_study

MINIMAL = "model: models.dnn:DNN\ndata: models.data:Digits\nobjective: val_accuracy\n"


def spec_with(notify: Any) -> StudySpec:
    keys = {"study": "x", "model": "models.dnn:DNN", "data": "models.data:Digits", "objective": "val_accuracy"}
    return Source.of_mapping({**keys, "notify": notify}, call="hpo.run").study()


def test_a_target_has_a_kind_and_events_as_people_write_them() -> None:
    spec = spec_with(
        [
            {"webhook": "https://ci.example.org/hpo"},
            {"command": ["notify-send", "hpo"], "on": ["new best", "budget-nearly-spent"]},
            {
                "email": {"to": "ada@example.org", "from": "hpo@example.org", "host": "smtp.example.org"},
                "on": "finished",
            },
            {"apprise": {"url_file": "/run/secrets/slack"}, "failures": 5},
        ]
    )

    assert [target.kind for target in spec.notify] == ["webhook", "command", "email", "apprise"]
    assert spec.notify[0].on == DEFAULT_EVENTS
    assert spec.notify[1].on == (NotifyEvent.NEW_BEST, NotifyEvent.BUDGET_NEARLY_SPENT)
    assert spec_with({"command": ["a"]}).notify[0].command == ("a",)  # one needs no list
    assert spec_with(None).notify == ()
    assert StudySpec.model_validate(spec.model_dump(mode="json")) == spec


def test_the_same_receiver_has_the_same_key_whatever_it_is_told() -> None:
    one, again, other = targets_of(
        [{"command": ["a"]}, {"command": ["a"], "on": ["new best"], "failures": 9}, {"command": ["b"]}]
    )

    assert one.key == again.key != other.key


SECRETS = (
    {"webhook": "https://ada:s3cretword@ci.example.org/hpo"},
    {"webhook": "https://ci.example.org/hpo?token=s3cretword"},
    {"webhook": "https://hooks.slack.com/services/T00/B00/s3cretword"},
    {"webhook": "https://discord.com/api/webhooks/1/s3cretword"},
    {"webhook": {"url_env": "https://s3cretword"}},
    {"webhook": {"url": "https://ci.example.org", "secret": "s3cretword"}},
    {"webhook": {"url": "https://ci.example.org", "secret_env": "s3cret-word s3cretword"}},
    {"webhook": {"url_file": "https://s3cretword"}},
    {"apprise": "slack://s3cretword/B/C"},
    {"apprise": {"url": "slack://s3cretword/B/C"}},
    {"email": {"to": "a@b.c", "from": "a@b.c", "host": "h", "user": "a", "password": "s3cretword"}},
    "slack://s3cretword",
    ["slack://s3cretword"],
)


@pytest.mark.parametrize("target", SECRETS)
def test_a_secret_is_refused_and_not_shown(target: Any) -> None:
    with pytest.raises(SpecError) as caught:
        spec_with(target)

    assert "s3cret" not in str(caught.value)
    assert str(caught.value).startswith("hpo.run: notify.0")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"webhok": "https://x.org"}, "notify.0.webhok: unknown key, did you mean 'webhook'?"),
        ({"command": ["a"], "on": ["finshed"]}, "notify.0.on.0: is no event, did you mean 'finished'?"),
        ({"command": "notify-send hpo"}, "command is written as [notify-send, hpo], without a shell"),
        ({"command": []}, "notify.0.command: "),
        ({}, "notify.0: needs one of webhook, apprise, email, command"),
        ({"command": ["a"], "webhook": "https://x.org"}, "has webhook and command: write an item of the list for each"),
        ({"webhook": "ftp://x.org"}, "should be an address of the web"),
        ({"webhook": {}}, "needs one of url, url_env and url_file"),
        ({"apprise": {"url_env": "A", "url_file": "b"}}, "has url_env and url_file: leave one of them out"),
        ({"email": {"to": "ada", "from": "a@b.c", "host": "h"}}, "'ada' is no address such as ada@example.org"),
        ({"email": {"to": "a@b.c\nBcc: x@y.z", "from": "a@b.c", "host": "h"}}, "is no address"),
        (
            {
                "email": {
                    "to": "a@b.c",
                    "from": "a@b.c",
                    "host": "h",
                    "user": "u",
                    "password_env": "P",
                    "security": "none",
                }
            },
            "would send the password in clear",
        ),
        ({"email": {"to": "a@b.c", "from": "a@b.c", "host": "h", "user": "u"}}, "user goes with one of password_env"),
        ({"command": ["a"], "failures": 0}, "notify.0.failures: "),
    ],
)
def test_what_is_wrong_is_told_with_what_would_be_right(target: Any, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec_with([target])

    assert words in str(caught.value)


def test_all_problems_of_a_file_are_told_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(f"{MINIMAL}notify:\n  - webhok: https://x.org\n  - command: [a]\n    on: [finshed]\n")

    with pytest.raises(SpecError) as caught:
        read_study(file)
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [f"{file}:5", f"{file}:7"]
    with pytest.raises(SpecError) as alone:
        Source.of_file(file).targets()
    assert str(alone.value) == str(caught.value)


def test_a_file_without_targets_is_none_for_a_store(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(MINIMAL)

    with pytest.raises(SpecError, match="has no notify: with a list of targets"):
        Source.of_file(file).targets()
