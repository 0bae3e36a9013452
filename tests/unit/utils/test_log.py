"""The logger "distgan": silenced or captured by a program, shown by the commands, on streams that may break."""

from __future__ import annotations

import io
import logging
import sys

import pytest
from tqdm import tqdm

from distgan.utils import log as messages
from distgan.utils.errors import DistganError
from distgan.utils.log import Unbreakable, check_stdout, guard_stdout, log, show_on_terminal
from distgan.utils.progress import track


@pytest.fixture
def as_a_library(monkeypatch):
    """The logger as a program finds it that has called none of distgan's commands."""
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "propagate", True)
    log.setLevel(logging.NOTSET)
    yield
    log.setLevel(logging.INFO)


class Broken(io.StringIO):
    """A stream on a full disk."""

    def write(self, text):
        raise OSError(28, "No space left on device")


# ---- as a library


def test_a_program_captures_the_messages_by_the_name_of_their_logger(as_a_library, caplog):
    with caplog.at_level(logging.INFO, "distgan"):
        log.info("resumed from %s", "x")
        log.warning("%s cannot be written", "y")
    assert caplog.record_tuples == [
        ("distgan", logging.INFO, "resumed from x"),
        ("distgan", logging.WARNING, "y cannot be written"),
    ]


def test_a_program_silences_them(as_a_library, caplog, capsys):
    logging.getLogger("distgan").setLevel(logging.CRITICAL)
    log.warning("not shown")
    assert caplog.record_tuples == []
    assert capsys.readouterr() == ("", "")


# ---- on a terminal


def test_rank_0_shows_all_and_says_what_is_a_warning(capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    log.debug("not shown")
    log.info("resumed")
    log.warning("the disk is slow")
    log.error("train.images=0 must be 1 or more")
    assert capsys.readouterr().err == "resumed\nWARNING: the disk is slow\ntrain.images=0 must be 1 or more\n"


def test_other_ranks_show_warnings_and_errors_with_their_number(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    log.info("resumed")
    log.warning("the disk is slow")
    log.error("a shard is damaged")
    assert capsys.readouterr().err == "[rank 1] WARNING: the disk is slow\n[rank 1] a shard is damaged\n"


def test_a_rank_without_a_world_which_a_shell_has_kept_silences_nothing(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    log.info("resumed")
    assert capsys.readouterr().err == "resumed\n"


def test_a_message_is_written_above_a_progress_bar(capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with tqdm(total=10, desc="training", file=sys.stderr, ncols=40, mininterval=0) as bar:
        bar.update(3)
        log.info("a message")
        drawn = capsys.readouterr().err
    before, after = drawn.split("a message\n")
    assert before.endswith("\r"), "the bar is cleared"
    assert before.split("\r")[-2].strip() == ""
    assert after.strip().startswith("training:  30%"), "and drawn again below"


def test_showing_twice_is_showing_once(capsys):
    show_on_terminal()
    show_on_terminal()
    log.warning("once")
    assert capsys.readouterr().err.count("once") == 1
    assert isinstance(sys.stderr, Unbreakable)
    assert not isinstance(sys.stderr._stream, Unbreakable)


# ---- streams that break


def test_messages_and_progress_survive_a_full_disk(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Unbreakable(Broken()))
    log.warning("lost")
    assert list(track(iter(range(3)), 3, "reading", "images")) == [0, 1, 2]
    with tqdm(total=3, file=sys.stderr) as bar:
        bar.update(1)
        log.warning("lost, too")
    assert sys.stderr.failure.strerror == "No space left on device"


def test_a_closed_stream_loses_the_text_only():
    stream = io.StringIO()
    stream.close()
    guarded = Unbreakable(stream)
    print("text", file=guarded, flush=True)
    guarded.writelines(["more", "text"])
    assert isinstance(guarded.failure, ValueError)


def test_characters_that_the_encoding_lacks_are_written_as_escapes():
    raw = io.BytesIO()
    guarded = Unbreakable(io.TextIOWrapper(raw, encoding="ascii"))
    print("é → x", file=guarded, flush=True)
    assert raw.getvalue() == rb"\xe9 \u2192 x" + b"\n"
    assert guarded.failure is None, "nothing is lost"


def test_a_guarded_stdout_reports_what_it_lost_when_it_is_asked(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    guard_stdout()
    print("kept")
    check_stdout()
    monkeypatch.setattr(sys, "stdout", Broken())
    guard_stdout()
    print("lost")
    with pytest.raises(DistganError, match="stdout cannot be written: No space left on device"):
        check_stdout()


def test_open_streams_are_left_as_they_are(capsys):
    before = sys.stdin, sys.stdout, sys.stderr
    messages.fill_closed_descriptors()
    assert (sys.stdin, sys.stdout, sys.stderr) == before
