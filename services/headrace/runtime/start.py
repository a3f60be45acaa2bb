"""Why a service can't start, for who reads its log: a sentence, never a traceback."""


class StartFailed(Exception):
    """The text says what is wrong, why, and what to do; `lifecycle.run` prints it and ends with 1."""
