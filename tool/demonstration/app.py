"""The server of the page: one page, its networks as JSON, and the class map and confidence of an image."""

import base64
import io
import ipaddress
import threading
import time
from typing import Dict, List
from urllib.parse import urlsplit

from compat import UserError

import numpy as np
from flask import Flask, Response, abort, jsonify, render_template, request
from PIL import Image
from werkzeug.exceptions import HTTPException

from data import ClassSet
from data.renderer.photo import develop
from data.renderer.scene import paint_scene
from tool.demonstration.networks import Networks, Prediction
from tool.demonstration.upload import FORMATS, decode_upload

SIDES = (512, 1024, 2048)
"""Longest sides, in pixels, that an image may be brought to before the network sees it."""

MOST_WAITING = 8
"""Uploads that are taken at once, the one in work included; further ones are refused, so that memory stays bounded."""

# Nothing is fetched from elsewhere; the picture itself is a blob of the browser's.
POLICY = "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"


def create_app(networks: Networks, host: str = "127.0.0.1", max_megabytes: int = 20) -> Flask:
    """The web application.

    Args:
        host: the address it will listen on; on a loopback address requests under any foreign name are refused, so that
            no web site can reach the page through a name of its own.
        max_megabytes: of an upload.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = max_megabytes * 2**20
    if is_loopback(host):
        app.config["TRUSTED_HOSTS"] = ["localhost", "127.0.0.1", "[::1]", host]

    @app.get("/")
    def page() -> str:
        limits = {"sides": SIDES, "formats": FORMATS, "max_megabytes": max_megabytes}
        return render_template("page.html", local=is_loopback(host), **limits)

    @app.get("/networks")
    def choices() -> Response:
        return jsonify(networks.names())

    @app.get("/sample/<int:seed>.png")
    def sample(seed: int) -> Response:
        return Response(_png(Image.fromarray(sample_picture(seed))), mimetype="image/png")

    places = threading.BoundedSemaphore(MOST_WAITING)
    decoding = threading.Lock()  # an image of the largest size takes some hundred megabytes meanwhile

    @app.post("/predict")
    def predict() -> Response:
        if not places.acquire(blocking=False):
            abort(503, f"{MOST_WAITING} images are waiting already; try again in a moment.")
        try:
            return segment()
        finally:
            places.release()

    def segment() -> Response:
        start = time.perf_counter()
        if "image" not in request.files:
            raise UserError("No image came with the request; choose one.")
        longest = request.form.get("longest", default=str(SIDES[1]))
        if longest not in map(str, SIDES):
            raise UserError(f"A longest side of {longest!r} pixels is not offered; take {', '.join(map(str, SIDES))}.")
        with decoding:
            image = decode_upload(request.files["image"].stream, int(longest))
        asked = [request.form.get(name, "") for name in ("model", "engine")]
        prediction = networks.predict(*asked, image, request.form.get("confidence") == "true")
        described = describe(prediction)
        total = time.perf_counter() - start - prediction.loading
        return jsonify({**described, "total_milliseconds": 1000 * total})

    _add_guards(app, max_megabytes)
    return app


def _add_guards(app: Flask, max_megabytes: int) -> None:
    """Refuse requests of other sites, make every error a line of JSON, and let the page load nothing from elsewhere."""

    @app.before_request
    def own_pages_only() -> None:
        # A browser names the site whose page sends a request.
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            abort(403, "This request comes from another web site; open the page itself.")

    @app.errorhandler(UserError)
    def refused(error: UserError):
        return jsonify(error=str(error)), 400

    @app.errorhandler(HTTPException)
    def failed(error: HTTPException):
        too_large = f"The file is larger than {max_megabytes} MB; choose a smaller one."
        return jsonify(error=too_large if error.code == 413 else error.description), error.code

    @app.after_request
    def only_from_here(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def sample_picture(seed: int) -> np.ndarray:
    """A rendered street [256, 512, 3] uint8 RGB, the size of those that make demo trains on."""
    rng = np.random.default_rng(seed)
    return develop(paint_scene((512, 256), seed, rng), rng)


def describe(prediction: Prediction) -> Dict:
    """What the page shows: size, milliseconds, the class map as a grey PNG of ids, the share of each class.

    Where it was asked for also the confidence, a grey PNG of whole percents, rounded down: a pixel is below P percent
    where its level is less than P.
    """
    height, width = prediction.class_map.shape
    described = {
        "width": width,
        "height": height,
        "milliseconds": 1000 * prediction.seconds,
        "class_map": _encoded(prediction.class_map),
        "classes": class_shares(prediction.class_map, prediction.classes),
    }
    if prediction.confidence is not None:
        percents = (100 * prediction.confidence).astype(np.uint8)
        described.update(confidence=_encoded(percents), temperature=prediction.temperature)
    return described


def class_shares(class_map: np.ndarray, classes: ClassSet) -> List[Dict]:
    """[{id, name, color, share}] of the classes that occur, the largest first; share in [0, 1]."""
    counts = np.bincount(class_map.ravel(), minlength=256)[: len(classes.names)]
    return [
        {
            "id": int(index),
            "name": classes.names[index],
            "color": list(classes.colors[index]),
            "share": float(counts[index] / class_map.size),
        }
        for index in np.argsort(-counts, kind="stable")
        if counts[index]
    ]


def _encoded(pixels: np.ndarray) -> str:
    """[H, W] uint8 as a grey PNG in base64."""
    return base64.b64encode(_png(Image.fromarray(pixels))).decode()


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG", compress_level=1)
    return stream.getvalue()
