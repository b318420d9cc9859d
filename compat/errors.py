"""The exception for everything that the user can correct."""

import difflib
from typing import Iterable


class UserError(Exception):
    """Bad input. The message says in one or two lines what is wrong, where, and what to do.

    Command lines turn it into that message and exit status 1; a library caller may catch it.
    """

    def __init__(self, message: str):
        # A loader's worker process sends an exception as text with its traceback, and Paddle builds a new exception of
        # the same class from it; only our message in that text is meant for the user.
        super().__init__(message.rpartition("UserError: ")[2].strip())


def unknown_name(what: str, name: object, known: Iterable[str]) -> UserError:
    """The error for a name that is not in `known`: names the nearest and lists them all."""
    known = [str(one) for one in known]
    nearest = difflib.get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ";"
    return UserError(f"{what} {name!r} is not known{hint} Known: {', '.join(known) or 'none'}")
