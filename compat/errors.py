"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """Bad input. The message says in one or two lines what is wrong, where, and what to do.

    Command lines turn it into that message and exit status 1; a library caller may catch it.
    """
