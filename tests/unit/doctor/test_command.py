"""`distgan doctor` as a command: how it ends."""

from __future__ import annotations

import os
import signal

from distgan.doctor import __main__ as command


def test_a_sigterm_while_a_mistake_is_told_is_no_traceback(monkeypatch):
    """So a launcher ends the other ranks as soon as one has told the mistake."""
    told = []

    def tell(*_given):
        told.append(1)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(command.log, "error", tell)
    before = signal.getsignal(signal.SIGTERM)
    assert command.main(["train.imags=1"]) == 143
    assert told == [1]
    assert signal.getsignal(signal.SIGTERM) is before
