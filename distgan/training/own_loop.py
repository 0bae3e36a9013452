"""A trainer for people who own the loop: `for metrics in distgan.Trainer.from_config(config, images).steps(1000)`.

In: a configuration and real images. Out: metrics of each step, and the generator. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from accelerate import Accelerator
from torch import Tensor

from distgan.config.schema import Config
from distgan.data.dataset import ImageDataset
from distgan.data.in_memory import Reading, RealImages, open_images
from distgan.distributed.accelerator import build_accelerator, leave_group, own_rows
from distgan.distributed.collectives import in_group
from distgan.inference.generator import Generator
from distgan.training import trainer
from distgan.training.export import Exporter
from distgan.training.init import begin_from
from distgan.training.penalties import check_penalties
from distgan.utils.log import log


class Trainer:
    """Networks, optimizers and real images of one training, whose loop is the caller's.

    Attributes: core (`training.trainer.Trainer`: the networks g.network, d.network and ema.network, their optimizers,
    the counters), reals, accelerator.
    """

    def __init__(self, config: Config, accelerator: Accelerator, reals: RealImages, own_group: bool = False) -> None:
        """reals: of this rank's rows of the global batch. own_group: whether `close` ends the group of processes."""
        rows = own_rows(config.train, accelerator)
        self.core = trainer.Trainer(config, accelerator, rows, reals.size, reals.class_counts, reals.channels)
        self.reals, self.accelerator, self._own_group = reals, accelerator, own_group
        self._exporter = Exporter(config, self.core, reals)
        self._batches, self._place = reals.batches(0), 0  # the number of the batch that comes next
        if config.init.from_ is not None:
            for line in begin_from(config, self.core, reals.classes)[1]:
                log.info("%s", line)

    @property
    def images_seen(self) -> int:
        """Real images that D has been shown, on all ranks."""
        return self.core.images_seen

    @classmethod
    def from_config(
        cls,
        config: Config,
        images: Any = None,
        labels: Any = None,
        class_names: Sequence[str] | None = None,
        accelerator: Accelerator | None = None,
    ) -> Trainer:
        """Networks, optimizers, loss and augmentation of a configuration, before the first step.

        images: uint8 [N, 3, H, H] or [N, H, H, 3], in gray [N, H, H] or with 1 channel, a tensor or an array, the same
        on every rank; or an iterator without end of batches (images, labels), this rank's rows of each; None: the data
        set at data.path, which must be there.
        labels: whole numbers [N], classes from 0 on; class_names: theirs. accelerator: of `build_accelerator`; None: a
        new one, which joins the processes that a launcher started, and sets torch's threads to train.cpu_threads.

        With init.from, the weights are those that it names. The keys that are about whole runs (train.images, log,
        checkpoint, evaluate, ...) have no effect. Raises ConfigError, DataError, LaunchError.

        >>> import distgan, torch
        >>> config = distgan.load_config("quickstart", {"train.batch_size": 8})
        >>> images, labels = torch.randint(256, (20, 3, 32, 32), dtype=torch.uint8), torch.arange(20) % 10
        >>> trainer = distgan.Trainer.from_config(config, images, labels)
        >>> for metrics in trainer.steps(2):
        ...     print(trainer.images_seen, metrics["loss/g"].shape)
        8 torch.Size([])
        16 torch.Size([])
        >>> trainer.generator().sample(seeds=[0, 1], classes=["3", "7"]).shape
        torch.Size([2, 3, 32, 32])
        """
        own_group = not in_group()
        accelerator = accelerator or build_accelerator(config.train)[0]
        check_penalties(config, accelerator.mixed_precision)
        rows, device = own_rows(config.train, accelerator), accelerator.device
        reals: RealImages
        if images is None:
            reals = ImageDataset(config.data, config.run.seed, rows, device, accelerator.is_main_process)
        else:
            reals = open_images(images, labels, class_names, Reading(config.data, config.run.seed, rows, device))
        return cls(config, accelerator, reals, own_group)

    def steps(self, count: int) -> Iterator[dict[str, Tensor]]:
        """Makes steps, and yields the metrics of each: scalars on the device, means over this rank's rows.

        `.item()` of one waits for the device: do so now and then. Another call goes on from there. Raises DataError,
        and Stalled where images no longer come.
        """
        for _ in range(count):
            metrics = self._step()
            for text in self.core.controllers.take_reports():
                log.info("%s", text)
            yield metrics

    def _step(self) -> dict[str, Tensor]:
        """One step, on the open batches if they stand where the counters do, else on others."""
        if self._place != self.core.d.updates:
            self._batches.close()
            self._batches = self.reals.batches(self.core.d.updates)
        self._place = -1  # unless the step is made
        metrics = self.core.step(self._batches)
        self._place = self.core.d.updates
        return metrics

    def generator(self) -> Generator:
        """A copy of the averaged generator as it is now: to sample from, to evaluate, to save."""
        return self._exporter.copy_of_generator()

    def close(self) -> None:
        """Ends this process's part in a group of processes, after the last step; needed where there are several.

        A group that was there before `from_config` stays, for whoever made it to destroy.
        """
        self._batches.close()
        accelerator = self.accelerator
        del self._batches, self.core, self.reals, self.accelerator, self._exporter
        leave_group(accelerator, destroy=self._own_group)
