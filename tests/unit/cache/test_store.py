"""A store's failures, in words that an operator can act on and that repeat nothing secret."""

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004  # redis-py's own
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004  # redis-py's own
)

from headrace.cache.store import failed


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (AuthenticationError("invalid username-password pair"), "refuses the user or the password"),
        (NoPermissionError("User cache has no permissions"), "may not do"),
        (ConnectionError("Error 111 connecting to hunter2"), "out of reach"),
        (ConnectionResetError(), "out of reach"),
        (TimeoutError("Timeout reading"), "in time"),
        (ResponseError("CLUSTERDOWN The cluster is down"), "refuses: CLUSTERDOWN"),
        (ResponseError("unknown command 'hunter2'"), "refuses: ERR"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "full"),
        (BusyLoadingError("Redis is loading the dataset in memory"), "loading"),
        (ReadOnlyError("You can't write against a read only replica."), "read-only"),
    ],
)
def test_a_failure_is_told_in_words(error: Exception, says: str) -> None:
    """What to do about it, without what the server or the URL said."""
    assert says in str(failed(error))
    assert "hunter2" not in str(failed(error))
