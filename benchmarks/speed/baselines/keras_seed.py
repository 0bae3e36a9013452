"""The seed recipe in Keras 3, as its document has it: `train_on_batch` in turns, D frozen by `trainable` in G's step.

In fp32 as there, or, with precision=bf16, in Keras' mixed precision, whose guide has the outputs in fp32.
Backend: KERAS_BACKEND, or TensorFlow where it is installed (the document's), else PyTorch. No distgan, and with
another backend no PyTorch, is imported here.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from benchmarks.speed.interleave import Lap

CLIP, DECAY, LEAK = 1.0, 1e-8, 0.3


def seed(lap: Lap, precision: str = "no", steps: str = "2", batch_size: str = "20") -> None:
    """D's updates are real: the document's `trainable = False` for all time would stop them (see docs)."""
    found = "tensorflow" if importlib.util.find_spec("tensorflow") else "torch"
    os.environ.setdefault("KERAS_BACKEND", found)
    import keras
    import numpy as np
    from keras import layers

    keras.mixed_precision.set_global_policy({"no": "float32", "bf16": "mixed_bfloat16"}[precision])

    def rule(lr: float) -> Any:
        schedule = keras.optimizers.schedules.InverseTimeDecay(lr, 1, DECAY)
        return keras.optimizers.RMSprop(schedule, clipvalue=CLIP)

    def conv(width: int, kernel: int, stride: int = 1, padding: str = "same", **more: Any) -> Any:
        return layers.Conv2D(width, kernel, strides=stride, padding=padding, **more)

    leak = lambda: layers.LeakyReLU(LEAK)  # noqa: E731
    generator = keras.Sequential(
        [
            keras.Input((32,)),
            *(layers.Dense(128 * 16 * 16), leak(), layers.Reshape((16, 16, 128))),
            *(conv(256, 5), leak(), layers.Conv2DTranspose(256, 4, strides=2, padding="same"), leak()),
            *(conv(256, 5), leak(), conv(256, 5), leak(), conv(3, 7, activation="tanh", dtype="float32")),
        ]
    )
    halved = [layer for _ in range(3) for layer in (conv(128, 4, 2, "valid"), leak())]
    first, last = (conv(128, 3, 1, "valid"), leak()), (layers.Flatten(), layers.Dropout(0.4))
    discriminator = keras.Sequential(
        [keras.Input((32, 32, 3)), *first, *halved, *last, layers.Dense(1, activation="sigmoid", dtype="float32")]
    )
    discriminator.compile(rule(8e-4), "binary_crossentropy")
    latent = keras.Input((32,))
    both = keras.Model(latent, discriminator(generator(latent)))
    discriminator.trainable = False
    both.compile(rule(4e-4), "binary_crossentropy")
    discriminator.trainable = True

    batch, random = int(batch_size), np.random.default_rng(0)
    images = random.uniform(-1, 1, (5_000, 32, 32, 3)).astype(np.float32)
    place = 0

    def step() -> None:
        nonlocal place
        reals = images[place : place + batch]
        place = (place + batch) % len(images)
        fakes = generator.predict_on_batch(random.normal(size=(batch, 32)).astype(np.float32))
        noise = 0.05 * random.uniform(size=(2 * batch, 1))
        labels = np.concatenate([1 - noise[:batch], noise[batch:]]).astype(np.float32)
        discriminator.train_on_batch(np.concatenate([fakes, reals]), labels)
        discriminator.trainable = False
        both.train_on_batch(random.normal(size=(batch, 32)).astype(np.float32), np.zeros((batch, 1), np.float32))
        discriminator.trainable = True

    while True:
        for _ in range(int(steps)):
            step()
        lap(int(steps))
