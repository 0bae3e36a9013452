"""The tutorial's networks and update rule in Keras 3. Nothing of distgan is imported here, so that Keras may live in an
environment of its own.

Backend: KERAS_BACKEND, or TensorFlow where it is installed (the tutorial's), else PyTorch.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

CLIP, DECAY, LEAK, DROPOUT = 1.0, 1e-8, 0.3, 0.4
G_LR, D_LR = 4e-4, 8e-4


def load_keras() -> Any:
    """The package, with its backend chosen."""
    found = "tensorflow" if importlib.util.find_spec("tensorflow") else "torch"
    os.environ.setdefault("KERAS_BACKEND", found)
    import keras

    return keras


def rule(lr: float) -> Any:
    """RMSprop as in the tutorial, with the decay as a schedule, where Keras 3 wants it."""
    optimizers = load_keras().optimizers
    return optimizers.RMSprop(optimizers.schedules.InverseTimeDecay(lr, 1, DECAY), clipvalue=CLIP)


def generator(latent_dim: int = 32, stem: int = 128, width: int = 256, last: str | None = None) -> Any:
    """Latents -> images of 32x32. last: dtype of the images; None: Keras' own."""
    keras = load_keras()
    layers = keras.layers

    def leak() -> Any:
        return layers.LeakyReLU(LEAK)

    return keras.Sequential(
        [
            keras.Input((latent_dim,)),
            *(layers.Dense(stem * 16 * 16), leak(), layers.Reshape((16, 16, stem))),
            *(layers.Conv2D(width, 5, padding="same"), leak()),
            *(layers.Conv2DTranspose(width, 4, strides=2, padding="same"), leak()),
            *(layers.Conv2D(width, 5, padding="same"), leak()),
            *(layers.Conv2D(width, 5, padding="same"), leak()),
            layers.Conv2D(3, 7, padding="same", activation="tanh", dtype=last),
        ]
    )


def features(images: Any, width: int = 128) -> Any:
    """What the discriminator makes of images of 32x32 before dropout: [B, 4 * width]."""
    layers = load_keras().layers
    x = layers.LeakyReLU(LEAK)(layers.Conv2D(width, 3)(images))
    for _ in range(3):
        x = layers.LeakyReLU(LEAK)(layers.Conv2D(width, 4, strides=2)(x))
    return layers.Flatten()(x)


def compile_both(discriminator: Any, inputs: Any, verdict: Any) -> Any:
    """Compiles D, and returns the model of G's step, in which D is frozen. verdict: D's output for G's images.

    `discriminator.trainable` has to be set to False around each of G's steps: the tutorial's one `trainable = False`
    for all time stops D in Keras 3 altogether.
    """
    discriminator.compile(rule(D_LR), "binary_crossentropy")
    both = load_keras().Model(inputs, verdict)
    discriminator.trainable = False
    both.compile(rule(G_LR), "binary_crossentropy")
    discriminator.trainable = True
    return both
