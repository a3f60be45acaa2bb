"""Every parser of ours that reads what others wrote: a corpus that it takes, and the errors that it may raise."""

import gzip
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.cache.core.entry import EntryRefused, Seal
from headrace.guard.core.parsing import LimitsInvalid, parsed
from headrace.guard.v1.guard_service_pb2 import LeaseRequest
from headrace.guard.wire import holder_frame
from headrace.inference.batching import Timings, policy_of
from headrace.inference.config import ConfigError, check_whole, config_of_json, signature_of
from headrace.inference.core.tensors import Signature, TensorSpec
from headrace.inference.decoder import Decoder
from headrace.inference.embeddings import wanted
from headrace.inference.folders import RepositoryError
from headrace.inference.generate import parse_generate
from headrace.inference.models import Models
from headrace.inference.predict import parse_predict
from headrace.inference.regions import RegionProblem
from headrace.inference.rest_body import parse_body, parse_object
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.insight.core import exposition
from headrace.insight.core.otlp import by_trace, converted, invalid_count
from headrace.insight.core.wanted import WANTED
from headrace.local.config.reading import ConfigError as FileError
from headrace.local.config.reading import parse as parse_file
from headrace.metering.edge_wire import entries_of, lines_of
from headrace.metering.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from headrace.metering.settings import Settings as MeteringSettings
from headrace.metering.v1.usage_pb2 import UsageBatch
from headrace.metering.wire import batch_from
from headrace.runtime.access import caller_from_headers
from headrace.runtime.errors import HeadraceError
from headrace.runtime.ingress.core.faults import WireFault
from headrace.runtime.ingress.core.framing import inflate, inflated_size, parse_prefix
from headrace.runtime.ingress.core.head import RequestMetadata, is_gzip, timeout_s
from headrace.runtime.ingress.core.reader import RequestReader
from headrace.runtime.rpc import ANONYMOUS, Call
from headrace.runtime.settings import SettingsError
from tests.fuzz.corpus import (
    HTTP,
    JWKS,
    METRICS,
    PBTXT,
    PRICES,
    TARGETS,
    TENSOR,
    TOKEN,
    YAML,
    access_lines,
    access_log,
    trace,
    usage_batch,
)
from tests.fuzz.files import Files
from tests.support.requests import distinct_rows, linear
from tests.support.small import scale_model

LIMIT = 64 * 1024
SIGNATURE = Signature(
    "m",
    (TensorSpec("x", "FP32", (16,)), TensorSpec("t", "BYTES", (-1,))),
    (TensorSpec("y", "FP32", (4,)),),
    8,
)
ONE = Signature("m", SIGNATURE.inputs[:1], SIGNATURE.outputs, 8)
SEAL = Seal(b"s" * 32, 3_600_000)
KEY = bytes(32)
NOW_MS = 1_800_000_000_000
CALL = Call("/fuzz", {}, ANONYMOUS, 0.0)


@dataclass(frozen=True)
class Parser:
    """`read` takes each of the `corpus`, and of anything else it takes some and raises `errors` for the rest.

    `times` is what it may take of memory, in times of the input's size.
    """

    corpus: tuple[bytes, ...]
    read: Callable[[bytes], object]
    errors: tuple[type[Exception], ...] = (HeadraceError,)
    times: int = 100


def _request(data: bytes) -> None:
    reader = RequestReader(100, 8192, LIMIT)
    for at in range(0, len(data), 1000):
        if not reader.feed(data[at : at + 1000]) or reader.fault is not None:
            return
    if reader.complete:
        reader.message()
    metadata = RequestMetadata(dict(reader.headers))
    for name in metadata:
        metadata[name]


def _gzip(data: bytes) -> None:
    with suppress(WireFault):
        parse_prefix(data[:5].ljust(5, b"\0"), LIMIT)
    inflate(data, inflated_size(data, LIMIT))


def _head(data: bytes) -> None:
    caller_from_headers(
        [("x-tenant-id", data.decode("latin-1")), ("x-headrace-scopes", data.decode("latin-1"))]
    )
    is_gzip(data) if b"," in data else timeout_s(data)


def _message(data: bytes) -> None:
    request = ModelInferRequest.FromString(data)
    for signature in (ONE, SIGNATURE):
        try:
            Decoder(signature).decode(request)
        except HeadraceError:
            Decoder(signature).outputs(request)
    Timings("m", policy_of(config_of_json("m", '{"dynamicBatching": {}}'))).of(request.parameters, CALL)


