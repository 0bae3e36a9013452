# %% [markdown]
# All of distgan in one process: two trainings of different precisions, their scores, fine-tuning, and images.
#
# Run it as a script (`python examples/notebook.py`) or cell by cell, where it may write the directories data, runs and
# mine. The networks and the trainings are as small as can be: half a minute on two cores, and no good images.

# %%
import logging

import distgan

logging.basicConfig(level=logging.INFO, format="%(message)s")
SHORT = {
    "wandb.mode": "disabled",
    "train.images": 480,
    "log.every_steps": 10,
    "generator": {"width": 16, "stem_channels": 16},
    "discriminator": {"width": 16},
}

# %% Images: ten drawn shapes, and three of them for the fine-tuning
manifest = distgan.prepare("shapes", out="data/shapes", count=1000)
distgan.prepare("shapes", out="data/three", count=90, classes=["ring", "star", "heart"], seed=1)
print(manifest.count, "images of", ", ".join(manifest.classes))


# %% A callback: it sees the losses, and takes a generator on the way
class Watch(distgan.Callback):
    def __init__(self):
        self.losses, self.half = [], None

    def on_log(self, state):
        self.losses.append(round(state.metrics["loss/g"], 3))
        if state.images_seen >= SHORT["train.images"] // 2 and self.half is None:
            self.half = state.generator()


# %% Two trainings
generators = {}
for precision in ("no", "bf16"):
    changes = {**SHORT, "run.name": f"shapes-{precision}", "train.precision": precision}
    watch = Watch()
    result = distgan.fit(distgan.load_config("quickstart", changes), [watch])
    print(precision, result.reason, watch.losses)
    generators |= {precision: result.generator, f"{precision}, half way": watch.half}

# %% Their scores
for name, generator in generators.items():
    scores = distgan.evaluate(generator, "data/shapes", extractor="none", count=100, progress=False)
    print(f"{name}: {scores.images_seen} images seen, sharp {scores.values['shapes_sharp']:.3f}")

# %% Fine-tuning: three classes, beginning from what the first run has learnt
changes = {**SHORT, "run.name": "three", "data.path": "data/three", "init.from": "runs/shapes-no"}
tuned = distgan.fit(distgan.load_config("quickstart", changes))
print("tuned:", tuned.generator)

# %% Steps in a loop of one's own, from the same weights
trainer = distgan.Trainer.from_config(distgan.load_config("quickstart", changes))
for step, metrics in enumerate(trainer.steps(20), 1):
    if step % 10 == 0:
        print(step, {name: round(value.item(), 3) for name, value in metrics.items() if name.startswith("loss")})

# %% Images
images = tuned.generator.sample(seeds=range(12), classes="star")
print("images:", list(images.shape), images.dtype)
trainer.generator().save_pretrained("mine")
print("loaded:", distgan.load_generator("mine/model.safetensors"))
