"""`notify:` of a study file, or of a whole store: who is told what. A secret is named here, and never written."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from hpo.errors import nearest
from hpo.study.section import PositiveInt, Section


class NotifyEvent(StrEnum):
    """What people may be told of a study."""

    FINISHED = "finished"
    """It has ended: all its trials did, a limit is reached, or it was stopped."""
    NEW_BEST = "new_best"
    """A complete trial is better than all before; of several objectives, it enlarges the front."""
    FAILURES_IN_A_ROW = "failures_in_a_row"
    """The last trials that ended have all failed."""
    WORKER_LOST = "worker_lost"
    """A worker sent no heartbeat while it trained the study's trials."""
    BUDGET_NEARLY_SPENT = "budget_nearly_spent"
    """Nine tenths of the trials, hours or device-hours are spent."""


DEFAULT_EVENTS = (NotifyEvent.FINISHED, NotifyEvent.FAILURES_IN_A_ROW, NotifyEvent.WORKER_LOST)
DEFAULT_FAILURES = 3
KINDS = ("webhook", "apprise", "email", "command")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ADDRESS = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+")
_SECRET_KEYS = re.compile(r"token|key|secret|sig|pass|auth|code", re.IGNORECASE)
# Whoever knows the path of such an address may post there.
_SECRET_PLACES = re.compile(
    r"hooks\.slack\.com|((ptb|canary)\.)?discord(app)?\.com|(.+\.)?office(365)?\.com|.+\.logic\.azure\.com",
)
_NAME_IT = "name an environment variable (url_env: HPO_NOTIFY_URL) or a file (url_file: /run/secrets/url) that holds it"


def _event(value: Any) -> Any:
    """An event as a file may spell it: `new best`, `new-best` or `new_best`."""
    name = re.sub(r"[\s-]+", "_", str(value).strip())
    known = [event.value for event in NotifyEvent]
    if name not in known:
        raise ValueError(f"is no event{nearest(name, known) or '.'} Events: {', '.join(known)}")
    return name


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Events = Annotated[
    tuple[Annotated[NotifyEvent, BeforeValidator(_event)], ...], Field(min_length=1), BeforeValidator(_as_list)
]


class Webhook(Section):
    """An address that gets each event as JSON by POST: `webhook: https://ci.example.org/hpo`, or a mapping.

    Attributes:
        url: without credentials; one with any is named by `url_env` or `url_file`.
        secret_env, secret_file: where the secret is that signs each message.
    """

    url: str | None = None
    url_env: str | None = None
    url_file: str | None = None
    secret_env: str | None = None
    secret_file: str | None = None

    @model_validator(mode="after")
    def _is_well_named(self) -> Self:
        _check_names(self, "url", "secret")
        if [self.url, self.url_env, self.url_file].count(None) != 2:
            raise ValueError("needs one of url, url_env and url_file")
        if self.url is not None and (problem := _of_url(self.url)) is not None:
            raise ValueError(problem)
        return self

    @property
    def place(self) -> str:
        """What it is called, without its path."""
        if self.url is None:
            return f"the address in {self.url_env or self.url_file}"
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


