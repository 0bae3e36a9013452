"""Which run a typed one is in W&B."""

from __future__ import annotations

import json

from distgan.cli.board import run_in_wandb


def test_a_run_directory_stands_for_its_id_and_all_else_is_a_name_or_an_id(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"wandb_id": "abcd1234"}))
    assert run_in_wandb(str(tmp_path)) == "abcd1234"
    assert run_in_wandb("quickstart") == "quickstart"
    (tmp_path / "run.json").write_text("{")
    assert run_in_wandb(str(tmp_path)) == str(tmp_path)
