"""The entry point of `hpo` and of `python -m hpo`: a user's mistake is one message, never a traceback.

What leaves here as text, an error's message or a traceback, passes `printable` like all that verbs print.
"""

from __future__ import annotations

import gc
import io
import logging
import os
import re
import sys
import traceback
from typing import Any, cast

from hpo.errors import HpoError
from hpo.printable import printable

PASSWORDS_IN_URL = re.compile(r"(\w+://[^\s:/@]*:)[^@]*(?=@)|([?&](?:ssl)?password=)[^&]*")


def main() -> None:
    _hide_passwords()
    _print_in_any_encoding()
    # Python's own 700 objects would have it look through the records of 20,000 trials again and again, for a second.
    gc.set_threshold(50_000, 20, 100)
    try:
        sys.exit(_exit_code())
    except BrokenPipeError:  # `hpo trials | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        gc.freeze()  # at its end Python would look through all that was imported, for 0.15 s


def _exit_code() -> int:
    """Do what the arguments ask for."""
    import typer

    from hpo.cli import app
    from hpo.cli.answer import LogLines

    assert logging.lastResort is not None
    logging.lastResort.setFormatter(LogLines())  # of verbs that set up no log
    # The common class of all wrong arguments, which Typer does not export.
    usage_error = cast("type[Exception]", typer.BadParameter.__base__)
    try:
        return app(standalone_mode=False) or 0
    except HpoError as error:
        _complain(f"error: {error}")
        return error.exit_code
    except usage_error as error:
        return _explain(error)
    except typer.Abort:
        _complain("nothing was done")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        raise
    except Exception:
        _complain(traceback.format_exc().rstrip())
        return 1


def _explain(error: Any) -> int:
    """Say which argument is wrong; the help, where there was none, is printed already."""
    if message := error.format_message():
        usage = "" if error.ctx is None else f"{error.ctx.get_usage()} (-h for help)\n"
        _complain(f"{usage}error: {message[0].lower()}{message[1:]}")
    return int(error.exit_code)


def _complain(text: str) -> None:
    print(printable(text), file=sys.stderr)


def _print_in_any_encoding() -> None:
    """What the terminal's encoding does not have is written out, instead of ending the verb."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _hide_passwords() -> None:
    """Every user of the machine can read a process's arguments."""
    shown = [PASSWORDS_IN_URL.sub(r"\1\2***", argument) for argument in sys.argv]
    if shown != sys.argv:
        import setproctitle

        setproctitle.setproctitle(" ".join(shown))


if __name__ == "__main__":
    main()
