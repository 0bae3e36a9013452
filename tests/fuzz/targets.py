# ruff: noqa: E501
"""What the tests of hostile input and the fuzzer attack: per kind of file a good example, its forgeries, its readers.

`Target.read` reads everything that distgan would read of a directory of such files. It may return, or raise
DistganError; anything else is a finding (see `judge`).
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import itertools
import json
import os
import pickle
import re
import resource
import signal
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch

from distgan.config.load import load_config, resume_changes, to_yaml
from distgan.config.networks import SeedGenerator
from distgan.config.schema import Config, DataConfig, EvaluateConfig
from distgan.data.dataset import ImageDataset
from distgan.data.prepare import Request, find_existing, prepare, verify
from distgan.data.sharding import ReadPlan
from distgan.data.shards.manifest import load_manifest
from distgan.data.shards.selection import select_shards
from distgan.data.sources import cifar10
from distgan.data.sources.shapes import Shapes
from distgan.data.sources.webdataset import WebDataset
from distgan.inference.generator import load_generator
from distgan.inference.generator_file import Description, save_generator
from distgan.metrics import classifier_file
from distgan.metrics.classifier_file import ClassifierDescription, save_classifier
from distgan.metrics.extractors.base import load_extractor
from distgan.networks import build_classifier, build_generator
from distgan.training.checkpoint import storage
from distgan.training.checkpoint.generator import export_checkpoint
from distgan.training.checkpoint.resume import Saved
from distgan.training.checkpoint.state import capture, restore
from distgan.training.report import live
from distgan.training.report.compare import NamedRun, comparison_parts
from distgan.training.report.html import embedded_frames
from distgan.training.report.parts import run_parts
from distgan.training.report.run_reader import RunReader
from distgan.training.run_dir import locked, run_id_of
from distgan.training.tracking.tracker import MetricsFile, read_metrics
from distgan.utils.errors import DistganError
from distgan.utils.files import sha256
from distgan.utils.rng import Rows
from distgan.utils.safe_io import MAX_SENTENCE
from tests.fuzz import mutations, source_targets
from tests.support import foreign, forks
from tests.support.runs import make_run as make_run_by_hand

SECONDS = 10  # a reader may take
MEMORY = 256 << 20  # bytes a reader may need
ADDRESSES = 4 << 30  # bytes of address space a reader may ask for: beyond it there is a MemoryError
NETWORK = SeedGenerator(latent_dim=4, stem_channels=2, width=4, depth=1, conditional=True)
TINY = ("generator.width=4", "generator.stem_channels=2", "generator.latent_dim=4", "generator.depth=1",
        "discriminator.width=4", "discriminator.downsamples=1", "train.batch_size=2", "wandb.mode=disabled")  # fmt: skip


class Target(NamedTuple):
    make: Callable[[Path], None]
    """Writes good files into an empty directory."""
    forge: Callable[[Random, Path], None]
    """Changes one of them."""
    read: Callable[[Path], None]


def forged(place: Path, change: Callable[[bytes], bytes]) -> None:
    place.write_bytes(change(place.read_bytes()))


# Classifiers


def make_classifier(place: Path) -> None:
    known = ClassifierDescription(
        class_names=("a", "b"), size=16, channels=3, accuracy=0.5, tested_on=1, data_digest="d" * 64
    )
    save_classifier(place / "c.safetensors", build_classifier(16, 3, 2, 0), known)


def forge_classifier(random: Random, place: Path) -> None:
    forged(place / "c.safetensors", lambda data: mutations.safetensors_of(random, data, key=classifier_file.KEY))


def read_classifier(place: Path) -> None:
    config = EvaluateConfig(extractor="classifier", weights=place / "c.safetensors")
    load_extractor(config, torch.device("cpu"))(torch.zeros((2, 3, 16, 16), dtype=torch.uint8))  # type: ignore[misc]


# Exported generators


def make_generator(place: Path) -> None:
    facts: Any = {"size": 8, "class_names": ("frog", "cat"), "images_seen": 12800, "data_digest": "d" * 64}
    description = Description(generator=NETWORK, config=Config().model_dump(mode="json"), **facts)
    save_generator(place / "generator.safetensors", build_generator(NETWORK, 8, 2).state_dict(), description)


def redigest(text: str) -> str:
    """The metadata with a metadata digest that fits, as an attacker would write it."""
    with contextlib.suppress(ValueError, RecursionError, AttributeError):
        content = {key: value for key, value in json.loads(text).items() if key != "metadata_digest"}
        compact = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return json.dumps(content | {"metadata_digest": hashlib.sha256(compact.encode()).hexdigest()})
    return text


def forge_generator(random: Random, place: Path) -> None:
    forged(place / "generator.safetensors", lambda data: mutations.safetensors_of(random, data, redigest))


def read_generator(place: Path) -> None:
    generator = load_generator(place / "generator.safetensors")
    generator.sample(range(2), batch_size=2)
    repr(generator)
    _begin(place / "generator.safetensors")
    generator.save_pretrained(place / "out" / "pretrained")


# Checkpoints


@functools.cache
def _trainer() -> Any:
    from distgan.distributed.accelerator import batch_rows, build_accelerator
    from distgan.training.trainer import Trainer

    config = load_config("quickstart", TINY)
    accelerator, _ = build_accelerator(config.train)
    return Trainer(config, accelerator, batch_rows(2, 1, 0, 1), 8, (1, 1))


def make_checkpoint(place: Path) -> None:
    trainer = _trainer()
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    from distgan.data.dataset import Batch

    if not trainer.steps:
        trainer.step(itertools.repeat(Batch(images, torch.tensor([0, 1]))))
    state = capture(trainer)
    facts = {"config": load_config("quickstart", TINY).model_dump(mode="json"), "run_id": "abcd1234", "data_digest": "d" * 64, "size": 8,
             "class_names": ["a", "b"], "processes": 1, "precision": "no", "watchdog": {}}  # fmt: skip
    storage.save(place / "checkpoints", 1, state.tensors, state.values | facts)


def rehash(path: Path) -> None:
    """Right checksums in a checkpoint's manifest, as an attacker would write them."""
    files = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in (storage.TENSORS, storage.VALUES)}
    (path / storage.MANIFEST).write_text(json.dumps({"format_version": 1, "files": files}))


