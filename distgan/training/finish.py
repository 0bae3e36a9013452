"""The end of a training: the last generator, the best one for W&B, RUN/report.html, and a sentence that says why."""

from __future__ import annotations

from distgan.config.networks import GENERATORS
from distgan.config.schema import Config
from distgan.distributed.collectives import on_main
from distgan.distributed.stop import StopReason
from distgan.inference.generator_file import read_generator
from distgan.inference.sampling import BEST, LAST
from distgan.training.early_stopping import EarlyStopping
from distgan.training.export import Exported, Exporter
from distgan.training.report.write import write_report
from distgan.training.telemetry import Telemetry
from distgan.training.trainer import Trainer
from distgan.utils.errors import DistganError
from distgan.utils.log import log


def export_last(exporter: Exporter, best: EarlyStopping, telemetry: Telemetry, urgent: bool) -> None:
    """Exports RUN/generator.safetensors. Raises ExportError on every rank.

    urgent: a failure is only reported, since everything is saved; W&B gets no artifact.
    """
    scores = best.scores_of(exporter.trainer.images_seen)
    try:
        exported = on_main(lambda: exporter.write(LAST, scores))
    except DistganError as error:
        if not urgent:
            raise
        telemetry.warn("export", f"{error}; the next start exports")
    else:
        if not urgent:
            telemetry.tracker.artifact(exported.path, exported.metadata)


def upload_best(exporter: Exporter, telemetry: Telemetry) -> None:
    """Gives RUN/best.safetensors, if there is one, to W&B, with the facts in the file."""
    path = exporter.config.run_dir / BEST
    if not (exporter.trainer.accelerator.is_main_process and path.is_file()):
        return
    try:
        _, description, digest = read_generator(path)
    except DistganError as error:
        telemetry.warn("export", f"{error}; it is not uploaded to W&B")
    else:
        telemetry.tracker.artifact(path, Exported(path, digest, description).metadata, "best")


def write_page(config: Config, telemetry: Telemetry) -> bool:
    """Writes RUN/report.html, and shows it in the W&B run. Returns whether it could; a failure is only reported.

    Every rank waits for it, since a launcher ends all ranks after the first.
    """

    def write() -> bool:
        try:
            telemetry.tracker.page(write_report(config.run_dir, config.data))
        except Exception as error:  # any: the training is done
            reason = str(error) if isinstance(error, DistganError) else f"{type(error).__name__}: {error}"
            log.warning("no report: %s; `distgan report %s` tries again", reason, config.run_dir)
            return False
        return True

    return on_main(write)


def summary(config: Config, trainer: Trainer, best: EarlyStopping, reason: StopReason, with_page: bool) -> str:
    """Sentences for a training that has ended in full: what is done, and how to use the result.

    with_page: whether RUN/report.html could be written.
    """
    place, all_seen = config.run_dir, trainer.steps >= config.total_steps
    module = GENERATORS.module_of(config.generator)
    trust = f" --trust {module}" if module else ""
    done = f"{trainer.images_seen:,} images" if all_seen else stop_reason_text(config, trainer, best, reason)
    return (
        f"done: {done}; see {f'{place}/report.html, ' if with_page else ''}{place}/samples and {place}/curves.png\n"
        f"draw from the generator: distgan sample {place}/{LAST} --seeds 0-63 --out grid.png{trust}"
    )


def end_reason(config: Config, trainer: Trainer, reason: StopReason) -> str:
    """Why training is over: budget, time_limit, patience, callback, or the name of a signal."""
    if reason.urgent:
        return reason.name
    if trainer.steps >= config.total_steps:
        return "budget"
    return {StopReason.TIME_LIMIT: "time_limit", StopReason.REQUESTED: "callback"}.get(reason, "patience")


def stop_reason_text(config: Config, trainer: Trainer, best: EarlyStopping, reason: StopReason) -> str:
    """Why training is over, and what to set for more."""
    if trainer.steps >= config.total_steps:
        return f"train.images={config.train.images} are seen; set more, or a new run.name"
    if reason == StopReason.REQUESTED:
        return f"a callback asked for the end at {trainer.images_seen:,} images; the same call goes on from here"
    if reason == StopReason.TIME_LIMIT:
        return (
            f"train.seconds={config.train.seconds:g} are used up at {trainer.images_seen:,} images; the same command "
            "goes on from here"
        )
    row, more = f"{best.memory.without} evaluations in a row without", "set best.patience higher, or null, to go on"
    if best.memory.top is None:
        return f"{row} a value of {best.metric}; {more}"
    return f"{row} a better {best.metric} than {best.described()}, which is in {config.run_dir}/{BEST}; {more}"
