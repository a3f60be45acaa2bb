"""The command as a program: exit codes, and what costs time."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.cache import ROOT


def headrace(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "services")}
    command = [sys.executable, "-m", "headrace.cli", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["up", "--port", "70000"],
        ["up", "--replicas", "0"],
        ["infer"],
        ["infer", "minilm"],
        ["keys", "create"],
        ["keys", "revoke"],
        ["cost", "--by", "colour"],
        ["cost", "--since", "yesterday"],
    ],
)
def test_usage(tmp_path: Path, arguments: list[str]) -> None:
    """A command that can't be understood: exit code 2, and nothing on stdout."""
    done = headrace(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert not (tmp_path / ".headrace").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["models"],
        ["infer", "minilm", "--text", "a"],
        ["trace", "last"],
        ["cost"],
        ["cost", "--edge"],
        ["limits"],
        ["breakers"],
    ],
)
def test_no_mesh(tmp_path: Path, arguments: list[str]) -> None:
    """Without a mesh: exit code 1, one document, and the command that starts one, called as this one was."""
    done = headrace(*arguments, "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "python -m headrace.cli up`" in json.loads(done.stdout)["error"]["next"]
    assert "Traceback" not in done.stderr


def test_down_without_a_mesh(tmp_path: Path) -> None:
    """Nothing to stop is no failure."""
    done = headrace("down", "--json", cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["stopped"]) == (0, False)


def test_help_needs_no_heavy_imports() -> None:
    """`--help` imports neither gRPC nor numpy."""
    code = "import sys, headrace.cli.app; print([m for m in ('grpc', 'numpy', 'onnx', 'psutil') if m in sys.modules])"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "services")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_config_check(tmp_path: Path) -> None:
    """Row 32: exit code 1 within 2 s, each mistake one line with file, line, key and fix; a good file ends 0."""
    config = tmp_path / "headrace.yaml"
    config.write_text("gateway: {prot: 1}\ninference: {replicas: 0}\n")
    begun = time.monotonic()
    done = headrace("config", "check", cwd=tmp_path)
    seconds = time.monotonic() - begun
    first, second = done.stderr.splitlines()
    assert first.startswith("headrace.yaml:1: gateway.prot: no such key; fix: did you mean 'port'?")
    assert second.startswith(
        "headrace.yaml:2: inference.replicas: must be a whole number (1 to 64), not '0'; fix: "
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert seconds < 2
    config.write_text("gateway: {port: 1}\n")
    assert headrace("config", "check", cwd=tmp_path).returncode == 0


def test_up_with_a_bad_configuration(tmp_path: Path) -> None:
    """`up` starts nothing on a bad file, and names every mistake."""
    (tmp_path / "headrace.yaml").write_text("gateway: {prot: 1}\ninference: {replicas: 0}\n")
    done = headrace("up", "--detach", "--json", "--state-dir", str(tmp_path / "s"), cwd=tmp_path)
    why = json.loads(done.stdout)["error"]["why"]
    assert done.returncode == 1
    assert "gateway.prot" in why
    assert "inference.replicas" in why


def test_state_directory_of_a_long_name(tmp_path: Path) -> None:
    """A path that Unix sockets can't have is refused with its length."""
    done = headrace("up", "--detach", "--json", "--state-dir", str(tmp_path / ("x" * 100)), cwd=tmp_path)
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 1
    assert "107 bytes" in error["why"]


def test_keys(tmp_path: Path) -> None:
    """A token is shown once and listed without its text."""
    made = json.loads(headrace("keys", "create", "--tenant", "a", "--json", cwd=tmp_path).stdout)
    listed = headrace("keys", "list", "--json", cwd=tmp_path).stdout
    (key,) = json.loads(listed)["keys"]
    assert (key["id"], key["tenant"], key["scopes"]) == (made["id"], "a", ["infer"])
    assert made["token"] not in listed
    refused = headrace("keys", "create", "--tenant", "A B", "--json", cwd=tmp_path)
    assert refused.returncode == 1
    assert "tenant 'A B'" in json.loads(refused.stdout)["error"]["why"]


def test_revoke_without_a_mesh(tmp_path: Path) -> None:
    """Only guard can refuse a token: without one nothing is revoked, nothing is put on record, and both are said."""
    made = json.loads(headrace("keys", "create", "--tenant", "a", "--json", cwd=tmp_path).stdout)
    done = headrace("keys", "revoke", made["id"], "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "nothing was revoked" in json.loads(done.stdout)["error"]["what"]
    (key,) = json.loads(headrace("keys", "list", "--json", cwd=tmp_path).stdout)["keys"]
    assert key["revoked_at"] is None


def test_revoke_an_unknown_token(tmp_path: Path) -> None:
    """What was never issued here is named as such; no mesh is looked for."""
    done = headrace("keys", "revoke", "abc", "--json", cwd=tmp_path)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["what"]) == (1, "there is no token 'abc'")


def test_doctor(tmp_path: Path) -> None:
    """What the mesh needs is there on this machine."""
    document = json.loads(headrace("doctor", "--json", cwd=tmp_path).stdout)
    verdicts = {check["check"]: check["verdict"] for check in document["checks"]}
    assert document["ok"] is True
    assert (
        verdicts["envoy"] == verdicts["valkey"] == verdicts["python"] == verdicts["state directory"] == "ok"
    )


def ports_in(document: Any) -> dict[str, str]:
    """What doctor says of each port: its verdict."""
    checks = [check for check in document["checks"] if check["check"].startswith("port ")]
    return {check["check"].removeprefix("port "): check["verdict"] for check in checks}


def test_doctor_looks_at_the_ports_of_the_file(tmp_path: Path) -> None:
    """Of headrace.yaml here or the file that is named: every port of every replica; 0 is any free one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f"gateway: {{port: {port}}}\ninference: {{port: 0}}\n"
        off = "limits: {enabled: false}\nmetering: {port: 0}\ncache: {port: 0, valkey_port: 7250}\n"
        off += "scaling: {port: 0}\n"
        (tmp_path / "headrace.yaml").write_text(text + "insight: {port: 7600, web_port: 0}\n" + off)
        (tmp_path / "other.yaml").write_text("inference: {port: 7100, replicas: 2}\n")
        here = json.loads(headrace("doctor", "--json", cwd=tmp_path).stdout)
    assert set(ports_in(here)) == {str(port), "7600", "7601", "7250"}
    assert ports_in(here)[str(port)] == "warning"
    (held,) = [check for check in here["checks"] if check["check"] == f"port {port}"]
    assert f"pid {os.getpid()}" in held["found"]
    assert "set gateway.port" in held["fix"]
    other = json.loads(headrace("doctor", "--json", "--config", "other.yaml", cwd=tmp_path).stdout)
    expected = {"8080", "7100", "7101", "7110", "7111", "9600", "9601", "9680"}
    expected |= {"9300", "9301", "9200", "9201", "9250", "9400", "9401", "9500", "9501"}
    assert set(ports_in(other)) == expected


def test_doctor_names_a_bad_file(tmp_path: Path) -> None:
    """A mesh of it would not start: doctor fails and says what shows the mistakes."""
    (tmp_path / "headrace.yaml").write_text("gateway: {prot: 1}\n")
    done = headrace("doctor", "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert (done.returncode, document["ok"]) == (1, False)
    (found,) = [check for check in document["checks"] if check["check"] == "configuration"]
    assert found["verdict"] == "failed"
    assert found["fix"] == "run `headrace config check --config headrace.yaml`"
