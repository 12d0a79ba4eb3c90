"""The plan of a run: sizes and sums against those done by hand, times by formula, the batch that fits, and what is refused."""

import dataclasses
import json
import time
from types import SimpleNamespace

import jax
import pytest

from configs import default
from unet_jax.analysis.plan import __main__ as program
from unet_jax.analysis.plan import compile, devices, estimate, fit, plan, reduces, report, work
from unet_jax.analysis.plan.compile import Program
from unet_jax.analysis.plan.devices import Target
from unet_jax.data.augment.options import AugmentOptions
from unet_jax.errors import UserError
from unet_jax.runtime import parallel, roofline
from unet_jax.runtime.program_cost import Cost

# U-Net of widths 2 and 3, one channel in, three classes out: convolutions without bias in front of BatchNorm's two
# parameters a channel; then the transposed convolution and the head, which have one.
NORMS = (2, 2, 3, 3, 2, 2)  # channels of each BatchNorm
KERNELS = 9 * (1 * 2 + 2 * 2 + 2 * 3 + 3 * 3 + 4 * 2 + 2 * 2) + 4 * 3 * 2 + 2 * 3
PARAMETERS = KERNELS + 2 * sum(NORMS) + 2 + 3
SIZE = 16
EXAMPLE = SIZE * SIZE * (4 + 4 + 1)  # image float32, mask int32, valid bool


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Neither the peaks nor the speed of the programs matter here."""
    for name, value in (("PRODUCT_SIZE", 16), ("COPY_BYTES", 1 << 12), ("ROUNDS", 1)):
        monkeypatch.setattr(roofline, name, value)
    monkeypatch.setattr(parallel, "CPU_STEP_OPTIONS", {"xla_backend_optimization_level": 0})


@pytest.fixture
def config(cache_dir):
    found = default.get_config()
    found.model = default.unet()
    found.model.widths = (2, 3)
    found.loss.weights.dice = 0.0
    found.augment = dataclasses.asdict(AugmentOptions())  # all off: a third of the compilation
    found.data.patch = (SIZE, SIZE)
    found.data.cache_dir = cache_dir
    found.train.batch_size = 8
    return found


def create(config, **chosen):
    return plan.create_plans(config, channels=1, classes=3, say=lambda text: None, **chosen)


def made_up(peak, batch=2, flops=1e9, moved=1e8, **options):
    return Program(batch, Cost(flops, peak, 0, 0, moved=moved), **options)


def chips(**options):
    figures = {"capacity": 100.0, "flops": 1e12, "bandwidth": 1e11, "ring": 1e11} | options
    return Target(name="v5e:2x2", kind="chip", devices=(None,) * 4, origin="made up", **figures)


def test_sizes_and_sums_are_those_done_by_hand(config, monkeypatch):
    (found,) = create(config)
    sizes, cost = found.sizes, found.program.cost
    assert sizes["parameters"] == PARAMETERS
    assert sizes["parameter_bytes"] == 4 * PARAMETERS
    assert sizes["statistics_bytes"] == 4 * 2 * sum(NORMS)
    assert sizes["optimiser_bytes"] == 4 * (2 * PARAMETERS + 2)  # two moments, and two counts of steps
    assert sizes["example_bytes"] == EXAMPLE
    assert found.program.batch == 2  # of 8, on 4 devices
    state = 4 + sizes["parameter_bytes"] + sizes["statistics_bytes"] + sizes["optimiser_bytes"]
    assert cost.argument == state + 2 * EXAMPLE
    assert cost.aliased == state
    # Gradients; of each BatchNorm two sums a channel, forward and back; tp, fp, fn; and the loss's sum and weight.
    summed = 4 * PARAMETERS + 2 * 4 * 2 * sum(NORMS) + 3 * 3 * 4
    assert 0 < found.reduced - summed <= 4 * 4
    # Two thirds of a step's convolutions are gradients: by the input and by the kernel, but for the first.
    forward = 2 * 2 * 9 * (SIZE**2 * (2 + 4 + 8 + 4) + (SIZE // 2) ** 2 * (6 + 9))
    assert 2 * forward < cost.flops < 6 * forward

    text = report.text([found])
    assert f"{PARAMETERS:,}" in text
    assert f"{found.estimate.binds} binds" in text
    assert "4 x cpu, 2 images on each (of the config)" in text
    assert "chips" not in text.split("\n\n")[0]  # nothing is known of links between CPU devices

    monkeypatch.setattr(compile, "_facts", lambda *given: pytest.fail("compiled again"))
    (again,) = create(config)
    assert again.program == found.program


def test_a_topology_that_is_not_there_runs_the_same_step(config, monkeypatch):
    job = work.create_work(config, work.open_data(config, 1, 3), None)
    part = {name: jax.ShapeDtypeStruct((2, *x.shape), x.dtype) for name, x in job.example.items()}
    local = jax.local_devices()
    here = compile.lower(job.step, job.state, part, local).as_text()
    monkeypatch.setattr(jax, "local_devices", lambda: [])
    there = compile.lower(job.step, job.state, part, local).as_text()
    assert "num_partitions = 4" in there
    for operation in ("convolution", "all_reduce", "dot_general"):
        assert there.count(f"stablehlo.{operation}") == here.count(f"stablehlo.{operation}")
    assert there.count("stablehlo.all_reduce") >= 2 * len(NORMS)
    assert f"tensor<8x{SIZE}x{SIZE}x1xf32>" in there  # 2 images on each of 4
    assert there.count("tf.aliasing_output") + there.count("jax.buffer_donor") == len(jax.tree.leaves(job.state))


def test_what_was_compiled_once_is_remembered(monkeypatch, tmp_path):
    compiled, text = [], ["program"]
    facts = {"cost": dataclasses.asdict(Cost(1.0, 2, 3, 4)), "reduces": 1, "reduced": 5}
    monkeypatch.setattr(compile, "lower", lambda *given: SimpleNamespace(as_text=lambda: text[0]))
    monkeypatch.setattr(compile, "_facts", lambda *given: compiled.append(given) or facts)
    job, target, said = work.Work(None, None, {}, 8), devices.create_target("local"), []

    def program():
        return compile.program(job, target, 2, cache_dir=str(tmp_path), say=said.append)

    assert program() == program() == Program(2, Cost(1.0, 2, 3, 4), 1, 5)
    assert (len(compiled), len(said)) == (1, 2)
    text[0] = "another program"
    program()
    assert len(compiled) == 2
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--other")
    program()
    assert len(compiled) == 3
    target = dataclasses.replace(target, kind="another chip")
    program()
    assert len(compiled) == 4
    text[0] = "a long program"
    monkeypatch.setattr(compile, "STILL_S", 0.01)
    monkeypatch.setattr(compile, "_facts", lambda *given: time.sleep(0.1) or facts)
    program()
    assert "still compiling" in said[-2]


def test_micro_batches_are_counted_as_often_as_they_are_done(config, monkeypatch):
    """Forward twice, so at least a third more FLOPs than at once, but augmentation and update no more than once."""
    (once,) = create(config)
    config.optim.accumulate, config.optim.ema_decay, config.loss.class_weighting = 2, 0.9, "inverse"
    (found,) = create(config)
    assert 1.1 < found.program.cost.flops / once.program.cost.flops < 1.5
    assert 0.9 < found.program.cost.moved / once.program.cost.moved < 2
    # Each micro-batch's sums of BatchNorm: forward twice, and back.
    norms = 4 * 2 * sum(NORMS)
    assert found.program.reduced - once.program.reduced == pytest.approx((2 * 3 - 2) * norms, rel=0.1)
    assert found.sizes["average_bytes"] == found.sizes["parameter_bytes"] + found.sizes["statistics_bytes"]
    assert "moving average" in report.text([found])
    assert "moving average" not in report.text([once])


@pytest.mark.parametrize(
    ("epochs", "options"),
    [
        (4, {"schedule": "step", "boundaries": (1, 2)}),
        (2, {"schedule": "constant", "warmup_epochs": 1.0}),
        (3, {"schedule": "constant", "warmup_steps": 2}),
    ],
)
def test_micro_batches_of_a_run_whose_length_is_in_epochs(config, epochs, options):
    config.train.update(num_steps=0, num_epochs=float(epochs))
    config.optim.update(accumulate=2, warmup_steps=0)
    config.optim.update(options)
    config.data.update({"size": (32, 32), "num_train": 8, "num_val": 1, "num_test": 1})
    job = work.create_work(config, work.open_data(config), jax.local_devices()[:1])
    assert (job.accumulate, job.finer is None) == (2, False)


def test_all_reduces_are_counted_in_a_programs_text():
    text = """
  %psum.1 = f32[2,4]{1,0} all-reduce(%fusion.6), channel_id=1
  %both = (bf16[3,3,8,4]{3,2,1,0:T(8,128)(2,1)}, /*index=1*/f32[]) all-reduce(%a, %b), metadata={op_name="x/psum"}
  %part = f32[2,4]{1,0} get-tuple-element(%all-reduce.13), index=0
  %begun = pred[8]{0} all-reduce-start(%c), channel_id=3
  %done = pred[8]{0} all-reduce-done(%begun)
