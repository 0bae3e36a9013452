"""The rows of the table: who is measured beside whom, and what is to be reached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from contest import Side

NEVER = str(10**12)  # steps
OURS, THEIRS, LOADING = "training.training", "bare", "data"
QUIET = {"wandb.mode": "disabled"}
OFF = {
    **QUIET,
    **{f"{name}.every_steps": NEVER for name in ("log", "checkpoint")},
    "log.samples_every_steps": NEVER,
    "guard.every_steps": "null",
    **{f"watchdog.{fault}": "off" for fault in ("nonfinite", "exploding", "saturated", "collapse")},
}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    key: str
    what: str
    ours: Side
    other: Side | None = None
    unit: str = "step"
    measure: Literal["ratio", "rate", "seconds", "share", "growth"] = "ratio"
    """What the target is of: ours / other; units per second; seconds per unit; the share of the training's time, where
    ours does it `denser` times as often as by default, and other never; or what the peak memory, GiB, grows from the
    first round to the last."""
    target: float | None = None
    denser: int = 1
    precision: str = "no"

    def value(self, seconds: float, ratio: float, growth: float) -> float:
        return {
            "ratio": ratio,
            "rate": 1 / seconds,
            "seconds": seconds,
            "share": (ratio - 1) / self.denser,
            "growth": growth,
        }[self.measure]

    def met(self, value: float) -> bool:
        assert self.target is not None
        return value >= self.target if self.measure == "rate" else value <= self.target

    def shown(self, value: float) -> str:
        """The value as the target has it."""
        return {
            "ratio": f"{value:.3f}",
            "rate": f"{value:,.0f}/s",
            "seconds": f"{value:.1f} s",
            "share": f"{value:.2%}",
            "growth": f"{value:.3f} GiB more",
        }[self.measure]

    @property
    def goal(self) -> str:
        if self.target is None:
            return ""
        return f"{'at least' if self.measure == 'rate' else 'at most'} {self.shown(self.target)}"

    def with_python(self, python: str) -> Row:
        """Keras may have an environment of its own."""
        if self.other is None or not self.other.name.startswith("keras_seed."):
            return self
        return replace(self, other=self.other._replace(python=python))


def training(recipe: str, steps: int, label: str = "", processes: int = 1, **keys: str) -> Side:
    """distgan's own loop. keys: settings, `__` for a dot."""
    settings = {key.replace("__", "."): value for key, value in keys.items()}
    named = {"label": label} if label else {}
    return Side(OURS, {"recipe": recipe, "steps": str(steps), **settings, **named}, processes)


def step(recipe: str, bare: str, steps: int, precision: str, batch: int, **keys: str) -> Row:
    """distgan's step beside a hand-written loop's: what is done now and then beside the steps has rows of its own."""
    mode = keys.get("train__compile", "eager")
    name = "_".join([recipe, precision, str(batch), *([mode] if mode != "eager" else [])])
    what = f"step of {recipe}, batch {batch}, {precision.replace('no', 'fp32')}{'' if mode == 'eager' else ', ' + mode}"
    ours = training(recipe, steps, train__precision=precision, train__batch_size=str(batch), **keys)
    ours = ours._replace(options={**OFF, **ours.options})
    options = {"precision": precision, "batch_size": str(batch), "steps": str(steps), "label": "bare PyTorch loop"}
    other = Side(f"{THEIRS}.{bare}", options)
    return Row(f"step_{name}", what, ours, other, target=1.03, precision=precision)


def loading(layout: str, workers: int) -> Side:
    options = {"layout": layout, "workers": str(workers), "label": f"stream, {layout}, {workers} workers"}
    return Side(f"{LOADING}.stream", options)


def peaks() -> Iterator[Row]:
    """What FLOPs are compared with: the better of the two, in each precision."""
    for name, what in (("product", "large matrix product"), ("convolution", "large convolution")):
        sides = (
            Side(f"training.{name}", {"precision": precision, "label": label})
            for precision, label in (("bf16", "bf16"), ("no", "the same in fp32"))
        )
        yield Row(f"peak_{name}", f"{what}, bf16", *sides, unit="call", precision="bf16")


