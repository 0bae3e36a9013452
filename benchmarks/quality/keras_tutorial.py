"""The tutorial's training in Keras 3, as its text has it, with weights, images and random numbers that a file gives.

python -m benchmarks.quality.keras_tutorial EXCHANGE LOSSES: trains by EXCHANGE (exchange.py) and
writes LOSSES. Without arguments: the versions of what would train, as JSON.

No distgan is imported here, so that Keras may live in an environment of its own.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.keras_dcgan import DROPOUT, compile_both, features, generator, load_keras

NOISE = 0.05
SHOWN = 10  # steps between two lines of progress


def versions() -> dict[str, str]:
    backend = load_keras().backend.backend()
    return {"keras": load_keras().__version__, backend: importlib.import_module(backend).__version__}


def build_generator(weights: list[Any]) -> Any:
    """The tutorial's generator with these weights, which say how wide it is."""
    network = generator(weights[0].shape[0], *weights[2].shape[2:])
    network.set_weights(weights)
    return network


def build_discriminator(weights: list[Any]) -> Any:
    """The tutorial's discriminator with these weights: [images, features that dropout keeps] -> probability of fake.

    The second input is 1 where dropout keeps a feature, else 0: Keras would draw it, and never as another library does.
    """
    keras = load_keras()
    images, kept = keras.Input((32, 32, 3)), keras.Input((weights[-2].shape[0],))
    x = features(images, weights[0].shape[3]) * kept / (1 - DROPOUT)
    network = keras.Model([images, kept], keras.layers.Dense(1, activation="sigmoid")(x))
    network.set_weights(weights)
    return network


def labels(noise: Any) -> Any:
    """[2B, 1]: about 1 for B fakes, about 0 for B reals. noise: [2B] in [0, 1), towards the other label."""
    amount = NOISE * noise[:, None]
    return np.concatenate([1 - amount[: len(noise) // 2], amount[len(noise) // 2 :]])


class Training:
    """The tutorial's loop."""

    def __init__(self, given: dict[str, Any]) -> None:
        """given: the arrays of an exchange."""
        keras = load_keras()
        self.given = given
        self.generator = build_generator(self._weights("g"))
        self.discriminator = build_discriminator(self._weights("d"))
        latent, kept = (keras.Input(given[name].shape[2:]) for name in ("latents_g", "kept_g"))
        verdict = self.discriminator([self.generator(latent), kept])
        self.both = compile_both(self.discriminator, [latent, kept], verdict)

    def _weights(self, player: str) -> list[Any]:
        count = sum(name.startswith(f"{player}_weight_") for name in self.given)
        return [self.given[f"{player}_weight_{place}"] for place in range(count)]

    def _at(self, name: str, step: int) -> Any:
        """The numbers of a step."""
        return self.given[name][step].astype(np.float32)

    def step(self, step: int) -> tuple[float, float]:
        """An update of D and one of G. Returns their losses before the updates."""
        reals = self._at("reals", step) / 127.5 - 1
        joined = np.concatenate([self.generator.predict_on_batch(self._at("latents_d", step)), reals])
        targets = labels(self._at("noise", step))
        loss_d = self._train(self.discriminator, [joined, self._at("kept_d", step)], targets)
        self.discriminator.trainable = False
        shown = [self._at("latents_g", step), self._at("kept_g", step)]
        loss_g = self._train(self.both, shown, np.zeros((len(reals), 1), np.float32))
        self.discriminator.trainable = True
        return loss_d, loss_g

    def _train(self, model: Any, inputs: list[Any], targets: Any) -> float:
        model.reset_metrics()  # some versions return the mean since the last reset
        return float(model.train_on_batch(inputs, targets))


def main(exchange: str, losses: str) -> None:
    with np.load(exchange, allow_pickle=False) as file:
        given = {name: file[name] for name in file.files}
    training, steps = Training(given), len(given["reals"])
    found, begin = [], time.perf_counter()
    for step in range(steps):
        found.append(training.step(step))
        if (step + 1) % SHOWN == 0:
            print(f"Keras: step {step + 1} of {steps}, {time.perf_counter() - begin:.0f} s", flush=True)
    of_d, of_g = zip(*found, strict=True)
    seconds = (time.perf_counter() - begin) / steps
    result = {"loss_d": of_d, "loss_g": of_g, "seconds_per_step": seconds, "versions": versions()}
    Path(losses).write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(json.dumps(versions()))
    else:
        main(*sys.argv[1:])