"""
    size = 2 * 4 * 4 + 3 * 3 * 8 * 4 * 2 + 4 + 8
    assert reduces.count_reduces(text) == (3, size)
    loops = f"""
%inner.1 (arg: f32[2]) -> f32[2] {{
{text}
}}
%outer.2 (arg: f32[2]) -> f32[2] {{
  %w.1 = f32[2]{{0}} while(%arg), condition=%c.1, body=%inner.1, backend_config={{"known_trip_count":{{"n":"5"}}}}
  %mean = f32[3]{{0}} all-reduce(%arg), channel_id=9
}}
ENTRY %main.3 (arg: f32[2]) -> f32[2] {{
  %w.2 = f32[2]{{0}} while(%arg), condition=%c.2, body=%outer.2, backend_config={{"known_trip_count":{{"n":"4"}}}}
  %sum = f32[]{{}} all-reduce(%arg), channel_id=10
}}
"""
    assert reduces.count_reduces(loops) == (4 * (5 * 3 + 1) + 1, 4 * (5 * size + 12) + 4)


def test_the_ring():
    assert estimate.ring_seconds(1e9, 4, 1e11) == pytest.approx(2 * 3 / 4 * 0.01)
    assert estimate.ring_seconds(1e9, 1, 1e11) == 0


def test_the_longer_bound_binds():
    found = estimate.estimate(made_up(1, flops=1e12, moved=1e10, reduced=10**9), chips(), 5, efficiency=0.5)
    assert (found.flops_s, found.memory_s, found.binds) == (1.0, 0.1, "FLOPs")
    assert found.reduce_s == pytest.approx(0.015)
    assert found.step_s == pytest.approx(2.015)
    assert found.images_per_s == pytest.approx(4 * 2 / 2.015)
    found = estimate.estimate(made_up(1, flops=1e10, moved=1e11), chips(ring=0.0), 5, efficiency=0.25)
    assert (found.binds, found.step_s, found.reduce_s) == ("memory bandwidth", 4.0, 0.0)


def test_scaling_keeps_the_batch_of_a_chip():
    job = made_up(1, flops=1e10)  # a program of one device says nothing of all-reduces
    steps = estimate.scaling(job, chips(), gradient_bytes=10**9)
    assert [step.num_devices for step in steps] == [4, 8, 16, 32, 64, 128, 256]
    assert steps[-1].reduce_s == pytest.approx(2 * 255 / 256 * 0.01)
    assert steps[-1].scaling_efficiency == pytest.approx(0.02 / steps[-1].step_s)
    assert steps[0].scaling_efficiency > steps[-1].scaling_efficiency
    assert steps[-1].images_per_s == pytest.approx(512 / steps[-1].step_s)
    assert estimate.scaling(job, chips(ring=0.0), 10**9) == ()


def largest(compile_batch, begin, capacity=100.0, unit=1, say=print):
    return fit.find_largest_batch(compile_batch, begin, capacity, unit, say)


@pytest.mark.parametrize(
    ("peak", "begin", "batch", "compiled"),
    [
        (lambda b: 10 + 3 * b, 8, 30, [8, 4, 30]),  # a line
        (lambda b: 10 + 3 * b, 64, 30, [64, 1, 2, 30]),  # what was begun with does not fit
        (lambda b: 10 + 3 * b, 1, 30, [1, 1, 2, 30]),
        (lambda b: 40 + (b > 20) * 100, 8, 20, [8, 4, 20, 50, 38, 29, 24, 22]),  # flat, then too many
        (lambda b: 12.5 * -(-b // 128), 2, 1024, [2, 1, 16, 128, 1024]),  # tiles of 128, filled with zeros
        # Another plan from 301 on.
        (lambda b: b / 10 + (b > 300) * 1000, 2, 297, [2, 1, 128, 999, 197, 598, 397, 297, 347, 322, 309]),
        (lambda b: min(10 * b, 50 + b), 4, 50, [4, 2, 10, 22, 50]),  # few take more than their share of many
        (lambda b: 60 * b, 4, 1, [4, 1, 2]),
    ],
)
def test_the_largest_batch_is_compiled(peak, begin, batch, compiled):
    asked = []
    found = largest(lambda b: asked.append(b) or made_up(peak(b), b), begin)
    assert (found.batch, asked) == (batch, compiled)


def test_a_batch_that_does_not_fit_after_all_is_lowered():
    asked = []
    found = largest(lambda b: asked.append(b) or made_up(10 + b * b, b), 4)
    assert (found.batch, asked[2] > 9) == (9, True)
    # In whole micro-batches.
    for begin, batch in ((8, 28), (4, 28), (64, 28)):
        asked = []
        found = largest(lambda b: asked.append(b) or made_up(10 + 3 * b, b), begin, unit=4)  # noqa: B023
        assert found.batch == batch
        assert all(b % 4 == 0 for b in asked)
    asked = []
    assert largest(lambda b: asked.append(b) or made_up(40 + (b > 20) * 100, b), 8, unit=4).batch == 20
    assert sorted(set(asked)) == sorted(asked)
    # A compiler that only says no: half way to what is known to fit.
    known = largest(lambda b: made_up(2 * b, b) if b < 30 else Program(b, None), 8)
    assert known.batch == 29
    # A line that hardly rises leads no further than LEAP times; nor to what failed already.
    asked = []

    def tiles(batch):
        asked.append(batch)
        peak = 12.5 * -(-batch // 128) + 1e-4 * batch
        return made_up(peak, batch) if peak < 100 else Program(batch, None)

    assert largest(tiles, 2).batch == 884
    assert asked[2:4] == [128, 64 * 128]
    asked = []
    largest(lambda b: asked.append(b) or made_up(10 + b / 1000 if b < 3 else 10 + 3 * b, b), 64)
    assert asked[:4] == [64, 1, 2, 63]


def test_the_search_that_ends_too_early_says_so(monkeypatch):
    monkeypatch.setattr(fit, "ATTEMPTS", 2)
    said = []
    found = largest(lambda b: made_up(min(10 * b, 50 + b), b), 4, say=said.append)
    assert found.batch == 22
    (message,) = said
    assert "2 larger batches" in message
    assert "22 images" in message


def test_nothing_fits():
    with pytest.raises(
        UserError, match=r"nothing fits: 1 image on a device needs 2 GB of 1 GB; use a smaller data.patch"
    ):
        largest(lambda b: made_up(2e9 * b, b), 8, 1e9)
    with pytest.raises(UserError, match="4 images on a device need 8 GB"):
        largest(lambda b: made_up(2e9 * b, b), 8, 1e9, unit=4)
    with pytest.raises(UserError, match="more than the compiler may use"):
        largest(lambda b: Program(b, None), 8, 1e9)


def test_the_batch_that_fits_a_small_memory(config, monkeypatch):
    config.train.batch_size = 4
    (one,) = create(config)
    capacity = one.program.peak * 2.5
    monkeypatch.setattr(devices, "_system_memory", lambda: 4 * capacity)
    own, found = create(config, fit=True)
    assert own.fits
    assert (own.is_largest, found.is_largest) == (False, True)
    assert 1 < found.program.batch < 6
    assert found.program.peak <= capacity
    growth = found.program.peak / found.program.batch
    assert found.program.peak + 1.5 * growth > capacity
    text = report.text([own, found])
    assert f"{found.program.batch} images on each (the largest found to fit, by compiling it)" in text
    monkeypatch.setattr(devices, "_system_memory", lambda: 4 * (one.program.peak - 1))
    assert "DOES NOT FIT: lower train.batch_size" in report.text(create(config))


def test_the_page_of_chips():
    sizes = {
        "parameters": 5,
        "parameter_bytes": 20,
        "statistics_bytes": 0,
        "optimiser_bytes": 40,
        "average_bytes": 0,
        "example_bytes": 3,
    }
    held = plan.Plan(chips(), made_up(50, flops=1e12, moved=1e9, reduces=7, reduced=10**9), sizes, 0.5, False)
    text = report.text([held])
    assert "FLOPs binds" in text
    assert "50.0% of the memory: fits" in text
    assert "1 GB, 15 ms (7 in the program: gradients 20 B" in text
    assert ["256", "512", "19.9", "ms", "253", "99.0%"] in [line.split() for line in text.splitlines()]
    alone = dataclasses.replace(held, program=made_up(500, moved=1e12))
    text = report.text([alone])
    assert "memory bandwidth binds" in text
    assert "DOES NOT FIT" in text
    assert "gradients alone" in text
    assert "DOES NOT FIT: more than 100 B" in report.text([dataclasses.replace(held, program=Program(2, None))])


def test_the_program_writes_its_page(config, monkeypatch, tmp_path, capsys):
    given = {"fit": False, "efficiency": 0.4, "channels": 1, "classes": 3, "overlapping": False}
    out = tmp_path / "new" / "plan.json"
    values = SimpleNamespace(config=config, topology=["local"], out=str(out), **given)
    monkeypatch.setattr(program.flags, "FLAGS", values)
    program.main()
    assert f"written: {out}" in capsys.readouterr().out
    written = json.loads(out.read_text())
    assert written["config"]["model"]["widths"] == [2, 3]
    (found,) = written["targets"]["local"]["plans"]
    assert found["sizes"]["parameters"] == PARAMETERS
    assert found["cost"]["peak"] > found["cost"]["temporary"] > 0
    step = found["step"]
    assert step["step_s"] == pytest.approx(max(step["flops_s"], step["memory_s"]) / 0.4)


def test_overlapping_masks_are_one_for_each_class(config):
    config.model.activation = "sigmoid"
    config.loss.weights.cross_entropy, config.loss.weights.binary_cross_entropy = 0.0, 1.0
    job = work.create_work(config, work.open_data(config, 1, 3, overlapping=True), None)
    assert job.example["mask"].shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v9:2x2", "generation 'v9' is unknown; known: v4, v5e, v5p, v6e, or local"),
        ("v5e:2x2x1", "a grid of v5e has 2 dimensions; give for example v5e:2x2"),
        ("v5p:2x2", "a grid of v5p has 3 dimensions; give for example v5p:2x2x1"),
        ("v5e", "has 2 dimensions"),
        ("v6e:16x17", "272 chips; a pod of v6e has 256, give a smaller grid"),
        ("v5e:2x2", r"needs TPU's compiler; install it: pip install .*\[tpu\]"),
    ],
)
def test_a_topology_is_refused(topology, message, monkeypatch):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=message):
        devices.create_target(topology)


def test_what_does_not_go_together_is_refused(config, tmp_path):
    with pytest.raises(UserError, match="--channels=1 --classes=0: give both"):
        plan.create_plans(config, channels=1)
    config.train.batch_size = 6
    with pytest.raises(UserError, match="global batch 6 does not divide over 4 devices"):
        create(config)
    config.data = default.image_folder(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"nowhere.*or give --channels and --classes, and no data are needed"):
        plan.create_plans(config)


def test_the_figures_of_a_chip_reach_its_target(monkeypatch):
    device = SimpleNamespace(device_kind="TPU v5p", platform="tpu")
    monkeypatch.setattr(devices, "tpu_chips", lambda name: [device] * 4)
    found = devices.create_target("v5p:2x2x1")
    assert (found.capacity, found.bandwidth, found.flops) == (95e9, 2765e9, 459e12)
    assert found.ring == 2 * 1200e9 / 6 / 2  # both links of a ring, one direction of each
    assert (found.platform, found.is_local) == ("tpu", False)
