"""The report: what stands in the page, and how it behaves in a browser."""

import json
import re
from html.parser import HTMLParser

from compat import UserError

import numpy as np
import pytest

from data.classes import ClassSet
from tool.evaluation.report.content import (
    Figure,
    ImageView,
    Pictures,
    Report,
    SecondModel,
    Signed,
    Table,
    choose_images,
    encode_picture,
)
from tool.evaluation.report.page import render, write_report

CLASSES = ClassSet(("road", "traffic_light", "<b>&car"), ((128, 64, 128), (250, 170, 30), (0, 0, 142)))
NAN = float("nan")
IMAGE_IOU = [[0.9, 0.1, 0.2], [0.5, NAN, 0.8], [0.7, 0.6, NAN], [0.4, 0.3, 0.1]]
CONFUSION = np.array([[80, 20, 0], [10, 30, 0], [0, 0, 0]])


def pictures():
    flat = np.full((10, 20, 3), 100, np.uint8)
    return Pictures(*[encode_picture(flat + shade, photo=shade == 0) for shade in range(4)])


def example(images=4):
    return Report(
        title="A & B <script>alert(1)</script>",
        facts=[("recipe", "configs/<x>.yml")],
        model="first",
        figures=[Figure("mean IoU", "48.0 %", "zero")],
        classes=CLASSES,
        class_iou=np.array([80 / 110, 0.5, NAN]),
        columns=[("recall", np.array([0.8, 0.75, NAN]))],
        confusion=CONFUSION,
        tables=[
            Table("Protocols", ("protocol", "mIoU", "gain"), [("seg50", 0.5, Signed(0.01)), ("seg75", 0.75, Signed(0))])
        ],
        images=[
            ImageView(f"image_{number}", float(np.nanmean(iou)), np.array(iou), pictures() if number != 1 else None)
            for number, iou in enumerate(IMAGE_IOU[:images])
        ],
        second=SecondModel("second", np.array([0.7, 0.6, NAN])),
        note="absent classes count 0",
    )


