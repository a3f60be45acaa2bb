"""What gRPC's core is told."""

from headrace.runtime.grpc_core import EXPERIMENTS, settle


def test_what_was_set_stays() -> None:
    """Whoever looks for a fault in the core may want another setting."""
    own = {EXPERIMENTS: "event_engine_client"}
    settle(own)
    assert own == {EXPERIMENTS: "event_engine_client"}


def test_sockets_need_no_workers() -> None:
    """Neither those of clients nor those of servers."""
    environ: dict[str, str] = {}
    settle(environ)
    assert environ[EXPERIMENTS].split(",") == ["-event_engine_client", "-event_engine_listener"]
