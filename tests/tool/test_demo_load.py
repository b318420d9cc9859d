"""tool.demo's server under load, and against requests that other sites send."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from data import CITYSCAPES
from tool.demonstration import app as application
from tool.demonstration.networks import Choice, Networks

PICTURE = io.BytesIO()
Image.new("RGB", (40, 20)).save(PICTURE, "PNG")


@pytest.fixture
def app():
    choice = Choice("street", "fast", CITYSCAPES, lambda: lambda image: np.zeros(image.shape[:2], np.uint8))
    return application.create_app(Networks([choice]))


def send(app, headers=None, **fields):
    form = {"model": "street", "engine": "fast", **fields, "image": (io.BytesIO(PICTURE.getvalue()), "a.png")}
    response = app.test_client().post("/predict", data=form, headers=headers)
    return response.status_code, response.get_json()


def test_uploads_are_decoded_one_at_a_time_and_their_queue_is_bounded(app, monkeypatch):
    decode, busy, arrived, go_on = (
        application.decode_upload,
        threading.Lock(),
        threading.Semaphore(0),
        threading.Event(),
    )

    def slow(stream, longest):
        assert busy.acquire(blocking=False), "two images are decoded at once"
        arrived.release()
        go_on.wait(20)
        busy.release()
        return decode(stream, longest)

    monkeypatch.setattr(application, "decode_upload", slow)
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(send(app)[0])) for _ in range(application.MAX_UPLOADS + 4)
    ]
    for thread in threads:
        thread.start()
    assert arrived.acquire(timeout=20)
    for _ in range(200):
        if len(statuses) == 4:  # those beyond the queue are refused while the first image is still being decoded
            break
        threading.Event().wait(0.05)
    assert statuses == [503] * 4
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert statuses.count(200) == application.MAX_UPLOADS
    assert send(app)[0] == 200  # every place is free again


def test_a_refused_upload_gives_its_place_back(app):
    for _ in range(application.MAX_UPLOADS + 1):
        assert send(app, longest="abc") == (
            400,
            {"error": "The longest side cannot be 'abc' pixels; choose 512, 1024, 2048."},
        )
    assert send(app, longest="512")[0] == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost", 200),
        ("http://evil.example", 403),
        ("http://localhost:8001", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
    ],
)
def test_a_page_of_another_site_cannot_send_images(app, origin, status):
    found, content = send(app, headers={"Origin": origin})
    assert found == status and (status == 200 or "another web site" in content["error"])
