"""`magika` under the names of our contract."""

from collections.abc import Callable

import numpy as np
import onnxruntime as ort

from headrace.inference.demo import configs

SessionOf = Callable[[str], ort.InferenceSession]


def test_its_signature_is_the_contract_s(session_of: SessionOf) -> None:
    """The wheel's graph calls the output `target_label`."""
    session = session_of("magika")
    (bytes_,), (scores,) = session.get_inputs(), session.get_outputs()
    assert (bytes_.name, bytes_.type, bytes_.shape[1:]) == ("bytes", "tensor(int32)", [configs.BYTES])
    assert (scores.name, scores.type, scores.shape[1:]) == ("scores", "tensor(float)", [configs.LABELS])


def test_scores_are_shares_and_rows_are_independent(session_of: SessionOf) -> None:
    """A row's scores sum to one and don't depend on the rows beside it."""
    session = session_of("magika")
    rows = np.random.default_rng(3).integers(0, 257, (4, configs.BYTES)).astype(np.int32)
    (together,) = session.run(["scores"], {"bytes": rows})
    (alone,) = session.run(["scores"], {"bytes": rows[2:3]})
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(together[2:3], alone, atol=1e-5)
