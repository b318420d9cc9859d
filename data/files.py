"""Reading image and label files. A file that cannot be decoded completely is an error, not a partly grey image."""

from pathlib import Path
from typing import Iterable, Union

from compat import UserError

import cv2
import numpy as np
from PIL import Image, ImageOps

from data.classes import INVALID
from data.layouts import Sample

DARKEST_16_BIT = 4096  # the values of a 12-bit camera are below; scaled to 8 bits they would be nearly black
PNG_BIT_DEPTH = 24  # position of that byte
PNG_END = b"IEND\xaeB`\x82"
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for a file that is damaged, or holds more pixels than it decodes."""
ONE_CHANNEL = ("1", "L", "P")
"""Pillow's modes of a label."""
STRETCHED = {"L;2": 85, "L;4": 17}  # by which Pillow multiplies the values of files of so many bits
JPEG_SCAN = 0xDA  # marker of a segment that pixels follow
JPEG_END = b"\xff\xd9"


def read_image(path: Union[str, Path]) -> np.ndarray:
    """Read an image as [H, W, 3] uint8 RGB, rotated by its EXIF orientation; of 16 bits, the upper 8 are taken.

    Raises:
        UserError: for a file that is missing or cannot be decoded completely, for floats, and for 16-bit images that
            would become nearly black, such as those of a 12-bit camera.
    """
    encoded = _read(path)
    image = _decode(path, encoded, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH)
    if image.dtype == np.uint8:
        return _upright_webp(path) if Path(path).suffix.lower() == ".webp" else image
    if image.dtype != np.uint16:
        raise UserError(f"{path}: an image of {image.dtype} numbers; save it with 8 or 16 bits a channel")
    return decode_16_bits(path, encoded)


def decode_16_bits(path: Union[str, Path], encoded: np.ndarray) -> np.ndarray:
    """The bytes [n] uint8 of an image file of 16 bits a channel as `read_image` has them; raises what it raises."""
    # As BGR: for a 16-bit TIFF, OpenCV 4.11 returns noise in RGB order.
    image = cv2.cvtColor(_decode(path, encoded, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH), cv2.COLOR_BGR2RGB)
    check_brightness(path, image.max())
    return (image >> 8).astype(np.uint8)


def is_16_bit_png(encoded: np.ndarray) -> bool:
    """Whether the bytes [n] uint8 of a file are those of a PNG of 16 bits a channel."""
    return encoded[:4].tobytes() == b"\x89PNG" and bool(encoded[PNG_BIT_DEPTH] == 16)


def _upright_webp(path: Union[str, Path]) -> np.ndarray:
    """A WebP image by Pillow: OpenCV 4.11 ignores its EXIF orientation."""
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except PILLOW_ERRORS as error:
        raise UserError(f"{path}: not a complete image file ({error})") from error


def check_brightness(path: Union[str, Path], brightest: int) -> None:
    """Raise UserError if a 16-bit image whose largest value is `brightest` would become nearly black."""
    if 0 < brightest < DARKEST_16_BIT:
        raise UserError(
            f"{path}: its 16-bit numbers end at {brightest} of 65535, so that it would be read as nearly black; "
            "scale them to the whole range, or save the image with 8 bits"
        )


def read_label(path: Union[str, Path]) -> np.ndarray:
    """Read a label file as [H, W] uint8 class ids: grey values, the indices of a palette image, or bits as 0 and 1.

    Raises:
        UserError: for a file that is missing, cannot be decoded completely, or has several channels or 16 bits.
    """
    encoded = _read(path)
    label = _decode(path, encoded, cv2.IMREAD_UNCHANGED)
    if label.ndim == 2 and label.dtype == np.uint8 and _are_stored(label, encoded):
        return label
    try:
        with Image.open(path) as image:
            if (image.format, image.mode) == ("BMP", "L"):  # the palette is 0, 1, 2, ...; of 4 bits, Pillow fails
                return label
            if image.mode in ONE_CHANNEL:
                return stored_values(image)
            mode = image.mode
    except PILLOW_ERRORS as error:
        raise UserError(f"{path}: not a readable label ({error})") from error
    raise UserError(f"{path}: a label must be one channel of 8-bit class ids; this file's mode is {mode}")


