"""All checks in their order, on every rank: the main process reports, the others take part where they must."""

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
from distgan.distributed.accelerator import build_accelerator, end
from distgan.distributed.heartbeat import PEER_GONE
from distgan.doctor import collective_checks, data, disk, dry_run, estimate, launch, machine
from distgan.doctor.finding import Finding, fail, ok, warn
from distgan.doctor.local_checks import LocalChecks
from distgan.doctor.output import Report
from distgan.utils.background import short
from distgan.utils.errors import DistganError, LaunchError, Stopped

SMALLER = "use more train.accumulation, a smaller train.batch_size, smaller networks, or data.resident_on=host"


class Doctor:
    """One examination of one launch, on this rank."""

    def __init__(self, config: Config, quick: bool, report: Report, environment: Mapping[str, str] = os.environ):
        self.config, self.report, self.environment = config, report, environment
        self.alone = LocalChecks(config, quick, report, environment)
        self.stage = "processes"
        """What all processes look at together now."""
        self.scratch = Path(tempfile.mkdtemp(prefix="distgan-doctor-"))
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(self.scratch / "inductor"))  # torch makes it in any case

    def run(self) -> int:
        """Makes all checks and returns the exit code: 0, or 2 where one failed; 0 on all but the main process."""
        try:
            self.alone.before()
            self.report.say("waiting for the processes to meet")
            accelerator = self._meet()
            if accelerator is None:
                self.alone.after(1, "no", None)
                self._left_out("the processes cannot be started in this way")
            else:
                self._with(accelerator)
            return self._end()
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _meet(self) -> Accelerator | None:
        known = [finding.text for finding in self.report.findings]
        try:
            accelerator, _ = build_accelerator(self.config.train)
        except (DistganError, RuntimeError, ValueError, OSError) as error:
            text = str(error) if isinstance(error, DistganError) else short(error)
            if text not in known:
                advice = "start this again in that way; look at MASTER_ADDR, MASTER_PORT and the launcher's numbers"
                self.report.add([fail("wiring", text, advice)])
            return None
        self.alone.check("wiring", lambda: launch.environment_findings(self.environment, accelerator.num_processes))
        return accelerator

    def _with(self, accelerator: Accelerator) -> None:
        """All that needs an Accelerator; with several processes, all of them."""
        word = collective_checks.PeerFailures(accelerator, self._leave)
        try:
            if accelerator.num_processes > 1:
                self.report.add(collective_checks.about_members(collective_checks.members(accelerator)))
            self._patient(accelerator)
            if accelerator.num_processes > 1:
                self._common(accelerator)
            self._try_out(accelerator)
        except (DistganError, RuntimeError) as error:  # torch.OutOfMemoryError, a lost connection
            if isinstance(error, Stopped) and accelerator.num_processes == 1:
                raise
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a launcher ends the others when one has ended
            self.report.add([explained(self.stage, error, word.failures())])
            word.failed(self.report.findings[-1].text)
            if self.stage != "dry run":
                self._left_out(f"because of {self.stage}, see above")
            else:
                self._writable()
            word.wait_for_main()
            word.done()
        else:
            word.done()
            end(accelerator)

    def _patient(self, accelerator: Accelerator) -> None:
        """What the main process looks at alone."""
        processes, precision = accelerator.num_processes, str(accelerator.mixed_precision)
        device = accelerator.device if accelerator.device.type == "cuda" else None

        def work() -> None:
            self.alone.after(processes, precision, device)

        if processes > 1:
            collective_checks.patiently(accelerator, work)
        else:
            work()

    def _common(self, accelerator: Accelerator) -> None:
        """What the processes must have in common. Raises LaunchError on every rank."""
        digest, self.stage = "", "same recipe"
        with contextlib.suppress(DistganError):
            found, _ = data.seen(self.config)
            digest = found.manifest.digest if found else ""
        self.report.add(collective_checks.same_recipe(accelerator, self.config, digest))
        self.stage = "shared directory"
        self.report.add(collective_checks.shared_directory(accelerator, self.config.run_dir))

    def _try_out(self, accelerator: Accelerator) -> None:
        self.stage = "dry run"
        everyone = collective_checks.gathered(accelerator, self.alone.plan_of_dry_run())
        absent, url, failed = everyone[0]  # as the main process sees it
        if failed:
            return self._left_out(failed)
        self.report.say("dry run: images and networks")
        host = machine.host_memory()
        config, said = dry_run.stand_in(self.config, self.scratch, absent, url)
        measured = collective_checks.gathered(accelerator, dry_run.try_out(config, accelerator, said, self.report.say))
        if self.report.enabled:
            self._judge(measured, host)
        return None

    def _judge(self, measured: Sequence[dry_run.Measured], host: int) -> None:
        config, first = self.config, measured[0]
        self.report.add(estimate.steps(config, measured))
        self.report.add(estimate.memory(config, measured, self.alone.local, host))
        self.report.add(estimate.network(measured))
        self.report.add(estimate.timeouts(config, measured))
        need = disk.need(config, first.checkpoint, first.generator, first.size)
        step = max(item.step for item in measured)
        self.alone.check("disk", lambda: self._disk(need, step))
        self.report.add(estimate.end(config, measured, self.alone.resumed, need))

    def _disk(self, need: disk.Need, step: float) -> list[Finding]:
        probe = disk.probe(self.config.run_dir, need.checkpoint)
        return disk.findings(self.config, probe, need, disk.used(self.config.run_dir), step)

    def _left_out(self, why: str) -> None:
        """There can be no dry run."""
        self.report.add([warn("dry run", f"left out: {why}", "mend that and run this again")])
        self._writable()

    def _writable(self) -> None:
        """What can be said of the disk without a dry run."""
        self.alone.check("disk", lambda: [ok("disk", f"{disk.probe(self.config.run_dir, 1).place} can be written")])

    def _leave(self, why: str) -> None:
        """Another process has failed, and this one would wait for it for ever."""
        self.report.add([fail(self.stage, why, "mend that and run this again")])
        disk.clean()
        shutil.rmtree(self.scratch, ignore_errors=True)
        os._exit(self._end())

    def _end(self) -> int:
        code = self.report.close()
        return code if self.report.enabled else 0


def explained(stage: str, error: Exception, elsewhere: str) -> Finding:
    """What has ended a stage on this process. elsewhere: what has failed on others before, or nothing."""
    if isinstance(error, Stopped):
        text = elsewhere or "stopped by SIGTERM, as launchers do when another process has ended"
        return fail(stage, text, "look at what the launcher says of the others")
    if isinstance(error, DistganError):
        advice = "start all processes with the same command" if isinstance(error, LaunchError) else "mend that"
        return fail(stage, str(error), f"{advice} and run this again")
    if isinstance(error, torch.OutOfMemoryError):
        return fail(stage, f"the GPU's memory is too small: {short(error)}", SMALLER)
    if elsewhere:
        return fail(stage, elsewhere, "mend that and run this again")
    if PEER_GONE.search(str(error)):
        text = f"another process has ended without a word ({short(error)})"
        return fail(stage, text, "look at its machine: was it killed for its memory, is the network cut?")
    return fail(stage, f"{type(error).__name__}: {short(error)}", "mend that and run this again")
