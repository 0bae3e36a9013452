"""The rows of a machine without a GPU."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.speed.interleave import Side
from benchmarks.speed.rows import FP32, OFF, Row, peaks, step, training

CALLS = {"bf16": 10, "no": 10}


def cpu_rows() -> list[Row]:
    return [
        *peaks(CALLS),
        step("seed_frogs", "seed", 2, "no", 20),
        step("seed_frogs", "seed", 2, "bf16", 20),
        *(
            step(recipe, bare, steps, precision, 16, shorter=5)
            for recipe, bare, steps in (("quickstart", "quickstart", 10), ("r3gan_small", "r3gan", 8))
            for precision in ("no", "bf16")
        ),
        *(as_pytorch_comes(recipe, loop) for recipe, loop in (("quickstart", "quickstart"), ("r3gan_small", "r3gan"))),
        step("sngan", "sngan", 1, "no", 16, shorter=5),
        step("sngan", "sngan", 1, "no", 64),
        step("sngan", "sngan", 1, "bf16", 64),
        *(noise(*loop) for loop in (("quickstart", 10, "no", 16, 5), ("sngan", 1, "bf16", 64, 1))),
        keras("keras", "bf16", "no", 0.57),
        keras("keras_fp32", "no", "no"),
        keras("keras_bf16", "bf16", "bf16"),
        *feeds(),
        *loading(),
        *two_processes(),
        Row(
            "compiled",
            "step of r3gan_small, train.compile=on",
            training("r3gan_small", 32, OFF | {"train.compile": "on"}),
            training("r3gan_small", 32, OFF, "eager"),
        ),
        *shares(),
        Row(
            "growth",
            "training of quickstart with all that is done by default: its peak memory, first turn to last",
            training("quickstart", 350, {}),
            measure="growth",
            target=0.005,
        ),
        *memories(),
        *using(),
    ]


def two_processes() -> list[Row]:
    return [
        Row(
            f"two_{recipe}",
            f"step of {recipe}, 2 gloo processes, the same global batch",
            training(recipe, steps, OFF, processes=2),
            training(recipe, steps, OFF, "1 process, 2 threads"),
            target=1.10,
            shorter=shorter,
        )
        for recipe, steps, shorter in (("seed_frogs", 2, 1), ("quickstart", 10, 5), ("r3gan_small", 8, 5))
    ]


def as_pytorch_comes(recipe: str, loop: str) -> Row:
    return Row(
        f"plain_{recipe}",
        f"training of {recipe} with logging, W&B offline and watchdog, beside the bare loop with PyTorch's memory",
        training(recipe, 32, {}),
        Side(
            "pytorch_loop.unset_memory",
            {"loop": loop, "steps": "32", "label": "bare loop, freed memory given back"},
        ),
    )


def noise(loop: str, steps: int, precision: str, batch: int, shorter: int) -> Row:
    """What there is to see where there is nothing to see."""
    options = {"precision": precision, "batch_size": str(batch), "steps": str(steps), "label": "the same"}
    side, named = Side(f"pytorch_loop.{loop}", options), f"{loop}, batch {batch}, {FP32.get(precision, precision)}"
    return Row(
        f"noise_{loop}",
        f"bare loop of {named}, beside itself: the noise",
        side,
        side,
        precision=precision,
        shorter=shorter,
    )


def keras(key: str, ours: str, theirs: str, target: float | None = None) -> Row:
    """The seed recipe's step in both, each in its own precision."""
    mine, its = (FP32.get(precision, precision) for precision in (ours, theirs))
    document = ", as its document has it" if its == "fp32" else ""
    return Row(
        key,
        f"step of the seed recipe, batch 20, in {mine} beside Keras 3 in {its}",
        training("seed_frogs", 2, OFF | {"train.precision": ours}),
        Side("keras_seed.seed", {"steps": "2", "precision": theirs, "label": f"Keras in {its}{document}"}),
        target=target,
        precision=ours,
    )


def feeds() -> Iterator[Row]:
    """What a step costs more because its images are read."""
    in_process = {"data.mode": "stream", "data.workers": "0"}
    for name, recipe, what, settings in (
        ("resident", "quickstart", "resident", {"data.mode": "resident"}),
        ("png_0", "quickstart", "streamed, PNG, in process", in_process),
        ("png_2", "quickstart", "streamed, PNG, 2 workers", {"data.mode": "stream", "data.workers": "2"}),
        ("blocks", "quickstart", "streamed, blocks", {"data.mode": "stream", "feed": "blocks"}),
        ("seed", "seed_frogs", "streamed, PNG, in process", in_process),
    ):
        # not shorter with workers, which read on while the other side has its turn
        steps, shorter = (2, 1) if recipe == "seed_frogs" else (40, 1) if name == "png_2" else (10, 5)
        ours = training(recipe, steps, OFF | settings)
        memory = training(recipe, steps, OFF | {"feed": "memory"}, "one batch in memory")
        yield Row(f"feed_{name}", f"step of {recipe}, {what}", ours, memory, target=1.02, shorter=shorter)


