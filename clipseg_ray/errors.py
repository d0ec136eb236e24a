"""The one exception meant for a person, and what others say in one line."""


class UserError(Exception):
    """Something the user can put right: one message that names the file or key, what is wrong and what to do.

    The command line prints it as one line without a stack trace and exits with code 2.
    """


def brief(error: BaseException, at_most: int = 300) -> str:
    """What an error says, in one line of at most so many characters; its type where it says nothing."""
    return " ".join(str(error).split())[:at_most] or type(error).__name__