class Page(HTMLParser):
    """Element names and link targets of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]


def test_the_page_needs_nothing_else_and_escapes_what_it_is_given():
    text = render(example())
    page = Page(text)
    assert page.tags.count("script") == 2
    assert all(link.startswith(("data:image/webp;base64,", "#")) for link in page.links)
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"base64,[^\"]*", "", text))
    assert "<script>alert" not in text and "configs/&lt;x&gt;.yml" in text and "&lt;b&gt;&amp;car" in text
    scores = re.search(r'id="scores">(.*?)</script>', text).group(1)
    assert json.loads(scores)[1] == [0.65, 0.5, None, 0.8]


def test_numbers_of_the_page():
    text = render(example())
    assert '--length:0.7273"></i><b>72.73</b>' in text and '--length:0.5000"></i><b>50.00</b>' in text
    assert ">+2.73<" in text and ">-10.00<" in text and ">+1.00<" in text and ">0.00<" in text
    assert 'title="road as traffic light: 20 pixels (20.00 %)">20<' in text
    assert text.count('class="absent"') == 3 + 2  # the absent label's row, and two images without a class
    assert "<b>25.0 %</b>" in text and text.index("<b>25.0 %</b>") < text.index("<b>20.0 %</b>")


def test_a_report_without_second_model_or_images():
    report = example(images=0)
    text = render(Report(**{**vars(report), "second": None, "confusion": CONFUSION * 0}))
    assert "difference" not in text and "second" not in re.sub(r"(?s)<style>.*?</style>|<script>.*", "", text)


def test_pictures_are_small_and_maps_keep_their_colours():
    import base64

    import cv2

    colors = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    large = np.kron(colors, np.ones((20, 20, 1), np.uint8))  # 1280 wide
    picture = encode_picture(large, photo=False)
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(picture.uri.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
    assert (picture.width, picture.height) == (640, 320) == decoded.shape[1::-1]
    assert (decoded[::10, ::10, ::-1] == colors).all()


def test_the_worst_and_best_of_each_class_are_pictured():
    g = np.random.default_rng(1)
    scores = g.random((200, 4))
    scores[g.random((200, 4)) < 0.3] = NAN
    chosen = choose_images(scores, overall=5, each_class=2)
    assert chosen == sorted(set(chosen)) and len(chosen) <= 10 + 3 * 3
    order = np.argsort(scores[:, 0])  # NaN last
    present = np.isfinite(scores[:, 0]).sum()
    assert set(order[:5]) | set(order[present - 5 : present]) <= set(chosen)
    for column in range(1, 4):
        assert {np.nanargmin(scores[:, column]), np.nanargmax(scores[:, column])} <= set(chosen)


def test_a_report_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="report.html: cannot be written"):
        write_report(tmp_path / "file", example())


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture
def page(chromium, tmp_path):
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.get_log("browser")  # whatever stood there before is not this page's
    chromium.get(write_report(tmp_path, example()).as_uri())
    yield chromium
    assert chromium.get_log("browser") == []  # no error, and nothing that its policy forbids


def visible_cards(page):
    cards = page.find_elements("css selector", ".card")
    return [card.find_element("tag name", "h3").text for card in cards if card.is_displayed()]


def image_rows(page):
    return [head.text for head in page.find_elements("css selector", "#image-table tbody th")]


def test_images_sort_by_class_in_a_browser(page):
    # mean IoUs are 40, 65, 65 and 26.7 %
    assert visible_cards(page) == ["image_3", "image_0", "image_2"]
    assert image_rows(page) == ["image_3", "image_0", "image_1", "image_2"]
    page.find_element("css selector", ".chip[data-key='2']").click()  # traffic light; image_1 shows none
    assert visible_cards(page) == ["image_0", "image_3", "image_2"]
    assert image_rows(page) == ["image_0", "image_3", "image_2", "image_1"]
    assert page.find_element("css selector", "#image0 p").text == "10.0 % worst 1 of 3"
    page.find_element("css selector", "[data-order='best']").click()
    assert visible_cards(page) == ["image_2", "image_3", "image_0"]
    header = page.find_element("css selector", "#image-table th [data-key='3']")
    header.click()
    assert image_rows(page) == ["image_1", "image_0", "image_3", "image_2"]
    header.click()
    assert image_rows(page) == ["image_3", "image_0", "image_1", "image_2"]
    assert header.find_element("xpath", "..").get_attribute("aria-sort") == "ascending"


def test_tables_sort_in_a_browser(page):
    def classes():
        return [head.text for head in page.find_elements("css selector", ".classes tbody th")]

    name, iou = page.find_elements("css selector", ".classes thead button")[:2]
    iou.click()
    assert classes() == ["road", "traffic light", "<b>&car"]  # what is absent comes last
    iou.click()
    assert classes() == ["traffic light", "road", "<b>&car"]
    name.click()
    assert classes() == ["<b>&car", "road", "traffic light"]


def test_bars_are_as_long_as_their_scores(page):
    bars = page.find_elements("css selector", ".classes .bar i")
    lengths = [bar.rect["width"] for bar in bars][:4]  # of both networks: 72.7, 70, 50 and 60 %
    assert np.divide(lengths, lengths[1]) == pytest.approx([0.7273 / 0.7, 1, 0.5 / 0.7, 0.6 / 0.7], abs=0.01)


def test_the_page_fits_a_phone_and_both_schemes(page):
    colors = {}
    for scheme in ("light", "dark"):
        feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
        colors[scheme] = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert colors == {"light": "rgb(246, 247, 249)", "dark": "rgb(15, 18, 22)"}
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert page.execute_script("return document.documentElement.scrollWidth") == 360
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    loaded = "return [...document.images].every((image) => image.complete && image.naturalWidth > 0)"
    assert page.execute_script(loaded)
