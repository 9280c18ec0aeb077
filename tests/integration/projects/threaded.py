"""Starts a thread when it is imported, as some libraries do: a process that has it imported must not be forked."""

from __future__ import annotations

import threading

from projects.nets import Line

never = threading.Event()
threading.Thread(target=never.wait, daemon=True).start()


class Threaded(Line):
    """As good as any other."""
