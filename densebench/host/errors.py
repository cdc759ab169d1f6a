"""The exceptions that a user is meant to read."""


class DensebenchError(Exception):
    """Bad input or an impossible request, told in one line.

    The message says what is wrong and what to do. The command line prints it without a traceback
    and exits with code 2.
    """


class UnsuitedError(DensebenchError):
    """What this backbone cannot do, whatever is mended; who goes through many runs passes it by."""
