"""Findings to lines or to one JSON document on stdout, progress to stderr; silent on all but the main process."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from distgan.doctor.finding import Finding, summary
from distgan.utils.log import log


class Report:
    """What the doctor has found so far."""

    def __init__(self, as_json: bool, enabled: bool) -> None:
        self.as_json, self.enabled = as_json, enabled
        self.findings: list[Finding] = []
        self._start = time.monotonic()

    def add(self, findings: Iterable[Finding]) -> None:
        """Lines are shown as they come."""
        for finding in findings:
            self.findings.append(finding)
            if self.enabled and not self.as_json:
                print(finding.line(), flush=True)

    def say(self, text: str) -> None:
        """What is being done, for a person who waits."""
        if self.enabled:
            log.info("doctor: %s ...", text)

    def close(self) -> int:
        """Shows the sum and returns the exit code: 2 where something failed."""
        failed, seconds = any(finding.level == "fail" for finding in self.findings), time.monotonic() - self._start
        if self.enabled and self.as_json:
            found = [finding._asdict() for finding in self.findings]
            print(json.dumps({"failed": failed, "seconds": round(seconds, 1), "findings": found}, indent=1), flush=True)
        elif self.enabled:
            print(summary(self.findings, seconds), flush=True)
        return 2 if failed else 0
