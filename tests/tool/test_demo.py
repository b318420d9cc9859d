"""The page of tool.demo: its server through Flask's client, the page itself in headless Chromium."""

import base64
import io
import re
import threading
import zlib

from compat import UserError

import cv2
import numpy as np
import pytest
from PIL import Image
from werkzeug.serving import make_server

from data import CITYSCAPES
from data.files import read_image
from engine.runtime import Segmentation
from tests.helpers.demo_page import Page
from tool.demonstration import upload
from tool.demonstration.app import create_app
from tool.demonstration.networks import Choice, Networks

ROAD, SKY, CAR = (CITYSCAPES.names.index(name) for name in ("road", "sky", "car"))


def quarters(image):
    """A stand-in network: sky above, below road on the left and car on the right."""
    height, width = image.shape[:2]
    classes = np.full((height, width), SKY, np.uint8)
    classes[height // 2 :, : width // 2] = ROAD
    classes[height // 2 :, width // 2 :] = CAR
    return classes


class Unsure:
    """The quarters with a confidence that rises from 0.20 on the left to 0.80 on the right, in four steps."""

    def __call__(self, image):
        return quarters(image)

    def segment(self, image):
        steps = np.float32([0.2, 0.4, 0.6, 0.8]).repeat(image.shape[1] // 4)
        return Segmentation(quarters(image), np.broadcast_to(steps, image.shape[:2]))


def broken():
    raise UserError("weights.pdparams: no such file")


@pytest.fixture(scope="module")
def app():
    choices = [
        Choice("street", "fast", CITYSCAPES, lambda: quarters),
        Choice("street", "slow", CITYSCAPES, lambda: quarters),
        Choice("upside down", "fast", CITYSCAPES, lambda: lambda image: quarters(image)[::-1].copy()),
        Choice("broken", "fast", CITYSCAPES, broken),
        Choice("unsure", "fast", CITYSCAPES, Unsure, gives_confidence=True, temperature=1.25),
    ]
    return create_app(Networks(choices), max_megabytes=1)


def encoded(size=(40, 20), image_format="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), 128, np.uint8)).save(stream, format=image_format, **options)
    return stream.getvalue()


def send(app, content, name="a.png", **fields):
    form = {"model": "street", "engine": "fast", **fields, "image": (io.BytesIO(content), name)}
    response = app.test_client().post("/predict", data=form)
    return response.status_code, response.get_json()


# --- the server -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "WEBP"])
def test_an_image_is_answered_with_classes_and_shares(app, image_format):
    status, answer = send(app, encoded(image_format=image_format))
    assert status == 200 and (answer["width"], answer["height"]) == (40, 20)
    class_map = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["class_map"]))))
    np.testing.assert_array_equal(class_map, quarters(np.zeros((20, 40, 3))))
    assert [(one["name"], one["share"]) for one in answer["classes"]] == [("sky", 0.5), ("road", 0.25), ("car", 0.25)]
    assert answer["classes"][0]["color"] == [70, 130, 180]  # Cityscapes' own
    assert 0 < answer["milliseconds"] <= answer["total_milliseconds"]


def test_large_images_are_brought_to_the_longest_side(app):
    _, answer = send(app, encoded((900, 450)), longest=512)
    assert (answer["width"], answer["height"]) == (512, 256)
    _, answer = send(app, encoded((90, 45)), longest=512)  # never enlarged
    assert (answer["width"], answer["height"]) == (90, 45)


def test_photographs_are_turned_upright(app):
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera held upright
    _, answer = send(app, encoded((40, 20), "JPEG", exif=exif))
    assert (answer["width"], answer["height"]) == (20, 40)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "The file is empty"),
        (b"%PDF-1.4 no image", "This is not a PNG, JPEG, BMP or WEBP image"),
        (encoded((200, 200))[:-40], "broken or incomplete"),
        (encoded((200, 200), "JPEG")[:-300], "broken or incomplete"),
        (encoded(image_format="TIFF"), "This is not a PNG, JPEG, BMP or WEBP image"),
    ],
)
def test_broken_files_are_answered_with_a_message(app, content, message):
    status, answer = send(app, content)
    assert status == 400 and message in answer["error"]


