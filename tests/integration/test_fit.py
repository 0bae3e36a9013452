"""`distgan.fit` in real processes: two ranks with callbacks, a thread, signals, a notebook's launcher."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import textwrap
import threading

import pytest

import distgan
from distgan.utils.errors import Stopped
from tests.integration.test_library import process_state
from tests.support import warm
from tests.support.processes import ROOT, run
from tests.support.workers import fitting

PAGE = ROOT / "docs" / "python.md"
pytestmark = pytest.mark.slow


@pytest.fixture
def two_ranks(tiny, tmp_path):
    """What both ranks tell of a training with a callback of fitting.py."""

    def told(kind, *more, **env):
        out = tmp_path / f"told-{kind}"
        overrides = tuple(tiny(f"run.name=r{kind}", *more))
        code, output = warm.run(fitting.fit_once, out, kind, overrides, processes=2, **env)
        return code, fitting.told_by(out, 2), output

    return told


@pytest.mark.parametrize(
    ("kind", "sentence", "ranks"),
    [
        ("Fails", "Fails.on_step failed on rank 0 at step 4: ValueError: no such thing", [[0], []]),
        ("FailsOnRank1", "FailsOnRank1.on_step failed on rank 1 at step 4: ValueError: no such thing", [[0], [1]]),
        ("Exits", "Exits.on_step failed on rank 0 at step 1: SystemExit: 5", [[0], []]),
        ("FailsAtTheEnd", "FailsAtTheEnd.on_end failed on rank 0 at step 20: ValueError: too late", [[0], []]),
    ],
)
def test_an_exception_on_one_rank_ends_both_at_once_with_its_sentence(kind, sentence, ranks, two_ranks):
    code, told, output = two_ranks(kind)
    assert code == 2, output
    for each in told:
        assert each["error"].startswith(f"CallbackError: {sentence}; training has ended, all steps are saved in")
        assert each["seconds"] < 60
    assert [each["ranks"] for each in told] == ranks


@pytest.mark.parametrize(
    ("kinds", "sentence", "last"),
    [
        ("Sums", "Sums.on_step failed on rank 1 at step 3: ValueError: no such sum", ["on_step", 3]),
        ("Exits-Sums", "Exits.on_step failed on rank 0 at step 1: SystemExit: 5", ["on_images", 0]),
        ("Sums-Exits", "Exits.on_step failed on rank 0 at step 1: SystemExit: 5", ["on_step", 1]),
    ],
)
def test_after_a_failure_on_one_rank_both_make_the_same_calls_so_that_their_collectives_meet(
    kinds, sentence, last, two_ranks
):
    """Every call sums up over the ranks; a line, a grid or the end that one alone sums up would meet DDP's sums."""
    code, told, output = two_ranks(kinds, "log.every_steps=1", "log.samples_every_steps=3", "train.timeout_minutes=1")
    assert code == 2, output
    assert all(each["error"].startswith(f"CallbackError: {sentence}") for each in told), told
    assert told[0]["calls"] == told[1]["calls"]
    assert told[0]["calls"][-1] == last
    assert all(each["seconds"] < 45 for each in told)


def test_callbacks_of_all_ranks_that_only_one_rank_has_are_refused_on_both(two_ranks):
    code, told, output = two_ranks("Sums", ONLY_ON_MAIN="1")
    assert code == 2, output
    sentence = (
        "ConfigError: callbacks with everywhere=True are [Sums] on rank 0, [] on rank 1; give every rank the same"
    )
    assert [each["error"] for each in told] == [sentence] * 2


def test_callbacks_of_the_main_process_need_not_be_given_to_the_others(two_ranks):
    code, told, output = two_ranks("Stops", ONLY_ON_MAIN="1")
    assert code == 0, output
    assert [each["reason"] for each in told] == ["callback", "callback"]


def test_a_wish_of_one_rank_stops_both_in_the_same_step(two_ranks):
    code, told, output = two_ranks("Stops")
    assert code == 0, output
    assert [each["reason"] for each in told] == ["callback", "callback"]
    assert [each["images"] for each in told] == [12 * 7, None]


@pytest.mark.parametrize("kind", ["Sleeps", "Draws", "Talks", "Evaluates"])
def test_what_callbacks_do_changes_no_weight_and_makes_nobody_wait_for_ever(kind, two_ranks):
    (_, (with_it, other), output), (_, (without, _), _) = two_ranks(kind), two_ranks("")
    assert with_it["reason"] == other["reason"] == "budget", output
    assert with_it["digest"] == without["digest"]


