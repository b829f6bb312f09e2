"""The report's page in a real browser: Debian's Chromium, headless, without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.report import __main__ as report
from tests.support.paths import ROOT
from tests.support.records import plan_entry, record, reported, write_plan, write_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
AXE = Path(os.environ.get("AXE_CORE", ROOT / "build" / "browser" / "axe.min.js"))
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"
DESKTOP, PHONE = (1280, 900), (390, 844)
Open = Callable[..., Any]

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium on this machine; tools/browser.sh brings it"
    ),
    pytest.mark.timeout(300),  # the first test starts a browser, trains and draws
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    reason = "Playwright is not installed; tools/browser.sh brings it"
    api = pytest.importorskip("playwright.sync_api", reason=reason)
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    """A report with full, shortened, failed, broken, hostile runs, and a trained one."""
    root = tmp_path_factory.mktemp("page") / "runs"
    shutil.copytree(trained, root)
    entries = []
    for variant in ("resnet453", "resnet224", "resnet1111"):
        for seed in range(2):
            content = record(variant, seed)
            write_run(root, f"{variant}-s{seed}", content)
            name = f"4.{len(entries) // 2}/{variant}/s{seed}"
            entries.append(plan_entry(content, name, values=[reported(95.0, "best")]))
    entries.append(plan_entry(record("se_resnet443"), "4.9/missing/s0", values=[reported(95.4)]))
    failed = record("resnet18", test_accuracy=None) | {"status": "failed", "error": EVIL}
    write_run(root, "failed", failed)
    write_run(root, "hostile<b>", record(EVIL, device=EVIL))
    (root / "broken").mkdir()
    (root / "broken" / "record.json").write_text("{")
    write_plan(root, entries)
    short = record(epochs=3, accuracy=0.6)
    write_run(root, "short", short)
    write_plan(root, [plan_entry(short, "4.0/resnet453/s0")], sweep="rehearsal", scale=0.05)
    assert report.main([str(root), "--out", str(root.parent / "report"), "--quiet"]) == 0
    return root.parent / "report" / "index.html"


@pytest.fixture
def opened(browser: Browser, page_file: Path) -> Open:
    """Opens the page; fails at the end on any console message, dialog or request."""

    @contextmanager
    def call(size: tuple[int, int] = DESKTOP, **context: Any) -> Iterator[Page]:
        viewport = {"width": size[0], "height": size[1]}
        tab = browser.new_context(viewport=viewport, offline=True, **context)
        try:
            page = tab.new_page()
            page.set_default_timeout(10_000)
            events: list[str] = []
            page.on("console", lambda message: events.append(message.text))
            page.on("pageerror", lambda error: events.append(str(error)))
            page.on("dialog", lambda dialog: events.append(f"a dialog: {dialog.message}"))
            page.on("request", lambda request: events.append(f"request of {request.url}"[:200]))
            page.goto(page_file.as_uri())
            assert events == [f"request of {page_file.as_uri()}"]
            events.clear()
            yield page
            assert [event for event in events if not event.startswith("request of data:")] == []
        finally:
            tab.close()

    return call


def column(page: Page, number: int) -> list[str]:
    """The first lines of a column of the table of runs."""
    cells = page.locator(f"#runs-table tbody tr td:nth-child({number})").all_inner_texts()
    return [cell.splitlines()[0] for cell in cells]


def head(page: Page, name: str) -> Locator:
    return page.locator("#runs-table thead").get_by_role("button", name=name, exact=True)


def test_a_click_sorts_by_number_and_a_second_one_reverses(opened: Open) -> None:
    with opened() as page:
        head(page, "Parameters").click()
        rising = [int(text.replace(",", "")) for text in column(page, 6) if text != "–"]
        assert rising == sorted(rising) and len(set(rising)) > 3
        assert column(page, 6)[-1] == "–"  # empty cells are last in either order
        header = page.locator("#runs-table thead th", has_text="Parameters")
        assert header.get_attribute("aria-sort") == "ascending"
        head(page, "Parameters").click()
        falling = [int(text.replace(",", "")) for text in column(page, 6) if text != "–"]
        assert falling == rising[::-1]
        assert column(page, 6)[-1] == "–"
        assert header.get_attribute("aria-sort") == "descending"
        assert page.locator("#status").inner_text() == "Sorted by Parameters, descending."


def test_the_keyboard_sorts_too(opened: Open) -> None:
    with opened() as page:
        head(page, "Test").focus()
        page.keyboard.press("Enter")
        values = [float(text) for text in column(page, 2) if text != "–"]
        assert values == sorted(values)
        page.keyboard.press("Space")
        values = [float(text) for text in column(page, 2) if text != "–"]
        assert values == sorted(values, reverse=True)


def test_a_filter_keeps_the_matching_rows_and_their_details(opened: Open) -> None:
    with opened() as page:
        everything = page.locator("#runs-table tbody tr").count()
        page.fill("#filter-runs", "resnet453 4.0/")
        names = page.locator("#runs-table tbody tr:visible th a").all_inner_texts()
        assert sorted(names) == ["resnet453-s0", "resnet453-s1", "short"]
        assert page.locator("details.run:visible").count() == 3
        count = page.locator(".controls[data-scope=runs-table] output")
        assert count.inner_text() == f"3 of {everything} rows"
        page.fill("#filter-runs", "")
        page.select_option("#filter-status", "failed")
        assert page.locator("#runs-table tbody tr:visible").count() == 1
        page.select_option("#filter-verdict", "not run")
        assert page.locator("#reported-tables tbody tr:visible").count() == 1


def test_details_open_by_click_by_key_and_by_their_link(opened: Open) -> None:
    with opened() as page:
        details = page.locator("details.run", has_text="resnet1111-s0")
        inside = details.get_by_text("Environment")
        assert not inside.is_visible()
        details.locator("summary").click()
        assert inside.is_visible()
        details.locator("summary").press("Enter")
        assert not inside.is_visible()
        page.locator("#runs-table").get_by_role("link", name="resnet1111-s0").click()
        assert inside.is_visible()


def test_the_theme_changes_and_is_remembered(opened: Open) -> None:
    with opened(color_scheme="light") as page:
        paper = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(paper)
        page.click("#theme")
        dark = page.evaluate(paper)
        assert dark != light
        assert page.locator("#theme").inner_text() == "Light theme"
        line = page.locator("figure.picture svg text").first
        assert line.evaluate("e => getComputedStyle(e).fill") != "rgb(27, 31, 36)"
        page.click("#theme")
        assert page.evaluate(paper) == light
        page.click("#theme")
        kept = page.evaluate("localStorage.getItem('theme')")
        assert kept == "dark"
    with opened(color_scheme="dark") as page:
        assert page.evaluate(paper) == dark


def test_the_page_works_without_scripts(opened: Open) -> None:
    with opened(java_script_enabled=False) as page:
        assert page.locator(".controls:visible, #theme:visible").count() == 0
        assert page.locator("#runs-table tbody tr:visible").count() > 8
        assert page.locator(".verdict", has_text="agrees within noise").first.is_visible()
        details = page.locator("details.run", has_text="resnet224-s0")
        details.locator("summary").click()
        assert details.get_by_text("Environment").is_visible()


def test_the_page_prints_on_white_without_controls(opened: Open) -> None:
    with opened(color_scheme="dark") as page:
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 36)"
        assert page.locator(".controls:visible, nav:visible").count() == 0
        assert page.locator("#runs-table tbody tr:visible").count() > 8
        assert len(page.pdf()) > 20_000


def test_on_a_phone_the_accuracy_stays_in_sight(opened: Open) -> None:
    with opened(PHONE) as page:
        for table in ("#best .wide", "#reported-tables .wide", "#runs-table"):
            cell = page.locator(f"{table} tbody td.kept").first
            for scrolled in (0, 150, 400):
                page.locator(table).first.evaluate(f"each => each.scrollLeft = {scrolled}")
                box = cell.bounding_box()
                assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= PHONE[0]


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_jump_to_a_run_shows_its_name_below_the_bar(opened: Open, size: tuple[int, int]) -> None:
    with opened(size) as page:
        page.locator("#runs-table").get_by_role("link", name="resnet1111-s0").click()
        page.wait_for_timeout(100)
        name = page.locator("#run-resnet1111-s0 > summary").bounding_box()
        bar = page.locator("nav").bounding_box()
        assert name is not None and bar is not None
        assert bar["y"] + bar["height"] <= name["y"] < size[1] / 2


def test_the_texts_of_hand_drawn_plots_do_not_overlap(opened: Open) -> None:
    with opened() as page:
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        overlaps = page.evaluate(
            """() => [...document.querySelectorAll('.plot > svg')].flatMap(svg => {
                const boxes = [...svg.querySelectorAll('text')].map(
                    text => [text.textContent, text.getBoundingClientRect()]);
                const inside = svg.getBoundingClientRect();
                const clipped = boxes.filter(([, box]) =>
                    box.left < inside.left - 1 || box.right > inside.right + 1);
                const pairs = boxes.flatMap(([one, a], i) => boxes.slice(i + 1).filter(([, b]) =>
                    a.left < b.right - 1 && b.left < a.right - 1 &&
                    a.top < b.bottom - 3 && b.top < a.bottom - 3).map(([two]) => [one, two]));
                return [...clipped.map(([words]) => words), ...pairs];
            })"""
        )
        assert overlaps == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_nothing_is_wider_than_the_screen(opened: Open, size: tuple[int, int]) -> None:
    with opened(size) as page:
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_hostile_names_are_shown_as_text(opened: Open) -> None:
    with opened() as page:
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert page.get_by_text(EVIL).first.is_visible()
        assert page.locator("main img, main script").count() == 0


def test_the_worst_images_of_a_trained_run_are_pictures(opened: Open) -> None:
    with opened() as page:
        details = page.locator("details.run", has_text="real")
        details.locator("summary").click()
        pictures = details.get_by_role("img", name="Test image")
        assert pictures.count() == 25
        box = pictures.first.bounding_box()
        assert box is not None and box["width"] > 30
        colours = pictures.first.screenshot()
        assert len(colours) > 1000  # a picture of noise, not an empty square


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "size"), [("light", PHONE), ("dark", DESKTOP)])
def test_axe_reports_no_serious_violation(opened: Open, scheme: str, size: tuple[int, int]) -> None:
    if not AXE.is_file():
        pytest.skip(f"{AXE} is not there; tools/browser.sh brings axe-core")
    with opened(size, color_scheme=scheme, bypass_csp=True) as page:
        for details in page.locator("details").all():
            if details.get_attribute("class") != "run" or "real" in details.inner_text():
                details.evaluate("each => each.open = true")  # one run's is like another's
        page.wait_for_timeout(100)  # the folds' events
        page.evaluate(AXE.read_text(encoding="utf-8"))
        result = page.evaluate("axe.run()")
        serious = [
            (rule["id"], rule["impact"], rule["nodes"][0]["html"][:200])
            for rule in result["violations"]
            if rule["impact"] in ("serious", "critical")
        ]
        assert serious == []
        assert len(result["passes"]) > 20
