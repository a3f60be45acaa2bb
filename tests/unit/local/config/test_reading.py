"""headrace.yaml: every mistake at once, each with file, line, key and fix (row 32)."""

import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.local.config.reading import MAX_CONFIG_BYTES, ConfigError, Problem, parse, read
from headrace.local.config.schema import Config

BOOK = "{version: 1, effective_time: 2026-01-31T00:00:00Z"
BAD = [
    ("gateway: {prot: 8080}", 1, "gateway.prot", "did you mean 'port'?"),
    ("gatway: {}", 1, "gatway", "did you mean 'gateway'?"),
    (
        "zebra: {}",
        1,
        "zebra",
        "known here: gateway, inference, insight, limits, cache, metering, scaling, telemetry",
    ),
    ("gateway: {port: 80800}", 1, "gateway.port", "`port: 8080`"),
    ("gateway: {port: eighty}", 1, "gateway.port", "0 to 65534"),
    ("gateway: {port: true}", 1, "gateway.port", "0 to 65534"),
    ("gateway:\n  hot_path: h3", 2, "gateway.hot_path", "one of h1, h2"),
    ("gateway: {cors_origins: 'https://a.example'}", 1, "gateway.cors_origins", "a list"),
    ("gateway: {cors_origins: [a.example]}", 1, "gateway.cors_origins[0]", "https://app.example.com"),
    ("gateway: {access_log: sometimes}", 1, "gateway.access_log", "true or false"),
    ("gateway:\n  limits:\n    max_message_bytes: 10", 3, "gateway.limits.max_message_bytes", "1024 to"),
    ("inference: {replicas: 0}", 1, "inference.replicas", "1 to 64"),
    ("inference: {replicas: 1.5}", 1, "inference.replicas", "1 to 64"),
    ("inference: {replicas: }", 1, "inference.replicas", "`replicas: 1`"),
    ("inference: [1]", 1, "inference", "a mapping"),
    ("inference:\n  models:\n    a: {max_queue: -1}", 3, "inference.models.a.max_queue", "`max_queue: 512`"),
    ("inference:\n  models:\n    a: {max_qeue: 1}", 3, "inference.models.a.max_qeue", "'max_queue'"),
    ("inference:\n  replicas: 1\n  replicas: 2", 3, "inference.replicas", "line 2"),
    ("limits: {rate: 0}", 1, "limits.rate", "0.001 to"),
    ("limits: {enabled: maybe}", 1, "limits.enabled", "true or false"),
    ("limits: {breaker: {failures: 0}}", 1, "limits.breaker.failures", "1 to"),
    ("limits:\n  tenants:\n    acme: {rate: -1}", 3, "limits.tenants.acme.rate", "`rate: 1000`"),
    ("limits:\n  tenants:\n    Acme: {rate: 1}", 3, "limits.tenants.Acme", "`acme: …`"),
    ("limits:\n  tenants:\n    acme: {brust: 1}", 3, "limits.tenants.acme.brust", "'burst'"),
    ("cache: {ttl_s: 0}", 1, "cache.ttl_s", "1 to"),
    ("cache: {max_bytes: 1}", 1, "cache.max_bytes", "1048576 to"),
    ("cache: {redis: 'redis.example:6379'}", 1, "cache.redis", "redis://cache@redis.example:6379"),
    ("cache: {redis: 'redis://u:secret@h:6379'}", 1, "cache.redis", "redis_password_file"),
    ("cache: {valkey_port: 9101}", 1, "cache.valkey_port", "further apart"),
    ("metering: {port: 9601}", 1, "metering.port", "further apart"),
    ("metering: {prices: [{version: 1}]}", 1, "metering.prices[0].effective_time", "2026-01-31T00:00:00Z"),
    (f"metering: {{prices: [{BOOK}, api_call: cheap}}]}}", 1, "metering.prices[0].api_call", "0.05"),
    (f"metering: {{prices: [{BOOK}, api_call: 1e-3}}]}}", 1, "metering.prices[0].api_call", "decimal"),
    (f"metering: {{prices: [{BOOK}, gpu_huor: 1}}]}}", 1, "metering.prices[0].gpu_huor", "'gpu_hour'"),
    (
        "metering: {prices: [{version: 1, effective_time: 2026-02-30T00:00:00Z}]}",
        1,
        "metering.prices[0].effective_time",
        "calendar",
    ),
    (f"metering: {{prices: [{BOOK}}}, {BOOK}}}]}}", 1, "metering.prices[1].version", "of its own"),
    (
        f"metering: {{prices: [{BOOK}}}, {{version: 2, effective_time: '2027-01-01 00:00+01:00', currency: EUR}}]}}",
        1,
        "metering.prices[1].currency",
        "one currency",
    ),
    (
        "metering: {prices: [{version: 1, effective_time: 2026-01-31}]}",
        1,
        "metering.prices[0].effective_time",
        "with its zone",
    ),
    ("telemetry: {otlp_endpoint: ['http://h:4317']}", 1, "telemetry.otlp_endpoint[0]", "localhost:4317"),
    ("telemetry: {sample_ratio: 2}", 1, "telemetry.sample_ratio", "0 to 1"),
    ("telemetry: {sample_ratio: .nan}", 1, "telemetry.sample_ratio", "0 to 1"),
    ("scaling: {port: 9601}", 1, "scaling.port", "further apart"),
    ("scaling: {min: 0}", 1, "scaling.min", "1 to 64"),
    ("scaling: {max: many}", 1, "scaling.max", "max: 10"),
    ("scaling: {interval: 5}", 1, "scaling.interval", "interval_s"),
    ("scaling: {up: {cpu: 70}}", 1, "scaling.up.cpu", "a number (0 to 1)"),
    ("scaling: {up: {disk: 0.5}}", 1, "scaling.up.disk", "cpu, memory, gpu, response_s, queue"),
    ("scaling:\n  min: 4\n  max: 3", 2, "scaling.min", "the smaller"),
    ("inference:\n  port: 0\n  replicas: 11", 3, "inference.replicas", "auto: false"),
    ("scaling:\n  min: 2", 1, "inference.replicas", "change either"),
    ("scaling:\n  interval_s: 10", 2, "scaling.stale_s", "a longer time"),
    ("scaling:\n  down:\n    queue: 50", 3, "scaling.down.queue", "make down the smaller"),
    ("scaling:\n  up: {cpu: 0.3}", 2, "scaling.down.cpu", "make down the smaller"),
    ("insight: {port: 9101}", 1, "insight.port", "further apart"),
    ("insight: {store_bytes: 1}", 1, "insight.store_bytes", "16777216 to"),
    ("gateway: {port: 9101}", 1, "inference.port", "further apart"),
    ("gateway: {", 1, "", "indent"),
    ("- 1", 1, "", "sections"),
    ("a: b: c", 1, "", "indent"),
    ("? [1]\n: 2", 1, "", "key: value"),
    ("gateway: &x\n  <<: *x", 2, "gateway", "key: value"),
    ("[" * 5000, 1, "", "indent"),
]