def _body(data: bytes) -> None:
    length = str(len(data) // 2) if len(data) % 2 else ""
    Decoder(ONE).decode(parse_body(data, length).request)


def _object(data: bytes) -> None:
    parse_object(data, {"ready": bool, "parameters": dict})


def _embeddings(data: bytes) -> None:
    try:
        wanted(data, Models())
    except HeadraceError as error:
        if error.reason != "MODEL_NOT_FOUND":
            raise


def _predict(data: bytes) -> None:
    Decoder(ONE).decode(parse_predict(data, ONE).request)


def _generate(data: bytes) -> None:
    Decoder(ONE).decode(parse_generate(data, ONE))


def _load_config(data: bytes) -> None:
    config = config_of_json("m", data.decode("utf-8", "replace"))
    check_whole(Path("m"), config)
    signature_of(config)
    policy_of(config)


def _prices(data: bytes) -> None:
    MeteringSettings.read({"HEADRACE_METERING_PRICES": data.decode("latin-1")})


def _spans(data: bytes) -> None:
    request = ExportTraceServiceRequest.FromString(data)
    invalid_count(request)
    for spans in by_trace([request]).traces.values():
        for span in spans:
            converted(span)


def _metrics(data: bytes) -> None:
    for rules in WANTED.values():
        exposition.read(data.decode("utf-8", "replace"), rules)


def _usage(data: bytes) -> None:
    batch_from(UsageBatch.FromString(data))


def _log(data: bytes) -> None:
    list(entries_of(StreamAccessLogsMessage.FromString(data)))


def _lines(data: bytes) -> None:
    lines_of(ExportLogsServiceRequest.FromString(data))


def parsers(folder: Path) -> dict[str, Parser]:
    """By what they read."""
    files = Files(folder)
    return _of_clients(files) | _of_operators(files) | _of_services()


def _of_clients(files: Files) -> dict[str, Parser]:
    return {
        "a request of HTTP/1": Parser((HTTP,), _request, (WireFault,)),
        "a gzip message": Parser((gzip.compress(b"a" * 9000, mtime=0),), _gzip, (WireFault,)),
        "a head": Parser((b"200m", b"30S"), _head, (WireFault, HeadraceError)),
        "a ModelInferRequest": Parser(
            (linear(distinct_rows(1), "i").SerializeToString(),), _message, (HeadraceError, DecodeError)
        ),
        "a REST body": Parser((b'{"id":"i","inputs":[' + TENSOR + b'],"outputs":[{"name":"y"}]}',), _body),
        "a REST object": Parser((b'{"ready": true, "parameters": {"a": [1, null]}}',), _object),
        "an embeddings body": Parser(
            (b'{"model":"m","input":["a","b"],"encoding_format":"base64"}',), _embeddings
        ),
        "a predict body": Parser((b'{"instances":[{"x":[' + b",".join([b"1"] * 16) + b"]}]}",), _predict),
        "a generate body": Parser(
            (b'{"x":[' + b",".join([b"1"] * 16) + b'],"parameters":{"a":1}}',), _generate
        ),
        "a load's configuration": Parser(
            (
                b'{"max_batch_size":4,"input":[{"name":"x","dataType":"TYPE_FP32","dims":[2]}],'
                b'"output":[{"name":"y","dataType":"TYPE_FP32","dims":["-1"]}]}',
            ),
            _load_config,
            (ConfigError,),
        ),
        "a region": Parser(
            (b'{"tenant":"t","name":"r","region":{"key":"/object","offset":8,"byte_size":16}}',),
            files.region,
            (RegionProblem, msgspec.DecodeError),
        ),
        "a token": Parser((b"Bearer " + TOKEN.encode(),), files.token),
    }


def _of_operators(files: Files) -> dict[str, Parser]:
    return {
        "a JWKS": Parser((JWKS.encode(),), files.jwks),
        "config.pbtxt": Parser((PBTXT,), files.pbtxt, (ConfigError,)),
        "an ONNX file": Parser((scale_model(2.0).SerializeToString(),), files.onnx, (RepositoryError,)),
        "guard's limits": Parser(
            (b'{"rate": 5, "breaker": {"failures": 3}, "tenants": {"a": {"burst": 7, "wait_ms": 1.5}}}',),
            lambda data: parsed(data.decode("latin-1")),
            (LimitsInvalid,),
        ),
        "price books": Parser((PRICES,), _prices, (SettingsError,)),
        "a list of processes": Parser((TARGETS,), files.targets, ()),
        "headrace.yaml": Parser(
            (YAML,), lambda data: parse_file(data, "headrace.yaml"), (FileError,), times=500
        ),  # PyYAML's nodes; the operator's own
    }


def _of_services() -> dict[str, Parser]:
    return {
        "a holder's frame": Parser(
            (LeaseRequest().SerializeToString(),),
            lambda data: holder_frame(LeaseRequest.FromString(data)),
            (HeadraceError, DecodeError),
        ),
        "OTLP": Parser((trace(),), _spans, (DecodeError,)),
        "metrics": Parser((METRICS,), _metrics, ()),
        "a usage batch": Parser((usage_batch(),), _usage, (HeadraceError, DecodeError)),
        "an access log": Parser((access_log(),), _log, (DecodeError,)),
        "an access log of lines": Parser((access_lines(),), _lines, (DecodeError,)),
        "a cache entry": Parser(
            (SEAL.sealed(KEY, b"answer", NOW_MS, 1000),),
            lambda data: SEAL.opened(KEY, data, NOW_MS),
            (EntryRefused,),
        ),
    }
