"""Who is told that scores flatter: features that a generator was trained against do not judge it fairly."""

from __future__ import annotations

import pytest

from distgan import evaluate
from distgan.metrics.flattery import flattery

PROJECTED = {"discriminator": {"family": "projected"}}


@pytest.mark.parametrize(
    ("config", "extractor", "flatters"),
    [
        (PROJECTED, "efficientnet_lite0", True),
        (PROJECTED, "classifier", False),
        ({"discriminator": {"family": "sngan"}}, "efficientnet_lite0", False),
        *(
            ({"discriminator": odd}, "efficientnet_lite0", False)
            for odd in (None, 3, [], {}, {"family": ["projected"]})
        ),
        ({}, "efficientnet_lite0", False),
    ],
)
def test_only_the_extractor_that_d_is_made_of_flatters(config, extractor, flatters):
    assert (flattery(config, extractor) is not None) == flatters


def test_an_evaluation_says_that_its_scores_flatter(shapes, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    few = {"count": 20, "reference_count": 40, "progress": False, "device": "cpu"}
    with caplog.at_level("WARNING", "distgan"):
        evaluate("demo", shapes, extractor="efficientnet_lite0", **few)
    assert "the scores of efficientnet_lite0 flatter this generator" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING", "distgan"):
        evaluate("demo", shapes, extractor="none", **few)
    assert "flatter" not in caplog.text
