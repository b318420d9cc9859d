"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """Bad input. The message says in one or two lines what is wrong, where, and what to do.

    Command lines turn it into that message and exit status 1; a library caller may catch it.
    """

    def __init__(self, message: str):
        # A loader's worker process hands its exceptions over as text with a traceback, and Paddle makes a new exception
        # of that text: only our message in it is meant for the user.
        super().__init__(message.rpartition("UserError: ")[2].strip())
