"""The one kind of error that is a person's to mend."""


class UserError(ValueError):
    """A mistake in a file, a flag or a configuration: the message names it and says what to do.

    The commands print it without a traceback (`--debug` shows one) and exit with 2.
    """
