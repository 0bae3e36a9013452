"""Reading what a training adds to its files, and nothing outside of the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distgan.training.report import own_files
from distgan.training.report.own_files import LineTail, own_file
from distgan.training.tracking.jsonl import JsonLines, MetricsFile
from distgan.utils.files import atomic_path


def images(rows: list[dict]) -> list[int]:
    return [row["images"] for row in rows]


def test_only_the_added_lines_are_read_again(tmp_path):
    file, tail = MetricsFile(tmp_path / "metrics.jsonl", 0), LineTail(tmp_path, "metrics.jsonl")
    seen = []
    for n in range(1, 6):
        file.append(n, {"loss/d": 0.5})
        rows, anew = tail.read()
        seen.append(images(rows))
        assert not anew
    assert seen == [[1], [2], [3], [4], [5]]
    assert tail.read() == ([], False)


def test_half_a_line_waits_for_its_rest(tmp_path):
    path, tail = tmp_path / "x.jsonl", LineTail(tmp_path, "x.jsonl")
    path.write_text('{"images": 1}\n{"ima')
    assert images(tail.read()[0]) == [1]
    with path.open("a") as file:
        file.write('ges": 2}\n')
    assert images(tail.read()[0]) == [2]


def test_after_a_rollback_the_file_is_read_from_its_start(tmp_path):
    file, tail = JsonLines(tmp_path / "x.jsonl", 0), LineTail(tmp_path, "x.jsonl")
    for n in range(1, 6):
        file.add({"images": n})
    tail.read()
    file.rewind(2)
    for n in (30, 40, 50, 60):  # as long again as before
        file.add({"images": n})
    rows, anew = tail.read()
    assert anew
    assert images(rows) == [1, 2, 30, 40, 50, 60]


def test_a_file_that_was_written_again_with_the_same_length_is_noticed(tmp_path):
    path, tail = tmp_path / "x.jsonl", LineTail(tmp_path, "x.jsonl")
    path.write_text('{"images": 1}\n{"images": 2}\n')
    tail.read()
    with atomic_path(path) as other:
        other.write_text('{"images": 1}\n{"images": 3}\n')
    assert tail.read() == ([{"images": 1}, {"images": 3}], True)


def test_a_file_that_is_gone_and_comes_back_is_read_from_its_start(tmp_path):
    path, tail = tmp_path / "x.jsonl", LineTail(tmp_path, "x.jsonl")
    path.write_text('{"images": 1}\n')
    tail.read()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        tail.read()
    path.write_text('{"images": 1}\n{"images": 2}\n')
    assert images(tail.read()[0]) == [1, 2]


def test_a_long_file_is_read_in_parts_without_losing_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(own_files, "MAX_READ", 1000)
    monkeypatch.setattr(own_files, "MAX_LINE", 100)
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"images": n}) + "\n" for n in range(500)))
    tail, found, parts = LineTail(tmp_path, "x.jsonl"), [], 0
    while not parts or tail.behind:
        found += images(tail.read()[0])
        parts += 1
    assert found == list(range(500))
    assert parts > 5


def test_a_line_without_an_end_is_passed_over_once_it_is_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(own_files, "MAX_LINE", 100)
    path, tail = tmp_path / "x.jsonl", LineTail(tmp_path, "x.jsonl")
    path.write_text("[" * 200)
    assert tail.read() == ([], False)
    with path.open("a") as file:
        file.write('\n{"images": 7}\n')
    assert images(tail.read()[0]) == [7]


@pytest.mark.parametrize("name", ["config.yaml", "samples/fakes-000000001.png"])
def test_a_link_out_of_the_run_is_refused(tmp_path, name):
    run, secret = tmp_path / "run", tmp_path / "secret"
    secret.write_text("hunter2")
    (run / name).parent.mkdir(parents=True)
    (run / name).symlink_to(secret)
    with pytest.raises(OSError, match="is a link, which is not followed"):
        own_file(run, name)


def test_a_folder_that_is_a_link_is_refused_but_the_run_itself_may_be_one(tmp_path):
    real = tmp_path / "real"
    (real / "images").mkdir(parents=True)
    (real / "images" / "a.png").touch()
    (real / "samples").symlink_to(real / "images")
    with pytest.raises(OSError, match="samples is a link"):
        own_file(real, "samples/a.png")
    (tmp_path / "run").symlink_to(real)
    assert own_file(tmp_path / "run", "images/a.png") == Path(tmp_path / "run" / "images" / "a.png")
