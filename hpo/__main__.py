"""The entry point of `hpo` and of `python -m hpo`: a user's mistake is one message, never a traceback."""

from __future__ import annotations

import gc
import os
import re
import sys

from hpo.errors import HpoError

PASSWORDS_IN_URL = re.compile(r"(\w+://[^\s:/@]*:)[^@]*(?=@)|([?&](?:ssl)?password=)[^&]*")


def main() -> None:
    _hide_passwords()
    from hpo.cli import app

    try:
        app()
    except HpoError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `hpo trials | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        gc.freeze()  # at its end Python would look through all that was imported, for 0.15 s


def _hide_passwords() -> None:
    """Every user of the machine can read a process's arguments."""
    shown = [PASSWORDS_IN_URL.sub(r"\1\2***", argument) for argument in sys.argv]
    if shown != sys.argv:
        import setproctitle

        setproctitle.setproctitle(" ".join(shown))


if __name__ == "__main__":
    main()
