"""Two machines, that is network namespaces, train what one machine trains."""

from __future__ import annotations

import pytest

from tests.support import hosts, warm
from tests.support.processes import BIN
from tests.support.wandb_service import wandb_service

pytestmark = [pytest.mark.slow, pytest.mark.needs("hosts")]
RESULT = "checkpoints/step-000000020/state.safetensors"  # 240 images in batches of 12


def launch(two, overrides, directory, **env) -> tuple[list[int], list[str]]:
    """Trains on both machines. Returns exit codes and output of each. env: rank0 and rank1, of the machines."""
    command = [str(BIN / "accelerate"), "launch", "--config_file", "launch/two_machines.yaml", "--num_processes", "2"]
    command += ["--main_process_ip", two.addresses[0], "--machine_rank"]
    logs = [directory / f"log{rank}" for rank in (0, 1)]
    started = [
        two.start(rank, [*command, str(rank), "distgan/train.py", *overrides], logs[rank], **env[f"rank{rank}"])
        for rank in (0, 1)
    ]
    return [process.wait(180) for process in started], [log.read_text() for log in logs]


@pytest.mark.needs("openwandb")
def test_one_wandb_run_has_the_system_metrics_of_both_machines_and_one_that_cannot_reach_it_stops_nothing(
    tiny, tmp_path
):
    online = [override for override in tiny("train.images=2400") if override != "wandb.mode=disabled"]
    with hosts.two_hosts(tmp_path) as two, wandb_service(tmp_path / "server", two.outside) as service:
        env = {**service.environment, "WANDB_X_STATS_SAMPLING_INTERVAL": "1"}
        codes, output = launch(two, [*online, "wandb.project=both"], tmp_path, rank0=env, rank1=env)
        assert codes == [0, 0], output
        recorded = service.only_run("both")
        assert len(recorded.curve("loss/d")) == 40
        assert recorded.history()[-1]["images"] == 2400, "W&B's own steps are not the x axis"
        assert {name.split("/l:")[1] for name in recorded.system_metrics() if "/l:" in name} == {"h1", "h2"}

        lost = {**env, "WANDB_BASE_URL": "http://10.255.255.1:9"}
        codes, output = launch(two, [*online, "run.name=lost", "wandb.project=one"], tmp_path, rank0=env, rank1=lost)
        assert codes == [0, 0], output
        assert len(service.only_run("one").curve("loss/d")) == 40


def test_accelerate_on_two_machines_ends_with_the_bits_of_two_processes_on_one(tiny, tmp_path):
    command = [str(BIN / "accelerate"), "launch", "--config_file", "launch/two_machines.yaml", "--num_processes", "2"]
    with hosts.two_hosts(tmp_path) as two:
        command += ["--main_process_ip", two.addresses[0], "--machine_rank"]
        logs = [tmp_path / f"log{rank}" for rank in (0, 1)]
        started = [
            two.start(rank, [*command, str(rank), "distgan/train.py", *tiny("run.name=apart")], logs[rank])
            for rank in (0, 1)
        ]
        for process in started:
            assert process.wait(120) == 0, "".join(log.read_text() for log in logs)
    assert "2 process(es) on cpu" in logs[0].read_text()
    assert (tmp_path / "apart" / "generator.safetensors").exists()
    code, output = warm.train(tiny("run.name=together"), 2)
    assert code == 0, output
    assert (tmp_path / "apart" / RESULT).read_bytes() == (tmp_path / "together" / RESULT).read_bytes()


def test_a_host_that_is_cut_off_hears_nothing_and_after_healing_it_does(tmp_path):
    with hosts.two_hosts(tmp_path, rate="100mbit") as two:
        server = two.start(1, ["python3", "-m", "http.server", "8000"], tmp_path / "log")

        def reached() -> bool:
            call = "timeout 1 bash -c 'until (exec 3<>/dev/tcp/h2/8000) 2>/dev/null; do sleep 0.05; done'"
            return two.start(0, ["bash", "-c", call], tmp_path / "log").wait(10) == 0

        assert reached()
        two.cut(1)
        assert not reached()
        two.heal(1)
        assert reached()
        assert server.pid in [process.pid for process in two.processes(1)]
    assert server.wait(10) < 0, "all that ran on the hosts is killed at the end"
