"""The server of tool.demo, through Flask's client."""

import base64
import io
import re
import zlib

from compat import UserError

import cv2
import numpy as np
import pytest
from PIL import Image

from data.files import read_image
from tests.helpers.demo_app import demo_app, encoded, quarters
from tool.demonstration import upload


@pytest.fixture(scope="module")
def app():
    return demo_app()


def send(app, content, name="a.png", **fields):
    form = {"model": "street", "engine": "fast", **fields, "image": (io.BytesIO(content), name)}
    response = app.test_client().post("/predict", data=form)
    return response.status_code, response.get_json()


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
