"""A trainer with a fault in it: python faulty_trainer.py FAULT [train.py's arguments], or under torchrun.

Each function below plants one fault from outside, by changing what the trainer calls; nothing of it is in the package.
"""

import errno
import os
import signal
import sys
import time

import torch

from distgan import train
from distgan.data.dataset import ImageDataset
from distgan.training.checkpoint import storage
from distgan.training.loop import TrainingLoop
from distgan.training.player import Player
from distgan.training.trainer import Trainer
from distgan.utils import files
from distgan.utils.background import leave
from distgan.utils.rng import Rows

RANK = int(os.environ.get("RANK", "0"))
STEP = 12


def after_build(change):
    original = Trainer.__init__

    def build(self, *arguments):
        original(self, *arguments)
        change(self)

    Trainer.__init__ = build


def before_step(change):
    original = Trainer.step

    def step(self, reals):
        change(self)
        return original(self, reals)

    Trainer.step = step


def another_seed():
    """Rank 1 makes its weights from another seed; DDP hides that for G and D, not for their average."""
    original = Trainer.__init__

    def build(self, config, *rest):
        run = config.run.model_copy(update={"seed": config.run.seed + RANK})
        original(self, config.model_copy(update={"run": run}), *rest)

    Trainer.__init__ = build


def slow_to_report():
    """Rank 0 needs three seconds more than the others to report why training ended."""
    original = train._report

    def report(*arguments):
        time.sleep(3 * (RANK == 0))
        return original(*arguments)

    train._report = report


def skipped_all_reduce():
    """Once, D's gradients stay each rank's own."""
    original = Player.part

    def part(self, index, parts):
        skip = self.updates == STEP and type(self.network).__name__ == "Discriminator"
        return self._accelerator.no_sync(self.wrapped) if skip else original(self, index, parts)

    Player.part = part


def batch_norm_buffer():
    """G has a BatchNorm that sees each rank's own images."""

    def change(trainer):
        layer = torch.nn.BatchNorm2d(3)
        trainer.g.network.add_module("normal", layer)
        trainer.ema.network.add_module("normal", torch.nn.BatchNorm2d(3))
        trainer.g.network.register_forward_hook(lambda _module, _inputs, output: layer(output))

    after_build(change)


def equal_latents():
    """Rank 1 draws rank 0's rows."""
    after_build(lambda trainer: setattr(trainer, "draws", zero_rows(trainer.draws)))


def equal_images():
    """Rank 1 is dealt rank 0's images."""
    original = ImageDataset.__init__

    def build(self, config, seed, rows, *rest):
        original(self, config, seed, Rows(0, len(rows), rows.total), *rest)

    ImageDataset.__init__ = build


def zero_rows(draws):
    return draws.for_rows(Rows(0, len(draws.rows), draws.rows.total))


def spoil(network):
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))


def nan_once():
    """One weight tensor of G becomes NaN on all ranks, in the first life of step 12."""
    once = []

    def change(trainer):
        if trainer.steps == STEP and not once:
            once.append(True)
            spoil(trainer.g.network)

    before_step(change)


def nan_on_one_rank():
    """Only rank 1's weights are spoilt, once, after the guard's last look before a line of metrics."""
    once = []

    def change(trainer):
        if RANK and trainer.steps == 14 and not once:
            once.append(True)
            spoil(trainer.g.network)

    before_step(change)


def export_fails():
    """The generator cannot be written."""
    from distgan.training import export
    from distgan.utils.errors import ExportError

    def fail(*_):
        raise ExportError("generator.safetensors cannot be written: No space left on device")

    export.save_generator = fail


def killed_before_the_export():
    """SIGKILL after the last checkpoint."""
    from distgan.training import run

    run.export = lambda *_: os.kill(os.getpid(), signal.SIGKILL)


def report_fails():
    """There is no space for the page."""
    from distgan.training import finish

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    finish.write_report = fail


def nan_always():
    before_step(lambda trainer: trainer.steps == STEP and spoil(trainer.g.network))


def nan_in_the_last_step():
    before_step(lambda trainer: trainer.steps == 19 and spoil(trainer.g.network))


def exploding():
    """G's gradients grow a million times from step 32 on."""
    original = Player.backward

    def backward(self, loss):
        big = type(self.network).__name__ == "Generator" and self.updates >= 32
        original(self, loss * 1e6 if big else loss)

    Player.backward = backward


def collapse():
    """From step 12 on the averaged generator makes one image, whatever the latent."""

    def change(trainer):
        if trainer.steps >= STEP:
            trainer.ema.update = lambda _: [weight.data.zero_() for weight in trainer.ema.network.parameters()]

    before_step(change)


def disk_full():
    """Every other checkpoint finds the disk full."""
    original, calls = storage.save_file, []

    def save(tensors, path):
        calls.append(path)
        if len(calls) % 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        original(tensors, path)

    storage.save_file = save


def disk_full_for_good():
    def save(tensors, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    storage.save_file = save


def disk_slow():
    """A checkpoint takes two seconds more, a step at least a tenth of one."""
    original = storage.save_file

    def save(tensors, path):
        time.sleep(2)
        original(tensors, path)

    storage.save_file = save
    before_step(lambda trainer: time.sleep(0.1))


def slow_writes():
    """Every file and directory takes 0.2 s more to get to the disk: time to be killed while writing."""
    original = files.fsync

    def fsync(path):
        time.sleep(0.2)
        original(path)

    files.fsync = storage.fsync = fsync


def slow_steps():
    """A step takes at least a tenth of a second: time to disturb it."""
    before_step(lambda trainer: time.sleep(0.1))


def slower_steps():
    """A step takes at least 0.03 s."""
    before_step(lambda trainer: time.sleep(0.03))


if __name__ == "__main__":
    assert TrainingLoop  # what is changed above is what training uses
    globals()[sys.argv[1]]()
    leave(lambda: train.main(sys.argv[2:]))
