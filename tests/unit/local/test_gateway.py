"""The gateway's files, without Envoy: tests/contract/gateway runs it."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from headrace.inference.v2 import grpc_service_pb2
from headrace.local import endpoints, gateway
from headrace.local.endpoints import GRPC, HOT
from headrace.local.gateway import GatewaySettings
from headrace.metering.client import EDGE_LINE
from headrace.metering.core.edge_book import BILLED_ROUTES

SETTINGS = GatewaySettings(Path("/state/run"), Path("/state/envoy"))


def rendered(**changed: object) -> dict[str, object]:
    document = yaml.safe_load(gateway.render(replace(SETTINGS, **changed)))  # type: ignore[arg-type]  # a case's settings
    assert isinstance(document, dict)
    return document


def http(document: dict[str, object]) -> dict[str, object]:
    """The HTTP connection manager."""
    found = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]  # type: ignore[index]  # YAML
    config = found["typed_config"]
    assert isinstance(config, dict)
    return config


def test_filters_stand_in_the_order_that_the_readme_explains() -> None:
    """Strip, then limit by address, then verify, then limit by tenant, then transcode, then route."""
    names = [entry["name"] for entry in http(rendered())["http_filters"]]  # type: ignore[attr-defined]  # YAML
    assert names == [
        "headrace.strip",
        "headrace.address_limit",
        "envoy.filters.http.cors",
        "envoy.filters.http.grpc_web",
        "envoy.filters.http.jwt_authn",
        "headrace.tenant_limit",
        "headrace.rest_errors",
        "envoy.filters.http.grpc_json_transcoder",
        "envoy.filters.http.grpc_stats",
        "envoy.filters.http.router",
    ]


@pytest.mark.parametrize(
    "awkward", ["/a b/c", "/a: b", "/a#b", '/a"b', "/$port", "/${x}", "/a\\b", "/\u2603"]
)
def test_any_path_survives_rendering(awkward: str) -> None:
    """Values are quoted, never pasted: no path changes the document's form."""
    document = rendered(run_dir=Path(awkward))
    assert document["admin"]["address"]["pipe"]["path"] == f"{awkward}/envoy-admin.sock"  # type: ignore[index]  # YAML


def test_no_origin_is_allowed_unless_it_is_set() -> None:
    """CORS is off by default."""
    policy = "allow_origin_string_match: []"
    assert policy in gateway.render(SETTINGS)
    assert policy not in gateway.render(replace(SETTINGS, cors_origins=("https://a.example",)))


@pytest.mark.parametrize(("hot_path", "cluster"), [("h1", HOT), ("h2", GRPC)])
def test_the_hot_path_names_the_cluster_of_model_infer(hot_path: str, cluster: str) -> None:
    """ModelInfer and REST go where `hot_path` says; the rest is not moved."""
    routes = http(rendered(hot_path=hot_path))["route_config"]["virtual_hosts"][0]["routes"]  # type: ignore[index]  # YAML
    grpc = {"stream", "grpc-control", "grpc-memory", "grpc", "health", "health-watch"}
    grpc |= {"reflection", "reflection-v1alpha"}
    clusters = {route["name"]: route["route"]["cluster"] for route in routes if "route" in route}
    assert {name for name, where in clusters.items() if where == GRPC} >= grpc
    assert {where for name, where in clusters.items() if name not in grpc} == {cluster}


def test_only_what_is_pure_is_tried_again() -> None:
    """A load or a setting that a replica may have begun is nobody else's to do again."""
    routes = http(rendered())["route_config"]["virtual_hosts"][0]["routes"]  # type: ignore[index]  # YAML
    retried = {route["name"] for route in routes if "retry_policy" in route.get("route", {})}
    assert retried == {
        "infer",
        "infer-web",
        "rest-infer",
        "rest",
        "rest-entry",
        "openai-infer",
        "openai",
        "openai-entry",
    }
    changing = {route["name"]: route["match"] for route in routes if route["name"].endswith("control")}
    assert changing == {
        "rest-control": {"prefix": "/headrace.inference.v1.RestControlService/"},
        "grpc-control": {"prefix": "/inference.GRPCInferenceService/RepositoryModel"},
    }


def test_the_access_log_s_file_is_off_by_default() -> None:
    """It is a file when one is set, with no header that holds a credential."""
    assert http(rendered(metered=False))["access_log"] == []
    logged = json.dumps(http(rendered(access_log=Path("/x.log"), metered=False))["access_log"])
    assert "/x.log" in logged
    assert "authorization" not in logged.lower()