def test_a_callback_that_hangs_is_named_to_the_rank_that_waits(two_ranks):
    code, (_, waiting), output = two_ranks("Sleeps", "train.timeout_minutes=0.1", SLEEP="20")
    assert code == 3, output
    assert "answers but hangs: it runs Sleeps.on_step at step 3" in waiting["error"]


def test_two_trainings_and_an_evaluation_follow_each_other_in_the_same_two_processes(tiny, tmp_path):
    out = tmp_path / "told"
    code, output = warm.run(fitting.fit_twice, out, tuple(tiny("train.images=48")), processes=2)
    assert code == 0, output
    assert fitting.told_by(out, 2) == [[["budget", "bf16", 2], ["budget", "no", 2], [48]]] * 2


@pytest.mark.parametrize(
    ("kind", "error"), [("Fails", "CallbackError"), ("FailsOnRank1", "CallbackError"), ("Terminates", "Stopped")]
)
def test_after_an_orderly_error_no_group_and_no_network_is_left_and_the_next_training_works(
    kind, error, tiny, tmp_path
):
    out = tmp_path / "told"
    code, output = warm.run(fitting.fit_after_an_error, out, kind, tuple(tiny()), processes=2)
    assert code == 0, output
    assert fitting.told_by(out, 2) == [[error, False, 0, "budget", False, 0]] * 2


def test_an_own_loop_gives_the_same_answer_on_one_and_on_two_processes(tiny, tmp_path):
    found = {}
    for processes in (1, 2):
        out = tmp_path / f"told{processes}"
        code, output = warm.run(fitting.own_loop, out, tuple(tiny()), processes=processes)
        assert code == 0, output
        found[processes] = fitting.told_by(out, processes)
    (alone,), (first, second) = found[1], found[2]
    assert first[1] == second[1]
    together = [(one + other) / 2 for one, other in zip(first[0], second[0], strict=True)]
    assert together == pytest.approx(alone[0], rel=1e-4)


def test_a_download_from_the_hub_may_take_longer_than_a_rank_waits_in_training(tiny, tiny_config, tmp_path):
    old = distgan.fit(tiny_config("train.images=12", "run.name=old"))
    out, file = tmp_path / "told", str(old.run_dir / "generator.safetensors")
    limit = "train.timeout_minutes=0.05"
    code, output = warm.run(fitting.begin_from_a_slow_hub, out, file, 8.0, tuple(tiny(limit)), processes=2)
    assert code == 0, output
    assert fitting.told_by(out, 2) == [old.generator.weight_digest] * 2


# One process that goes on


@pytest.fixture
def short(tiny_config):
    return lambda *more: tiny_config("train.images=24", *more)


