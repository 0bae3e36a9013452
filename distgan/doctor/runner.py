"""All checks in their order, on every rank: the main process reports, the others take part in the collective checks."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

from distgan.config.schema import Config
from distgan.distributed.accelerator import build_accelerator, leave_group, own_settings
from distgan.distributed.collectives import gather_objects
from distgan.distributed.heartbeat import PEER_GONE
from distgan.doctor import collective_checks, data, disk, dry_run, estimate, launch, machine
from distgan.doctor.check_result import AGAIN, CheckResult, fail, ok, warn
from distgan.doctor.local_checks import LocalChecks
from distgan.doctor.output import Report
from distgan.utils.background import short
from distgan.utils.errors import DistganError, LaunchError, Stopped

SMALLER = "use more train.accumulation, a smaller train.batch_size, smaller networks, or data.resident_on=host"


class Doctor:
    """All checks of one launch, on this rank."""

    def __init__(self, config: Config, quick: bool, report: Report, environment: Mapping[str, str] = os.environ):
        """quick: skip the checksums of the shards; environment: of this process."""
        self.config, self.report, self.environment = config, report, environment
        self.local_checks = LocalChecks(config, quick, report, environment)
        self.stage = "processes"
        """Name of the collective check in progress."""
        self.scratch = Path(tempfile.mkdtemp(prefix="distgan-doctor-"))
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(self.scratch / "inductor"))  # torch makes it in any case

    @own_settings()
    def run(self) -> int:
        """Makes all checks. Returns the exit code: 0, or 2 if one failed; always 0 on all but the main process."""
        try:
            self.local_checks.before_connecting()
            self.report.progress("waiting for all processes")
            accelerator = self._connect()
            if accelerator is None:
                self.local_checks.after_connecting(1, "no", None)
                self._skip_dry_run("the processes cannot be connected")
            else:
                self._check_launch(accelerator)
            return self._end()
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _connect(self) -> Accelerator | None:
        """Joins the processes. A failure is reported."""
        reported = [result.text for result in self.report.results]
        try:
            accelerator, _ = build_accelerator(self.config.train)
        except (DistganError, RuntimeError, ValueError, OSError) as error:
            text = str(error) if isinstance(error, DistganError) else short(error)
            if text not in reported:
                advice = "fix the launch: check MASTER_ADDR, MASTER_PORT and the launcher's numbers"
                self.report.add([fail("wiring", text, advice)])
            return None
        processes = accelerator.num_processes
        self.local_checks.check("wiring", lambda: launch.check_environment(self.environment, processes))
        return accelerator

    def _check_launch(self, accelerator: Accelerator) -> None:
        """Makes the checks that need an Accelerator. The first collective check that fails is the last."""
        several = accelerator.num_processes > 1
        peers = collective_checks.PeerFailures(accelerator, self._leave)
        try:
            if several:
                self.report.add(collective_checks.check_members(collective_checks.gather_members(accelerator)))
            self._check_locally(accelerator)
            if several:
                self._check_agreement(accelerator)
            self._dry_run(accelerator)
        except (DistganError, RuntimeError) as error:  # also torch.OutOfMemoryError and lost connections
            if isinstance(error, Stopped) and not several:
                raise
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a launcher ends the others when one has ended
            self.report.add([explain(self.stage, error, peers.failures())])
            peers.report(self.report.results[-1].text)
            if self.stage != "dry run":
                self._skip_dry_run(f"because of {self.stage}, see above")
            else:
                self._check_writable()
            peers.wait_for_main()
            peers.done()
        else:
            peers.done()
            leave_group(accelerator)

    def _check_locally(self, accelerator: Accelerator) -> None:
        """Lets the main process make its own checks while the others wait."""
        processes, precision = accelerator.num_processes, str(accelerator.mixed_precision)
        device = accelerator.device if accelerator.device.type == "cuda" else None

        def work() -> None:
            self.local_checks.after_connecting(processes, precision, device)

        if processes > 1:
            collective_checks.work_on_main(accelerator, work)
        else:
            work()

    def _check_agreement(self, accelerator: Accelerator) -> None:
        """Checks what the processes must have in common. Raises LaunchError on every rank."""
        digest, self.stage = "", "same recipe"
        with contextlib.suppress(DistganError):
            data_set, _ = data.check_data(self.config)
            digest = data_set.manifest.digest if data_set else ""
        self.report.add(collective_checks.check_same_configuration(accelerator, self.config, digest))
        self.stage = "shared directory"
        self.report.add(collective_checks.check_shared_directory(self.config.run_dir))

    def _dry_run(self, accelerator: Accelerator) -> None:
        self.stage = "dry run"
        plan = gather_objects(self.local_checks.plan_dry_run())[0]  # the main process has made the local checks
        if plan.skip_reason:
            return self._skip_dry_run(plan.skip_reason)
        self.report.progress("dry run: images and networks")
        host = machine.free_host_memory()
        config, description = dry_run.stand_in(self.config, self.scratch, plan)
        measured = dry_run.measure(config, accelerator, description, self.report.progress)
        all_ranks = gather_objects(measured)
        if self.report.enabled:
            self._report_measurements(all_ranks, host)
        return None

    def _report_measurements(self, all_ranks: Sequence[dry_run.Measurements], host: int) -> None:
        """host: bytes that were free on this machine before the dry run."""
        config, first = self.config, all_ranks[0]
        self.report.add(estimate.check_steps(all_ranks))
        self.report.add(estimate.check_memory(all_ranks, self.local_checks.local, host))
        self.report.add(estimate.check_network(all_ranks))
        self.report.add(estimate.check_timeouts(config, all_ranks))
        need = disk.estimate_need(config, first.checkpoint, first.generator, first.image)
        step = max(measured.step for measured in all_ranks)
        self.local_checks.check("disk", lambda: self._check_disk(need, step))
        self.report.add(estimate.estimate_end(config, all_ranks, self.local_checks.steps_done, need))

    def _check_disk(self, need: disk.Need, step: float) -> list[CheckResult]:
        run_dir = self.config.run_dir
        probe = disk.probe(run_dir, need.checkpoint)
        return disk.check_disk(self.config, probe, need, disk.used_bytes(run_dir), step)

    def _skip_dry_run(self, reason: str) -> None:
        self.report.add([warn("dry run", f"skipped: {reason}", AGAIN)])
        self._check_writable()

    def _check_writable(self) -> None:
        """Checks as much of the disk as is possible without a dry run."""
        run_dir = self.config.run_dir
        self.local_checks.check("disk", lambda: [ok("disk", f"{disk.probe(run_dir, 1).directory} can be written")])

    def _leave(self, failures: str) -> None:
        """Ends this process, which would wait for ever for one that has failed."""
        self.report.add([fail(self.stage, failures, AGAIN)])
        disk.remove_hidden_files()
        shutil.rmtree(self.scratch, ignore_errors=True)
        os._exit(self._end())

    def _end(self) -> int:
        code = self.report.close()
        return code if self.report.enabled else 0


def explain(stage: str, error: Exception, failures: str) -> CheckResult:
    """The result for the error that ended a stage on this process. failures: of other processes before, or empty."""
    if isinstance(error, Stopped):
        text = failures or "stopped by SIGTERM, as launchers do when another process has ended"
        return fail(stage, text, "read what the launcher prints about the others")
    if isinstance(error, LaunchError):
        return fail(stage, str(error), "start all processes with the same command and run this again")
    if isinstance(error, DistganError):
        return fail(stage, str(error), AGAIN)
    if isinstance(error, torch.OutOfMemoryError):
        return fail(stage, f"the GPU's memory is too small: {short(error)}", SMALLER)
    if failures:
        return fail(stage, failures, AGAIN)
    if PEER_GONE.search(str(error)):
        text = f"another process has ended without an error message ({short(error)})"
        return fail(stage, text, "check its machine: was the process killed for its memory, is the network down?")
    return fail(stage, f"{type(error).__name__}: {short(error)}", AGAIN)
