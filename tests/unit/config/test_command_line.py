"""`--config` and the overrides, as `train` and `doctor` take them."""

from __future__ import annotations

import argparse

import pytest

from distgan.config.command_line import add_config_arguments, parse_config_arguments
from distgan.utils.errors import ConfigError


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--quick", action="store_true")
    add_config_arguments(parser)
    return parse_config_arguments(parser, arguments)


def test_the_default_is_the_quickstart_without_overrides():
    options = parse()
    assert (options.config, options.overrides, options.quick) == ("quickstart", [], False)


def test_overrides_may_stand_before_and_after_options_and_the_last_of_a_key_is_the_last_on_the_command_line():
    options = parse("data.path=one", "--config", "r3gan", "data.path=two", "--quick", "data.path=three")
    assert options.overrides == ["data.path=one", "data.path=two", "data.path=three"]
    assert parse("--config", "r3gan", "run.seed=1", "data.workers=2").overrides == ["run.seed=1", "data.workers=2"]
    options = parse("run.seed=1", "--quick")
    assert (options.overrides, options.quick) == (["run.seed=1"], True)


def test_an_unknown_option_becomes_an_override_for_the_loader_to_refuse():
    assert parse("--run.seed=1", "data.workers=2").overrides == ["--run.seed=1", "data.workers=2"]


def test_overrides_of_the_environment_come_last_and_are_reported(monkeypatch, caplog):
    monkeypatch.setenv("DISTGAN_OVERRIDES", "train.images=64 'loss={name: hinge}'")
    with caplog.at_level("INFO", "distgan"):
        assert parse("train.images=9000").overrides == ["train.images=9000", "train.images=64", "loss={name: hinge}"]
    assert "DISTGAN_OVERRIDES, which comes last: train.images=64 'loss={name: hinge}'" in caplog.text


def test_overrides_of_the_environment_that_no_shell_would_take_are_refused(monkeypatch):
    monkeypatch.setenv("DISTGAN_OVERRIDES", "run.name='mine")
    with pytest.raises(ConfigError, match="DISTGAN_OVERRIDES=run.name='mine: No closing quotation; write it as in"):
        parse()