def test_fit_leaves_the_process_as_it_was(short, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")

    def state():
        root = logging.getLogger()
        loggers = {name: logger.level for name, logger in root.manager.loggerDict.items() if hasattr(logger, "level")}
        return [*process_state(), dict(os.environ), list(root.handlers), root.level, loggers.get("distgan")]

    before = state()
    for precision, seed in (("no", 0), ("bf16", 1)):
        names = f"run.name={precision}", f"train.precision={precision}", f"run.seed={seed}"
        assert distgan.fit(short(*names, "wandb.mode=auto", "train.cpu_threads=2")).reason == "budget"
        assert state() == before
    with pytest.raises(distgan.DistganError):
        distgan.fit(short("run.name=bad", "data.classes=nothing"))
    assert state() == before


def test_fit_works_in_a_thread(short):
    results = []
    thread = threading.Thread(target=lambda: results.append(distgan.fit(short())))
    thread.start()
    thread.join()
    assert results[0].generator.images_seen == 24


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_saves_and_is_raised_as_stopped_and_the_next_call_goes_on(name, tiny_config):
    class Sends(distgan.Callback):
        def on_step(self, state):
            if state.step == 5:
                os.kill(os.getpid(), getattr(signal, name))

        def on_end(self, state):
            ends.append(state.reason)

    ends = []
    with pytest.raises(Stopped, match=f"stopped by {name} at 60 images; everything is saved"):
        distgan.fit(tiny_config(), [Sends()])
    assert ends == [name]
    result = distgan.fit(tiny_config())
    assert result.generator.weight_digest == distgan.fit(tiny_config("run.name=other")).generator.weight_digest


def test_before_training_begins_signals_are_the_program_s_own(short, monkeypatch):
    """A program that is more than a training must not be ended by it."""
    received = []
    monkeypatch.setattr("distgan.training.run.open_evaluator", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    old = signal.signal(signal.SIGTERM, lambda *_: received.append(1))
    try:
        assert distgan.fit(short()).reason == "budget"
    finally:
        signal.signal(signal.SIGTERM, old)
    assert received == [1]


def test_messages_go_to_logging_and_nothing_is_printed(short, capsys, caplog):
    handlers, log = list(logging.getLogger("distgan").handlers), logging.getLogger("distgan")
    log.handlers.clear()
    try:
        with caplog.at_level(logging.INFO, "distgan"):
            log.propagate = True
            distgan.fit(short())
    finally:
        log.handlers[:], log.propagate = handlers, False
    assert any("done: 24 images" in record.getMessage() for record in caplog.records)
    assert capsys.readouterr().out == ""


# Notebooks


def script(tmp_path, text):
    path = tmp_path / "notebook.py"
    path.write_text(textwrap.dedent(text))
    return path


def test_notebook_launcher_trains_with_two_processes_twice(tiny, tmp_path):
    path = script(
        tmp_path,
        f"""
        import distgan
        from accelerate import notebook_launcher

        def train(name, precision):
            own = [f"run.name={{name}}", f"train.precision={{precision}}"]
            result = distgan.fit(distgan.load_config("quickstart", [*{tiny("train.images=48")!r}, *own]))
            print(f"RESULT {{result.reason}} {{result.generator}}", flush=True)  # one write: a shared pipe

        if __name__ == "__main__":
            for name, precision in (("a", "bf16"), ("b", "no")):
                notebook_launcher(train, args=(name, precision), num_processes=2)
            for name in "ab":
                print("LOADED", distgan.load_generator({str(tmp_path)!r} + f"/{{name}}/generator.safetensors"))
        """,
    )
    code, output = run([sys.executable, str(path)])
    assert code == 0, output
    assert output.count("RESULT budget None") == 2, output
    assert output.count("RESULT budget Generator(") == 2, output
    assert output.count("LOADED Generator(32x32, 10 classes, 48 images seen") == 2, output


def test_the_page_s_block_for_several_processes_runs_after_a_training_in_the_notebook(shapes, tmp_path):
    (block,) = re.findall(r"^```python notebook_launcher\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    before = f"""
import os
os.chdir({str(tmp_path)!r})
import distgan
distgan.prepare("shapes", out="data/shapes", count=200, progress=False)
small = {{"train.images": 32, "train.cpu_threads": 2, "run.name": "alone", "wandb.mode": "disabled"}}
distgan.fit(distgan.load_config("quickstart", small))
"""
    path = tmp_path / "page.py"
    path.write_text(f"{before}{block}print('LOADED', generator)\n")
    code, output = run([sys.executable, str(path)])
    assert code == 0, output
    assert "two budget None" in output
    assert "LOADED Generator(32x32, 10 classes, 320 images seen" in output


@pytest.mark.parametrize("place", ["script", "thread"])
def test_the_notebook_of_the_examples_runs_in_one_process(place, tmp_path):
    example = ROOT / "examples" / "notebook.py"
    threaded = f"""
import os, runpy, threading
os.chdir({str(tmp_path)!r})
ended = []
thread = threading.Thread(target=lambda: ended.append(runpy.run_path({str(example)!r})))
thread.start(); thread.join()
assert ended
"""
    start = (
        threaded
        if place == "thread"
        else f"import os, runpy; os.chdir({str(tmp_path)!r}); runpy.run_path({str(example)!r})"
    )
    code, output = run([sys.executable, "-c", start])
    assert code == 0, output
    for line in ("no budget [", "bf16 budget [", "bf16, half way: ", "tuned: Generator(32x32, 3 classes, 480 images"):
        assert line in output
    assert "images: [12, 3, 32, 32] torch.uint8" in output
    assert "loaded: Generator(32x32, 3 classes, 320 images seen" in output


def test_fit_works_where_a_loop_runs_and_the_streams_are_replaced(tiny, tmp_path):
    """As in a kernel of Jupyter: cells run inside asyncio, stdout and stderr are objects without a file."""
    path = script(
        tmp_path,
        f"""
        import asyncio, io, sys
        import distgan

        class Stream(io.TextIOBase):
            def __init__(self, real): self.real = real
            def write(self, text): return self.real.write(text)
            def fileno(self): raise io.UnsupportedOperation("fileno")

        async def cell():
            out, err = sys.stdout, sys.stderr
            sys.stdout, sys.stderr = Stream(out), Stream(err)
            result = distgan.fit(distgan.load_config("quickstart", {tiny("train.images=24")!r}))
            assert isinstance(sys.stdout, Stream) and isinstance(sys.stderr, Stream)
            print("RESULT", result.reason)
            return result

        asyncio.run(cell())
        """,
    )
    code, output = run([sys.executable, str(path)])
    assert code == 0, output
    assert "RESULT budget" in output
