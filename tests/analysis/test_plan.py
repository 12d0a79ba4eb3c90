"""The plan of a run: sizes and sums of compiled steps against those done by hand, and what is refused."""

import dataclasses
import json
import time
from types import SimpleNamespace

import jax
import pytest

from unet_jax.analysis.plan import compile, devices, plan, report, work
from unet_jax.analysis.plan.compile import Program
from unet_jax.configs import default
from unet_jax.data.augment.options import AugmentOptions
from unet_jax.errors import UserError
from unet_jax.programs import plan as program
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


def test_the_program_writes_its_page(config, monkeypatch, tmp_path, capsys):
    given = {"fit": False, "efficiency": 0.4, "channels": 1, "classes": 3, "overlapping": False}
    out = tmp_path / "new" / "plan.json"
    values = SimpleNamespace(config=config, topology=["local"], out=str(out), **given)
    monkeypatch.setattr(program, "FLAGS", values)
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


def test_what_does_not_go_together_is_refused(config, tmp_path):
    with pytest.raises(UserError, match="--channels=1 --classes=0"):
        plan.create_plans(config, channels=1)
    config.train.batch_size = 6
    with pytest.raises(UserError, match=r"batch.* 6 .*4 devices"):
        create(config)
    config.data = default.image_folder(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"nowhere.*--channels .*--classes"):
        plan.create_plans(config)
