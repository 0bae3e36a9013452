"""`--config` and the overrides, as `train` and `doctor` take them."""

from __future__ import annotations

import argparse

from distgan.config.command_line import add_config_arguments, parse_config_arguments


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
    assert parse("--run.seed=1", "data.workers=2").overrides == ["data.workers=2", "--run.seed=1"]
