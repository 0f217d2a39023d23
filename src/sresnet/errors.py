"""The one exception that means "the user can fix this"."""


class UserError(ValueError):
    """A mistake in what the user gave: one line with the value, what is wrong with it, and the cure.

    The command line prints it without a traceback and exits with status 2.
    """
