"""OpenAI's own Python client, unmodified, in a process of its own."""

import json
from typing import Any

import numpy as np
import pytest

from tests.clients.cases import TEXTS, TOKENS
from tests.support.cache import ROOT
from tests.support.commands import output_of
from tests.support.mesh import Mesh
from tests.support.venvs import venv

REQUIREMENT = "openai==3.57.0"
SCRIPT = ROOT / "tests" / "clients" / "scripts" / "openai_embeddings.py"


@pytest.fixture(scope="module")
def report(mesh: Mesh) -> dict[str, Any]:
    """What the client saw in one run."""
    job = {"address": mesh.gateway, "token": mesh.demo_token, "texts": TEXTS, "tokens": TOKENS}
    result: dict[str, Any] = json.loads(output_of([venv(REQUIREMENT), SCRIPT], text=json.dumps(job)))
    return result


def test_embeddings_are_alike_in_every_form(report: dict[str, Any]) -> None:
    """As base64 (this client's default), as floats, one by one at the same time; similar texts are similar."""
    listed = np.array(report["listed"])
    assert listed.shape == (3, 384)
    np.testing.assert_allclose(report["plain"], listed, atol=1e-6)
    np.testing.assert_allclose(report["concurrent"], listed, atol=1e-5)
    assert listed[0] @ listed[1] > 0.8 > 0.3 > listed[0] @ listed[2]


def test_tokens_are_taken_and_counted(report: dict[str, Any]) -> None:
    """Arrays of tokens instead of texts; usage is the tokens of all inputs."""
    assert np.shape(report["tokens"]) == (1, 384)
    assert report["usage"][0] == report["usage"][1] > len(" ".join(TEXTS).split())


def test_models_are_listed(report: dict[str, Any]) -> None:
    """models.list and models.retrieve."""
    assert report["models"] == ["minilm"]
    assert report["model"] == "headrace"


def test_errors_are_the_clients_own_classes(report: dict[str, Any]) -> None:
    """With OpenAI's fields: what, where, and the reason."""
    assert report["absent"]["class"] == "NotFoundError"
    assert report["absent"]["code"] == "model_not_found"
    assert report["empty"]["class"] == "BadRequestError"
    assert (report["empty"]["param"], report["empty"]["type"]) == ("input[1]", "invalid_request_error")
    assert report["stranger"]["class"] == "AuthenticationError"
