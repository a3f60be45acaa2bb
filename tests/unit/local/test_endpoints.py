"""Endpoints in files, for a gateway without a scaling."""

import json
from pathlib import Path

import pytest

from headrace.local.endpoints import GRPC, HOT, Endpoint, assignment, files, write_files

REPLICAS = [Endpoint(f"inference-{n}", Path(f"/r/{n}.hot.sock"), Path(f"/r/{n}.grpc.sock")) for n in range(2)]


@pytest.mark.parametrize(
    ("cluster", "sockets"),
    [(HOT, ["/r/0.hot.sock", "/r/1.hot.sock"]), (GRPC, ["/r/0.grpc.sock", "/r/1.grpc.sock"])],
)
def test_each_cluster_lists_its_own_sockets(cluster: str, sockets: list[str]) -> None:
    """One file, one cluster, one socket for each replica; the version is the caller's."""
    document = json.loads(assignment(cluster, REPLICAS, "7"))
    (resource,) = document["resources"]
    assert (document["version_info"], resource["cluster_name"]) == ("7", cluster)
    listed = resource["endpoints"][0]["lb_endpoints"]
    assert [entry["endpoint"]["address"]["pipe"]["path"] for entry in listed] == sockets


def test_no_replica_is_an_empty_list_not_a_missing_file() -> None:
    """Envoy waits for a file that is not there; an empty one it takes."""
    (resource,) = json.loads(assignment(HOT, [], "1"))["resources"]
    assert resource["endpoints"] == []


def test_without_a_hot_socket(tmp_path: Path) -> None:
    """A replica that the gateway reaches over HTTP/2 only is not listed where Envoy would check it in vain."""
    write_files(tmp_path, [Endpoint("inference-0", None, Path("/r/0.grpc.sock"))], "1")
    hot, grpc = (json.loads(files(tmp_path)[name].read_text()) for name in (HOT, GRPC))
    assert hot["resources"][0]["endpoints"] == []
    assert len(grpc["resources"][0]["endpoints"][0]["lb_endpoints"]) == 1
