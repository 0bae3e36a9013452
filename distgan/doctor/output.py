"""The report: lines or one JSON document on stdout, progress on stderr; silent on all but the main process."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from distgan.doctor.check_result import CheckResult, summary
from distgan.utils.log import log


class Report:
    """The results so far."""

    def __init__(self, as_json: bool, enabled: bool) -> None:
        """as_json: print one document at the end instead of lines; enabled: print anything at all."""
        self.as_json, self.enabled = as_json, enabled
        self.results: list[CheckResult] = []
        self._start = time.monotonic()

    def add(self, results: Iterable[CheckResult]) -> None:
        """Adds results and prints them at once."""
        for result in results:
            self.results.append(result)
            if self.enabled and not self.as_json:
                print(result.line(), flush=True)

    def progress(self, text: str) -> None:
        """Tells a person who waits what is being done."""
        if self.enabled:
            log.info("doctor: %s ...", text)

    def close(self) -> int:
        """Prints the summary and returns the exit code: 2 if a check failed."""
        failed, seconds = any(result.level == "fail" for result in self.results), time.monotonic() - self._start
        if self.enabled and self.as_json:
            document = {
                "failed": failed,
                "seconds": round(seconds, 1),
                "findings": [result._asdict() for result in self.results],
            }
            print(json.dumps(document, indent=1), flush=True)
        elif self.enabled:
            print(summary(self.results, seconds), flush=True)
        return 2 if failed else 0
