"""What is done when a training ends: the last generator, RUN/report.html, and a sentence that says why."""

from __future__ import annotations

from distgan.distributed.collectives import on_main
from distgan.distributed.stop import TIME
from distgan.inference.generator_file import read_generator
from distgan.training.early_stopping import EarlyStopping
from distgan.training.events import Reporter
from distgan.training.export import BEST, LAST, Exported, Exporter
from distgan.training.report.write import write_report
from distgan.training.tracking.progress_bar import ProgressBar
from distgan.training.trainer import Trainer
from distgan.utils.errors import DistganError


def export_last(exporter: Exporter, best: EarlyStopping, report: Reporter, stopping: bool) -> None:
    """Exports; stopping: a failure is only said, since everything is saved. Else raises ExportError on every rank."""
    scores = best.scores_of(exporter.trainer.images_seen)
    try:
        exported = on_main(lambda: exporter.write(LAST, scores))
    except DistganError as error:
        if not stopping:
            raise
        report("export", f"{error}; the next start exports")
    else:
        if not stopping:
            report.tracker.artifact(exported.path, exported.metadata)


def offer_best(exporter: Exporter, report: Reporter) -> None:
    """Gives RUN/best.safetensors, if there is one, to W&B, with what the file says of itself."""
    path = exporter.trainer.config.run_dir / BEST
    if not (exporter.trainer.accelerator.is_main_process and path.is_file()):
        return
    try:
        _, description, digest = read_generator(path)
    except DistganError as error:
        report("export", f"{error}; it is not given to W&B")
    else:
        report.tracker.artifact(path, Exported(path, digest, description).metadata, "best")


def write_page(exporter: Exporter, display: ProgressBar) -> None:
    """RUN/report.html; what hinders it is only said. Every rank waits for it: a launcher ends all after the first."""
    config = exporter.trainer.config

    def write() -> None:
        try:
            write_report(config.run_dir, config.data)
        except Exception as error:  # whatever it was: the training is done
            reason = str(error) if isinstance(error, DistganError) else f"{type(error).__name__}: {error}"
            display.say(f"WARNING: no report: {reason}; `distgan report {config.run_dir}` tries again")

    on_main(write)


def summary(trainer: Trainer, best: EarlyStopping, reason: int) -> str:
    """What has been done, and what to do with it. reason: 0 (the budget, or patience) or TIME."""
    place, all_seen = trainer.config.run_dir, trainer.steps >= trainer.config.total_steps
    done = f"{trainer.images_seen:,} images" if all_seen else stop_reason_text(trainer, best, reason)
    return (
        f"done: {done}; see {place}/report.html, {place}/samples and {place}/curves.png\n"
        f"draw from the generator: distgan sample {place}/{LAST} --seeds 0-63 --out grid.png"
    )


def stop_reason_text(trainer: Trainer, best: EarlyStopping, reason: int) -> str:
    """Why training is over, and what to set for more."""
    config = trainer.config
    if trainer.steps >= config.total_steps:
        return f"train.images={config.train.images} are seen; set more, or a new run.name"
    if reason == TIME:
        return (
            f"train.seconds={config.train.seconds:g} are used up at {trainer.images_seen:,} images; the same command "
            "goes on from here"
        )
    row, more = f"{best.memory.without} evaluations in a row without", "set best.patience higher, or null, to go on"
    if best.memory.top is None:
        return f"{row} a value of {best.metric}; {more}"
    return f"{row} a better {best.metric} than {best.described()}, which is in {config.run_dir}/{BEST}; {more}"
