"""benchmarks/scaling/network.py, for real: two hosts with a limited rate, and what they send."""

from __future__ import annotations

import re
import signal
import sys

import pytest

from tests.support import hosts
from tests.support.processes import run, start, wait_for

pytestmark = pytest.mark.slow
NETWORK = (sys.executable, "benchmarks/scaling/network.py", "quickstart", "--rounds", "1", "--steps", "2")
possible = pytest.mark.needs("hosts")


@possible
@pytest.mark.parametrize("how", ["none", "bf16"])
def test_two_hosts_send_the_bytes_that_were_counted_and_the_packets_around_them(how, tmp_path):
    document = tmp_path / "page.md"
    document.write_text("<!-- network: begin -->\n<!-- network: end -->\n")
    own = ["--rates", "200mbit", "--into", str(document), f"train.gradient_compression={how}"]
    code, output = run([*NETWORK, *own], PYTHONPATH=".")
    assert code == 0, output
    cells = cells_of(document)
    assert 1.0 < float(cells[-1]) < 1.1, "headers and acknowledgements"
    assert cells[-2] == {"none": "1,308", "bf16": "654"}[how], "kB of both networks' gradients"


def cells_of(document):
    row = next(line for line in document.read_text().splitlines() if re.match(r"\| \d+ Mbit/s", line))
    return row.strip("| ").split(" | ")


@possible
def test_steps_with_one_setting_more_take_turns_with_those_without(tmp_path):
    document = tmp_path / "page.md"
    document.write_text("<!-- other: begin -->\n<!-- other: end -->\n")
    own = ["--rates", "20mbit", "--rounds", "2", "--into", str(document), "--place", "other"]
    code, output = run([*NETWORK, *own, "--against", "train.gradient_compression=bf16"], PYTHONPATH=".")
    assert code == 0, output
    assert "| sent / counted | step / step with train.gradient_compression=bf16 |" in document.read_text()
    assert float(cells_of(document)[-1]) > 1.3, "half the bytes, for which a step waits 0.5 s"
    assert 1.0 < float(cells_of(document)[-2]) < 1.1, "the bytes of the other's steps are not among them"


@possible
@pytest.mark.parametrize(
    ("setting", "said"), [("train.bucket_mb=-1", "train.bucket_mb"), ("train.precision=bf16", "one precision")]
)
def test_a_wrong_setting_to_compare_with_is_said_before_hosts_are_made(setting, said):
    code, output = run([*NETWORK, "--against", setting], PYTHONPATH=".")
    assert code == 2
    assert said in output


@possible
def test_an_interrupted_measurement_leaves_no_hosts(tmp_path):
    process = start([*NETWORK, "--rates", "50mbit"], tmp_path / "log", PYTHONPATH=".")

    def own() -> list[str]:
        return [space for space in hosts.namespaces() if space.startswith(f"{hosts.PREFIX}{process.pid}n")]

    wait_for(lambda: len(own()) == 2, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 130
    assert own() == []


def test_without_root_one_sentence_says_what_is_needed(monkeypatch, capsys):
    monkeypatch.syspath_prepend("benchmarks")
    from benchmarks.scaling import network

    monkeypatch.setattr(network.hosts.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["network.py"])
    assert network.main() == 2
    assert capsys.readouterr().err == (
        "two hosts cannot be made here: needs root, for network namespaces; run it as root on Linux with iproute2\n"
    )