def forge_checkpoint(random: Random, place: Path) -> None:
    path = place / "checkpoints" / "step-000000001"
    kind = random.random()
    if kind < 0.4:
        forged(path / storage.VALUES, lambda data: mutations.json_of(random, json.loads(data)).encode())
    elif kind < 0.8:
        forged(path / storage.TENSORS, lambda data: mutations.safetensors_of(random, data))
    else:
        forged(path / storage.MANIFEST, lambda data: mutations.json_of(random, json.loads(data)).encode())
        return
    if random.random() < 0.95:
        rehash(path)


def read_checkpoint(place: Path) -> None:
    path = place / "checkpoints" / "step-000000001"
    first: Exception | None = None
    for read in (
        lambda: _resume(place, path),
        lambda: _begin(path),
        lambda: export_checkpoint(path, place / "out" / "g.safetensors", "ema"),
    ):
        try:
            read()
        except DistganError as error:
            first = first or error
    if first:
        raise first


def _begin(path: Path) -> None:
    """What `init.from` does with it."""
    from distgan.training.init import begin_from

    begin_from(load_config("quickstart", (*TINY, f"init.from={path}")), _trainer(), tuple("abcdefghij"))


def _resume(place: Path, path: Path) -> None:
    from distgan.training.checkpoint.resume import load_saved

    config = load_config("quickstart", (*TINY, f"run.dir={place}", "run.name=other"))
    trainer = _trainer()
    saved = load_saved(config, str(path))
    assert isinstance(saved, Saved)
    restore(trainer, saved.state)
    run_id_of(place, saved)
    storage.steps(place / "checkpoints")


# Manifests


def make_shards(place: Path) -> None:
    prepare(Request(place / "data", Shapes(10), shard_size=5), progress=False)


def make_blocks(place: Path) -> None:
    prepare(Request(place / "data", Shapes(10), shard_size=5, layout="blocks"), progress=False)


def forge_manifest(random: Random, place: Path) -> None:
    path = place / "data" / "manifest.json"
    if random.random() < 0.15:
        forged(path, lambda data: mutations.bytes_of(random, data))
    else:
        forged(path, lambda data: mutations.json_of(random, json.loads(data)).encode("utf-8", "surrogatepass"))