def problems(text: str | bytes) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode() if isinstance(text, str) else text, "headrace.yaml")
    return caught.value.problems


@pytest.mark.parametrize(("text", "line", "key", "fix"), BAD)
def test_bad(text: str, line: int, key: str, fix: str) -> None:
    """A mistake is one line of text that names file, line, key and fix."""
    (problem,) = problems(text)
    assert (problem.line, problem.key) == (line, key)
    assert fix in problem.fix
    assert str(problem).startswith(f"headrace.yaml:{line}: {key}".rstrip())
    assert "\n" not in str(problem)


def test_all_at_once() -> None:
    """All mistakes of a file are found in one go, ordered by line, in well under 2 s."""
    text = "\n".join(["inference:", "  models:", *(f"    m{n}: {{max_queue: 0}}" for n in range(500))])
    begun = time.perf_counter()
    found = problems(text)
    assert time.perf_counter() - begun < 2
    assert [problem.line for problem in found] == list(range(3, 503))


@pytest.mark.parametrize(
    "text", ["", "# nothing", "gateway:", "gateway: {}\ninference:\n  models:\n    linear:\n"]
)
def test_nothing_said(text: str) -> None:
    """An empty file, an empty section and a comment leave the defaults."""
    config = parse(text.encode(), "f")
    assert config.gateway == Config().gateway
    assert config.inference.replicas == 1


def test_good() -> None:
    """What is said is what one gets; a whole number may stand where a fraction is wanted."""
    config = parse(
        b"gateway: {port: 0, hot_path: h2, cors_origins: ['https://a.example']}\n"
        b"inference: {replicas: 2, models: {linear: {max_queue: 7, eager: false}}}\n"
        b"telemetry: {otlp_endpoint: [insight, 'jaeger:4317', '[::1]:4317'], sample_ratio: 1}\n",
        "f",
    )
    assert (config.gateway.port, config.gateway.hot_path) == (0, "h2")
    assert (config.inference.models["linear"].max_queue, config.inference.models["linear"].eager) == (
        7,
        False,
    )
    assert config.telemetry.otlp_endpoint == ["insight", "jaeger:4317", "[::1]:4317"]


def test_prices_are_what_was_written() -> None:
    """A price reaches metering digit by digit: never as a float."""
    config = parse(f"metering: {{prices: [{BOOK}, api_call: 0.001, network_gb: 0.30}}]}}".encode(), "f")
    (book,) = config.metering.prices
    assert (book.version, book.effective_time) == ("1", "2026-01-31T00:00:00Z")
    assert (book.api_call, book.network_gb, book.currency) == ("0.001", "0.30", "USD")


def test_passwords_are_not_shown() -> None:
    """An address that is refused for the password in it is shown without: what is said of it ends in logs."""
    (problem,) = problems("cache: {redis: 'redis://u:secret@h:6379'}")
    assert "secret" not in str(problem)


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is a problem with its name."""
    with pytest.raises(ConfigError, match=r"absent\.yaml.*No such file"):
        read(tmp_path / "absent.yaml")


def test_huge_file(tmp_path: Path) -> None:
    """A file that can't be a configuration is not read whole."""
    path = tmp_path / "f"
    path.write_bytes(b"#" * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="more than"):
        read(path)


@given(
    st.binary(max_size=200) | st.text(alphabet="gatewyport: {}[]&*!\n-#'\"0.", max_size=200).map(str.encode)
)
def test_never_anything_else(data: bytes) -> None:
    """Whatever the bytes are: a configuration or a ConfigError."""
    with suppress(ConfigError):
        assert isinstance(parse(data, "f"), Config)
