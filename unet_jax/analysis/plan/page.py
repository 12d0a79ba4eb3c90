"""The plan as a printed page."""

from collections.abc import Sequence

from unet_jax.analysis.plan.estimate import Estimate
from unet_jax.analysis.plan.plan import Plan

PREFIXES = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
NOT_COUNTED = (
    "Not counted: reading and preparing images, evaluation, checkpoints, scratch of single kernels, the batch that waits for "
    "the next step, latency of the links. XLA counts the bytes of every operand of every operation, so the memory's bound "
    "is on the high side."
)


def page(plans: Sequence[Plan]) -> str:
    """Every plan, and below them what is assumed."""
    parts = ["\n".join(_plan(plan)) for plan in plans]
    efficiency = plans[0].efficiency
    assumed = (
        f"Expected: a step takes the longer of its two bounds over {efficiency:.0%} (--efficiency; a measured step tells it), "
        "and then its all-reduces, as if nothing else were done meanwhile."
    )
    ring = (
        "All-reduces: one ring through all chips, 2 (n - 1) / n · bytes / bandwidth, by both links that a chip has in it."
        if any(plan.target.ring for plan in plans)
        else "All-reduces between local devices are not counted: nothing is known of what links them."
    )
    return "\n\n".join([*parts, "\n".join([assumed, ring, NOT_COUNTED])])


def _plan(plan: Plan) -> list[str]:
    target, program = plan.target, plan.program
    why = "the largest found to fit, by compiling it" if plan.is_largest else "of the config"
    lines = [
        f"{target.name}: {len(target.devices)} x {target.kind}, {program.batch} images on each ({why})",
        *_figures(plan),
    ]
    if not program.cost:
        lines.append(
            f"  DOES NOT FIT: the compiler finds no way into {_bytes(target.capacity)}; "
            "lower train.batch_size, or let --fit find what fits"
        )
        return lines
    return [*lines, *_memory(plan), *_time(plan), *_scaling(plan.scaling)]


def _figures(plan: Plan) -> list[str]:
    target = plan.target
    links = f", {_unit(target.ring, 'B/s')} around a ring" if target.ring else ""
    return [
        f"  {_bytes(target.capacity)}, {_unit(target.flops, 'FLOP/s')}, {_unit(target.bandwidth, 'B/s')}{links}: {target.origin}"
    ]


def _memory(plan: Plan) -> list[str]:
    cost, sizes = plan.program.cost, plan.sizes
    verdict = "fits" if plan.fits else "DOES NOT FIT: lower train.batch_size, or let --fit find what fits"
    rows = [
        ("parameters", _bytes(sizes["parameter_bytes"]), f"{sizes['parameters']:,}"),
        ("running statistics", _bytes(sizes["statistics_bytes"]), ""),
        ("optimiser state", _bytes(sizes["optimiser_bytes"]), ""),
        *([("moving average", _bytes(sizes["average_bytes"]), "")] if sizes["average_bytes"] else []),
        ("batch", _bytes(plan.program.batch * sizes["example_bytes"]), ""),
        (
            "activations",
            _bytes(cost.temporary),
            f"and all else that is not kept, gradients of {_bytes(sizes['parameter_bytes'])} among it",
        ),
        ("peak", _bytes(cost.peak), f"{plan.program.peak / plan.target.capacity:.1%} of the memory: {verdict}"),
    ]
    return ["  memory of a device", *(f"    {name:20}{size:>10}  {note}".rstrip() for name, size, note in rows)]


def _time(plan: Plan) -> list[str]:
    cost, step, batch = plan.program.cost, plan.estimate, plan.program.batch
    if plan.program.reduced:
        counted = f"{plan.program.reduces} in the program: gradients {_bytes(plan.sizes['parameter_bytes'])}, "
        counted += "and BatchNorm's statistics, loss and counts"
    else:
        counted = "gradients alone, by their size: with one device the program has none"
    seconds = f", {_seconds(step.reduce_s)}" if plan.target.ring else ""
    return [
        f"  an image: {_unit(cost.flops / batch, 'FLOP')}, {_bytes(cost.moved / batch)} moved",
        f"  a step at the peaks: {_seconds(step.flops_s)} by FLOPs, {_seconds(step.memory_s)} by memory bandwidth; {step.binds} binds",
        f"  all-reduces: {_bytes(plan.reduced)}{seconds} ({counted})",
        f"  expected: {_seconds(step.step_s)} a step, {_count(step.images_per_s)} images/s",
    ]


def _scaling(steps: Sequence[Estimate]) -> list[str]:
    if not steps:
        return []
    rows = [
        f"    {step.num_devices:5}{step.num_devices * step.batch:8}{_seconds(step.reduce_s):>12}{_count(step.images_per_s):>12}{step.share:>9.1%}"
        for step in steps
    ]
    return [
        "  the same batch on more chips, links by the formula",
        "    chips   batch  all-reduces    images/s    share of what chips without links would do",
        *rows,
    ]


def _bytes(number: float) -> str:
    return _unit(number, "B")


def _unit(number: float, unit: str) -> str:
    prefix, factor = next((each for each in PREFIXES if number >= each[1]), ("", 1))
    return f"{number / factor:.4g} {prefix}{unit}"


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _seconds(number: float) -> str:
    unit, factor = next(((u, f) for u, f in (("s", 1), ("ms", 1e-3)) if number >= f), ("µs", 1e-6))
    return f"{number / factor:.3g} {unit}"
