"""Real processes whose stdout or stderr is full, closed or not UTF-8: only the text is lost, never a training."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from distgan.training.tracking.jsonl import read_metrics
from tests.support.processes import ALONE, ROOT, environment

STREAMS = ("2>/dev/full", ">/dev/full", "2>&-", ">&-", "2>&- >&-", "<&- 2>&- >&-")
MESSAGES = (b"precision float32", b"images/s", b"done: ", b"WARNING")


def shell(command, redirection, **env):
    """Runs a command with a shell's redirection; returns the finished process and what its other stream got."""
    script = f'exec "$@" {redirection}'
    return subprocess.run(
        ["bash", "-c", script, "bash", *command], cwd=ROOT, env=environment(**env), capture_output=True, timeout=240
    )


def check_trained(run, images=60):
    """A complete run, and no message has come into any of its files."""
    assert (run / "generator.safetensors").stat().st_size > 0
    assert [row["images"] for row in read_metrics(run / "metrics.jsonl")][-1] == images
    for path in run.rglob("*"):
        if path.is_file() and path.suffix != ".html":
            content = path.read_bytes()
            assert not [text for text in MESSAGES if text in content], path
    for path in run.rglob("*.json"):
        json.loads(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("redirection", STREAMS)
def test_a_training_ends_well_whatever_its_streams_are(redirection, tiny, tmp_path):
    done = shell([*ALONE, *tiny("train.images=60")], redirection)
    assert done.returncode == 0, done.stderr
    check_trained(tmp_path / "quickstart")
    if "2>" not in redirection:
        assert b"done: " in done.stderr


@pytest.mark.slow
def test_a_training_ends_well_on_a_terminal_that_is_not_utf_8(tiny, tmp_path):
    done = shell([*ALONE, *tiny("train.images=60", f"run.dir={tmp_path / 'é'}")], "", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    check_trained(tmp_path / "é" / "quickstart")
    assert rb"\xe9/quickstart/report.html" in done.stderr


@pytest.mark.slow
def test_a_training_ends_well_when_the_reader_of_its_messages_has_gone(tiny, tmp_path):
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [*ALONE, *tiny("train.images=60")], cwd=ROOT, env=environment(), stdout=writer, stderr=writer
    )
    os.close(writer)
    os.close(reader)
    assert process.wait(240) == 0
    check_trained(tmp_path / "quickstart")


@pytest.mark.slow
@pytest.mark.parametrize(("redirection", "code"), [("2>&-", 0), (">/dev/full", 2)])
def test_the_doctor_needs_no_stderr_but_fails_where_its_report_is_lost(redirection, code, tiny):
    done = shell([sys.executable, "-m", "distgan.doctor", *tiny()], redirection)
    assert done.returncode == code, done
    assert (b"0 failed" in done.stdout) == (code == 0)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("redirection", STREAMS)
def test_no_file_gets_the_number_of_a_closed_stream_here_or_in_a_child(redirection, tmp_path):
    child = "import os, sys; sys.exit(os.fstat(2).st_ino != os.stat(os.devnull).st_ino if sys.argv[1:] else 0)"
    script = f"""
import os, subprocess, sys
from distgan.utils.log import log, guard_stdout, show_on_terminal
show_on_terminal()
guard_stdout()
with open({str(tmp_path / "file")!r}, "w") as file:
    assert file.fileno() > 2, file.fileno()
    print("to stdout", flush=True)
    log.warning("to stderr")
    subprocess.run([sys.executable, "-c", {child!r}] + ["closed"] * ("2>&-" in {redirection!r}), check=True)
"""
    done = shell([sys.executable, "-c", script], redirection, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("command", [("train", "--print-config"), ("prepare", "shapes", "--count", "20", "--out")])
def test_a_command_whose_result_is_lost_says_so_and_fails(command, tmp_path):
    path = [str(tmp_path / "shapes")] if command[-1] == "--out" else []
    done = shell([sys.executable, "-m", "distgan", *command, *path], ">/dev/full")
    assert done.returncode == 2, done.stderr
    assert done.stderr.endswith(b"stdout cannot be written: No space left on device\n")
    assert b"Traceback" not in done.stderr


def test_an_error_is_reported_and_its_exit_code_stays_where_stderr_is_full():
    assert shell([*ALONE, "train.imagse=1"], "2>/dev/full").returncode == 2
    assert shell([*ALONE, "train.imagse=1"], "2>&-").returncode == 2
    done = shell([*ALONE, "train.imagse=1"], "")
    assert b"nearest: train.images" in done.stderr
