"""`headrace models explain`: why a model's requests are batched as they are."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from headrace.cli.errors import CliError
from headrace.cli.mesh import channel, listed, services, state_of, token
from headrace.cli.output import Output
from headrace.inference.v1.explain_service_pb2 import ExplainModelRequest
from headrace.inference.v1.explain_service_pb2_grpc import ExplainServiceStub
from headrace.inference.v1.explanation_pb2 import BatchRecord, CostCurve, ModelExplanation
from headrace.runtime.channels import bearer

DEADLINE_S = 10.0


def explain(name: str, batches: int, state_dir: Path, output: Output) -> None:
    """The rules, measured costs, queues and last batches of a model, on each replica."""
    state = state_of(state_dir)
    addresses = services(listed(state)).get("inference")
    if not addresses:
        raise CliError("no replica runs", "all of them were stopped", "see `headrace status`")
    request = ExplainModelRequest(model=name, batches=batches)
    found = asyncio.run(_asked(addresses, request, token(state.operator_token)))
    output.document({"model": name, "replicas": [_document(one) for one in found]})
    for one in found:
        show(one, output)


async def _asked(
    addresses: Sequence[str], request: ExplainModelRequest, credential: str
) -> list[ModelExplanation]:
    found = []
    for address in addresses:
        async with channel(address) as opened:
            answer = await ExplainServiceStub(opened).ExplainModel(
                request, timeout=DEADLINE_S, metadata=bearer(credential)
            )
            found.append(answer.explanation)
    return found


LAST_BATCHES = [
    "cut",
    "no more",
    "rows",
    "requests",
    "tenants",
    "waited ms",
    "predicted ms",
    "took ms",
    "padding",
    "runs",
]


def show(one: ModelExplanation, output: Output) -> None:
    """Prints one replica's explanation for a person."""
    output.text(f"{one.model} version {one.version} on {one.replica}")
    if one.steps:
        output.text(f"an ensemble; its steps are batched in their own models' queues: {', '.join(one.steps)}")
        output.text(_counts(one))
        return
    output.text(_rules(one))
    output.text(_counts(one))
    _show_costs(one, output)
    _show_queues(one, output)
    output.text("\nTHE LAST BATCHES, NEWEST FIRST")
    output.table(LAST_BATCHES, [_batch(batch) for batch in one.batches])


def _show_costs(one: ModelExplanation, output: Output) -> None:
    output.text("\nWHAT BATCHES COST")
    if not one.curves:
        output.text("nothing was executed yet")
    for curve in one.curves:
        output.text(_curve(curve))
        output.table(
            ["units", "batches", "us a unit"],
            [
                [f"{size.units:.1f}", str(size.batches), f"{_us(size.unit.ToNanoseconds()):.1f}"]
                for size in curve.sizes
            ],
        )


def _show_queues(one: ModelExplanation, output: Output) -> None:
    output.text("\nWHO WAITS NOW")
    if not one.queues:
        output.text("nobody")
        return
    output.table(
        ["priority", "tenant", "requests", "cost ms", "weight"],
        [
            [
                f"{queue.priority}{' delayed' if queue.delayed else ''}",
                queue.tenant,
                str(queue.requests),
                f"{queue.cost.ToNanoseconds() / 1e6:.1f}",
                f"{queue.weight:g}",
            ]
            for queue in one.queues
        ],
    )


def _rules(one: ModelExplanation) -> str:
    rules = one.rules
    waits = "takes what is there" if rules.eager else f"waits {rules.max_delay.ToNanoseconds() / 1e6:g} ms"
    preferred = ", ".join(map(str, rules.preferred_batch_sizes)) or "none"
    return (
        f"batches of {rules.max_batch_size} at the most, preferred {preferred}; {rules.instances} at once; an idle"
        f" instance {waits}; {rules.priority_levels} priority level(s); padding at most"
        f" {rules.max_padding_share:.0%}"
    )


def _counts(one: ModelExplanation) -> str:
    counts = one.counts
    refused = f"refused {counts.refused_full} (full) and {counts.refused_infeasible} (too late to begin with)"
    return (
        f"executed {counts.executed} requests in {counts.batches} batches, {counts.failed} failed; {refused};"
        f" {counts.expired} expired, {counts.left} left; padding {counts.padding_share:.1%};"
        f" {counts.mixed_up} mixed up"
    )


def _curve(curve: CostCurve) -> str:
    trust = "known" if curve.known else "not trusted yet"
    largest = f"; more than {curve.largest_units} units are not worth running" if curve.largest_units else ""
    return (
        f"shape {curve.shape}: {_us(curve.base.ToNanoseconds()):.0f} us + {_us(curve.unit.ToNanoseconds()):.1f} us"
        f" a unit, {trust}, off by {curve.error:.0%}, {curve.batches} batches{largest}"
    )


def _batch(batch: BatchRecord) -> list[str]:
    times = [batch.waited, batch.predicted, batch.took]
    return [
        batch.cut,
        batch.bound,
        str(batch.rows),
        str(batch.requests),
        str(batch.tenants),
        *(f"{time.ToNanoseconds() / 1e6:.2f}" for time in times),
        f"{batch.padding_share:.0%}",
        str(batch.runs),
    ]


def _us(ns: int) -> float:
    return ns / 1e3


def _document(one: ModelExplanation) -> dict[str, object]:
    document: dict[str, object] = MessageToDict(
        one, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return document