def loading() -> Iterator[Row]:
    """Batches without training, on one core."""
    for key, what, ours, other, target in (
        (
            "resident",
            "resident mode",
            Side("readers.resident", {}),
            Side("readers.memory", {"label": "index_select in memory"}),
            300_000,
        ),
        (
            "loading_png",
            "stream mode, one PNG a sample",
            Side("readers.stream", {"layout": "pictures"}),
            Side("readers.plain_tar", {"label": "plain WebDataset with Pillow"}),
            8_000,
        ),
        (
            "loading_blocks",
            "stream mode, blocks",
            Side("readers.stream", {"layout": "blocks"}),
            Side("readers.plain_blocks", {"label": "plain numpy reader"}),
            150_000,
        ),
    ):
        yield Row(key, f"{what}, in process", ours, other, unit="image", measure="rate", target=target)
    plain = Side("readers.plain_foreign", {"label": "plain WebDataset"})
    what = "stream mode, JPEGs of 128 pixels in webdataset's shards, in process"
    yield Row("loading_foreign", what, Side("readers.foreign", {}), plain, unit="image", target=1.05, shorter=5)
    pillow = Side("readers.foreign", {"decoder": "pillow"})
    yield Row(
        "loading_foreign_pillow", f"{what}, without simplejpeg", pillow, plain, unit="image", target=1.05, shorter=5
    )


def shares() -> Iterator[Row]:
    """What is done beside the steps, more often than by default, so that it can be seen at all.

    The guard's check before each checkpoint, by default one to every five others, is in neither row.
    """
    often = {"checkpoint.every_steps": "25"}
    yield Row(
        "checkpoint",
        "checkpoints, at the default interval of 500 steps",
        training("quickstart", 50, OFF | often),
        training("quickstart", 50, OFF, "without"),
        measure="share",
        target=0.01,
        denser=20,
    )
    watched = {name: value for name, value in OFF.items() if not name.startswith("watchdog.")}
    watched |= {"wandb.mode": "offline"}
    often = {"log.every_steps": "5", "guard.every_steps": "20"}
    yield Row(
        "watching",
        "2 gloo processes: logging, W&B offline, guard and watchdog, at the default intervals",
        training("quickstart", 100, watched | often, processes=2),
        training("quickstart", 100, OFF, "without", processes=2),
        measure="share",
        target=0.01,
        denser=10,
    )
    often = {"log.samples_every_steps": "50"}
    yield Row(
        "grids",
        "grids of 100 images, W&B offline, and the watchdog's look at them, at the default interval",
        training("quickstart", 50, watched | often),
        training("quickstart", 50, OFF, "without"),
        measure="share",
        target=0.01,
        denser=10,
    )


def memories() -> Iterator[Row]:
    """The peak memory of each recipe by batch, where no other row has it."""
    for recipe, steps, batches in (
        ("seed_frogs", 1, (64,)),
        ("dcgan", 4, (16, 64)),
        ("sngan_conditional", 1, (16, 64)),
        ("quickstart", 4, (64,)),
        ("r3gan_small", 4, (64,)),  # its penalties come with every fourth
        ("cifar10", 1, (4, 16)),
        ("r3gan", 1, (2, 4)),
    ):
        for batch in batches:
            ours = training(recipe, steps, OFF | {"train.precision": "no", "train.batch_size": str(batch)})
            yield Row(f"alone_{recipe}_{batch}", f"step of {recipe}, batch {batch}, fp32", ours, most_rounds=3)


def using() -> Iterator[Row]:
    """What is done with a generator, and before the first step."""
    yield Row(
        "sampling",
        "sampling from quickstart's generator",
        Side("sampling_and_start.sampling", {}),
        Side("sampling_and_start.forward", {"label": "its network alone"}),
        unit="image",
    )
    yield Row(
        "evaluation",
        "evaluating it, EfficientNet-Lite0, every value",
        Side("sampling_and_start.evaluation", {}),
        Side("sampling_and_start.features", {"label": "the extractor alone"}),
        unit="image",
    )
    yield Row(
        "launch",
        "from `accelerate launch` to the first step's metrics on disk",
        Side("sampling_and_start.launch", {}),
        Side("sampling_and_start.imports", {"label": "importing torch and accelerate twice"}),
        unit="launch",
        measure="seconds",
        target=10,
    )
