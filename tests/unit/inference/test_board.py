"""How replicas of one mesh tell each other what is wanted, and how far they are."""

from pathlib import Path

import pytest

from headrace.inference.board import Board, NameTaken
from headrace.inference.core.wishes import Acknowledgement, Wish


def test_a_wish_is_news_for_everybody_once(tmp_path: Path) -> None:
    """Also for who comes later."""
    one, two = Board(tmp_path, "one"), Board(tmp_path, "two")
    one.join()
    two.join()
    assert one.news() is None
    assert one.wish("model/a", "x") == 1
    assert two.wish("model/a", "y") == 2
    news = one.news()
    assert news is not None
    assert news.wanted == {"model/a": Wish(2, "y")}
    assert one.news() is None
    assert Board(tmp_path, "three").wishes() == news


def test_only_who_lives_is_waited_for(tmp_path: Path) -> None:
    """The kernel lets go of the lock of one that died."""
    one, two = Board(tmp_path, "one"), Board(tmp_path, "a/../../two")
    one.join()
    two.join()
    two.acknowledge(Acknowledgement(3, {"model/a": "no model"}))
    assert one.others() == {"a%2F..%2F..%2Ftwo": Acknowledgement(3, {"model/a": "no model"})}
    assert two.others() == {"one": Acknowledgement()}
    two.leave()
    assert one.others() == {}


def test_a_name_is_one_replicas(tmp_path: Path) -> None:
    """Two under one name would take each other's acknowledgements for their own."""
    first, second = Board(tmp_path, "one"), Board(tmp_path, "one")
    first.join()
    with pytest.raises(NameTaken):
        second.join()
    first.leave()
    second.join()
