"""The worker's side of `hpo.ipc.messages`: what a trial process sent, validated before anything is done with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from hpo.ipc.messages import REPORTS, Epoch, Report

SHOWN_CHARACTERS = 100
_CONFIG = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")


class InvalidMessageError(Exception):
    """A trial process sent what is no report; says what, in words that follow 'sent'."""


def read_report(message: Mapping[str, Any]) -> Report:
    """The report that a trial process sent.

    Raises:
        InvalidMessageError: it is of no known kind, or a field is missing or has a value that cannot be.
    """
    kind = message.get("kind")
    record = REPORTS.get(kind) if isinstance(kind, str) else None
    if record is None:
        raise InvalidMessageError(f"a message of no known kind: {_shown(message)}")
    try:
        valid = _MODELS[record].model_validate(message)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = first["loc"][0]
        if first["type"] == "missing" and len(first["loc"]) == 1:
            raise InvalidMessageError(f"a message '{kind}' without '{name}': {_shown(message)}") from error
        raise InvalidMessageError(
            f"a message '{kind}' whose '{name}' cannot be {_shown(message[str(name)])}"
        ) from error
    return record(**{field.name: _plain(getattr(valid, field.name)) for field in fields(record)})


def _model_of(record: type[Any]) -> type[BaseModel]:
    """A record's fields as pydantic checks them: strictly, since what is of another type was not written by us."""
    hints = get_type_hints(record, include_extras=True)
    wanted: dict[str, Any] = {}
    for field in fields(record):
        hint = list[_EPOCH] if hints[field.name] == list[Epoch] else hints[field.name]  # type: ignore[valid-type]
        is_needed = field.default is MISSING and field.default_factory is MISSING
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        wanted[field.name] = (hint, ... if is_needed else default)
    return create_model(record.__name__, __config__=_CONFIG, **wanted)


_EPOCH = _model_of(Epoch)
_MODELS = {record: _model_of(record) for record in REPORTS.values()}


def _plain(value: Any) -> Any:
    """Records in place of the models that checked them."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return Epoch(**value.model_dump()) if isinstance(value, _EPOCH) else value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