def cpu_rows() -> list[Row]:
    memory = training("quickstart", 40, "one batch in memory", feed="memory", log__samples_every_steps=NEVER)
    return [
        *peaks(),
        step("seed_frogs", "seed", 2, "no", 20),
        step("seed_frogs", "seed", 2, "bf16", 20),
        step("quickstart", "quickstart", 40, "no", 16),
        step("r3gan_small", "r3gan", 32, "no", 16),
        *(
            Row(
                f"plain_{recipe}",
                f"whole training of {recipe}, beside the bare loop as PyTorch comes",
                training(recipe, 32),
                Side("bare.plainly", {"loop": loop, "steps": "32", "label": "bare loop, freed memory given back"}),
            )
            for recipe, loop in (("quickstart", "quickstart"), ("r3gan_small", "r3gan"))
        ),
        step("sngan", "sngan", 1, "no", 64),
        step("sngan", "sngan", 1, "bf16", 64),
        Row(
            "keras",
            "seed recipe, batch 20, best settings, beside Keras 3",
            training("seed_frogs", 2, train__precision="bf16"),
            Side("keras_seed.seed", {"steps": "2", "label": "Keras"}),
            target=0.57,
            precision="bf16",
        ),
        *(
            Row(f"feed_{name}", f"step of quickstart, {what}", training("quickstart", 40, **keys), memory, target=1.02)
            for name, what, keys in (
                ("resident", "resident", {"data__mode": "resident"}),
                ("png", "streamed, PNG, 2 workers", {"data__mode": "stream", "data__workers": "2"}),
                ("png_0", "streamed, PNG, in process", {"data__mode": "stream", "data__workers": "0"}),
                ("blocks", "streamed, blocks", {"data__mode": "stream", "feed": "blocks"}),
            )
        ),
        Row(
            "resident",
            "resident mode, one process",
            Side(f"{LOADING}.resident", {}),
            Side(f"{LOADING}.memory", {"label": "index_select in memory"}),
            unit="picture",
            measure="rate",
            target=300_000,
        ),
        Row(
            "loading_png",
            "stream mode, one PNG a sample, in process",
            loading("pictures", 0),
            Side(f"{LOADING}.plain_tar", {"label": "plain WebDataset with Pillow"}),
            unit="picture",
            measure="rate",
            target=8_000,
        ),
        Row(
            "loading_blocks",
            "stream mode, blocks, in process",
            loading("blocks", 0),
            Side(f"{LOADING}.plain_blocks", {"label": "plain numpy reader"}),
            unit="picture",
            measure="rate",
            target=150_000,
        ),
        *(
            Row(
                f"two_{recipe}",
                f"{recipe}: 2 gloo processes, the same global batch",
                training(recipe, steps, processes=2, **QUIET_KEYS),
                training(recipe, steps, "1 process, 2 threads", **QUIET_KEYS),
                target=1.10,
            )
            for recipe, steps in (("seed_frogs", 2), ("quickstart", 40), ("r3gan_small", 32))
        ),
        Row(
            "compiled",
            "step of r3gan_small, train.compile=on",
            training("r3gan_small", 32, train__compile="on"),
            training("r3gan_small", 32, "eager"),
        ),
        *shares(),
        Row(
            "growth",
            "peak memory over 2,000 steps of quickstart (4 rounds after the first)",
            training("quickstart", 500),
            measure="growth",
            target=0.005,
        ),
        *(
            Row(
                f"alone_{recipe}", f"step of {recipe}, batch {batch}", training(recipe, 1, train__batch_size=str(batch))
            )
            for recipe, batch in (("dcgan", 64), ("cifar10", 16), ("r3gan", 4))
        ),
        Row(
            "sampling",
            "sampling from quickstart's generator",
            Side("using.sampling", {}),
            Side("using.forward", {"label": "its network alone"}),
            unit="picture",
        ),
        Row(
            "evaluation",
            "evaluating it, EfficientNet-Lite0, every value",
            Side("using.evaluation", {}),
            Side("using.features", {"label": "the extractor alone"}),
            unit="picture",
        ),
        Row(
            "launch",
            "from `accelerate launch` to the first step's metrics on disk",
            Side("using.launch", {}),
            Side("using.imports", {"label": "importing torch and accelerate twice"}),
            unit="launch",
            measure="seconds",
            target=10,
        ),
    ]


QUIET_KEYS = {"wandb__mode": "disabled"}


def shares() -> Iterator[Row]:
    """What is done beside the steps, more often than by default, so that it can be seen at all."""
    off = Side(OURS, {"recipe": "quickstart", "steps": "50", **OFF, "label": "without"})
    often = {"checkpoint.every_steps": "25"}
    yield Row(
        "checkpoint",
        "checkpoints, at the default interval of 500 steps",
        off._replace(options={**off.options, **often}),
        off,
        measure="share",
        target=0.01,
        denser=20,
    )
    often = {"log.every_steps": "5", "guard.every_steps": "10", "wandb.mode": "offline"}
    yield Row(
        "watching",
        "logging, W&B offline, guard and watchdog, at the default intervals",
        off._replace(options={**off.options, **often}),
        off,
        measure="share",
        target=0.01,
        denser=10,
    )


def gpu_rows() -> list[Row]:
    sizes, modes = (20, 64, 256, 1024), ("off", "on", "graphs")
    return [
        *peaks(),
        *(
            step(recipe, bare, 20, precision, batch, train__compile=mode)
            for recipe, bare in (("seed_frogs", "seed"), ("sngan", "sngan"), ("r3gan_small", "r3gan"))
            for batch in sizes
            for precision in ("bf16", "no")
            for mode in modes
        ),
        *(step("seed_frogs", "seed", 20, "fp16", batch) for batch in sizes),
    ]
