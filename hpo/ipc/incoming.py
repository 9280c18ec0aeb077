"""The worker's side of `hpo.ipc.messages`: validates each message of a trial process before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from hpo.ipc.messages import REPORTS, Epoch, Report

SHOWN_CHARACTERS = 100
_CONFIG = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")


class InvalidMessageError(Exception):
    """A trial process sent an invalid report; the text continues the word 'sent'."""


def read_report(message: Mapping[str, Any]) -> Report:
    """The report that a trial process sent.

    Raises:
        InvalidMessageError: its kind is unknown, or a field is missing or invalid.
    """
    kind = message.get("kind")
    record = REPORTS.get(kind) if isinstance(kind, str) else None
    if record is None:
        raise InvalidMessageError(f"a message of unknown kind: {_shown(message)}")
    try:
        valid = _MODELS[record].model_validate(message)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = first["loc"][0]
        if first["type"] == "missing" and len(first["loc"]) == 1:
            raise InvalidMessageError(f"a message '{kind}' without '{name}': {_shown(message)}") from error
        raise InvalidMessageError(
            f"a message '{kind}' with an invalid '{name}': {_shown(message[str(name)])}"
        ) from error
    return record(**{field.name: _plain(getattr(valid, field.name)) for field in fields(record)})


def _model_of(record: type[Any]) -> type[BaseModel]:
    """A pydantic model of a record's fields; strict, since our side writes no other types."""
    hints = get_type_hints(record, include_extras=True)
    definitions: dict[str, Any] = {}
    for field in fields(record):
        hint = list[_EPOCH] if hints[field.name] == list[Epoch] else hints[field.name]  # type: ignore[valid-type]
        is_required = field.default is MISSING and field.default_factory is MISSING
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        definitions[field.name] = (hint, ... if is_required else default)
    return create_model(record.__name__, __config__=_CONFIG, **definitions)


_EPOCH = _model_of(Epoch)
_MODELS = {record: _model_of(record) for record in REPORTS.values()}


def _plain(value: Any) -> Any:
    """The value with records in place of pydantic's models."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return Epoch(**value.model_dump()) if isinstance(value, _EPOCH) else value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