def test_metering_gets_the_access_log_where_it_is_on() -> None:
    """With what usage is booked under and what answers say, with no credential."""
    config = http(rendered())["access_log"][0]["typed_config"]  # type: ignore[index]  # YAML
    assert config["body"] == {"string_value": EDGE_LINE}
    assert len(http(rendered(access_log=Path("/x.log")))["access_log"]) == 2  # type: ignore[arg-type]  # YAML


def test_the_routes_that_metering_looks_for_are_there() -> None:
    """Their names are all that it knows of a request."""
    routes = http(rendered())["route_config"]["virtual_hosts"][0]["routes"]  # type: ignore[index]  # YAML
    names = [route["name"] for route in routes]
    assert set(names) >= BILLED_ROUTES
    assert len(names) == len(set(names))
    infers = {"ModelInfer", "CreateEmbeddings", "Predict", "Generate", "GenerateStream"}
    contracts = (*gateway.REST, grpc_service_pb2)
    for service in (one for file in contracts for one in file.DESCRIPTOR.services_by_name.values()):
        for method in service.methods:
            name = routed(routes, f"/{service.full_name}/{method.name}")
            assert (name in BILLED_ROUTES) == (method.name in infers), (method.full_name, name)


def routed(routes: list[dict[str, Any]], path: str) -> str:
    """The name of the first route that matches; Envoy's regular expressions match the whole path."""
    for route in routes:
        match = route["match"]
        regex = match.get("safe_regex", {}).get("regex")
        if match.get("path") == path or (regex and re.fullmatch(regex, path)):
            return str(route["name"])
        if "prefix" in match and path.startswith(match["prefix"]):
            return str(route["name"])
    raise AssertionError(path)


def test_who_tells_the_replicas() -> None:
    """Scaling, on its socket; or files, where a gateway runs without one. Both clusters ask the same."""
    clusters = {one["name"]: one for one in rendered()["static_resources"]["clusters"]}  # type: ignore[index]  # YAML
    sources = [clusters[name]["eds_cluster_config"]["eds_config"] for name in (HOT, GRPC)]
    assert sources[0] == sources[1] == endpoints.SCALING
    assert "/state/run/scaling.grpc.sock" in str(clusters["scaling"])
    clusters = {
        one["name"]: one
        for one in rendered(endpoints_from="files")["static_resources"]["clusters"]  # type: ignore[index]  # YAML
    }
    for name in (HOT, GRPC):
        source = clusters[name]["eds_cluster_config"]["eds_config"]
        assert source["path_config_source"] == {"path": f"/state/envoy/eds-{name}.yaml"}


def test_writing_again_leaves_endpoints_alone(tmp_path: Path) -> None:
    """A gateway that starts anew finds the replicas of before, and no half-written file lies about."""
    settings = replace(SETTINGS, config_dir=tmp_path / "envoy")
    gateway.write(settings)
    endpoints.write_files(settings.config_dir, (), "4")
    gateway.write(settings)
    assert json.loads(endpoints.files(settings.config_dir)[HOT].read_text())["version_info"] == "4"
    names = {"envoy.yaml", "rest.pb", f"eds-{HOT}.yaml", f"eds-{GRPC}.yaml"}
    assert {path.name for path in settings.config_dir.iterdir()} == names


def test_the_descriptor_set_stands_on_its_own() -> None:
    """The transcoder finds every type in it, each after what it needs, and the HTTP rules."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(gateway.descriptor_set()).file:
        pool.Add(file)
    service = pool.FindServiceByName("headrace.inference.v1.RestService")
    rules = [method.GetOptions().SerializeToString() for method in service.methods]
    assert all(rules)
    assert annotations_pb2.DESCRIPTOR.name == "google/api/annotations.proto"
    for detail in ("ErrorInfo", "RetryInfo", "BadRequest", "QuotaFailure"):
        pool.FindMessageTypeByName(f"google.rpc.{detail}")


def test_the_rest_limit_leaves_room_for_names() -> None:
    """A body at its limit still makes a message that a replica takes."""
    assert SETTINGS.max_rest_body_bytes < SETTINGS.max_message_bytes
    assert SETTINGS.max_message_bytes - SETTINGS.max_rest_body_bytes >= 60 * 1024


def test_the_command_runs_any_number_of_gateways_on_a_machine() -> None:
    """Without --disable-hot-restart a second Envoy fails on the first one's shared memory."""
    command = gateway.command(Path("/bin/envoy"), replace(SETTINGS, concurrency=3))
    assert command[:3] == ["/bin/envoy", "--config-path", "/state/envoy/envoy.yaml"]
    assert command[command.index("--concurrency") + 1] == "3"
    assert "--disable-hot-restart" in command
