"""Results from planted measurements of the dry run."""

from __future__ import annotations

from distgan.doctor import disk, estimate
from distgan.doctor.dry_run import Measurements
from tests.unit.doctor.results import GIB, lines

MEASURED = Measurements(
    rank=0, load=1.0, first=0.2, step=0.1, steps=40, wait=0.01, not_finite=(), losses=(0.5, 1.0), checkpoint=10 << 20,
    generator=2 << 20, image=3072, images="stream", host=GIB, device=0, device_free=0, gradients=4 << 20, reduce=0.0,
)  # fmt: skip


def changed(measured=MEASURED, **changes):
    return measured._replace(**changes)


def test_steps_and_waiting(tiny_config):
    assert lines(estimate.check_steps([MEASURED, changed(rank=1, step=0.2)])) == [
        "ok    dry run: 40 steps on stream: 200.0 ms a step (the first 200.0 ms), losses D 0.500, G 1.000, all numbers "
        "finite, all ranks hold the same weights",
        "ok    data wait: 1 % of a step is spent waiting for images",
    ]
    assert lines(estimate.check_steps([changed(not_finite=("loss/d",))])) == [
        "FAIL  dry run: not finite after 42 steps on rank 0: loss/d; lower the learning rates, use another "
        "train.precision, or check the images"
    ]
    assert estimate.check_steps([changed(wait=0.5)])[1].line() == (
        "warn  data wait: 50 % of a step is spent waiting for images; use data.mode=resident, more data.workers, or "
        "a faster disk"
    )


def test_the_network():
    assert estimate.check_network([MEASURED]) == []
    assert lines(estimate.check_network([changed(reduce=0.01), changed(rank=1, reduce=0.02)])) == [
        "ok    network: all-reduce of D's gradients (4.0 MiB) takes 20.0 ms, 200.0 MiB/s"
    ]
    assert estimate.check_network([changed(reduce=0.09), changed(rank=1, reduce=0.02)])[0].level == "warn"


def test_memory_for_the_batch(tiny_config):
    assert lines(estimate.check_memory([changed(device=10 * GIB, device_free=70 * GIB)], 1, 8 * GIB)) == [
        "ok    memory: 10.0 GiB of the GPU at the peak, 70.0 GiB were free",
        "ok    memory: 1.0 GiB of host memory per process, 1 process(es) on this machine, 8.0 GiB were free",
    ]
    tight = estimate.check_memory([changed(device=69 * GIB, device_free=70 * GIB)], 8, 8 * GIB)
    assert [result.level for result in tight] == ["warn", "warn"]
    assert tight[0].advice == (
        "use more train.accumulation, a smaller train.batch_size, or less data.resident_limit_mb"
    )


def test_timeouts(tiny_config):
    both = [MEASURED, MEASURED]
    assert estimate.check_timeouts(tiny_config(), [MEASURED])[0].text == "one process: it waits for no other"
    assert estimate.check_timeouts(tiny_config(), both)[0].level == "ok"
    assert lines(estimate.check_timeouts(tiny_config("train.timeout_minutes=0.1"), [changed(step=30.0), MEASURED])) == [
        "warn  timeouts: train.timeout_minutes=0.1; time for 10 steps: 5 min; set train.timeout_minutes=15"
    ]
    far = tiny_config("data.path=https://host/x", "data.prepare=null", "train.timeout_minutes=2")
    assert "all data.tries of a silent server" in estimate.check_timeouts(far, both)[0].text


def test_the_estimate_counts_from_the_resumed_step(tiny_config):
    need = disk.Need(10 << 20, 3, 5 << 20)
    assert lines(estimate.estimate_end(tiny_config(), [MEASURED], 10, need)) == [
        "ok    estimate: 10 steps at 120 images/s: 1.0 s to train.images=240 without samples and checkpoints; 3 "
        "checkpoint(s) written, 35.0 MiB on disk at the end"
    ]
    stand_in = [changed(images="400 drawn shapes instead of the images")]
    assert estimate.estimate_end(tiny_config(), stand_in, 0, need)[0].text.endswith(
        "(measured on 400 drawn shapes instead of the images)"
    )
