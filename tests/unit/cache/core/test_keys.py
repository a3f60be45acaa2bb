"""The keys of answers: equal for equal requests, different for any other, and never another version's."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cache.core.keys import JOINED_BYTES, AnswerKeys, Data, Input, Scalar, subkey
from tests.fakes.cache import SECRET

GOLDEN = Path(__file__).parents[1] / "golden" / "keys.json"
KEYS = AnswerKeys(SECRET)
PREFIX = KEYS.prefix("acme", "linear", "d1")
X: Input = ("x", "FP32", (1, 2), bytes(8))


def key_of(case: dict[str, Any]) -> str:
    """The key of a golden case, data in hexadecimal; a list of data is elements."""
    inputs = [
        (
            name,
            datatype,
            tuple(shape),
            [bytes.fromhex(one) for one in data] if isinstance(data, list) else bytes.fromhex(data),
        )
        for name, datatype, shape, data in case["inputs"]
    ]
    prefix = KEYS.prefix(case["tenant"], case["model"], case["version_digest"])
    return KEYS.key(prefix, inputs, case["parameters"], case["outputs"]).hex()


@pytest.mark.parametrize("case", json.loads(GOLDEN.read_text()), ids=lambda case: case["about"])
def test_keys_are_those_of_the_golden_file(case: dict[str, Any]) -> None:
    """A key that changes by accident would let old entries be found for new questions: change SCHEMA with the layout."""
    assert key_of(case) == case["key"]


def test_golden_keys_are_all_different() -> None:
    """Each golden case asks something else, but for the two that say that they ask the same."""
    cases = json.loads(GOLDEN.read_text())
    same = {case["key"] for case in cases if case["about"].endswith("(same)")}
    others = [case["key"] for case in cases if not case["about"].endswith("(same)")]
    assert len(same) == 1
    assert len({*others, *same}) == len(others) + 1


@pytest.mark.parametrize(
    ("tenant", "model", "digest"),
    [("acm", "elinear", "d1"), ("acme", "linea", "rd1"), ("", "acmelinear", "d1"), ("acme", "linear", "d2")],
)
def test_parts_that_run_together_stay_apart(tenant: str, model: str, digest: str) -> None:
    """Tenant, model and version are told apart by their lengths, not by where one would cut."""
    assert KEYS.key(KEYS.prefix(tenant, model, digest), [X], {}, ()) != KEYS.key(PREFIX, [X], {}, ())


@pytest.mark.parametrize(
    "other",
    [
        ("y", "FP32", (1, 2), bytes(8)),
        ("x", "INT32", (1, 2), bytes(8)),
        ("x", "FP32", (2, 1), bytes(8)),
        ("x", "FP32", (2,), bytes(8)),
        ("x", "FP32", (1, 2), bytes(7) + b"\x01"),
    ],
)
def test_every_part_of_an_input_counts(other: Input) -> None:
    """Name, datatype, shape and bytes."""
    assert KEYS.key(PREFIX, [other], {}, ()) != KEYS.key(PREFIX, [X], {}, ())


@pytest.mark.parametrize("values", [(1, True, 1.0, "1"), (0, False, 0.0, "", -0.0)])
def test_a_parameters_type_counts(values: tuple[Scalar, ...]) -> None:
    """1, True, 1.0 and "1" are equal or alike in Python, and four questions."""
    assert len({KEYS.key(PREFIX, [X], {"p": value}, ()) for value in values}) == len(values)


def test_order_counts_only_where_the_answer_has_one() -> None:
    """Inputs and parameters may come in any order; outputs are answered in theirs."""
    z: Input = ("z", "FP32", (1,), bytes(4))
    assert KEYS.key(PREFIX, [X, z], {"a": 1, "b": 2}, ("p", "q")) == KEYS.key(
        PREFIX, [z, X], {"b": 2, "a": 1}, ("p", "q")
    )
    assert KEYS.key(PREFIX, [X], {}, ("p", "q")) != KEYS.key(PREFIX, [X], {}, ("q", "p"))


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_strings_have_one_form(elements: list[bytes]) -> None:
    """BYTES give the same key as elements and as the wire has them, and another for other elements."""
    wire = b"".join(len(element).to_bytes(4, "little") + element for element in elements)
    shape = (len(elements),)
    as_elements = KEYS.key(PREFIX, [("t", "BYTES", shape, elements)], {}, ())
    assert as_elements == KEYS.key(PREFIX, [("t", "BYTES", shape, wire)], {}, ())
    assert as_elements != KEYS.key(PREFIX, [("t", "BYTES", shape, [*elements, b""])], {}, ())


@pytest.mark.parametrize("size", [JOINED_BYTES - 4, JOINED_BYTES, JOINED_BYTES + 4, 4 * JOINED_BYTES])
def test_data_has_one_key_however_it_is_held(size: int) -> None:
    """bytes, a view and a bytearray, below and above the size that is hashed in place."""
    data = bytes(range(256)) * (size // 256 + 1)
    forms: list[Data] = [data[:size], memoryview(data)[:size], bytearray(data[:size])]
    assert len({KEYS.key(PREFIX, [("x", "UINT8", (size,), form), X], {}, ()) for form in forms}) == 1


requests = st.tuples(
    st.sampled_from(["a", "ab"]),
    st.sampled_from(["b", "ab"]),
    st.lists(
        st.tuples(st.sampled_from(["x", "xy"]), st.binary(max_size=4)), max_size=2, unique_by=lambda i: i[0]
    ),
    st.dictionaries(
        st.sampled_from(["p", "pq"]), st.one_of(st.integers(-1, 1), st.text(max_size=1)), max_size=2
    ),
    st.lists(st.sampled_from(["y", "yz"]), max_size=2),
)


@given(requests, requests)
def test_two_requests_share_a_key_only_when_they_are_the_same(one: Any, other: Any) -> None:
    """Over small alphabets, in which parts that run together would meet."""

    def key(request: Any) -> bytes:
        tenant, model, inputs, parameters, outputs = request
        tensors = [(name, "BYTES", (1,), data) for name, data in inputs]
        return KEYS.key(KEYS.prefix(tenant, model, "v"), tensors, parameters, outputs)

    def asked(request: Any) -> Any:
        tenant, model, inputs, parameters, outputs = request
        return tenant, model, sorted(inputs), parameters, outputs

    assert (key(one) == key(other)) == (asked(one) == asked(other))


def test_ten_thousand_pairs_of_tenants_share_no_key() -> None:
    """The same inputs of two tenants: promise 10 at the level of keys."""
    a, b = KEYS.prefix("a", "linear", "d"), KEYS.prefix("b", "linear", "d")
    of_a, of_b = (
        {
            KEYS.key(prefix, [("x", "INT32", (1,), number.to_bytes(4, "little"))], {}, ())
            for number in range(10_000)
        }
        for prefix in (a, b)
    )
    assert len(of_a) == len(of_b) == 10_000
    assert not of_a & of_b


def test_without_the_secret_there_is_no_key() -> None:
    """Another secret gives other keys, each purpose has a key of its own, and a short secret is none."""
    assert AnswerKeys(bytes(32)).key(AnswerKeys(bytes(32)).prefix("acme", "linear", "d1"), [X], {}, ()) != (
        KEYS.key(PREFIX, [X], {}, ())
    )
    assert subkey(SECRET, "names") != subkey(SECRET, "entry checksums")
    with pytest.raises(ValueError, match="it needs 32"):
        AnswerKeys(bytes(31))


def test_prefixes_are_remembered_within_bounds() -> None:
    """More tenants than are remembered still get their keys, the same ones as before."""
    keys = AnswerKeys(SECRET)
    first = keys.key(keys.prefix("tenant-0", "m", "d"), [X], {}, ())
    for number in range(5000):
        keys.prefix(f"tenant-{number}", "m", "d")
    assert keys.key(keys.prefix("tenant-0", "m", "d"), [X], {}, ()) == first


def test_a_call_is_named_by_function_version_tenant_and_arguments() -> None:
    """None of them can be another's, and types count here too."""
    calls = [
        KEYS.call_key("f", "1", "t", {"a": 1}),
        KEYS.call_key("g", "1", "t", {"a": 1}),
        KEYS.call_key("f", "2", "t", {"a": 1}),
        KEYS.call_key("f", "1", "u", {"a": 1}),
        KEYS.call_key("f", "1", "t", {"b": 1}),
        KEYS.call_key("f", "1", "t", {"a": True}),
        KEYS.call_key("f", "1", "t", {"a": None}),
        KEYS.call_key("f", "1", "t", {"a": [1, [2, 3]]}),
        KEYS.call_key("f", "1", "t", {"a": [[1, 2], 3]}),
        KEYS.call_key("f", "1", "t", {"a": {"b": b"c"}}),
    ]
    assert len(set(calls)) == len(calls)
    with pytest.raises(TypeError, match="object"):
        KEYS.call_key("f", "1", "t", {"a": object()})  # type: ignore[dict-item]  # what is refused
