"""How long workers wait for each other, as the environment says it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hpo.errors import SpecError
from hpo.store import Store, Timing
from hpo.store.timing import VARIABLE


@pytest.mark.parametrize(
    ("text", "timing"),
    [
        (None, Timing(heartbeat=5.0, lease=12.0, drain=20.0, poll=1.0)),
        ("", Timing()),
        ("heartbeat=1,lease=3", Timing(heartbeat=1.0, lease=3.0)),
        ("drain=2.5, poll=0.2,", Timing(drain=2.5, poll=0.2)),
        ("lease=1e2", Timing(lease=100.0)),
        ("heartbeat=2,lease=4", Timing(heartbeat=2.0, lease=4.0)),  # two heartbeats exactly
    ],
)
def test_a_timing_is_what_the_environment_says(
    text: str | None, timing: Timing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(VARIABLE, text)

    assert Timing.of_environment() == timing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("leese=3", "HPO_TIMING: 'leese' is not known, did you mean 'lease'? Use heartbeat, lease, drain, poll"),
        ("3", "HPO_TIMING: '3' is not known. Use heartbeat, lease, drain, poll"),
        ("lease=long", "HPO_TIMING: lease=long should be a number of seconds above 0, such as lease=2.5"),
        ("drain", "HPO_TIMING: drain should be a number of seconds above 0, such as drain=2.5"),
        ("poll=0", "HPO_TIMING: poll=0 should be a number of seconds above 0, such as poll=2.5"),
        ("poll=-1", "HPO_TIMING: poll=-1 should be a number of seconds above 0, such as poll=2.5"),
        ("drain=inf", "HPO_TIMING: drain=inf should be a number of seconds above 0, such as drain=2.5"),
        ("drain=nan", "HPO_TIMING: drain=nan should be a number of seconds above 0, such as drain=2.5"),
        (
            "lease=9",
            "HPO_TIMING: a lease of 9 s would expire before the second of two heartbeats, which are 5 s apart: "
            "give lease at least 10",
        ),
    ],
)
def test_an_invalid_timing_is_refused_with_a_reason(text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)

    with pytest.raises(SpecError) as raised:
        Timing.of_environment()

    assert str(raised.value) == message


def test_a_store_has_the_environments_timing_unless_it_is_given_one(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "lease=30")

    with Store.create(sqlite_url) as store:
        assert store.timing == Timing(lease=30)
        assert replace(store, timing=Timing(lease=15)).timing == Timing(lease=15)
