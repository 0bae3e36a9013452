"""What the main process looks at by itself: before the processes have met, and while the others wait."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from distgan.config.schema import Config
from distgan.data import dataset
from distgan.distributed.accelerator import batch_rows
from distgan.doctor import data, launch, machine, readers, recipe, wandb_check
from distgan.doctor.finding import Finding, guarded, nearest
from distgan.doctor.output import Report
from distgan.doctor.versions import versions
from distgan.utils.errors import DistganError
from distgan.utils.rng import Rows


class LocalChecks:
    """The main process's own checks, and what they have found; nothing on the other processes."""

    def __init__(self, config: Config, quick: bool, report: Report, environment: Mapping[str, str]) -> None:
        self.config, self.quick, self.report, self.environment = config, quick, report, environment
        self.there = machine.look(environment)
        self.local = machine.local_processes(environment)
        self.seen: data.Seen | None = None
        self.absent = False
        """Whether the data set will be made by training."""
        self.resumed = 0
        """Steps that are done already."""

    def before(self) -> None:
        """What can be seen before any process has met another."""
        config, environment, there = self.config, self.environment, self.there
        self.check("versions", lambda: versions(config))
        self.check("devices", lambda: machine.devices(there, self.local))
        self.check("precision", lambda: machine.precision(config, environment, there.on_gpu))
        file = launch.defaults_file(environment)
        self.check("accelerate", lambda: launch.defaults_findings(file, len(there.gpus)))

    def after(self, processes: int, precision: str, device: torch.device | None) -> None:
        """What needs their number. device: this process's GPU."""
        config = self.config
        self.check("batch", lambda: recipe.batch(config, processes))
        self.check("lock", lambda: recipe.lock(config.run_dir))
        if self.report.enabled:
            self.report.say("looking at the data set")
        self.check("data", self._look_at_data, 120)
        if self.report.enabled and self.seen is not None:
            seen = self.seen
            self.report.add(data.contents(config, seen, self.quick, self.report.enabled))
            with contextlib.suppress(DistganError):
                rows = batch_rows(config.train.batch_size, config.train.accumulation, 0, processes)
                self.check("readers", lambda: self._readers(seen, rows, device))
        self.check("scores", lambda: recipe.scores(config, self.seen))
        self.check("resume", lambda: self._resume(processes, precision), 300)
        self.check("W&B", lambda: wandb_check.wandb_findings(config), 30)

    def plan_of_dry_run(self) -> tuple[bool, bool, str]:
        """(whether the images are not there yet, whether all would have to be fetched, why there can be no run)."""
        failed = {finding.what for finding in self.report.findings if finding.level == "fail"}
        if broken := sorted(failed & {"batch", "precision", "data", "data memory", "devices"}):
            return False, False, f"because of {', '.join(broken)}, see above"
        if self.seen is None:
            return self.absent, False, "" if self.absent else "the data set could not be looked at"
        far = not isinstance(self.seen.wanted.location, Path)
        return False, far and readers.mode_of(self.config, self.seen.wanted) == "resident", ""

    def check(self, what: str, call: Callable[[], Sequence[Finding]], seconds: float = 60.0) -> None:
        """Adds the findings of a check to the report; on the main process only."""
        if self.report.enabled:
            self.report.add(guarded(what, call, seconds))

    def _look_at_data(self) -> list[Finding]:
        self.seen, found = data.seen(self.config)
        self.absent = self.seen is None and found[0].level == "ok"
        return found

    def _readers(self, seen: data.Seen, rows: Rows, device: torch.device | None) -> list[Finding]:
        config, wanted = self.config, seen.wanted
        streamed = readers.mode_of(config, wanted) == "stream"
        workers = dataset.worker_count(config.data, wanted, device is not None) if streamed else 0
        free = None if device is None else torch.cuda.mem_get_info(device)[0]
        return [
            *readers.reading(config, wanted, rows, self.local, self.there.cores, device is not None),
            *readers.resident_memory(config, wanted, self.local, machine.host_memory(), free),
            *readers.cache(config, wanted, _room(config.data.cache)),
            *machine.limits(workers, len(rows), wanted.size, self.local),
        ]

    def _resume(self, processes: int, precision: str) -> list[Finding]:
        digest = self.seen.manifest.digest if self.seen else None
        self.resumed, found = recipe.resume(self.config, recipe.Run(processes, precision, digest))
        return found


def _room(directory: Path | None) -> int | None:
    """Bytes that are free where a directory is, or would be made."""
    try:
        return None if directory is None else shutil.disk_usage(nearest(directory)).free
    except OSError:
        return None
