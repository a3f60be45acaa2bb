"""One request's answer: written once, or the connection ends.

HTTP/1.1 has no stream ids, so whatever is written on a connection is read as
the answer to the request that is open on it. A second or late write would be
read by the *next* caller; it aborts the connection instead.
"""

from typing import Protocol

_OPEN, _STREAMING, _DONE = "open", "streaming", "done"
_WHOLE, _BEGIN, _MORE, _END = "whole", "begin", "more", "end"

_NEXT = {
    (_OPEN, _WHOLE): _DONE,
    (_OPEN, _BEGIN): _STREAMING,
    (_STREAMING, _MORE): _STREAMING,
    (_STREAMING, _END): _DONE,
}


class Link(Protocol):
    """The connection as its responder sees it."""

    def write(self, data: bytes) -> None:
        """Sends a part of an answer."""
        ...

    def answered(self) -> None:
        """The answer is whole: the next request may come."""
        ...

    def abort(self) -> None:
        """Ends the connection at once; nothing more is read or written."""
        ...


class AnsweredAlready(Exception):
    """A write that had no request left to answer; it was not sent."""


class Responder:
    """Takes either one `whole` answer, or `begin`, any number of `more` and `end`.

    Anything else aborts the connection and raises `AnsweredAlready`.
    """

    __slots__ = ("_link", "_state")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._state = _OPEN

    @property
    def begun(self) -> bool:
        """Whether a part of the answer has left."""
        return self._state is not _OPEN

    @property
    def done(self) -> bool:
        """Whether all of the answer has left, or there is nobody to read it."""
        return self._state is _DONE

    def whole(self, data: bytes) -> None:
        self._step(_WHOLE)
        self._link.write(data)
        self._link.answered()

    def begin(self, data: bytes) -> None:
        self._step(_BEGIN)
        self._link.write(data)

    def more(self, data: bytes) -> None:
        self._step(_MORE)
        self._link.write(data)

    def end(self, data: bytes) -> None:
        self._step(_END)
        self._link.write(data)
        self._link.answered()

    def close(self) -> None:
        """The connection is gone: whatever comes now is late."""
        self._state = _DONE

    def _step(self, event: str) -> None:
        state = _NEXT.get((self._state, event))
        if state is None:
            self._state = _DONE
            self._link.abort()
            raise AnsweredAlready(event)
        self._state = state
