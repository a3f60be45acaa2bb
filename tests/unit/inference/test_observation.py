"""Triton's log and trace settings."""

import io
import logging

import pytest
import structlog

from headrace.inference.observation import LogSettings, TraceSettings
from headrace.runtime.errors import HeadraceError
from headrace.runtime.logs import LogSwitch, Verbosity, switched_logs
from headrace.runtime.telemetry import quiet

TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


def written(verbosity: Verbosity) -> str:
    """What a process writes at four levels."""
    lines = io.StringIO()
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer()],
        logger_factory=structlog.PrintLoggerFactory(lines),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    try:
        with switched_logs() as made:
            made.verbosity = verbosity
            log = structlog.get_logger()
            log.debug("debug")
            log.info("info")
            log.warning("warning")
            log.error("error")
    finally:
        structlog.configure(**before)
    return " ".join(line.partition("'")[2].rstrip("'") for line in lines.getvalue().splitlines())


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({}, "info warning error"),
        ({"log_info": False}, "warning error"),
        ({"log_warning": False}, "info error"),
        ({"log_info": False, "log_warning": False, "log_error": False}, ""),
        ({"log_verbose_level": 1}, "debug info warning error"),
    ],
)
def test_log_settings_are_what_is_written(settings: dict[str, bool | int | str], lines: str) -> None:
    """From the moment on at which they are set, each level by itself."""
    switch = LogSwitch()
    logs = LogSettings(switch)
    logs.set(settings)
    assert written(switch.verbosity) == lines
    assert settings.items() <= logs.told().items()


def test_the_log_is_as_before_without_the_switch() -> None:
    """A process that embeds a replica keeps its own configuration."""
    before = structlog.get_config()
    with switched_logs():
        assert structlog.get_config() != before
    assert structlog.get_config() == before


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"log_file": "x"}, "log_file"),
        ({"log_format": "ISO8601"}, "log_format"),
        ({"log_info": False, "nonsense": True}, "nonsense"),
        ({"log_info": 1}, "log_info"),
        ({"log_info": None}, "log_info"),
        ({"log_verbose_level": True}, "log_verbose_level"),
        ({"log_verbose_level": -1}, "log_verbose_level"),
        ({"log_verbose_level": 2**32}, "log_verbose_level"),
    ],
)
def test_a_log_setting_that_can_not_be_is_named(settings: dict[str, bool | int | str], field: str) -> None:
    """And nothing beside it is set."""
    switch = LogSwitch()
    with pytest.raises(HeadraceError, match=field) as error:
        LogSettings(switch).set(settings)
    assert error.value.reason == "SETTING_INVALID"
    assert switch.verbosity == Verbosity()


def test_trace_level_off_records_nothing() -> None:
    """Not even of a trace that the caller samples; the trace's id is known all the same."""
    telemetry, exporter = quiet()
    traces = TraceSettings(telemetry)
    assert traces.told()["trace_level"] == ["TIMESTAMPS"]
    traces.set({"trace_level": ["OFF"]})
    span, trace_id = telemetry.begin("/a/b", TRACEPARENT)
    assert (span.is_recording(), trace_id) == (False, "a" * 32)
    assert telemetry.begin("/a/b", None)[1] == ""
    traces.set({"trace_level": []})
    span, _ = telemetry.begin("/a/b", TRACEPARENT)
    assert span.is_recording()
    span.end()
    assert len(exporter.get_finished_spans()) == 1


def test_trace_rate_is_one_in_as_many_of_those_that_begin_here() -> None:
    """A trace that the caller began is the caller's to sample."""
    telemetry, _ = quiet()
    traces = TraceSettings(telemetry)
    traces.set({"trace_rate": ["4"]})
    assert telemetry.sample_ratio == 0.25
    assert telemetry.begin("/a/b", TRACEPARENT)[0].is_recording()
    assert traces.told()["trace_rate"] == ["4"]
    traces.set({"trace_rate": []})
    assert telemetry.sample_ratio == 1.0


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"trace_file": ["x"]}, "trace_file"),
        ({"log_frequency": ["1"]}, "log_frequency"),
        ({"trace_level": ["TENSORS"]}, "trace_level"),
        ({"trace_level": ["OFF"], "trace_rate": ["0"]}, "trace_rate"),
        ({"trace_rate": ["x"]}, "trace_rate"),
        ({"trace_rate": ["1", "2"]}, "trace_rate"),
        ({"trace_rate": ["9" * 5000]}, "trace_rate"),
        ({"trace_mode": ["triton"]}, "trace_mode"),
        ({"trace_count": ["5"]}, "trace_count"),
    ],
)
def test_a_trace_setting_that_can_not_be_is_named(settings: dict[str, list[str]], field: str) -> None:
    """What has nothing behind it here is refused, never taken and ignored."""
    telemetry, _ = quiet()
    traces = TraceSettings(telemetry)
    with pytest.raises(HeadraceError, match=field) as error:
        traces.set(settings)
    assert error.value.reason == "SETTING_INVALID"
    assert traces.told()["trace_level"] == ["TIMESTAMPS"]
