"""Starts a thread when it is imported, as some libraries do: a process that has it imported must not be forked."""

from __future__ import annotations

import os
import threading

from projects.nets import Leaver

never = threading.Event()
threading.Thread(target=never.wait, daemon=True, name="sentinel").start()
os.environ["THREADED_IS_IMPORTED"] = "1"


class Threaded(Leaver):
    """As good as any other."""
