"""The checks that the main process makes by itself: before the processes are connected, and while the others wait."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from distgan.config.schema import Config
from distgan.data import dataset
from distgan.distributed.accelerator import batch_rows
from distgan.distributed.launcher import local_processes
from distgan.doctor import data, dry_run, launch, machine, readers, recipe, wandb_check
from distgan.doctor.check_result import CHECK_SECONDS, CheckResult, existing_directory, run_check
from distgan.doctor.output import Report
from distgan.doctor.versions import check_versions
from distgan.utils.errors import DistganError
from distgan.utils.rng import Rows


class LocalChecks:
    """The main process's own checks, and the facts that they find for later ones; nothing on the other processes."""

    def __init__(self, config: Config, quick: bool, report: Report, environment: Mapping[str, str]) -> None:
        """quick: skip the checksums of the shards."""
        self.config, self.quick, self.report, self.environment = config, quick, report, environment
        self.machine = machine.inspect_machine(environment)
        self.local = local_processes(environment)
        self.data_set: data.DataSet | None = None
        self.to_be_prepared = False
        """Whether training will make the data set first."""
        self.steps_done = 0
        """Steps before a resume."""

    def before_connecting(self) -> None:
        """Makes the checks that need no other process."""
        config, environment, found = self.config, self.environment, self.machine
        self.check("versions", lambda: check_versions(config))
        self.check("devices", lambda: machine.check_devices(found, self.local))
        self.check("precision", lambda: machine.check_precision(config, environment, found.on_gpu))
        self.check("launcher", lambda: launch.check_overruled(config.train, environment))
        defaults = launch.find_defaults_file(environment)
        self.check("accelerate", lambda: launch.check_defaults_file(defaults, len(found.gpus)))

    def after_connecting(self, processes: int, precision: str, device: torch.device | None) -> None:
        """Makes the checks that need the number of processes. device: this process's GPU, None on the CPU."""
        config = self.config
        self.check("batch", lambda: recipe.check_batch(config, processes))
        self.check("lock", lambda: recipe.check_lock(config.run_dir))
        self.report.progress("checking the data set")
        self.check("data", self._check_data, 120)
        if self.report.enabled and (data_set := self.data_set) is not None:
            self.report.add(data.check_contents(config, data_set, self.quick, show=True))
            with contextlib.suppress(DistganError):
                rows = batch_rows(config.train.batch_size, config.train.accumulation, 0, processes)
                self.check("readers", lambda: self._check_readers(data_set, rows, device))
        self.check("scores", lambda: recipe.check_scores(config, self.data_set))
        self.check("resume", lambda: self._check_checkpoints(processes, precision), 300)
        self.check("init", lambda: recipe.check_init(config, self.steps_done > 0), 300)
        self.check("W&B", lambda: wandb_check.check_wandb(config), 30)

    def plan_dry_run(self) -> dry_run.Plan:
        """Chooses the images of the dry run from the results so far."""
        failed = {result.what for result in self.report.results if result.level == "fail"}
        if broken := sorted(failed & {"batch", "precision", "data", "data memory", "devices"}):
            return dry_run.Plan(skip_reason=f"because of {', '.join(broken)}, see above")
        if self.to_be_prepared:
            return dry_run.Plan(drawn=True)
        if self.data_set is None:
            return dry_run.Plan(skip_reason="the data set could not be checked")
        remote = not isinstance(self.data_set.selection.location, Path)
        return dry_run.Plan(one_shard=remote and readers.mode_of(self.config, self.data_set.selection) == "resident")

    def check(self, what: str, check: Callable[[], Sequence[CheckResult]], seconds: float = CHECK_SECONDS) -> None:
        """Makes a check on the main process and adds its results to the report."""
        if self.report.enabled:
            self.report.add(run_check(what, check, seconds))

    def _check_data(self) -> list[CheckResult]:
        self.data_set, results = data.check_data(self.config)
        self.to_be_prepared = self.data_set is None and results[0].level == "ok"
        return results

    def _check_readers(self, data_set: data.DataSet, rows: Rows, device: torch.device | None) -> list[CheckResult]:
        config, selection, gpu = self.config, data_set.selection, device is not None
        streamed = readers.mode_of(config, selection) == "stream"
        workers = dataset.worker_count(config.data, selection, gpu) if streamed else 0
        free = None if device is None else torch.cuda.mem_get_info(device)[0]
        return [
            *readers.check_readers(config, selection, rows, self.local, self.machine.cores, gpu),
            *readers.check_data_memory(config, selection, self.local, machine.free_host_memory(), free),
            *readers.check_cache(config, selection, _free_bytes(config.data.cache)),
            *machine.check_limits(workers, len(rows), selection.image_bytes, self.local),
        ]

    def _check_checkpoints(self, processes: int, precision: str) -> list[CheckResult]:
        digest = self.data_set.manifest.digest if self.data_set else None
        self.steps_done, results = recipe.check_checkpoints(self.config, recipe.Launch(processes, precision, digest))
        return results


def _free_bytes(directory: Path | None) -> int | None:
    """Free bytes where a directory is, or would be made; None without a directory, or if it cannot be made."""
    try:
        return None if directory is None else shutil.disk_usage(existing_directory(directory)).free
    except OSError:
        return None
