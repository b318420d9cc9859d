"""The web application: the page, the list of networks, and the class map and confidence of an uploaded image."""

import base64
import io
import ipaddress
import re
import threading
import time
from typing import Dict, List, Optional, Set
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
"""Longest sides, in pixels, that an image can be reduced to before inference."""

MAX_UPLOADS = 8
"""Uploads that are accepted at a time, including the one being processed; the limit bounds the memory."""

# The page loads nothing from other hosts; its pictures are blobs that the browser creates.
POLICY = "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"


def create_app(networks: Networks, host: str = "127.0.0.1", max_megabytes: int = 20) -> Flask:
    """The web application.

    Args:
        networks: that the page offers.
        host: address that the server listens on. On a loopback address, requests for any other host name are refused,
            which prevents DNS rebinding by other web sites.
        max_megabytes: largest upload.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = max_megabytes * 2**20

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

    places = threading.BoundedSemaphore(MAX_UPLOADS)
    decoding = threading.Lock()  # decoding the largest image takes hundreds of megabytes

    @app.post("/predict")
    def predict() -> Response:
        if not places.acquire(blocking=False):
            abort(503, f"{MAX_UPLOADS} images are waiting already; try again in a moment.")
        try:
            return segment()
        finally:
            places.release()

    def segment() -> Response:
        start = time.perf_counter()
        if "image" not in request.files:
            raise UserError("The request contains no image; choose one.")
        longest = request.form.get("longest", default=str(SIDES[1]))
        if longest not in map(str, SIDES):
            raise UserError(f"The longest side cannot be {longest!r} pixels; choose {', '.join(map(str, SIDES))}.")
        with decoding:
            image = decode_upload(request.files["image"].stream, int(longest))
        asked = [request.form.get(name, "") for name in ("model", "engine")]
        prediction = networks.predict(*asked, image, request.form.get("confidence") == "true")
        described = describe(prediction)
        total = time.perf_counter() - start - prediction.loading
        return jsonify({**described, "total_milliseconds": 1000 * total})

    own_names = {"localhost", "127.0.0.1", "[::1]", in_brackets(host)} if is_loopback(host) else None
    _add_guards(app, own_names, max_megabytes)
    return app


def _add_guards(app: Flask, own_names: Optional[Set[str]], max_megabytes: int) -> None:
    """Refuse requests from other sites, return errors as JSON, and forbid the page to load from other hosts."""

    @app.before_request
    def own_names_only() -> None:
        # Flask's TRUSTED_HOSTS takes no IPv6 address.
        if own_names is not None and re.sub(r":\d+$", "", request.host).lower() not in own_names:
            abort(400, f"This page is not that of {request.host}; open the address that tool.demo printed.")

    @app.before_request
    def own_pages_only() -> None:
        # Browsers send the origin of the page that makes the request.
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            abort(403, "This request comes from another web site; use the page itself.")

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
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def in_brackets(host: str) -> str:
    """The host as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def sample_picture(seed: int) -> np.ndarray:
    """A rendered street [256, 512, 3] uint8 RGB, of the size that make demo trains on."""
    rng = np.random.default_rng(seed)
    return develop(paint_scene((512, 256), seed, rng), rng)


def describe(prediction: Prediction) -> Dict:
    """The response to /predict: size, milliseconds, the class map as a grey PNG of ids, and the share of each class.

    If the prediction has a confidence, it is a grey PNG of whole percents, rounded down: a pixel's confidence is below
    P percent if its grey level is less than P.
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
    """[{id, name, color, share}] of the classes that occur, in descending order of the share, in [0, 1]."""
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
