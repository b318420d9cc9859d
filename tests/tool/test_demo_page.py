"""The page of tool.demo in headless Chromium."""

import re
import threading

import numpy as np
import pytest
from werkzeug.serving import make_server

from tests.helpers.demo_app import demo_app, encoded
from tests.helpers.demo_page import Page


@pytest.fixture(scope="module")
def address():
    server = make_server("127.0.0.1", 0, demo_app(), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join(timeout=10)


@pytest.fixture
def page(chromium, address):
    return Page(chromium, address)


@pytest.fixture
def street(tmp_path):
    (tmp_path / "street.png").write_bytes(encoded((400, 200)))
    return tmp_path / "street.png"


def test_an_image_gets_its_overlay_legend_and_times(page, street):
    page.choose(street)
    assert page.pixel(10, 10) == [70, 130, 180, 255] and page.pixel(10, 190) == [128, 64, 128, 255]
    assert page.text("legend").split() == ["sky", "50", "%", "road", "25", "%", "car", "25", "%"]
    assert page.text("milliseconds").endswith("ms") and page.text("size") == "400 × 200"
    assert not page("drop").is_displayed() and not page("message").is_displayed()
    assert page.browser.get_log("browser") == []


def test_the_slider_and_the_legend_change_the_picture(page, street):
    page.choose(street)
    page.browser.execute_script(
        "const o = document.getElementById('opacity'); o.value = 25; o.dispatchEvent(new Event('input'))"
    )
    assert page.style("document.getElementById('overlay')", "opacity") == "0.25" and page.text("percent") == "25 %"
    sky = page("legend").find_element("css selector", "button")
    sky.click()
    assert page.pixel(10, 10)[3] == 0 and page.pixel(10, 190)[3] == 255
    assert sky.get_attribute("aria-pressed") == "false"
    page("all").click()
    assert page.pixel(10, 10)[3] == 255 and not page("all").is_displayed()


def test_the_confidence_stands_beside_the_classes_with_a_limit(page, street):
    page.choose(street)
    assert not page("confidence").is_enabled() and not page("sure").is_displayed()
    page.select("model", "unsure")
    page.wait(lambda: page("confidence").is_enabled() and not page("busy").is_displayed())
    assert not page("limit").is_displayed()
    page("confidence").click()
    page.wait(lambda: page("sure").is_displayed())
    assert page("limit").is_displayed() and page.text("temperature") == "temperature 1.25"
    darkest, brightest = (page.pixel(x, 10, "confidence-map") for x in (10, 390))
    assert sum(darkest[:3]) < sum(brightest[:3])
    assert page.pixel(110, 10)[3] == 255
    page.browser.execute_script(
        "const o = document.getElementById('unknown'); o.value = 41; o.dispatchEvent(new Event('input'))"
    )
    # 0.4 is below 41 %, 0.6 is not
    assert page.pixel(110, 10)[3] == 0 and page.pixel(210, 10) == [70, 130, 180, 255]
    assert page.text("legend").split() == ["sky", "25", "%", "road", "0", "%", "car", "25", "%", "unknown", "50", "%"]
    page.select("model", "street")
    page.wait(lambda: not page("sure").is_displayed() and page.pixel(110, 10)[3] == 255)
    assert "unknown" not in page.text("legend") and page.browser.get_log("browser") == []


def test_another_model_answers_anew(page, street):
    page.choose(street)
    assert page.text("engine").split() == ["fast", "slow"]
    page.select("model", "upside down")
    page.wait(lambda: page.pixel(10, 10) == [128, 64, 128, 255])
    assert page.text("engine").split() == ["fast"]
    page.select("model", "broken")
    page.wait(lambda: page.text("message") == "weights.pdparams: no such file")
    assert page.pixel(10, 10) == [128, 64, 128, 255]  # the last good answer stays


def test_a_broken_file_gets_a_message_and_the_next_one_works(page, street, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    page.choose(tmp_path / "text.png")
    assert page.text("message") == "This is not a PNG, JPEG, BMP or WEBP image." and page("drop").is_displayed()
    page.choose(street)
    page.wait(lambda: page("times").is_displayed())
    assert not page("message").is_displayed()


def test_after_a_refused_first_answer_another_network_shows_the_picture(page, street):
    page.select("model", "broken")
    page.choose(street)
    assert page.text("message") == "weights.pdparams: no such file" and page("drop").is_displayed()
    page.select("model", "street")
    page.wait(lambda: page("times").is_displayed())
    assert all(page(element).is_displayed() for element in ("view", "another", "again", "classes"))
    assert not page("drop").is_displayed() and not page("message").is_displayed()


def test_a_server_that_is_gone_is_said(page):
    page.browser.execute_script("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    page("sample").click()
    page.wait(lambda: page.text("message").startswith("The server does not answer."))
    assert page("drop").is_displayed() and page.browser.get_log("browser") == []


def test_dropping_and_the_rendered_street(page):
    page.browser.execute_script("""
        const canvas = Object.assign(document.createElement("canvas"), { width: 60, height: 30 });
        canvas.toBlob((blob) => {
            const data = new DataTransfer();
            data.items.add(new File([blob], "dropped.png", { type: "image/png" }));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        });""")
    page.wait(lambda: page.text("size") == "60 × 30")
    page("sample").click()
    page.wait(lambda: page.text("size") == "512 × 256")


def test_a_phone_has_everything_in_its_width(page, street):
    page.choose(street)
    page.emulate(width=360, height=740)
    assert page.browser.execute_script("return document.documentElement.scrollWidth") == 360
    for element in ("photo", "opacity", "engine", "legend", "again"):
        box = page.browser.execute_script(
            f"const b = document.getElementById('{element}').getBoundingClientRect(); return [b.left, b.right, b.width]"
        )
        assert box[0] >= 0 and box[1] <= 360 and box[2] > 100, element


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(page, street, scheme):
    """Contrast of at least 4.5, as WCAG 2 level AA asks for, with its formula."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    page.choose(street)

    def luminance(color):
        channels = np.array([int(channel) for channel in re.findall(r"\d+", color)[:3]]) / 255
        return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ (
            0.2126,
            0.7152,
            0.0722,
        )

    pairs = {
        "document.body": "document.body",
        "document.querySelector('header p')": "document.body",
        "document.querySelector('.field label')": "document.querySelector('.panel')",
        "document.getElementById('another')": "document.getElementById('another')",
        "document.querySelector('#legend em')": "document.querySelector('.panel')",
        "document.getElementById('message')": "document.getElementById('message')",
    }
    ground = luminance(page.style("document.body", "backgroundColor"))
    assert (ground > 0.5) == (scheme == "light")
    for text, behind in pairs.items():
        levels = [luminance(page.style(text, "color")), luminance(page.style(behind, "backgroundColor"))]
        assert (max(levels) + 0.05) / (min(levels) + 0.05) >= 4.5, text
