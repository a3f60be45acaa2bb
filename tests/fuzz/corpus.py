"""What the parsers take: one good input of each kind."""

import json

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.metering.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from headrace.metering.v1.usage_pb2 import UsageBatch, UsageKind, UsageName
from headrace.metering.wire import COLUMNS
from tests.fakes.edge import exported, line

_PRIVATE = ec.generate_private_key(ec.SECP256R1())
JWKS = json.dumps(
    {
        "keys": [
            json.loads(
                jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).to_jwk(_PRIVATE.public_key())
            )
            | {"kid": "a", "alg": "ES256", "use": "sig"}
        ]
    }
)
TOKEN = jwt.encode(
    {
        "exp": 2**33,
        "iat": 1,
        "jti": "j",
        "tenant": "t",
        "scope": "infer",
        "iss": "headrace",
        "aud": "headrace",
    },
    _PRIVATE,
    "ES256",
    {"kid": "a"},
)
PBTXT = b"""\
name: "m" backend: "onnxruntime" max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ 16 ] } output { name: "y" data_type: TYPE_FP32 dims: 4 }
dynamic_batching { preferred_batch_size: 4 priority_levels: 2 default_priority_level: 1
  priority_queue_policy { key: 1 value { max_queue_size: 3 timeout_action: DELAY default_timeout_microseconds: 5 } } }
parameters { key: "headrace_longest.x" value { string_value: "8" } } instance_group { count: 2 kind: KIND_CPU }
"""
YAML = b"""\
gateway: {port: 8080, hot_path: h2, cors_origins: ["https://a.example"]}
inference: {replicas: 2, models: {m: {max_batch_size: 4}}}
limits: {rate: 10, tenants: {acme: {rate: 0.5, weight: 2}}}
metering: {prices: [{version: 1, effective_time: "2026-01-01T00:00:00Z"}]}
scaling: {min: 1, max: 4, up: {cpu: 0.7}}
"""
PRICES = (
    b'[{"version": 2, "effective_time": "2026-01-01T00:00:00Z", "cpu_hour": 0.1, "gpu_hour": "1.000000001"}]'
)
TARGETS = b'[{"targets": ["127.0.0.1:1", "cache:9201"], "labels": {"service": "guard", "replica": "g"}}]'
METRICS = (
    b'headrace_guard_admitted_total 5\nheadrace_inference_batch_rows_sum{model="a\\"b"} 1e3 17\n# HELP x y\n'
)
TENSOR = b'{"name":"x","datatype":"FP32","shape":[1,16],"data":[[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,1e-3]]}'
FRAME = b"\0\0\0\0\x04abcd"
HTTP = (
    b"POST /a.B/C HTTP/1.1\r\nhost: x\r\nx-bin: YQ\r\ntransfer-encoding: chunked\r\n\r\n9\r\n"
    + FRAME
    + b"\r\n0\r\n\r\n"
)


def trace() -> bytes:
    """A span with values of several depths."""
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="n")
    )
    for depth in range(3):
        value = span.attributes.add(key=f"k{depth}").value
        for _ in range(depth):
            value = value.array_value.values.add()
        value.string_value = "v"
    return request.SerializeToString()


def usage_batch() -> bytes:
    """One event."""
    names = [UsageName(tenant="t", model="m", model_version="1")]
    batch = UsageBatch(
        names=names, name_indexes=[0], kinds=[UsageKind.USAGE_KIND_EXECUTED], billing_keys=bytes(16)
    )
    for column, _ in COLUMNS:
        getattr(batch, column).append(0)
    return batch.SerializeToString()


def access_lines() -> bytes:
    """The same as a line."""
    return exported(line("r1", tenant="t", status="5")).SerializeToString()


def access_log() -> bytes:
    """One refused request."""
    message = StreamAccessLogsMessage()
    entry = message.http_logs.log_entry.add()
    entry.request.request_headers["x-tenant-id"] = "t"
    entry.response.response_trailers["grpc-status"] = "5"
    return message.SerializeToString()
