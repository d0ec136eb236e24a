"""The one exception meant for a person."""


class UserError(Exception):
    """Something the user can put right: one message that names the file or key, what is wrong and what to do.

    The command line prints it as one line without a stack trace and exits with code 2.
    """