def stored_values(image: Image.Image) -> np.ndarray:
    """[H, W] uint8 as the file stores them, of an image of the modes ONE_CHANNEL that Pillow has just opened.

    These are grey values, a palette's indices, or bits as 0 and 1. Pillow stretches grey of 2 and 4 bits to 255.
    """
    decoder = image.tile[0][3] if image.tile else ""  # such as "L;4", which may be the first of several arguments
    factor = STRETCHED.get((decoder if isinstance(decoder, str) else str(decoder[0]))[:3])
    values = np.asarray(image, np.uint8)
    return values // np.uint8(factor) if factor else values


def read_instance_ids(path: Union[str, Path]) -> np.ndarray:
    """Read Cityscapes' instanceIds as [H, W] uint16; raises UserError for any other file."""
    instances = _decode(path, _read(path), cv2.IMREAD_UNCHANGED)
    if instances.ndim != 2 or instances.dtype != np.uint16:
        raise UserError(f"{path}: instance ids are one channel of 16 bits; write them with cityscapesscripts")
    return instances


def check_sizes(sample: Sample, image: np.ndarray, label: np.ndarray) -> None:
    """Raise UserError for a label [H, W] of another size than its image [H, W, 3]."""
    if label.shape != image.shape[:2]:
        raise UserError(
            f"{sample.label}: size {label.shape[1]}x{label.shape[0]}, but its image has "
            f"{image.shape[1]}x{image.shape[0]}"
        )


def check_labelled(samples: Iterable[Sample]) -> None:
    """Raise UserError for a sample without a label, as in a test split."""
    unlabelled = next((sample.image for sample in samples if sample.label is None), None)
    if unlabelled:
        raise UserError(f"{unlabelled}: has no label to evaluate against; use a split that has labels")


def map_label(label: np.ndarray, sample: Sample, num_classes: int) -> np.ndarray:
    """A label's values [H, W] uint8 as training ids; raises UserError for a value that its table calls invalid."""
    mapped = cv2.LUT(label, sample.table)
    if (mapped == INVALID).any():
        value = int(label[mapped == INVALID][0])
        raise UserError(
            f"{sample.label}: the label value {value} is neither one of the {num_classes} classes nor ignored; correct "
            "num_classes or ignore_index, or list all such files with: python -m tool.prepare_data check"
        )
    return mapped


def _read(path: Union[str, Path]) -> np.ndarray:
    """The bytes of a file, [n] uint8."""
    try:
        return np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _decode(path: Union[str, Path], encoded: np.ndarray, flags: int) -> np.ndarray:
    """The image that the bytes of the file hold, by cv2.imdecode with `flags`."""
    try:
        image = None if encoded.size == 0 or _is_truncated(encoded) else cv2.imdecode(encoded, flags)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" not in str(error):
            raise UserError(f"{path}: OpenCV cannot decode it ({' '.join(str(error).split())})") from error
        raise UserError(
            f"{path}: more pixels than OpenCV decodes, {2**30}; tool.predict reads it with --window, or cut it up"
        ) from error
    if image is None:
        raise UserError(f"{path}: not a complete image file, or of a format that OpenCV does not read; fetch it again")
    return image


def _is_truncated(encoded: np.ndarray) -> bool:
    """Whether a PNG or JPEG lacks its end marker: OpenCV returns the missing part of such an image grey or black.

    Bytes after the end marker are fine: cameras append thumbnails and videos.
    """
    head, tail = encoded[:8].tobytes(), encoded[-64:].tobytes()
    if head.startswith(b"\x89PNG"):
        return PNG_END not in tail and PNG_END not in encoded.tobytes()
    if not head.startswith(b"\xff\xd8") or JPEG_END in tail:
        return False
    content = encoded.tobytes()
    return JPEG_END not in content[_jpeg_scan(content) :]


def _jpeg_scan(content: bytes) -> int:
    """Where the first scan of a JPEG begins: the segments before it may hold a thumbnail, a whole JPEG of its own."""
    position = 2
    while position + 4 <= len(content) and content[position + 1] != JPEG_SCAN:
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return position


def _are_stored(label: np.ndarray, encoded: np.ndarray) -> bool:
    """Whether OpenCV's reading of a label [H, W] uint8 is what its file stores.

    OpenCV stretches grey of fewer than 8 bits to 255, and gives the colours of a BMP's palette, if they are grey.
    """
    head = encoded[:4].tobytes()
    if head == b"\x89PNG":
        return bool(encoded[PNG_BIT_DEPTH] == 8)
    stretched_bits = label.max() == 255 and ((label == 0) | (label == 255)).all()  # or 8 bits of only these values
    return not (head.startswith(b"BM") or stretched_bits)
