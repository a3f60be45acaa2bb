"""An Envoy and an echo for each hot path, started once for the suite."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.contract.ingress.edge import Edge, edge

Open = Callable[..., Edge]


@pytest.fixture(scope="session")
def open_edge() -> Iterator[Open]:
    """Gives the edge of a hot path, always the same one for the same arguments."""
    with ExitStack() as stack:
        made: dict[tuple[str, bool], Edge] = {}

        def opened(hot_path: str, *, strip_trailers: bool = True) -> Edge:
            key = (hot_path, strip_trailers)
            if key not in made:
                made[key] = stack.enter_context(edge(hot_path, strip_trailers=strip_trailers))
            return made[key]

        yield opened


@pytest.fixture(params=["h1", "h2"])
def hot(request: pytest.FixtureRequest, open_edge: Open) -> Edge:
    """The edge, once for each value of the setting `hot_path`."""
    found: Edge = open_edge(request.param)
    return found
