"""The seed recipe in Keras 3, as its document has it: `train_on_batch` in turns, D frozen by `trainable` in G's step.

In fp32 as there, or, with precision=bf16, in Keras' mixed precision, whose guide has the outputs in fp32.
No distgan and, with another backend, no PyTorch is imported here.
"""

from __future__ import annotations

from benchmarks.common.keras_dcgan import DROPOUT, compile_both, features, generator, load_keras
from benchmarks.speed.interleave import Lap


def seed(lap: Lap, precision: str = "no", steps: str = "2", batch_size: str = "20") -> None:
    """D's updates are real: the document's `trainable = False` for all time would stop them (see docs)."""
    keras = load_keras()
    import numpy as np

    keras.mixed_precision.set_global_policy({"no": "float32", "bf16": "mixed_bfloat16"}[precision])
    g = generator(last="float32")
    images = keras.Input((32, 32, 3))
    dropped = keras.layers.Dropout(DROPOUT)(features(images))
    d = keras.Model(images, keras.layers.Dense(1, activation="sigmoid", dtype="float32")(dropped))
    latent = keras.Input((32,))
    both = compile_both(d, latent, d(g(latent)))

    batch, random = int(batch_size), np.random.default_rng(0)
    reals = random.uniform(-1, 1, (5_000, 32, 32, 3)).astype(np.float32)
    place = 0

    def step() -> None:
        nonlocal place
        real = reals[place : place + batch]
        place = (place + batch) % len(reals)
        fakes = g.predict_on_batch(random.normal(size=(batch, 32)).astype(np.float32))
        noise = 0.05 * random.uniform(size=(2 * batch, 1))
        labels = np.concatenate([1 - noise[:batch], noise[batch:]]).astype(np.float32)
        d.train_on_batch(np.concatenate([fakes, real]), labels)
        d.trainable = False
        both.train_on_batch(random.normal(size=(batch, 32)).astype(np.float32), np.zeros((batch, 1), np.float32))
        d.trainable = True

    while True:
        for _ in range(int(steps)):
            step()
        lap(int(steps))
