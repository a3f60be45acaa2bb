"""The demo models as a user gets them: laid out once from the installed wheels."""

from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort
import pytest

from headrace.inference.demo import INSTALL_COMMAND, lay_out


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with all demo models."""
    folder = tmp_path_factory.mktemp("models")
    layout = lay_out(folder)
    assert not layout.missing, f"tests need the model wheels: {INSTALL_COMMAND}"
    return folder


@pytest.fixture(scope="session")
def session_of(repository: Path) -> Callable[[str], ort.InferenceSession]:
    """A model of the repository in ONNX Runtime, by name."""

    def load(model: str) -> ort.InferenceSession:
        file = repository / model / "1" / "model.onnx"
        return ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    return load


@pytest.fixture(scope="session")
def encoder(session_of: Callable[[str], ort.InferenceSession]) -> ort.InferenceSession:
    """`minilm-encoder` in ONNX Runtime."""
    return session_of("minilm-encoder")
