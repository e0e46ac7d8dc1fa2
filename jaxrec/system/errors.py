"""The error for mistakes that a person can correct."""


class UserError(ValueError):
    """A mistake in a file, a flag or a configuration; the message names it and says what to do.

    Commands print the message without a traceback (`--debug` shows it), and exit with status 2.
    """
