"""`python -m hpo.notify.post KIND`: sends one message to one target, both given as JSON on the standard input.

What goes wrong is one line on the standard error. Nothing of hpo's is needed but this file, so that it starts quickly.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 10.0  # for a connection, and for each answer
MOST_SECONDS = 90  # who started it kills it before, unless it was killed itself
_PREFIX = "whsec_"  # of a secret in base64, as the specification of Standard Webhooks writes it


class _RefusedError(Exception):
    """The receiver has not taken it."""


def main() -> int:
    signal.alarm(MOST_SECONDS)
    order = json.load(sys.stdin)
    try:
        {"webhook": _webhook, "apprise": _apprise, "email": _email}[sys.argv[1]](order["target"], order)
    except Exception as error:  # whatever a library raises; a traceback might show the secret
        sys.stderr.write(" ".join(str(error).split()) or type(error).__name__)
        return 1
    return 0


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Of the specification of Standard Webhooks: HMAC-SHA256 of id, timestamp and body, in base64."""
    key = base64.b64decode(secret.removeprefix(_PREFIX)) if secret.startswith(_PREFIX) else secret.encode()
    signed = b".".join([message_id.encode(), str(timestamp).encode(), body])
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _webhook(target: Mapping[str, Any], order: Mapping[str, Any]) -> None:
    import httpx2

    content, timestamp = order["content"], int(time.time())
    body = json.dumps(content).encode()
    headers = {
        "content-type": "application/json",
        "user-agent": "hpo-service",
        "webhook-id": content["id"],
        "webhook-timestamp": str(timestamp),
    }
    if target.get("secret"):
        headers["webhook-signature"] = signature(target["secret"], content["id"], timestamp, body)
    url = target["url"]
    if urlsplit(url).scheme not in ("http", "https"):
        raise _RefusedError("its address does not begin with https:// or http://")
    try:
        with (
            httpx2.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False) as client,
            client.stream("POST", url, content=body, headers=headers) as response,
        ):
            status = response.status_code  # the body is not read, however long it is
            location = response.headers.get("location", "")
    except httpx2.TimeoutException:
        raise _RefusedError(f"it did not answer within {TIMEOUT_SECONDS:g} s") from None
    except httpx2.HTTPError as error:
        raise _RefusedError(f"it could not be reached: {error or type(error).__name__}") from None
    if 300 <= status < 400:
        to = urlsplit(location)
        where = f"{to.scheme}://{to.hostname or ''}" if to.scheme else "another path"
        raise _RefusedError(f"it answered {status}, which leads to {where}: write the address itself, none is followed")
    if not 200 <= status < 300:
        raise _RefusedError(f"it answered {status}")


def _apprise(target: Mapping[str, Any], order: Mapping[str, Any]) -> None:
    import apprise

    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("apprise").addHandler(handler)
    asset = apprise.AppriseAsset(http_redirects=False, app_id="hpo-service", app_desc="hpo-service")
    service = apprise.Apprise(asset=asset)
    if not service.add(target["url"]):
        raise _RefusedError("apprise does not know a service of this URL")
    # Names and errors may hold what a chat takes for a mention of everybody.
    text = order["text"].replace("@", "@\u200b").replace("<!", "<\u200b!")
    title, _, body = text.partition("\n")
    if not service.notify(title=title, body=body or title, body_format=apprise.NotifyFormat.TEXT):
        raise _RefusedError(" ".join(said[-2:]) or "the service did not take it")


def _email(target: Mapping[str, Any], order: Mapping[str, Any]) -> None:
    import smtplib
    import ssl
    from email.message import EmailMessage
    from email.utils import formatdate

    message = EmailMessage()
    message["From"], message["To"] = target["sender"], ", ".join(target["to"])
    message["Subject"] = order["title"]
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{order['content']['id']}@hpo-service>"  # the same when it is sent a second time
    message.set_content(order["text"])
    security = target["security"]
    port = target["port"] or {"starttls": 587, "tls": 465, "none": 25}[security]
    more: dict[str, Any] = {"context": ssl.create_default_context()} if security == "tls" else {}
    kind = smtplib.SMTP_SSL if security == "tls" else smtplib.SMTP
    try:
        with kind(target["host"], port, timeout=TIMEOUT_SECONDS, **more) as server:
            if security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if target.get("user"):
                server.login(target["user"], target["password"])
            server.send_message(message)
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        raise _RefusedError(f"it answered {error.smtp_code}: {said}") from None
    except TimeoutError:
        raise _RefusedError(f"it did not answer within {TIMEOUT_SECONDS:g} s") from None


if __name__ == "__main__":
    sys.exit(main())
