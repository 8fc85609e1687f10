"""The report in a browser: it renders without errors, requests nothing, and fits any window."""

import io
import shutil

import pytest
from PIL import Image

from vq_report.write import write_report


@pytest.fixture(scope="module")
def pages(complete_run, tmp_path_factory):
    """The report of one run, and of two beside each other."""
    folder = tmp_path_factory.mktemp("pages")
    runs = [
        shutil.copytree(complete_run.path, folder / name)
        for name in ("one", "another-run-with-a-longer-name")
    ]
    alone = write_report(runs[0])
    return {"one": alone, "two": write_report(runs, folder / "two.html")}


WIDTHS = (360, 800, 1600)
UNSEEN = """[...document.querySelectorAll("main *")].filter(each => {
    const box = each.getBoundingClientRect();
    const hidden = each.closest(".scroll, input, .stage > div:not(:last-child)");
    return !hidden && box.width
        && (box.left < -1 || box.right > innerWidth + 1);
}).map(each => each.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["one", "two"])
def test_the_page_renders_without_errors_and_fits_the_window(browser, pages, name, width):
    browser.open(pages[name], width)
    for fault in (
        "Log.entryAdded",
        "Runtime.exceptionThrown",
        "Runtime.consoleAPICalled",
        "Network.loadingFailed",
    ):
        assert browser.seen(fault) == []
    asked = [event["request"]["url"] for event in browser.seen("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.evaluate(UNSEEN) == []
    assert browser.evaluate("document.images.length") > 10
    assert (
        browser.evaluate(
            "[...document.images].filter(each => !each.complete || !each.naturalWidth).length"
        )
        == 0
    )
    charts = "[...document.querySelectorAll('svg[role=img]')]"
    assert browser.evaluate(f"{charts}.filter(e => !e.querySelector('desc')).length") == 0


def test_text_is_legible_in_the_light_and_the_dark_theme(browser, pages):
    seen = {}
    for scheme in ("light", "dark"):
        browser.open(pages["one"], 800, scheme)
        styles = (
            "[document.body, document.querySelector('.note'), document.querySelector('svg text')]"
        )
        colors = browser.evaluate(
            f"{styles}.map(e => [getComputedStyle(e).color, getComputedStyle(e).fill])"
        )
        paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        inks = [colors[0][0], colors[1][0], colors[2][1]]
        assert all(contrast(ink, paper) > 4.5 for ink in inks), (scheme, inks, paper)
        assert all(contrast(color, paper) > 3 for color in browser.evaluate(PALETTE)), scheme
        with Image.open(io.BytesIO(browser.screenshot())) as image:
            assert image.width == 800
            seen[scheme] = image.convert("L").resize((1, 1)).getpixel((0, 0))
    assert seen["light"] > 200
    assert seen["dark"] < 90


PALETTE = """[...Array(8).keys()].map(n => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = `var(--p${n})`;
    return getComputedStyle(probe).color;
})"""


def contrast(one, other):
    """Contrast ratio of two colors as WCAG 2 defines it."""
    light, dark = sorted((luminance(color) for color in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color):
    shares = [int(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_frames_can_be_chosen_with_the_keyboard(browser, pages):
    browser.open(pages["one"], 800)
    frames = "[...document.querySelector('.frames .stage').children]"
    shown = f"{frames}.findIndex(e => e.offsetParent !== null)"
    last = (
        browser.evaluate("document.querySelectorAll('.frames')[0].querySelectorAll('input').length")
        - 1
    )
    assert browser.evaluate(shown) == last > 0
    browser.evaluate("document.querySelector('.frames input:checked').focus()")
    for kind in ("keyDown", "keyUp"):
        browser(
            "Input.dispatchKeyEvent",
            type=kind,
            key="ArrowLeft",
            code="ArrowLeft",
            windowsVirtualKeyCode=37,
        )
    assert browser.evaluate(shown) == last - 1
    outline = (
        "getComputedStyle(document.querySelector('.frames input:checked + label')).outlineStyle"
    )
    assert browser.evaluate(outline) == "solid"


def test_print_shows_every_frame(browser, pages):
    browser.open(pages["one"], 800)
    browser("Emulation.setEmulatedMedia", media="print")
    hidden = (
        "[...document.querySelectorAll('.stage > div')].filter(e => e.offsetParent === null).length"
    )
    assert browser.evaluate(hidden) == 0
    browser("Emulation.setEmulatedMedia", media="")
