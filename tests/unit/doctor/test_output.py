"""The report as lines, as JSON, and on other processes."""

from __future__ import annotations

import json

from distgan.doctor.check_result import fail, warn
from distgan.doctor.output import Report


def test_json_holds_the_same_results_and_other_processes_print_nothing(capsys):
    report = Report(as_json=True, enabled=True)
    report.add([warn("disk", "little", "make room")])
    assert report.close() == 0
    document = json.loads(capsys.readouterr().out)
    assert document["failed"] is False
    assert document["findings"] == [{"level": "warn", "what": "disk", "text": "little", "advice": "make room"}]
    silent = Report(as_json=False, enabled=False)
    silent.add([fail("disk", "none", "make room")])
    silent.progress("working")
    assert silent.close() == 2
    assert capsys.readouterr() == ("", "")
