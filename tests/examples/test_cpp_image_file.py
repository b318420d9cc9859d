"""The end mark of an image file, as examples/cpp and Python look for it."""

import io
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
        std::puts(segment::is_truncated(segment::read_bytes(words[i])) ? "truncated" : "whole");
    }
}
"""


@pytest.fixture(scope="module")
def says(tmp_path_factory):
    """Function of the contents of files: what the C++ code says of each."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler here (apt-get install g++)")
    folder = tmp_path_factory.mktemp("end_mark")
    (folder / "main.cpp").write_text(MAIN)
    sources = [folder / "main.cpp", SOURCE / "src" / "image_file.cpp", SOURCE / "src" / "image_file_plain.cpp"]
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", SOURCE / "src", "-o", folder / "end"]
    words = [compiler, *flags, *sources]
    subprocess.run([str(word) for word in words], check=True, timeout=300)

    def call(contents):
        files = [folder / f"{number}" for number in range(len(contents))]
        for file, content in zip(files, contents):
            file.write_bytes(content)
        return subprocess.run([folder / "end", *files], capture_output=True, text=True, check=True).stdout.split()

    return call


def encoded(form):
    with io.BytesIO() as stream:
        Image.fromarray(picture(40, 64)).save(stream, form)
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
    said = says(contents)
    assert said == ["whole"] * len(whole) + ["truncated"] * len(cut)
    assert said == ["truncated" if _is_truncated(np.frombuffer(one, np.uint8)) else "whole" for one in contents]
