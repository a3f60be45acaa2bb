"""`headrace chaos` on a mesh of its own."""

import json

import pytest

from tests.support.place import Place

pytestmark = [pytest.mark.chaos, pytest.mark.mesh]


def test_chaos_command(place: Place) -> None:
    """Kills and holds what it is told, waits until that is back, counts calls; refuses what is not the supervisor's."""
    place.up()
    killed = place.ask("chaos", "kill", "cache", "--load", "100")
    assert (killed["process"], killed["restarts"]) == ("cache", 1)
    assert killed["pid_after"] == place.pid("cache") != killed["pid"]
    assert killed["calls"]["sent"] > 0
    assert killed["calls"]["failed"] == {}
    held = place.ask("chaos", "stop", "guard", "--for", "0.5", "--load", "100")
    assert held["pid_after"] == held["pid"] == place.pid("guard")
    assert held["calls"]["failed"] == {}
    assert held["healthy_s"] >= 0.5
    before = {one["name"]: one["pid"] for one in place.ask("status")["processes"]}
    for name in ("nobody", str(before["guard"]), "supervisor"):
        refused = place.run("chaos", "kill", name, "--json", "--state-dir", str(place.state.root))
        assert refused.returncode == 1
        assert "is no process of this mesh" in json.loads(refused.stdout)["error"]["what"]
    assert {one["name"]: one["pid"] for one in place.ask("status")["processes"]} == before


def test_chaos_without_a_mesh(place: Place) -> None:
    """Says that there is none."""
    done = place.run("chaos", "kill", "guard", "--json", "--state-dir", str(place.state.root))
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["what"] == "no mesh runs here"
