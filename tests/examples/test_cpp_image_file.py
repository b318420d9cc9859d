"""The end mark of an image file and a WebP's orientation, as examples/cpp and Python look for them."""

import io
import itertools
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from data.files import _is_truncated
from tests.helpers.cpp_program import SOURCE, picture

MAIN = """
#include <cstdio>
#include "image_file.h"
int main(int count, char** words) {
    for (int i = 1; i < count; ++i) {
        const std::string bytes = segment::read_bytes(words[i]);
        std::printf("%s %d\\n", segment::is_truncated(bytes) ? "truncated" : "whole", segment::webp_orientation(bytes));
    }
}
"""


@pytest.fixture(scope="module")
def says(tmp_path_factory):
    """Function of the contents of files: what C++ says of each, `truncated` or `whole`, and its orientation."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler here (apt-get install g++)")
    folder = tmp_path_factory.mktemp("end_mark")
    (folder / "main.cpp").write_text(MAIN)
    sources = [folder / "main.cpp", SOURCE / "src" / "image_file.cpp", SOURCE / "src" / "image_file_plain.cpp"]
    checks = ["-Wall", "-Wextra", "-Werror", "-D_GLIBCXX_ASSERTIONS"]
    flags = ["-std=c++17", *checks, "-I", SOURCE / "src", "-o", folder / "end"]
    words = [compiler, *flags, *sources]
    subprocess.run([str(word) for word in words], check=True, timeout=300)

    def call(contents):
        files = [folder / f"{number}" for number in range(len(contents))]
        for file, content in zip(files, contents):
            file.write_bytes(content)
        return subprocess.run([folder / "end", *files], capture_output=True, text=True, check=True).stdout.splitlines()

    return call


def encoded(form, **options):
    with io.BytesIO() as stream:
        Image.fromarray(picture(40, 64)).save(stream, form, **options)
        return stream.getvalue()


def test_what_follows_the_end_mark_is_ignored_as_in_python(says):
    """Motion photos were refused, and so was a PNG with bytes behind its end."""
    png, jpeg = encoded("PNG"), encoded("JPEG")
    segment = b"\xff\xe1" + (2 + len(jpeg)).to_bytes(2, "big") + jpeg
    with_thumbnail = jpeg[:2] + segment + jpeg[2:]
    video = bytes(range(256)) * 10
    whole = [png, png + video, jpeg, jpeg + video.replace(b"\xff\xd9", b""), with_thumbnail, b"BM", b""]
    cut = [png[:-12], png[:8], jpeg[:-2] + bytes(99), with_thumbnail[:-2] + bytes(99), jpeg[:3], b"\x89PNGIEND"]
    contents = [*whole, *cut]
    said = [line.split()[0] for line in says(contents)]
    assert said == ["whole"] * len(whole) + ["truncated"] * len(cut)
    assert said == ["truncated" if _is_truncated(np.frombuffer(one, np.uint8)) else "whole" for one in contents]


def test_the_orientation_of_a_webp_is_pillows(says):
    """OpenCV leaves it as it is stored, and the class map lay on its side."""
    contents, expected = [encoded("WEBP"), encoded("PNG"), b"RIFF", b""], [1, 1, 1, 1]
    for endian, number, lossless in itertools.product("<>", range(1, 9), (False, True)):
        exif = Image.Exif()
        exif.endian = endian
        exif[0x010F], exif[0x0112] = "a maker", number
        webp = encoded("WEBP", exif=exif, lossless=lossless)
        assert Image.open(io.BytesIO(webp)).getexif()[0x0112] == number
        contents.append(webp)
        expected.append(number)
    assert {content[content.index(b"EXIF") + 8 :].lstrip(b"Exif\0")[:2] for content in contents[4:]} == {b"II", b"MM"}
    contents += [contents[-1][:length] for length in range(0, len(contents[-1]), 7)]  # read within its bounds
    said = [int(line.split()[1]) for line in says(contents)]
    assert said[: len(expected)] == expected and set(said[len(expected) :]) <= {1, 8}
