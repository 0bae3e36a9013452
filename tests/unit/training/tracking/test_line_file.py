from __future__ import annotations

import json

from distgan.training.tracking.jsonl import LineFile, parse_rows


def test_half_a_line_of_a_killed_process_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"images": 1}\n{"images": 2, "ev')
    LineFile(path).add({"images": 3})
    assert [row["images"] for row in parse_rows(path.open("rb"))] == [1, 3]


def test_a_line_that_could_not_be_written_is_written_before_the_next(tmp_path):
    path = tmp_path / "gone" / "events.jsonl"
    lines = LineFile(path)
    for images in (1, 2):
        try:
            lines.add({"images": images})
        except OSError:
            path.parent.mkdir()
    lines.close()
    assert [json.loads(line)["images"] for line in path.read_text().splitlines()] == [1, 2]
