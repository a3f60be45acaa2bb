"""grpcurl 1.8.6 with no proto files: everything it knows it asks the servers by reflection."""

import json
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.commands import output_of, run
from tests.support.mesh import Mesh

HEALTH = "grpc.health.v1.Health"
INFERENCE = "inference.GRPCInferenceService"
OWN = {"inference": INFERENCE, "insight": "headrace.insight.v1.InsightService"}


def addresses(mesh: Mesh) -> dict[str, str]:
    """Where each service and the gateway take gRPC."""
    return {
        "gateway": mesh.gateway,
        **{name: found[0] for name, found in mesh.services.items() if name in OWN},
    }


def ask(
    grpcurl: Path, address: str, *words: str, token: str = "", options: Sequence[str] = ()
) -> CompletedProcess[str]:
    header = ["-H", f"authorization: Bearer {token}"] if token else []
    return run([grpcurl, "-plaintext", "-max-time", "20", *header, *options, address, *words])


@pytest.mark.parametrize("where", ["gateway", "inference", "insight"])
def test_lists_and_describes_every_service(mesh: Mesh, grpcurl: Path, where: str) -> None:
    """`list` names the contract, and `describe` prints every service and method listed."""
    address, token = addresses(mesh)[where], mesh.operator_token
    listed = ask(grpcurl, address, "list", token=token)
    assert listed.returncode == 0, listed.stderr
    services = set(listed.stdout.split())
    assert {OWN.get(where, INFERENCE), HEALTH} <= services
    for service in services:
        described = ask(grpcurl, address, "describe", service, token=token)
        assert described.returncode == 0, described.stderr
        assert f"service {service.rpartition('.')[2]} {{" in described.stdout
        methods = ask(grpcurl, address, "list", service, token=token)
        assert all(name.startswith(service) for name in methods.stdout.split()), methods.stdout


@pytest.mark.parametrize("where", ["gateway", "inference", "insight"])
def test_health_check_answers_without_a_token(mesh: Mesh, grpcurl: Path, where: str) -> None:
    """grpc.health.v1.Health/Check says SERVING to anybody; the services open reflection too, the gateway does not."""
    address = addresses(mesh)[where]
    checked = ask(grpcurl, address, f"{HEALTH}/Check", options=health_contract(mesh, grpcurl, where))
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout) == {"status": "SERVING"}


def test_gateway_reflects_to_nobody_without_a_token(mesh: Mesh, grpcurl: Path) -> None:
    """`list` at the gateway without a token fails."""
    refused = ask(grpcurl, mesh.gateway, "list")
    assert refused.returncode != 0
    assert INFERENCE not in refused.stdout


def health_contract(mesh: Mesh, grpcurl: Path, where: str) -> list[str]:
    """How grpcurl learns Health's messages: at the gateway from a file, elsewhere by reflection."""
    if where != "gateway":
        return []
    file = mesh.state_dir / "health.protoset"
    token = ["-H", f"authorization: Bearer {mesh.operator_token}"]
    output_of([grpcurl, "-plaintext", *token, "-protoset-out", file, mesh.gateway, "describe", HEALTH])
    return ["-protoset", str(file)]


def test_infers_by_reflection(mesh: Mesh, grpcurl: Path) -> None:
    """A call from JSON with a token answers; the same call without one is refused."""
    body = json.dumps({"name": "linear"})
    options, method = ["-d", body], f"{INFERENCE}/ModelReady"
    called = ask(grpcurl, mesh.gateway, method, token=mesh.operator_token, options=options)
    assert json.loads(called.stdout) == {"ready": True}, called.stderr
    refused = ask(grpcurl, mesh.services["inference"][0], method, options=options)
    assert refused.returncode != 0
    assert "ready" not in refused.stdout
