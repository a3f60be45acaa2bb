"""A real replica's load, as scaling hears it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from headrace.inference.app import build
from headrace.inference.demo.catalogue import demo_models
from headrace.inference.demo.layout import lay_out
from headrace.inference.settings import InferenceSettings, RepositorySettings
from headrace.local.keys import KeyStore
from headrace.runtime.clock import SystemClock
from headrace.scaling.collector import collecting
from headrace.scaling.core.signals import Signal, Signals, View
from tests.fakes.scaling import replica

HERE = ["inference-0"]


async def view_that(signals: Signals, holds: Callable[[View], bool]) -> View:
    """The view as soon as it is so."""
    async with asyncio.timeout(20.0):
        while True:
            view = signals.view(HERE, SystemClock().monotonic())
            if holds(view):
                return view
            await asyncio.sleep(0.05)


async def test_a_replica_is_heard_lost_and_heard_again(tmp_path: Path) -> None:
    """All signals but a GPU's; none while it is gone, which is not the same as a load of nothing; all when it is back."""
    lay_out(tmp_path / "models", models=[model for model in demo_models() if model.name == "linear"])
    keys = KeyStore(tmp_path / "keys", clock=SystemClock())
    keys.issue("t", ("infer",), 60)
    settings = InferenceSettings(
        listen="127.0.0.1:0",
        metrics_listen="",
        grpc_socket=tmp_path / "r.sock",
        repository=RepositorySettings(tmp_path / "models"),
        jwks=keys.jwks_path,
        drain_grace_s=30.0,
    )
    signals = Signals(smoothing_s=0.1, stale_s=0.5)
    one = replace(replica(0), grpc_socket=str(settings.grpc_socket))
    async with collecting(signals, 0.1, SystemClock()) as collector:
        collector.follow([one])
        async with build(settings):
            view = await view_that(signals, lambda view: not view.silent)
            assert set(view.values) == set(Signal) - {Signal.GPU}
            assert 0.0 < view.values[Signal.MEMORY] <= 1.0
            assert view.values[Signal.QUEUE] == 0.0
            began = SystemClock().monotonic()
        # Its stream was open, and did not hold up its drain.
        assert SystemClock().monotonic() - began < settings.drain_grace_s / 2
        view = await view_that(signals, lambda view: bool(view.silent))
        assert (view.silent, view.values) == (("inference-0",), {})
        async with build(settings):
            await view_that(signals, lambda view: not view.silent)


async def test_who_is_not_followed_is_not_heard(tmp_path: Path) -> None:
    """A replica that is not there makes no error; one that left is not asked any more."""
    signals = Signals(smoothing_s=0.1, stale_s=0.5)
    async with collecting(signals, 0.1, SystemClock()) as collector:
        collector.follow([replace(replica(0), grpc_socket=str(tmp_path / "none.sock"))])
        await asyncio.sleep(0.05)
        collector.follow([])
    assert signals.view(HERE, 0.0).silent == ("inference-0",)
