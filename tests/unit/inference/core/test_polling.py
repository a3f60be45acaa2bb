"""Which models a look at the repository has loaded again."""

from headrace.inference.core.polling import Changes, Fingerprint, Polling


def files(size: int) -> Fingerprint:
    return (("1/model.onnx", size, 0),)


def test_what_has_not_changed_is_left_alone() -> None:
    """Look after look."""
    polling = Polling({"a": files(1)})
    assert polling.look({"a": files(1)}) == Changes()
    assert polling.look({"a": files(1)}) == Changes()


def test_a_change_counts_when_two_looks_saw_the_same() -> None:
    """A folder that is still written is not loaded: it differs at every look."""
    polling = Polling({"a": files(1)})
    assert polling.look({"a": files(2)}) == Changes()
    assert polling.look({"a": files(3)}) == Changes()
    assert polling.look({"a": files(3)}) == Changes(load=("a",))
    assert polling.look({"a": files(3)}) == Changes()


def test_a_new_model_counts_the_same_way() -> None:
    """Not at first sight."""
    polling = Polling({})
    assert polling.look({"b": files(1)}) == Changes()
    assert polling.look({"b": files(1)}) == Changes(load=("b",))


def test_a_model_is_gone_when_two_looks_missed_it() -> None:
    """A folder that is replaced by a rename is never gone."""
    polling = Polling({"a": files(1), "b": files(1)})
    assert polling.look({"b": files(1)}) == Changes()
    assert polling.look({"a": files(1), "b": files(1)}) == Changes()
    assert polling.look({"b": files(1)}) == Changes()
    assert polling.look({"b": files(1)}) == Changes(gone=("a",))
    assert polling.look({"b": files(1)}) == Changes()


def test_a_change_back_loads_nothing() -> None:
    """What serves is what is there."""
    polling = Polling({"a": files(1)})
    polling.look({"a": files(2)})
    assert polling.look({"a": files(1)}) == Changes()
    assert polling.look({"a": files(1)}) == Changes()
