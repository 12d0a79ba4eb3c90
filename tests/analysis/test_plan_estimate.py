"""Times by formula, all-reduces, chips and their report, without compiling anything."""

import dataclasses
from types import SimpleNamespace

import pytest
from helpers.made_up_programs import chips, made_up

from unet_jax.analysis.plan import devices, estimate, plan, reduces, report
from unet_jax.analysis.plan.compile import Program
from unet_jax.errors import UserError


def test_the_ring():
    assert estimate.ring_seconds(1e9, 4, 1e11) == pytest.approx(2 * 3 / 4 * 0.01)
    assert estimate.ring_seconds(1e9, 1, 1e11) == 0


def test_the_longer_bound_binds():
    step = estimate.estimate(made_up(1, flops=1e12, moved=1e10, reduced=10**9), chips(), 5, efficiency=0.5)
    assert (step.flops_s, step.memory_s, step.binds) == (1.0, 0.1, "FLOPs")
    assert step.reduce_s == pytest.approx(0.015)
    assert step.step_s == pytest.approx(2.015)
    assert step.images_per_s == pytest.approx(4 * 2 / 2.015)
    step = estimate.estimate(made_up(1, flops=1e10, moved=1e11), chips(ring=0.0), 5, efficiency=0.25)
    assert (step.binds, step.step_s, step.reduce_s) == ("memory bandwidth", 4.0, 0.0)


def test_a_program_that_does_not_fit_has_no_time():
    with pytest.raises(ValueError, match="cost is None"):
        estimate.estimate(Program(2, None), chips(), 5)


def test_scaling_keeps_the_batch_of_a_chip():
    # The program of one device has no all-reduces.
    job = made_up(1, flops=1e10)
    steps = estimate.scaling(job, chips(), gradient_bytes=10**9)
    assert [step.num_devices for step in steps] == [4, 8, 16, 32, 64, 128, 256]
    assert steps[-1].reduce_s == pytest.approx(2 * 255 / 256 * 0.01)
    assert steps[-1].scaling_efficiency == pytest.approx(0.02 / steps[-1].step_s)
    assert steps[0].scaling_efficiency > steps[-1].scaling_efficiency
    assert steps[-1].images_per_s == pytest.approx(512 / steps[-1].step_s)
    assert estimate.scaling(job, chips(ring=0.0), 10**9) == ()


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
    assert "bound by FLOPs" in text
    assert "50.0% of the memory: fits" in text
    (reduces_line,) = (line for line in text.splitlines() if line.startswith("  all-reduces: "))
    assert all(value in reduces_line for value in ("1 GB", "15 ms", "7 in", "20 B"))
    assert ["256", "512", "19.9", "ms", "253", "99.0%"] in [line.split() for line in text.splitlines()]
    alone = dataclasses.replace(held, program=made_up(500, moved=1e12))
    text = report.text([alone])
    assert "bound by memory bandwidth" in text
    assert "DOES NOT FIT" in text
    assert "gradients only" in text
    text = report.text([dataclasses.replace(held, program=Program(2, None))])
    (line,) = (line for line in text.splitlines() if "DOES NOT FIT" in line)
    assert "100 B" in line


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v9:2x2", "'v9:2x2'.*'v9'.*v4, v5e, v5p, v6e.*local"),
        ("v5e:2x2x1", "'v5e:2x2x1'.*2 dimensions.*v5e:2x2"),
        ("v5p:2x2", "'v5p:2x2'.*3 dimensions.*v5p:2x2x1"),
        ("v5e", "'v5e'.*2 dimensions.*v5e:2x2"),
        ("v6e:16x17", "'v6e:16x17'.*272 chips.*v6e.*256"),
        ("v5e:2x2", r"'v5e:2x2'.*pip install .*\[tpu\]"),
    ],
)
def test_a_topology_is_refused(topology, message, monkeypatch):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=message):
        devices.create_target(topology)


def test_the_figures_of_a_chip_reach_its_target(monkeypatch):
    device = SimpleNamespace(device_kind="TPU v5p", platform="tpu")
    monkeypatch.setattr(devices, "tpu_chips", lambda name: [device] * 4)
    target = devices.create_target("v5p:2x2x1")
    assert (target.capacity, target.bandwidth, target.flops) == (95e9, 2765e9, 459e12)
    # Both links of a ring, one direction of each.
    assert target.ring == 2 * 1200e9 / 6 / 2
    assert (target.platform, target.is_local) == ("tpu", False)


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
