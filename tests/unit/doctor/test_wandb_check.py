"""W&B's mode, and a server that answers, fails or hangs."""

from __future__ import annotations

from distgan.doctor import wandb_check
from distgan.doctor.check_result import CheckResult
from tests.support.wandb_server import fake_wandb
from tests.unit.doctor.results import lines


def test_wandb_modes():
    def refused(_url):
        return 0.1, "Connection refused"

    def answered(_url):
        return 0.2, None

    url = "https://user:secret@wandb.host:8080"
    assert lines(wandb_check.check_mode("online", None, url, answered)) == [
        "ok    W&B: online with a key; wandb.host:8080 answered in 0.2 s"
    ]
    assert lines(wandb_check.check_mode("online", None, url, refused)) == [
        "warn  W&B: online, but wandb.host:8080 cannot be used: Connection refused; check the network, a proxy "
        "(https_proxy) and WANDB_BASE_URL; a run would continue offline"
    ]
    assert lines(
        wandb_check.check_mode("offline", "W&B has no API key, so this run is recorded offline", "", answered)
    ) == [
        "warn  W&B: W&B has no API key, so this run is recorded offline; run `wandb login`, set WANDB_API_KEY, or set "
        "wandb.mode=offline if that is what you want"
    ]
    wrong = wandb_check.check_mode("offline", "1 validation error, so this run is recorded offline", "", answered)
    assert wrong[0].advice == "check the WANDB_ variables, or set wandb.mode=offline if that is what you want"
    assert wandb_check.check_mode("offline", None, "", refused)[0].level == "ok"
    assert wandb_check.check_mode("disabled", None, "", refused) == [CheckResult("ok", "W&B", "disabled")]


def test_wandb_s_server_is_asked_for_a_bounded_time(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with fake_wandb() as server:
        assert wandb_check.ask_server(server.url)[1] is None
        server.behaviour = "error"
        assert wandb_check.ask_server(server.url)[1] == "status 500"
        server.behaviour = "hang"
        monkeypatch.setattr(wandb_check, "ANSWER_SECONDS", 0.5)
        seconds, wrong = wandb_check.ask_server(server.url)
        assert wrong is not None
        assert seconds < 20, "it hangs for ever"
    assert "refused" in wandb_check.ask_server("http://127.0.0.1:9")[1]


def test_wandb_online_without_a_key_fails(tiny_config, monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("distgan.training.tracking.wandb_mode._look_up", lambda: ("online", "W&B has no API key"))
    results = wandb_check.check_wandb(tiny_config("wandb.mode=online"))
    assert results[0].level == "fail"
    assert results[0].advice == "or use wandb.mode=auto, which then trains without W&B"


def test_a_wrong_wandb_mode_fails_and_is_not_blamed_on_the_configuration(tiny_config, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    (result,) = wandb_check.check_wandb(tiny_config("wandb.mode=auto"))
    assert (result.level, result.advice) == ("fail", "fix that and run this again")
    assert result.text.startswith("WANDB_MODE=ofline must be one of")
