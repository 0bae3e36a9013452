"""benchmarks/gpu: what is done in which order and for how long, how a stage ends, what the summary says."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import checks, plan, stages, summary
from benchmarks.gpu.plan import NO_GPU, Outcome, Stage
from benchmarks.gpu.runner import execute
from benchmarks.gpu.stages import Work, all_stages, gpu_tests
from benchmarks.quality.options import parse as parse_quality
from benchmarks.speed import __main__ as speed
from benchmarks.speed.gpu_rows import MODERN, gpu_rows
from distgan.config.load import load_config
from distgan.training.fit import fit
from distgan.training.trainer import Trainer
from distgan.utils.errors import ConfigError, QualityError
from tests.support.processes import ROOT, run

STAGES = [
    Stage("data", ("true",), 60),
    *(Stage(name, ("true",), 60, needs="data") for name in ("runs-bf16", "runs-fp16")),
    Stage("speed-peaks", ("true",), 60),
]


def outcome(code: int | None = 0, said: str = "") -> Outcome:
    return Outcome(code, 2.0, 60, "2026-01-01", said)


def shell(name: str, script: str, limit: int = 60, **more: object) -> Stage:
    return Stage(name, ("sh", "-c", script), limit, **more)


def work_in(path: Path, data: Path | None = None, small: bool = False, gpu: bool = True) -> Work:
    return Work(path, data, small, gpu)


def named(made: list[Stage]) -> dict[str, Stage]:
    return {stage.name: stage for stage in made}


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ([], ["data", "runs-bf16", "runs-fp16", "speed-peaks"]),
        (["runs"], ["data", "runs-bf16", "runs-fp16"]),
        (["speed-peaks", "runs-fp16"], ["data", "runs-fp16", "speed-peaks"]),
        (["speed"], ["speed-peaks"]),
    ],
)
def test_stages_are_asked_for_by_name_or_group_and_bring_what_they_need(asked, names):
    assert [stage.name for stage in plan.chosen(STAGES, asked)] == names


def test_an_unknown_stage_is_told_the_nearest_ones():
    with pytest.raises(ConfigError, match="no stage spee; nearest: speed.*; all: data, runs, runs-bf16"):
        plan.chosen(STAGES, ["runs", "spee"])


def test_what_was_never_tried_comes_before_what_failed_and_what_passed_is_not_done_again():
    made = [*STAGES, Stage("tests", ("true",), 60, lacks=NO_GPU)]
    known = {"data": outcome(0), "runs-bf16": outcome(0), "runs-fp16": outcome(None)}
    assert [stage.name for stage in plan.to_do(made, known)] == ["speed-peaks", "runs-fp16"]


def test_what_others_need_is_tried_again_before_them():
    known = {"data": outcome(None), "speed-peaks": outcome(1)}
    assert [stage.name for stage in plan.to_do(STAGES, known)] == ["data", "runs-bf16", "runs-fp16", "speed-peaks"]


@pytest.mark.parametrize(("left", "given"), [(100.0, 60), (60.0, 60), (59.9, 59), (20.0, 20), (19.9, 0), (-3.0, 0)])
def test_a_stage_gets_its_limit_or_what_is_left_of_all_and_is_not_begun_for_less_than_it_is_worth(left, given):
    assert plan.seconds_for(Stage("speed", ("true",), 60, least=20), left) == given


@pytest.mark.parametrize(
    ("known", "lacks", "excused", "code"),
    [
        ({"a": outcome(), "b": outcome()}, "", False, 0),
        ({"a": outcome(), "b": outcome(1)}, "", False, 1),
        ({"a": outcome(), "b": outcome(None)}, "", True, 1),
        ({"a": outcome()}, "", True, 1),
        ({"a": outcome()}, NO_GPU, True, 0),
        ({"a": outcome()}, stages.NO_DATA, True, 1),
    ],
)
def test_all_is_well_only_when_every_stage_that_this_machine_can_do_has_passed(known, lacks, excused, code):
    assert plan.exit_code([Stage("a", ("true",), 1), Stage("b", ("true",), 1, lacks=lacks)], known, excused) == code


def gone(pid: int) -> bool:
    """Whether a process is dead, or is at most a moment later: a signal takes one."""
    for _ in range(100):
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.05)
                continue
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("start", ["sleep 60 &", "setsid sleep 60 &"])
def test_a_stage_that_hangs_is_ended_at_its_limit_and_its_child_with_it(tmp_path, start):
    pids = tmp_path / "pids"
    ended = execute(shell("runs", f"{start} echo $! >{pids}; echo begun; wait"), 1, tmp_path / "log")
    assert (ended.exit, ended.said, ended.limit) == (None, "begun", 1)
    assert 1 <= ended.seconds < 30
    assert gone(int(pids.read_text()))


def test_what_a_stage_leaves_running_ends_with_it(tmp_path):
    pids = tmp_path / "pids"
    ended = execute(shell("runs", f"sleep 60 & echo $! >{pids}; exit 3"), 60, tmp_path / "log")
    assert ended.exit == 3
    assert gone(int(pids.read_text()))


def done(out: Path, made: list[Stage], *options: str) -> int:
    args = gpu.parse(["--small", "--out", str(out), *options])
    return gpu.do_all(work_in(out, small=True, gpu=False), made, args, "the command")


def test_a_stage_is_not_begun_before_what_it_needs_has_passed(tmp_path, capsys):
    made = [shell("data", "exit 1"), shell("runs-a", "exit 0", needs="data"), shell("speed", "exit 0")]
    assert done(tmp_path, made) == 1
    assert "== runs-a: not begun: data has not passed" in capsys.readouterr().out
    assert [path.stem for path in sorted((tmp_path / "logs").iterdir())] == ["data", "speed"]


def test_a_stage_that_fails_or_hangs_does_not_stop_the_next_and_the_same_command_goes_on(tmp_path, capsys):
    out, counted = tmp_path / "out", tmp_path / "counted"
    made = [
        shell("runs-a", f"echo a >>{counted}; echo no luck; exit 3"),
        shell("runs-b", f"echo b >>{counted}; sleep 60", 1, least=0),
        shell("runs-c", f"echo c >>{counted}; echo all is well", tells=True),
        Stage("tests", ("true",), 60, lacks=NO_GPU),
    ]
    assert done(out, made) == 1
    assert counted.read_text().split() == ["a", "b", "c"]
    page = (out / "results.md").read_text()
    assert "| runs-a | **failed** | 3 |" in page
    assert "| no luck |" in page
    assert "| runs-b | **stopped at its limit** |  | " in page
    assert "| runs-c | passed | 0 |" in page
    assert "| all is well |" in page
    assert "| tests | not on this machine: needs a GPU |" in page
    assert json.loads((out / "results.json").read_text())["stages"]["runs-a"]["exit"] == 3
    assert (out / "logs" / "runs-a.log").read_text() == "no luck\n"

    mended = [shell(stage.name, f"echo {stage.name[-1]} >>{counted}") for stage in made[:3]]
    assert done(out, [*mended, made[3]]) == 0
    assert counted.read_text().split() == ["a", "b", "c", "a", "b"]
    assert done(out, [*mended, made[3]], "--again") == 0
    assert counted.read_text().split() == ["a", "b", "c", "a", "b", "a", "b", "c"]
    capsys.readouterr()


def test_no_stage_begins_when_no_time_is_left(tmp_path, capsys):
    made = [shell("runs-a", "true"), shell("runs-b", "true", least=50)]
    assert done(tmp_path, made, "--limit", "10") == 1
    assert "== runs-b: no time left" in capsys.readouterr().out
    assert "| runs-b | not done yet |" in (tmp_path / "results.md").read_text()


def test_a_repetition_that_is_interrupted_leaves_no_older_success(tmp_path, monkeypatch, capsys):
    made = [shell("runs-a", "true")]
    assert done(tmp_path, made) == 0

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu, "execute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        done(tmp_path, made, "--again")
    assert summary.known_from(tmp_path / "results.json") == {}
    assert "| runs-a | not done yet |" in (tmp_path / "results.md").read_text()


def test_repeating_removes_what_a_stage_has_left(tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "file").touch()
    for leaves in (tmp_path / "rows", tmp_path / "file", tmp_path / "nothing", None):
        gpu.remove(Stage("speed", ("true",), 1, leaves=leaves))
    assert list(tmp_path.iterdir()) == []


def test_results_of_another_data_set_are_not_mixed(tmp_path, capsys):
    assert done(tmp_path, [shell("runs", "true")]) == 0
    args = gpu.parse(["--out", str(tmp_path)])
    with pytest.raises(QualityError, match="data=None, this call has .*; choose another OUT"):
        gpu.do_all(work_in(tmp_path, tmp_path, gpu=False), [], args, "the command")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "torch sees no GPU here; --small rehearses every stage on the CPU"),
        (["--small", "--data", "nowhere"], "--data nowhere is no directory; give CIFAR-10 as class folders"),
        (["--small", "--stages", "qualty"], "no stage qualty; nearest: quality"),
        (["--stages", "qality"], "no stage qality; nearest: quality"),
        (["--data", "nodir"], "--data nodir is no directory; give CIFAR-10 as class folders"),
        (["--out", sys.executable], "is a file; name a directory"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_begun(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    assert gpu.main(arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_on_a_gpu_with_data_nothing_is_lacking_and_in_order_it_runs_then_speed_then_quality(tmp_path):
    made = all_stages(work_in(tmp_path, tmp_path))
    assert not [stage.name for stage in made if stage.lacks]
    assert [*dict.fromkeys(stage.group for stage in made)] == ["data", "runs", "tests", "speed", "quality"]
    assert len(named(made)) == len(made)


def test_without_a_gpu_and_data_what_cannot_be_done_says_why(tmp_path):
    here = {stage.name: stage.lacks for stage in all_stages(work_in(tmp_path, gpu=False)) if stage.lacks}
    assert [name for name, why in here.items() if why == stages.NO_DATA] == [
        f"quality-{recipe}" for recipe in ("sngan_conditional", "r3gan", "cifar10", "cifar10_cpu")
    ]
    assert {name for name, why in here.items() if why == NO_GPU} == {
        *("runs-fp16", "runs-images", "tests"),
        *(f"runs-no_wait-{recipe}" for recipe in stages.WAIT_FREE),
    }


@pytest.mark.parametrize(("small", "lacks"), [(False, {stages.NO_DATA}), (True, {""})])
def test_without_data_quality_is_rehearsed_on_the_shapes_and_not_measured_as_the_help_says(tmp_path, small, lacks):
    made = [stage for stage in all_stages(work_in(tmp_path, small=small)) if stage.group == "quality"]
    assert {stage.lacks for stage in made} == lacks
    words = " ".join(gpu.__doc__.split())
    assert "Without it the embedded shapes are trained on, and quality is not measured." in words
    assert "a rehearsal of every stage in tiny, also without a GPU, and of quality on the shapes" in words


@pytest.mark.parametrize("small", [False, True])
def test_every_training_of_a_stage_has_settings_that_its_recipe_knows(tmp_path, small):
    made = named(all_stages(work_in(tmp_path, small=small)))
    for name in ("runs-bf16", "runs-fp16", "runs-fp32", "runs-resume"):
        keys = [word for word in made[name].command if "=" in word]
        config = load_config("seed_frogs", keys)
        assert config.train.images == (12 if small else 4000) * (2 if name == "runs-resume" else 1)
    assert made["runs-resume"].command[-1].endswith("step-000000003" if small else "step-000000200")
    for recipe in stages.WAIT_FREE:
        command = made[f"runs-no_wait-{recipe}"].command
        config = load_config(command[4], [*checks.settings(), *command[5:]])
        assert (config.train.precision, config.data.prepare) == ("bf16", None)
    asked = parse_quality(made["quality-sngan_conditional"].command[3:])
    load_config("sngan_conditional", asked.overrides)


def test_speed_has_the_peaks_the_seed_recipe_s_modes_and_each_modern_recipe_in_its_batch(tmp_path):
    known = [row.key for row in gpu_rows()]
    rows = {
        stage.name: speed.parse(stage.command[3:], known).rows
        for stage in all_stages(work_in(tmp_path))
        if stage.group == "speed"
    }
    modes = ("eager", "compiled", "graphs")
    assert rows == {
        "speed-peaks": ["peak_product", "peak_convolution"],
        "speed-seed_frogs": [f"step_seed_frogs_bf16_20_{mode}" for mode in modes],
        **{f"speed-{recipe}": [f"own_{recipe}_{mode}" for mode in modes] for recipe in MODERN},
    }


def test_a_prepared_data_set_is_read_where_it_is_and_class_folders_are_prepared(tmp_path, shapes):
    out = tmp_path / "out"
    prepared, folders, embedded = (work_in(out, data) for data in (shapes, tmp_path, None))
    assert prepared.shards == shapes
    assert "data" not in named(all_stages(prepared))
    assert named(all_stages(folders))["data"].command[2:6] == ("distgan", "prepare", "folder", str(tmp_path))
    assert folders.shards == out / "data"
    assert named(all_stages(embedded))["data"].command[2:5] == ("distgan", "prepare", "shapes")


def test_every_test_that_needs_a_gpu_is_found():
    found = gpu_tests(ROOT / "tests")
    marked = sum(path.read_text().count('\n@pytest.mark.needs("gpu")') for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(found) == marked > 2
    assert "tests/unit/inference/test_sampling.py" in {name.partition("::")[0] for name in found}


def wait(text: str = "called a synchronizing CUDA operation (Triggered internally at ...)") -> None:
    warnings.warn(text, stacklevel=1)


def test_waits_are_counted_by_place_between_two_steps_only():
    modes, stopped = [], []
    waits = checks.Waits(modes.append, before=2, steps=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(1, 8):
            wait()
            wait("something else")
            waits.on_step(SimpleNamespace(step=step, stop=lambda step=step: stopped.append(step)))
    assert waits.places == {f"{__file__}:{wait.__code__.co_firstlineno + 1}": 3}
    assert modes == ["warn", "default"]
    assert stopped == [5]


def test_a_training_s_waits_in_the_noted_steps_are_counted_and_it_ends(tiny_config, monkeypatch):
    plain, modes = Trainer.step, []
    monkeypatch.setattr(Trainer, "step", lambda *given: (wait(), plain(*given))[1])
    waits = checks.Waits(modes.append, before=2, steps=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ended = fit(tiny_config("train.images=8000"), [waits])
    assert (waits.places.total(), modes, ended.reason) == (3, ["warn", "default"], "callback")


def test_a_training_without_enough_steps_shows_nothing(shapes, monkeypatch, capsys):
    monkeypatch.setattr(checks, "fit", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert checks.main(["no_wait", "quickstart", f"data.path={shapes}"]) == 2
    assert "quickstart ended before 32 steps" in capsys.readouterr().err


def test_a_step_that_waits_is_reported_with_its_place(capsys):
    assert checks.report("cifar10", checks.Counter({"trainer.py:7": 24})) == 1
    assert capsys.readouterr().out.splitlines() == [
        "trainer.py:7: 24 waits in 24 steps",
        "cifar10: 24 waits for the GPU in 24 steps, bf16",
    ]
    assert checks.report("cifar10", checks.Counter()) == 0


@pytest.mark.parametrize(("apart", "code"), [(0, 0), (1, 0), (2, 1)])
def test_images_may_differ_by_a_grey_level(monkeypatch, capsys, apart, code):
    def loaded(_, device):
        images = torch.full((1, 1, 2, 2), 254 - apart, dtype=torch.uint8)
        images[0, 0, 0, 0] += apart if device.type == "cpu" else 0
        return SimpleNamespace(sample=lambda _: images)

    monkeypatch.setattr(checks, "load_generator", loaded)
    monkeypatch.setattr(checks.torch, "device", lambda name: SimpleNamespace(type="cpu" if name == "cpu" else "gpu"))
    assert checks.images("file") == code
    share = "25.000%" if apart else "0.000%"
    assert f"at most {apart} grey level(s) apart, {share} of the values differ" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["images"], ["no_wait"], ["eye", "file"]])
def test_an_unknown_check_is_one_sentence(arguments, monkeypatch, capsys):
    assert checks.main(arguments) == 2
    assert "torch sees no GPU here" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert checks.main(arguments) == 2
    assert "is no check; give images FILE" in capsys.readouterr().err


def found_with(shares: dict[str, float], mode: str = "graphs"):
    def side(seconds):
        return [{"seconds": seconds, "memory": 1.0, "facts": {}}] * 2

    return {
        f"own_{recipe}_{mode}": {"sides": [side(share), side(1.0)], "date": "2026-01-01"}
        for recipe, share in shares.items()
    }


def test_auto_is_on_where_the_mean_is_faster_and_no_recipe_slower_than_noise():
    rest = dict.fromkeys(MODERN, 0.9)
    assert "`train.graphs=auto`: on; 0.900 of eager's time" in summary.verdict(found_with(rest), "graphs")
    one_slower = found_with({**rest, "cifar10": 1.04})
    assert "auto`: off" in summary.verdict(one_slower, "graphs")
    assert "cifar10 1.040 (on: none above 1.03)" in summary.verdict(one_slower, "graphs")
    compiled = found_with(dict.fromkeys(MODERN, 0.95), "compiled")
    assert "`train.compile=auto`: off; 0.950" in summary.verdict(compiled, "compiled")
    del rest["dcgan"]
    assert summary.verdict(found_with(rest), "graphs") == "`train.graphs=auto`: undecided, not measured: dcgan."


def test_the_speed_table_has_what_was_measured_what_failed_and_what_was_asked_for(tmp_path):
    work = work_in(tmp_path)
    (tmp_path / "speed").mkdir()
    lines = [
        speed.machine(),
        {"row": "own_cifar10_compiled", "failed": "out of memory"},
        {"row": "own_cifar10_graphs", **found_with({"cifar10": 0.5})["own_cifar10_graphs"]},
    ]
    (tmp_path / "speed" / "cifar10.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    made = [stage for stage in all_stages(work) if stage.name in ("speed-cifar10", "speed-dcgan")]
    rows = summary.speed_table(work, made, "the command").splitlines()
    assert [line.split(", ")[-1].split(" | ")[:2] for line in rows[2:8] if "cifar10" in line] == [
        ["eager", "not measured"],
        ["compiled", "not measured: out of memory"],
        ["graphs", "500.0 ms/step ± 0.0%"],
    ]
    assert len([line for line in rows if "dcgan" in line]) == 3
    assert rows[-1].startswith("`the command`; ")


@pytest.mark.long
def test_a_rehearsal_does_every_stage_and_a_second_call_has_nothing_left_to_do(tmp_path):
    command = (sys.executable, "-m", "benchmarks.gpu", "--small", "--out", str(tmp_path / "out"))
    code, text = run(command, timeout=1800, CUDA_VISIBLE_DEVICES="")
    assert code == 0, text
    made = all_stages(work_in(tmp_path / "out", small=True, gpu=False))
    lines = (tmp_path / "out" / "results.md").read_text().splitlines()
    for stage in made:
        assert any(line.startswith(f"| {stage.name} | {stage.lacks or 'passed'} |") for line in lines), stage.name
    assert any("step of quickstart, batch 16" in line for line in lines)
    assert any(line.startswith("| sngan_conditional | 1 | 2 |") for line in lines)
    assert list((tmp_path / "out").glob("quality/*/grid.png"))
    code, text = run(command, CUDA_VISIBLE_DEVICES="")
    assert code == 0, text
    assert "== " not in text