class Apprise(Section):
    """A service that apprise knows (Slack, Teams, Discord, ntfy, ...), by a URL of apprise's, which holds a secret."""

    url_env: str | None = None
    url_file: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_no_plain_url(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "url" in value:
            raise ValueError(f"a URL of apprise's holds a secret, which does not belong here: {_NAME_IT}")
        return value

    @model_validator(mode="after")
    def _is_well_named(self) -> Self:
        _check_names(self, "url")
        if (self.url_env is None) == (self.url_file is None):
            raise ValueError("needs one of url_env and url_file")
        return self

    @property
    def place(self) -> str:
        """What it is called."""
        return f"the service in {self.url_env or self.url_file}"


class Email(Section):
    """An e-mail by an SMTP server.

    Attributes:
        port: by default that of `security`: 587, 465 or 25.
        security: how the connection is encrypted; without it, there is no login.
        user: to log in with, and where its password is.
    """

    to: Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_as_list)]
    sender: str = Field(alias="from")
    host: str = Field(min_length=1)
    port: Annotated[int, Field(ge=1, le=65535, strict=True)] | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password_env: str | None = None
    password_file: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_no_password(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "password" in value:
            raise ValueError(
                "a password does not belong here: name an environment variable (password_env: HPO_NOTIFY_PASSWORD) or "
                "a file (password_file: ...) that holds it"
            )
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        _check_names(self, "password")
        for address in (*self.to, self.sender):
            if not _ADDRESS.fullmatch(address):
                raise ValueError(f"'{address}' is no address such as ada@example.org")
        if re.search(r"[\s/@]", self.host):
            raise ValueError(f"host: '{self.host}' is no name of a server, such as smtp.example.org")
        has_password = (self.password_env or self.password_file) is not None
        if has_password != (self.user is not None):
            raise ValueError("user goes with one of password_env and password_file")
        if has_password and self.security == "none":
            raise ValueError("security: none would send the password in clear: write starttls or tls")
        return self

    @property
    def place(self) -> str:
        """What it is called."""
        return f"e-mail to {', '.join(self.to)}"


class Target(Section):
    """One that is told: exactly one of the four kinds, and of what.

    Attributes:
        command: its arguments, which no shell reads; it gets each event as JSON on its standard input.
        on: the events.
        failures: so many trials in a row are `failures_in_a_row`.
    """

    webhook: Webhook | None = None
    apprise: Apprise | None = None
    email: Email | None = None
    command: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] | None = None
    on: Events = DEFAULT_EVENTS
    failures: PositiveInt = DEFAULT_FAILURES

    @model_validator(mode="before")
    @classmethod
    def _of_short_forms(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        for kind in ("email", "command"):
            if isinstance(value.get(kind), str):
                form = "{to: ..., from: ..., host: ...}" if kind == "email" else "[notify-send, hpo], without a shell"
                raise ValueError(f"{kind} is written as {form}")
        return {
            key: {"url": item} if key in ("webhook", "apprise") and isinstance(item, str) else item
            for key, item in value.items()
        }

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if not given:
            raise ValueError(f"needs one of {', '.join(KINDS)}, such as {{webhook: https://ci.example.org/hpo}}")
        if len(given) > 1:
            raise ValueError(f"has {' and '.join(given)}: write an item of the list for each")
        return self

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def place(self) -> str:
        """What it is called in messages, without a secret."""
        if self.command is not None:
            return f"the command {self.command[0]}"
        found = self.webhook or self.apprise or self.email
        assert found is not None
        return found.place

    @property
    def key(self) -> str:
        """The same for the same receiver, whatever it is told; so that none is told twice."""
        plain = json.dumps(self.model_dump(mode="json", include={self.kind}), sort_keys=True)
        return f"{self.kind} {hashlib.sha256(plain.encode()).hexdigest()[:16]}"

    def wants(self, event: str, *, failures: int | None = None) -> bool:
        """Whether it is told of the event; of so many failures in a row."""
        return event in self.on and (failures is None or failures == self.failures)


def _one_or_several(value: Any) -> Any:
    found = [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
    return [{} if isinstance(one, str) else one for one in found]  # a text may be a secret: no error shows it


Targets = Annotated[tuple[Target, ...], BeforeValidator(_one_or_several)]
_targets: TypeAdapter[tuple[Target, ...]] = TypeAdapter(Targets)


def targets_of(plain: Any) -> tuple[Target, ...]:
    """The targets of what was stored, or read from a file.

    Raises:
        ValidationError: pydantic's, of what is no list of targets.
    """
    return _targets.validate_python(plain)


def wanted_failures(targets: Iterable[Target]) -> set[int]:
    """The numbers of failures in a row that any of them is told of."""
    return {target.failures for target in targets if NotifyEvent.FAILURES_IN_A_ROW in target.on}


def _check_names(section: Section, *whats: str) -> None:
    for what in whats:
        variable, file = getattr(section, f"{what}_env"), getattr(section, f"{what}_file")
        if variable is not None and file is not None:
            raise ValueError(f"has {what}_env and {what}_file: leave one of them out")
        if variable is not None and not _VARIABLE.fullmatch(variable):  # perhaps the secret itself: it is not shown
            raise ValueError(f"{what}_env is the name of an environment variable, such as HPO_NOTIFY_{what.upper()}")
        if file is not None and ("://" in file or not file.strip()):
            raise ValueError(f"{what}_file is the path of a file that holds the {what}, and nothing else")


def _of_url(url: str) -> str | None:
    """What is wrong with the address of a webhook, without showing it: it may hold a secret."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no address: it should look like https://ci.example.org/hpo"
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        return "should be an address of the web, such as https://ci.example.org/hpo"
    if parts.username is not None or parts.password is not None:
        return f"the address holds a password, which does not belong here: {_NAME_IT}"
    if any(_SECRET_KEYS.search(key) for key, _ in parse_qsl(parts.query, keep_blank_values=True)):
        return f"the address seems to hold a secret after its '?', which does not belong here: {_NAME_IT}"
    if _SECRET_PLACES.fullmatch(host):
        return f"the address is a secret of {host}, which also wants a form of its own: write apprise, and {_NAME_IT}"
    return None