def test_sizes_are_checked_before_they_cost_memory(app, monkeypatch):
    status, answer = send(app, b"0" * (2**20 + 1))
    assert status == 413 and answer["error"] == "The file is larger than 1 MB; choose a smaller one."
    content = encoded((40, 20))
    monkeypatch.setattr(upload, "MAX_PIXELS", 799)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    status, answer = send(app, content)
    assert status == 400 and "40 x 20 pixels" in answer["error"]


@pytest.mark.parametrize("channels", [(), (3,), (4,)], ids=["grey", "colour", "with transparency"])
def test_an_image_of_16_bits_is_read_as_everywhere_else(channels, tmp_path):
    """Grey lost its EXIF turn, and colours of a 12-bit camera were accepted as nearly black."""
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.random.default_rng(0).integers(0, 65536, (8, 64, *channels)).astype(np.uint16)
    for file, levels in (("a.png", values), ("dark.png", values >> 4)):
        png = cv2.imencode(".png", levels)[1].tobytes()
        chunk = b"eXIf" + exif.tobytes()[6:]
        chunk = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        (tmp_path / file).write_bytes(png[:33] + chunk + png[33:])  # behind the header
    found = upload.decode_upload(io.BytesIO((tmp_path / "a.png").read_bytes()), 512)
    assert found.shape == (64, 8, 3)
    np.testing.assert_array_equal(found, read_image(tmp_path / "a.png"))
    with pytest.raises(UserError, match="The image: its 16-bit numbers end at 40"):
        upload.decode_upload(io.BytesIO((tmp_path / "dark.png").read_bytes()), 512)


def test_wrong_requests_are_answered_with_a_message(app):
    client = app.test_client()
    assert "contains no image" in client.post("/predict", data={}).get_json()["error"]
    assert "longest side cannot be" in send(app, encoded(), longest=100000)[1]["error"]
    assert "did you mean street in fast" in send(app, encoded(), engine="fsat")[1]["error"]
    assert send(app, encoded(), model="broken") == (400, {"error": "weights.pdparams: no such file"})
    assert client.get("/nothing").status_code == 404


def grey(encoded_png):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded_png))))


def test_the_confidence_comes_in_whole_percents_rounded_down(app):
    """So that a level is less than P exactly where the confidence is less than P percent."""
    _, answer = send(app, encoded(), model="unsure", confidence="true")
    expected = (100 * np.float32([0.2, 0.4, 0.6, 0.8])).astype(np.uint8)
    assert np.unique(grey(answer["confidence"])).tolist() == expected.tolist() == [20, 40, 60, 80]
    assert answer["temperature"] == 1.25
    np.testing.assert_array_equal(grey(answer["class_map"]), quarters(np.zeros((20, 40, 3))))
    assert "confidence" not in send(app, encoded(), model="unsure")[1]
    status, answer = send(app, encoded(), confidence="true")
    assert status == 400 and "returns class maps alone; export it with --output_op softmax" in answer["error"]


def test_the_networks_say_whether_they_give_a_confidence(app):
    found = {one["model"]: one["confidence"] for one in app.test_client().get("/networks").get_json()}
    assert found == {"street": False, "upside down": False, "broken": False, "unsure": True}


def test_no_site_reaches_the_page_under_its_own_name(app):
    for host in ("127.0.0.1:8000", "localhost", "[::1]:8000", "LOCALHOST:80"):
        assert app.test_client().get("/", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "evil.example:8000", "[::2]:8000", "[", ""):
        assert app.test_client().get("/", headers={"Host": host}).status_code == 400
        assert app.test_client().get("/static/page.js", headers={"Host": host}).status_code == 400


def test_nothing_is_fetched_from_elsewhere(app):
    client = app.test_client()
    page = client.get("/")
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    texts = [page.text, *(client.get(path).text for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text))]
    assert len(texts) == 5
    # the one address is the name of SVG, which nobody fetches
    assert set(re.findall(r"\w+://[^\"' ]+", " ".join(texts))) == {"http://www.w3.org/2000/svg"}


def test_the_rendered_street(app):
    response = app.test_client().get("/sample/3.png")
    assert Image.open(io.BytesIO(response.data)).size == (512, 256)


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(app):
    server = make_server("127.0.0.1", 0, app, threaded=True)
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
