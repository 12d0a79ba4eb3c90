"""The plan of a run: sizes and sums of compiled steps against those done by hand, and wrong input."""

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
from unet_jax.runtime import memory, parallel, roofline
from unet_jax.runtime.program_cost import Cost

# U-Net of widths 2 and 3, one channel, three classes: 3x3 convolutions without bias before BatchNorm, which has two
# parameters per channel; the transposed convolution and the head have a bias.
# Channels of each BatchNorm:
NORMS = (2, 2, 3, 3, 2, 2)
KERNELS = 9 * (1 * 2 + 2 * 2 + 2 * 3 + 3 * 3 + 4 * 2 + 2 * 2) + 4 * 3 * 2 + 2 * 3
PARAMETERS = KERNELS + 2 * sum(NORMS) + 2 + 3
SIZE = 16
# Bytes of image float32, mask int32, valid bool.
EXAMPLE = SIZE * SIZE * (4 + 4 + 1)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Neither the peaks nor the speed of the programs matter here."""
    for name, value in (("PRODUCT_SIZE", 16), ("COPY_BYTES", 1 << 12), ("ROUNDS", 1)):
        monkeypatch.setattr(roofline, name, value)
    monkeypatch.setattr(parallel, "CPU_STEP_OPTIONS", {"xla_backend_optimization_level": 0})


@pytest.fixture
def config(cache_dir):
    config = default.get_config()
    config.model = default.unet()
    config.model.widths = (2, 3)
    config.loss.weights.dice = 0.0
    # All off, which saves a third of the compilation.
    config.augment = dataclasses.asdict(AugmentOptions())
    config.data.patch = (SIZE, SIZE)
    config.data.cache_dir = cache_dir
    config.train.batch_size = 8
    return config


def create(config, **chosen):
    return plan.create_plans(config, channels=1, classes=3, say=lambda text: None, **chosen)


def test_sizes_and_sums_are_those_done_by_hand(config, monkeypatch):
    (one,) = create(config)
    sizes, cost = one.sizes, one.program.cost
    assert sizes["parameters"] == PARAMETERS
    assert sizes["parameter_bytes"] == 4 * PARAMETERS
    assert sizes["statistics_bytes"] == 4 * 2 * sum(NORMS)
    # Two moments, and two counts of steps.
    assert sizes["optimiser_bytes"] == 4 * (2 * PARAMETERS + 2)
    assert sizes["example_bytes"] == EXAMPLE
    # 8 on 4 devices.
    assert one.program.batch == 2
    state = 4 + sizes["parameter_bytes"] + sizes["statistics_bytes"] + sizes["optimiser_bytes"]
    assert cost.argument == state + 2 * EXAMPLE
    assert cost.aliased == state
    # Gradients; two sums per channel of each BatchNorm, forward and back; tp, fp, fn; the sum and the weight of the loss.
    summed = 4 * PARAMETERS + 2 * 4 * 2 * sum(NORMS) + 3 * 3 * 4
    assert 0 < one.reduced - summed <= 4 * 4
    # Two thirds of a step's convolutions are gradients, by the input (except in the first) and by the kernel.
    forward = 2 * 2 * 9 * (SIZE**2 * (2 + 4 + 8 + 4) + (SIZE // 2) ** 2 * (6 + 9))
    assert 2 * forward < cost.flops < 6 * forward

    text = report.text([one])
    assert f"{PARAMETERS:,}" in text
    assert f"bound by {one.estimate.binds}" in text
    assert "4 x cpu, 2 images on each" in text
    # The links between CPU devices are unknown, so there is no scaling.
    assert "chips" not in text.split("\n\n")[0]

    monkeypatch.setattr(compile, "_facts", lambda *given: pytest.fail("compiled again"))
    (again,) = create(config)
    assert again.program == one.program


def test_a_topology_that_is_not_there_runs_the_same_step(config, monkeypatch):
    job = work.create_work(config, work.open_data(config, 1, 3), None)
    part = {name: jax.ShapeDtypeStruct((2, *x.shape), x.dtype) for name, x in job.example.items()}
    local = jax.local_devices()
    here = compile.lower(job.step, job.state, part, local).as_text()
    monkeypatch.setattr(jax, "local_devices", lambda: [])
    absent = compile.lower(job.step, job.state, part, local).as_text()
    assert "num_partitions = 4" in absent
    for operation in ("convolution", "all_reduce", "dot_general"):
        assert absent.count(f"stablehlo.{operation}") == here.count(f"stablehlo.{operation}")
    assert absent.count("stablehlo.all_reduce") >= 2 * len(NORMS)
    # 2 images on each of 4 devices.
    assert f"tensor<8x{SIZE}x{SIZE}x1xf32>" in absent
    assert absent.count("tf.aliasing_output") + absent.count("jax.buffer_donor") == len(jax.tree.leaves(job.state))


def test_what_was_compiled_once_is_remembered(monkeypatch, tmp_path):
    compiled, text = [], ["program"]
    facts = {"cost": dataclasses.asdict(Cost(1.0, 2, 3, 4)), "reduces": 1, "reduced": 5}
    monkeypatch.setattr(compile, "lower", lambda *given: SimpleNamespace(as_text=lambda: text[0]))
    monkeypatch.setattr(compile, "_facts", lambda *given: compiled.append(given) or facts)
    job, target, messages = work.Work(None, None, {}, 8), devices.create_target("local"), []

    def program():
        return compile.program(job, target, 2, cache_dir=str(tmp_path), say=messages.append)

    assert program() == program() == Program(2, Cost(1.0, 2, 3, 4), 1, 5)
    assert (len(compiled), len(messages)) == (1, 2)
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
    assert "still compiling" in messages[-2]


def test_each_micro_batch_is_counted(config):
    """Each micro-batch goes forward twice, about a third more FLOPs; augmentation and update are done once."""
    (once,) = create(config)
    config.optim.accumulate, config.optim.ema_decay, config.loss.class_weighting = 2, 0.9, "inverse"
    (twice,) = create(config)
    assert 1.1 < twice.program.cost.flops / once.program.cost.flops < 1.5
    assert 0.9 < twice.program.cost.moved / once.program.cost.moved < 2
    # BatchNorm's sums of each micro-batch: forward twice, and back.
    norms = 4 * 2 * sum(NORMS)
    assert twice.program.reduced - once.program.reduced == pytest.approx((2 * 3 - 2) * norms, rel=0.1)
    assert twice.sizes["average_bytes"] == twice.sizes["parameter_bytes"] + twice.sizes["statistics_bytes"]
    assert "moving average" in report.text([twice])
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
    monkeypatch.setattr(memory, "memory_limit", lambda: 4 * capacity)
    configured, largest = create(config, fit=True)
    assert configured.fits
    assert (configured.is_largest, largest.is_largest) == (False, True)
    assert 1 < largest.program.batch < 6
    assert largest.program.peak <= capacity
    growth = largest.program.peak / largest.program.batch
    assert largest.program.peak + 1.5 * growth > capacity
    assert f"{largest.program.batch} images on each (the largest" in report.text([configured, largest])
    monkeypatch.setattr(memory, "memory_limit", lambda: 4 * (one.program.peak - 1))
    assert "DOES NOT FIT" in report.text(create(config))


def test_the_program_writes_its_page(config, monkeypatch, tmp_path, capsys):
    given = {"fit": False, "efficiency": 0.4, "channels": 1, "classes": 3, "overlapping": False}
    out = tmp_path / "new" / "plan.json"
    values = SimpleNamespace(config=config, topology=["local"], out=str(out), **given)
    monkeypatch.setattr(program, "FLAGS", values)
    program.main()
    assert f"written: {out}" in capsys.readouterr().out
    written = json.loads(out.read_text())
    assert written["config"]["model"]["widths"] == [2, 3]
    (one,) = written["targets"]["local"]["plans"]
    assert one["sizes"]["parameters"] == PARAMETERS
    assert one["cost"]["peak"] > one["cost"]["temporary"] > 0
    step = one["step"]
    assert step["step_s"] == pytest.approx(max(step["flops_s"], step["memory_s"]) / 0.4)


def test_overlapping_masks_are_one_for_each_class(config):
    config.model.activation = "sigmoid"
    config.loss.weights.cross_entropy, config.loss.weights.binary_cross_entropy = 0.0, 1.0
    job = work.create_work(config, work.open_data(config, 1, 3, overlapping=True), None)
    assert job.example["mask"].shape == (SIZE, SIZE, 3)


def test_wrong_combinations_are_refused(config, tmp_path):
    with pytest.raises(UserError, match="--channels=1 --classes=0"):
        plan.create_plans(config, channels=1)
    config.train.batch_size = 6
    with pytest.raises(UserError, match=r"batch.* 6 .*4 devices"):
        create(config)
    config.data = default.image_folder(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"nowhere.*--channels .*--classes"):
        plan.create_plans(config)
