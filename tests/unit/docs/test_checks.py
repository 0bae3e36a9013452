"""What the checks of the built site find (tests/support/site.py)."""

from __future__ import annotations

import pytest

from tests.support.site import broken, foreign, left_over


@pytest.fixture
def site(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "index.html").write_text(
        '<h1 id="top">A</h1> <a href="../#there">b</a> <a href="https://host/">c</a>'
    )
    (tmp_path / "index.html").write_text('<p id="there">It</p> <a href="a/#top">a</a> <code>](</code>')
    return tmp_path


def test_a_good_site_is_without_fault(site):
    assert (foreign(site), broken(site), left_over(site)) == ([], [], [])


@pytest.mark.parametrize(
    ("check", "html"),
    [
        (foreign, '<script src="https://cdn.host/x.js"></script>'),
        (foreign, '<link rel="preconnect" href="https://fonts.host">'),
        (foreign, '<img src="//host/x.png">'),
        (broken, '<a href="b/">b</a>'),
        (broken, '<a href="a/#bottom">a</a>'),
        (broken, '<img src="x.png">'),
        (left_over, "<p>text\n- item</p>"),
        (left_over, "<p>[a](b.md)</p>"),
        (left_over, "<p>| a |\n| --- |</p>"),
    ],
)
def test_a_fault_is_found(check, html, site):
    (site / "index.html").write_text(f'<p id="there">It</p> {html}')
    assert len(check(site)) == 1


def test_a_font_from_another_host_is_found_in_css(site):
    (site / "x.css").write_text("@font-face { src: url(https://fonts.host/x.woff2) }")
    assert len(foreign(site)) == 1
