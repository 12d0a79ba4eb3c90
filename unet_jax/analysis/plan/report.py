"""Shows plans as text."""

from collections.abc import Sequence

from unet_jax.analysis.plan.estimate import Estimate
from unet_jax.analysis.plan.plan import Plan
from unet_jax.plotting.text_table import format_table
from unet_jax.runtime.program_cost import Cost

PREFIXES = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
NOT_COUNTED = (
    "Not counted: reading and preparing images, evaluation, checkpoints, scratch memory of single kernels, the next batch, "
    "latency of the links. XLA counts the bytes of every operand of every operation, so the time by memory bandwidth is an "
    "upper estimate."
)


def text(plans: Sequence[Plan]) -> str:
    """Returns every plan as text, and below them the assumptions."""
    parts = ["\n".join(_plan(plan)) for plan in plans]
    efficiency = plans[0].efficiency
    assumed = (
        f"Expected time of a step: the longer of its two bounds divided by {efficiency:.0%} (--efficiency; measure a step to "
        "know it), plus its all-reduces, which are assumed not to overlap."
    )
    ring = (
        "All-reduces: one ring through all chips, 2 (n - 1) / n · bytes / bandwidth, with both links of a chip in the ring."
        if any(plan.target.ring for plan in plans)
        else "All-reduces between local devices are not counted: the speed of their links is unknown."
    )
    return "\n\n".join([*parts, "\n".join([assumed, ring, NOT_COUNTED])])


def _plan(plan: Plan) -> list[str]:
    target, program = plan.target, plan.program
    origin = "the largest found to fit, by compiling it" if plan.is_largest else "from the config"
    lines = [
        f"{target.name}: {len(target.devices)} x {target.kind}, {program.batch} images on each ({origin})",
        *_figures(plan),
    ]
    if not program.cost:
        lines.append(
            f"  DOES NOT FIT: the compiler plans more than {_bytes(target.capacity)}; "
            "lower train.batch_size, or use --fit to search for a batch that fits"
        )
        return lines
    return [*lines, *_memory(plan, program.cost), *_time(plan, program.cost), *_scaling(plan.scaling)]


def _figures(plan: Plan) -> list[str]:
    target = plan.target
    links = f", {_unit(target.ring, 'B/s')} around a ring" if target.ring else ""
    return [
        f"  {_bytes(target.capacity)}, {_unit(target.flops, 'FLOP/s')}, {_unit(target.bandwidth, 'B/s')}{links}: {target.origin}"
    ]


def _memory(plan: Plan, cost: Cost) -> list[str]:
    sizes = plan.sizes
    verdict = (
        "fits" if plan.fits else "DOES NOT FIT: lower train.batch_size, or use --fit to search for a batch that fits"
    )
    rows = [
        ("parameters", _bytes(sizes["parameter_bytes"]), f"{sizes['parameters']:,}"),
        ("running statistics", _bytes(sizes["statistics_bytes"]), ""),
        ("optimiser state", _bytes(sizes["optimiser_bytes"]), ""),
        ("batch", _bytes(plan.program.batch * sizes["example_bytes"]), ""),
        (
            "activations",
            _bytes(cost.temporary),
            f"and other temporaries, such as gradients of {_bytes(sizes['parameter_bytes'])}",
        ),
        ("peak", _bytes(cost.peak), f"{plan.program.peak / plan.target.capacity:.1%} of the memory: {verdict}"),
    ]
    if sizes["average_bytes"]:
        rows.insert(3, ("moving average", _bytes(sizes["average_bytes"]), ""))
    return ["  memory per device", *_indented(format_table(rows, left=(0, 2)))]


def _time(plan: Plan, cost: Cost) -> list[str]:
    step, batch = plan.estimate, plan.program.batch
    if plan.program.reduced:
        gradients = _bytes(plan.sizes["parameter_bytes"])
        counted = (
            f"{plan.program.reduces} in the program: gradients {gradients}, BatchNorm's statistics, loss and counts"
        )
    else:
        counted = "gradients only, by their size: the program of one device has no all-reduce"
    seconds = f", {_seconds(step.reduce_s)}" if plan.target.ring else ""
    return [
        f"  per image: {_unit(cost.flops / batch, 'FLOP')}, {_bytes(cost.moved / batch)} moved",
        f"  roofline of a step: {_seconds(step.flops_s)} by FLOPs, {_seconds(step.memory_s)} by memory bandwidth; "
        f"bound by {step.binds}",
        f"  all-reduces: {_bytes(plan.reduced)}{seconds} ({counted})",
        f"  expected: {_seconds(step.step_s)} per step, {_count(step.images_per_s)} images/s",
    ]


def _scaling(steps: Sequence[Estimate]) -> list[str]:
    if not steps:
        return []
    rows = [("chips", "batch", "all-reduces", "images/s", "scaling efficiency")]
    for step in steps:
        batch, images = step.num_devices * step.batch, _count(step.images_per_s)
        rows.append(
            (str(step.num_devices), str(batch), _seconds(step.reduce_s), images, f"{step.scaling_efficiency:.1%}")
        )
    title = "  scaling: the same batch per chip; efficiency is relative to as many chips without all-reduces"
    return [title, *_indented(format_table(rows))]


def _indented(table: str) -> list[str]:
    return [f"    {line}" for line in table.splitlines()]


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
