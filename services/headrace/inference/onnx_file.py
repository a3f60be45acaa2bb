"""What an ONNX file refers to beside itself. Such data must lie in the version's own folder."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError

from headrace.inference.folders import RepositoryError


def check_external_data(file: Path) -> None:
    """Raises RepositoryError for a file that is no ONNX model, or whose data leads out of its folder."""
    try:
        model = onnx.load_model(file, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise RepositoryError(f"{file}: is no ONNX model: {error}") from None
    folder = file.parent.resolve()
    for location in {_location(tensor) for tensor in _tensors(model)} - {""}:
        path = PurePosixPath(location)
        real = (folder / location).resolve()
        if path.is_absolute() or ".." in path.parts or not real.is_relative_to(folder):
            raise RepositoryError(
                f"{file}: its external data {location!r} lies outside of the version's folder"
            )
        if not real.is_file():
            raise RepositoryError(f"{file}: its external data {location!r} is missing")


def _location(tensor: onnx.TensorProto) -> str:
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return ""
    return next((str(entry.value) for entry in tensor.external_data if entry.key == "location"), "")


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _of_node(node)
    for training in model.training_info:
        yield from _of_graph(training.initialization)
        yield from _of_graph(training.algorithm)


def _of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _of_node(node)


def _of_node(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        yield attribute.t
        yield from attribute.tensors
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        yield from _of_graph(attribute.g)
        for graph in attribute.graphs:
            yield from _of_graph(graph)
