"""The site of docs/, built as CI builds it: complete, linked, and asking no other host for anything."""

from __future__ import annotations

import sys

import pytest

import distgan
from distgan import extend
from distgan.cli.main import COMMANDS
from distgan.config.help import key_helps
from distgan.config.recipes import RECIPES
from tests.support import processes
from tests.support.browser import browser
from tests.support.site import HtmlPage, broken, files_at, foreign, left_over, pages_of

pytestmark = [pytest.mark.slow, pytest.mark.needs("mkdocs")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    code, output = processes.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)])
    assert code == 0, output
    return folder


def test_no_page_asks_another_host(site):
    assert foreign(site) == []


def test_every_link_inside_the_site_leads_somewhere(site):
    assert len(pages_of(site)) > 40
    assert broken(site) == []


def test_the_reference_has_every_key_command_recipe_and_public_name(site):
    def anchors(page):
        return HtmlPage(site / "reference" / page / "index.html").anchors

    assert {each.key for each in key_helps()} <= anchors("configuration")
    assert COMMANDS.keys() <= anchors("commands")
    assert {path.stem for path in RECIPES.glob("*.yaml")} <= anchors("recipes")
    names = [*(f"distgan.{name}" for name in distgan.__all__), *(f"distgan.extend.{name}" for name in extend.__all__)]
    assert set(names) <= anchors("python")


def test_every_page_shows_the_version(site):
    for page in pages_of(site):
        assert f"distgan {distgan.__version__}" in page.prose, page.path


def test_no_list_table_link_or_fence_is_left_as_text(site):
    assert left_over(site) == []


@pytest.mark.needs("browser")
def test_search_finds_a_key_without_asking_another_host(site):
    with files_at(site) as url, browser() as chromium:
        page = chromium.open(url)
        page.click("label[for=__search]")
        page.set("input[data-md-component=search-query]", "half_life_images", "keyup")
        page.wait("document.querySelector('.md-search-result__link')")
        assert "Configuration keys" in page.text(".md-search-result__list")
        assert page.foreign == []
        assert page.problems == []