def read_manifest(place: Path) -> None:
    manifest = load_manifest(place / "data")
    with contextlib.suppress(DistganError):
        find_existing(place / "data", {"source": "shapes"}, overwrite=False)
    with contextlib.suppress(DistganError):
        verify(place / "data", progress=False)
    selection = select_shards(place / "data", manifest, None)
    plan = ReadPlan(tuple(selection.count(shard) for shard in selection.shards), 1, 0, 1, 2, 0, True)
    for worker in (0, 1):
        plan.segments(5, worker)
    read_shards(place)


# Shards


def resign(place: Path) -> None:
    """A manifest with the right sizes and checksums, as an attacker would write it."""
    path = place / "data" / "manifest.json"
    content = json.loads(path.read_text())
    for shard in content["shards"]:
        file = place / "data" / shard["name"]
        shard |= {"bytes": max(file.stat().st_size, 1), "sha256": sha256(file)}
    path.write_text(json.dumps(content))


def forge_shard(random: Random, place: Path) -> None:
    forged(place / "data" / "train-000001.tar", lambda data: mutations.tar_of(random, data))
    if random.random() < 0.7:
        resign(place)


def read_shards(place: Path) -> None:
    first: DistganError | None = None
    ways: tuple[dict[str, Any], ...] = ({"mode": "resident"}, {"mode": "resident", "on_error": "skip"}, {"mode": "stream"},
                                        {"mode": "stream", "on_error": "skip"})  # fmt: skip
    for way in ways:
        try:
            config = DataConfig(path=place / "data", workers=0, shuffle_buffer=4, **way)
            reals = ImageDataset(config, 0, Rows(0, 2, 2), torch.device("cpu"), show=False)
            with contextlib.closing(reals.batches(0)) as batches:  # type: ignore[type-var]
                for _ in range(4):
                    next(batches)
            reals.first(3)
        except DistganError as error:
            first = first or error
    if first:
        raise first


# Shards of other makers


def make_foreign(place: Path) -> None:
    for shard, ending in enumerate(("jpg", "png", "webp")):
        files: list[tuple[str, bytes]] = []
        for i in range(4):
            files += [(f"{i}.{ending}", foreign.encoded(foreign.picture(i, 32), ending)), (f"{i}.cls", b"%d" % i),
                      (f"{i}.json", json.dumps({"label": i}).encode())]  # fmt: skip
        foreign.tar(place / "data" / f"{shard}.tar", files, tarfile.PAX_FORMAT)
    packed = gzip.compress((place / "data" / "2.tar").read_bytes())
    (place / "data" / "2.tar").unlink()
    (place / "data" / "3.tgz").write_bytes(packed)


def forge_foreign(random: Random, place: Path) -> None:
    path = random.choice(sorted((place / "data").iterdir()))
    data = path.read_bytes()
    packed = path.suffix == ".tgz"
    data = mutations.tar_of(random, gzip.decompress(data) if packed else data)
    data = mutations.bytes_of(random, data) if random.random() < 0.3 else data
    path.write_bytes(gzip.compress(data) if packed and random.random() < 0.7 else data)


def read_foreign(place: Path) -> None:
    first: DistganError | None = None
    ways: tuple[dict[str, Any], ...] = ({"size": 8}, {"size": 8, "label": "json:label", "on_error": "skip", "channels": "gray"},
                                        {"mode": "stream", "label": "none"})  # fmt: skip
    os.environ["XDG_CACHE_HOME"] = str(place / "cache")
    for way in ways:
        try:
            config = DataConfig(path=place / "data", workers=0, shuffle_buffer=4, **way)
            reals = ImageDataset(config, 0, Rows(0, 2, 2), torch.device("cpu"), show=False)
            with contextlib.closing(reals.batches(0)) as batches:  # type: ignore[type-var]
                for _ in range(6):
                    next(batches)
        except DistganError as error:
            first = first or error
    source = WebDataset(shards=place / "data", size=8, skip_bad=True, download_dir=place / "downloads")
    prepare(Request(place / "out" / "made", source), progress=False)
    if first:
        raise first


# CIFAR-10's archives


