"""Every way to start that the README names, from the repository root, with no accelerate configuration file."""

from __future__ import annotations

import shlex
import sys

import pytest

from tests.support.processes import BIN, ROOT, TWO, run

pytestmark = pytest.mark.slow
ACCELERATE = str(BIN / "accelerate")
GLOO = {"ACCELERATE_USE_CPU": "true"}
TWO_UNDER_ACCELERATE = (ACCELERATE, "launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0")


@pytest.mark.parametrize(
    ("command", "env", "processes"),
    [
        ((ACCELERATE, "launch", "distgan/train.py"), {}, 1),
        ((ACCELERATE, "launch", "-m", "distgan.train"), {}, 1),
        ((sys.executable, "-m", "distgan", "train"), {}, 1),
        ((*TWO_UNDER_ACCELERATE, "distgan/train.py"), GLOO, 2),
        (TWO, {}, 2),
    ],
    ids=["file", "module", "console", "accelerate, two", "torchrun, two"],
)
def test_training_starts_and_ends(tiny, tmp_path, command, env, processes):
    code, output = run([*command, *tiny("train.images=24")], HF_HOME=str(tmp_path), **env)
    assert code == 0, output
    assert f"{processes} process(es) on cpu, precision float32" in output
    assert (tmp_path / "quickstart" / "generator.safetensors").exists()
    assert "Traceback" not in output


def test_the_command_of_the_readme_starts_without_the_launcher_s_warning(tiny, tmp_path):
    command = (ACCELERATE, "launch", "--config_file", "launch/one.yaml", "distgan/train.py")
    assert shlex.join(command[1:]) in (ROOT / "README.md").read_text()
    code, output = run([*command, *tiny("train.images=24")], HF_HOME=str(tmp_path))
    assert code == 0, output
    assert "1 process(es) on cpu, precision float32" in output
    assert "not passed to `accelerate launch`" not in output


def test_the_launcher_s_bf16_is_used_and_said(tiny, tmp_path):
    command = (ACCELERATE, "launch", "--mixed_precision", "bf16", "distgan/train.py")
    code, output = run([*command, *tiny("train.images=24", "train.precision=no")], HF_HOME=str(tmp_path))
    assert code == 0, output
    assert "precision bf16: set by the launcher" in output


@pytest.mark.parametrize("by", ["options", "default file"])
def test_the_launcher_s_dynamo_and_accumulation_have_no_effect_and_that_is_said(tiny, tmp_path, by):
    options = ["--gradient_accumulation_steps", "4"] + (["--dynamo_backend", "inductor"] if by == "options" else [])
    if by == "default file":
        (tmp_path / "accelerate").mkdir()
        (tmp_path / "accelerate" / "default_config.yaml").write_text(
            "compute_environment: LOCAL_MACHINE\ndistributed_type: 'NO'\nnum_processes: 1\nuse_cpu: true\n"
            "dynamo_config:\n  dynamo_backend: INDUCTOR\n"
        )
    settings = tiny("train.images=24", "loss.r1_gamma=1")  # R1 needs second derivatives, which dynamo does not have
    for module in ("distgan.train", "distgan.doctor"):
        code, output = run([ACCELERATE, "launch", *options, "-m", module, *settings], HF_HOME=str(tmp_path))
        assert code == 0, output
        assert "the launcher's dynamo backend inductor has no effect: train.compile=" in output
        assert "the launcher's gradient_accumulation_steps 4 has no effect: train.accumulation=" in output


def test_a_batch_that_two_processes_cannot_share_is_one_line_without_traceback(tiny, tmp_path):
    code, output = run([sys.executable, "distgan/train.py", *tiny("train.batch_size=5", "train.accumulation=2")])
    assert code == 2
    assert output.strip() == (
        "train.batch_size=5 is not a multiple of processes * train.accumulation = 1 * 2 = 2; nearest valid: 4 or 6"
    )


def test_the_console_command_is_installed_and_knows_its_version():
    import distgan

    code, output = run([str(BIN / "distgan"), "--version"])
    assert code == 0, output
    assert output.startswith(f"distgan {distgan.__version__}\npython 3.")


def test_help_lists_the_keys_and_the_configuration_can_be_printed_and_used_again(tmp_path):
    code, output = run([sys.executable, "distgan/train.py", "--help"])
    assert code == 0
    assert "train.batch_size" in output
    code, first = run([sys.executable, "distgan/train.py", "--print-config", "train.batch_size=32"])
    assert code == 0
    printed = tmp_path / "printed.yaml"
    printed.write_text(first)
    code, second = run([sys.executable, "distgan/train.py", "--print-config", "--config", str(printed)])
    assert second == first
    assert "batch_size: 32" in first


def test_help_and_mistakes_do_not_load_torch():
    script = "import sys; sys.modules['torch'] = None; from distgan.train import main; sys.exit(main(sys.argv[1:]))"
    code, output = run([sys.executable, "-c", script, "train.batchsize=3"], PYTHONPATH=str(ROOT))
    assert code == 2, output
    assert "unknown key train.batchsize; nearest: train.batch_size" in output
