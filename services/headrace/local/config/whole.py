"""What only the file as a whole can tell: values that are good by themselves and not together."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from headrace.local.config.schema import EMBEDDED, Config, Up

Lines = Mapping[str, int]


class Finding(NamedTuple):
    """One mistake, at a line of the file."""

    line: int
    key: str
    what: str
    fix: str


def findings(config: Config, lines: Lines) -> list[Finding]:
    """Every mistake; `lines` has the line of each key that the file has."""
    return [*_clashes(config, lines), *_prices(config, lines), *_scaling(config, lines)]


def within_bounds(config: Config) -> bool:
    """Whether the policy may leave the number of replicas as it is configured."""
    scaling = config.scaling
    return not scaling.auto or scaling.min <= config.inference.replicas <= scaling.max


def ports(config: Config) -> list[tuple[str, list[int]]]:
    """Every port that the processes need, by the key that sets it; none where a free one is picked."""
    first = config.inference.port
    replicas = [
        port for n in range(config.inference.replicas) for port in (first + 10 * n, first + 10 * n + 1)
    ]
    limits, cache, metering = config.limits, config.cache, config.metering
    valkey = cache.valkey_port if cache.enabled and cache.redis == EMBEDDED else 0
    return [
        ("gateway.port", [config.gateway.port] if config.gateway.port else []),
        ("inference.port", replicas if first else []),
        ("insight.port", _pair(config.insight.port)),
        ("insight.web_port", [config.insight.web_port] if config.insight.web_port else []),
        ("limits.port", _pair(limits.port if limits.enabled else 0)),
        ("cache.port", _pair(cache.port if cache.enabled else 0)),
        ("cache.valkey_port", [valkey] if valkey else []),
        ("metering.port", _pair(metering.port if metering.enabled else 0)),
        ("scaling.port", _pair(config.scaling.port)),
    ]


def _pair(port: int) -> list[int]:
    """A service's port and that of its metrics."""
    return [port, port + 1] if port else []


def _clashes(config: Config, lines: Lines) -> Iterator[Finding]:
    """Ports that two processes would share. Each service also has the port above its own."""
    taken: dict[int, str] = {}
    for key, wanted in ports(config):
        for port in wanted:
            other = taken.setdefault(port, key)
            if other != key:
                line = lines.get(key) or lines.get(other, 1)
                what = f"port {port} is also needed by {other}"
                yield Finding(line, key, what, "choose ports further apart, or 0 for free ones")
                break


def _prices(config: Config, lines: Lines) -> Iterator[Finding]:
    """Books of no day, of one version or of several currencies: nobody could tell what an amount means."""
    books = config.metering.prices
    for n, book in enumerate(books):
        wrong = {}
        if not _is_time(book.effective_time):
            wrong["effective_time"] = f"{book.effective_time!r} is no time", "look at a calendar"
        if book.version in {other.version for other in books[:n]}:
            wrong["version"] = f"version {book.version} occurs twice", "give each book a version of its own"
        if book.currency != books[0].currency:
            what = f"{book.currency} is not the first book's {books[0].currency}"
            wrong["currency"] = what, "use one currency in all books"
        key = f"metering.prices[{n}]"
        for name, (what, fix) in wrong.items():
            yield Finding(lines[key], f"{key}.{name}", what, fix)


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _scaling(config: Config, lines: Lines) -> Iterator[Finding]:
    """Bounds and thresholds that leave no number, or ask for more and for less at once."""
    section = config.scaling
    if section.min > section.max:
        yield _at(
            "scaling.min", lines, f"{section.min} is above scaling.max, {section.max}", "make min the smaller"
        )
    elif not within_bounds(config):
        what = f"{config.inference.replicas} is not within scaling.min and scaling.max, {section.min} and {section.max}"
        yield _at("inference.replicas", lines, what, "change either, or write `scaling: {auto: false}`")
    if section.stale_s < 2 * section.interval_s:
        what = f"{section.stale_s:g} is less than twice scaling.interval_s, {section.interval_s:g}"
        yield _at("scaling.stale_s", lines, what, "a report must be able to be late: write a longer time")
    for name in Up.__struct_fields__:
        up, down = getattr(section.up, name), getattr(section.down, name)
        if down >= up:
            what = f"{down:g} is not below scaling.up.{name}, {up:g}"
            yield _at(
                f"scaling.down.{name}", lines, what, "replicas would come and go: make down the smaller"
            )


def _at(key: str, lines: Lines, what: str, fix: str) -> Finding:
    """At the line of the key, or of the nearest section above it that the file has."""
    above = key
    while above and above not in lines:
        above = above.rpartition(".")[0]
    return Finding(lines.get(above, 1), key, what, fix)