def batch(count: int = 10) -> dict[bytes, Any]:
    pixels = np.arange(count * 3072).reshape(count, 3072).astype(np.uint8)
    return {
        b"batch_label": b"testing",
        b"labels": [i % 10 for i in range(count)],
        b"data": pixels,
        b"filenames": [b"x.png"] * count,
    }


def archive(members: dict[str, bytes], folder: str = "cifar-10-batches-py/") -> bytes:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(folder + name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return gzip.compress(inner.getvalue(), 1)


def make_cifar(place: Path) -> None:
    (place / "cifar.tar.gz").write_bytes(archive({"test_batch": pickle.dumps(batch(), 2)}))


def forge_cifar(random: Random, place: Path) -> None:
    forged(place / "cifar.tar.gz", lambda data: mutations.cifar_of(random, data))


def read_cifar(place: Path) -> None:
    cifar10.Cifar10(place / "cifar.tar.gz").offer("test", None).load(False)


# Configurations


def make_config(place: Path) -> None:
    (place / "recipe.yaml").write_text(to_yaml(load_config("quickstart")))


def forge_config(random: Random, place: Path) -> None:
    forged(place / "recipe.yaml", lambda data: mutations.yaml_of(random, data))


def read_config(place: Path) -> None:
    config = load_config(place / "recipe.yaml")
    to_yaml(config)
    resume_changes(config.model_dump(mode="json"), Config())


# The other files of a run directory


def make_run(place: Path) -> None:
    (place / "run.json").write_text(json.dumps({"wandb_id": "abcd1234"}) + "\n")
    rows = [{"images": 10 * i, "loss/d": 0.5, "loss/g": None, "nonfinite": {"loss/g": "nan"}} for i in range(5)]
    (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def forge_run(random: Random, place: Path) -> None:
    if random.random() < 0.2:
        forged(
            place / "run.json",
            lambda data: mutations.json_of(random, json.loads(data)).encode("utf-8", "surrogatepass"),
        )
    else:
        forged(place / "metrics.jsonl", lambda data: mutations.lines_of(random, data))


def read_run(place: Path) -> None:
    from distgan.training.tracking.curves import draw_curves

    with locked(place):
        name = run_id_of(place, None)
        assert re.fullmatch("[A-Za-z0-9_-]{1,64}", name)
        file = MetricsFile(place / "metrics.jsonl", 30)
        file.append(40, {"loss/d": 0.1})
        file.close()
        rows = read_metrics(place / "metrics.jsonl")
        if len(rows) % 5 == 1:  # drawing is slow
            draw_curves(rows, place / "out" / "curves.png")


# A run directory as the report reads it


def make_page(place: Path) -> None:
    make_run_by_hand(place / "run")


def forge_page(random: Random, place: Path) -> None:
    name, change = random.choice(
        [
            ("metrics.jsonl", mutations.lines_of),
            ("scores.jsonl", mutations.lines_of),
            ("events.jsonl", mutations.lines_of),
            ("config.yaml", mutations.yaml_of),
            ("samples/fakes-000002000.png", mutations.png_of),
        ]
    )
    forged(place / "run" / name, lambda data: change(random, data))


def read_page(place: Path) -> None:
    facts = RunReader(place / "run").read_all()
    pages = [run_parts(facts, live.frames_at(0), live=True), run_parts(facts, embedded_frames, live=False)]
    pages.append(comparison_parts([NamedRun("one", facts), NamedRun("other", facts)], live.grid_url, live=True))
    for part in itertools.chain(*pages):
        assert all(char.isprintable() or char == "\n" for char in part.html)
        assert "nan" not in "".join(re.findall(r'(?:points|c[xy])="([^"]*)"', part.html))


TARGETS = {
    "generators": Target(make_generator, forge_generator, read_generator),
    "classifiers": Target(make_classifier, forge_classifier, read_classifier),
    "checkpoints": Target(make_checkpoint, forge_checkpoint, read_checkpoint),
    "manifests": Target(make_shards, forge_manifest, read_manifest),
    "configs": Target(make_config, forge_config, read_config),
    "shards": Target(make_shards, forge_shard, read_shards),
    "blocks": Target(make_blocks, forge_shard, read_shards),
    "foreign": Target(make_foreign, forge_foreign, read_foreign),
    "cifar10": Target(make_cifar, forge_cifar, read_cifar),
    "runs": Target(make_run, forge_run, read_run),
    "pages": Target(make_page, forge_page, read_page),
    **{name: Target(*functions) for name, functions in source_targets.SOURCES.items()},
}


# What is a finding


class Outcome(NamedTuple):
    sentence: str
    """What the reader said; empty: it read the files."""
    finding: str = ""
    """What it should not have done."""


class Hang(BaseException):
    """A reader took too long."""


def judge(read: Callable[[], object]) -> Outcome:
    """Runs a reader in this process, in bounded time; memory is measured where this process has never had more."""
    before, start = _peak(), time.monotonic()
    outcome = _judge(read)
    if outcome.finding:
        return outcome
    if (grown := _peak() - before) > MEMORY:
        return Outcome(outcome.sentence, f"memory: {grown >> 20} MiB")
    if (taken := time.monotonic() - start) > SECONDS:
        return Outcome(outcome.sentence, f"time: {taken:.1f} s")
    return outcome


def _judge(read: Callable[[], object]) -> Outcome:
    try:
        with _alarm():
            read()
    except DistganError as error:
        text = str(error)
        longest = max(map(len, text.split("\n")))
        if longest > MAX_SENTENCE or len(text) > 25 * MAX_SENTENCE:
            return Outcome(text[:200], f"a sentence of {len(text):,} characters")
        if not text.replace("\n", "").isprintable() or ("\n" in text and type(error).__name__ != "ConfigError"):
            return Outcome(text, "a sentence with control characters")
        return Outcome(text)
    except Hang:
        return Outcome("", f"hang: more than {SECONDS} s")
    except Exception as error:
        import traceback

        where = traceback.extract_tb(error.__traceback__)[-1]
        text = repr(error).encode("ascii", "backslashreplace").decode()[:300]
        return Outcome("", f"{text} at {Path(where.filename).name}:{where.lineno}")
    return Outcome("")


def judge_apart(read: Callable[[], object]) -> Outcome:
    """The same in a child of its own, so that memory is measured, and what cannot be interrupted is killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (_addresses() + ADDRESSES,) * 2)
            os.write(writing, json.dumps(judge(read))[:60_000].encode())
        finally:
            os._exit(0)
    os.close(writing)
    deadline = time.monotonic() + SECONDS + 5
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            with os.fdopen(reading, "rb") as file:
                text = file.read()
            return Outcome(*json.loads(text)) if text else Outcome("", "died")
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    return Outcome("", "hang: had to be killed")


def judge_read(name: str, place: Path, here: Path) -> Outcome:
    """A target's reader on a directory, in a fresh process whose working directory is `here`, killed when it hangs."""
    context = forks.context()
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_read_in_child, args=(name, place, here, sending))
    child.start()
    sending.close()
    try:
        if not receiving.poll(SECONDS + 5):
            child.kill()
            return Outcome("", "hang: had to be killed")
        return Outcome(*receiving.recv())
    except EOFError:
        return Outcome("", "died")
    finally:
        child.join()
        receiving.close()


def make(name: str, place: Path) -> None:
    """A target's good files, made in a process of its own."""
    child = forks.context().Process(target=_make_in_child, args=(name, place))
    child.start()
    child.join()
    assert not child.exitcode


def _make_in_child(name: str, place: Path) -> None:
    torch.set_num_threads(1)
    TARGETS[name].make(place)


def _read_in_child(name: str, place: Path, here: Path, sending: Any) -> None:
    torch.set_num_threads(1)
    os.chdir(here)
    if name == "checkpoints":
        _trainer()  # its imports are not the reader's memory
    resource.setrlimit(resource.RLIMIT_AS, (_addresses() + ADDRESSES,) * 2)
    sending.send(tuple(judge(lambda: TARGETS[name].read(place))))


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(_signum: int, _frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _addresses() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def tree(place: Path) -> dict[str, bytes]:
    """Every file below a directory, links not followed."""
    found = {}
    for folder, _, names in os.walk(place):
        for name in names:
            path = Path(folder, name)
            found[str(path.relative_to(place))] = (
                os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
            )
    return found
