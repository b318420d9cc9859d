"""How commands end: what they report of the system's errors, and which values they refuse."""

import argparse
import errno
import os
import sys

from compat import UserError

import pytest

from engine.command import add_recipe_flags, image_size, parser, real_number, run, whole_number


class Output:
    """A standard output with a buffer that cannot be written."""

    def __init__(self, number):
        self.error = OSError(number, os.strerror(number))
        self.descriptor = os.open(os.devnull, os.O_WRONLY)

    def fileno(self):
        return self.descriptor

    def flush(self):
        raise self.error


def end_of(main):
    with pytest.raises(SystemExit) as ended:
        run(main)
    return ended.value.code


def test_errors_of_the_file_system_are_one_line(tmp_path):
    """A log or list that is a folder, or may not be read, ended in a traceback."""
    assert end_of(lambda _: tmp_path.read_text()) == f"error: {tmp_path}: Is a directory"
    assert end_of(lambda _: os.read(10**6, 1)) == "error: [Errno 9] Bad file descriptor"


@pytest.mark.parametrize(
    ("number", "code"), [(errno.EPIPE, 0), (errno.ENOSPC, f"error: [Errno 28] {os.strerror(errno.ENOSPC)}")]
)
def test_output_that_cannot_be_written_is_noticed_at_the_end(number, code, monkeypatch):
    """Buffered output is written when the process ends, where Python can only print a traceback."""
    output = Output(number)
    monkeypatch.setattr(sys, "stdout", output)
    assert end_of(lambda _: None) == code
    os.write(output.descriptor, b"goes nowhere")


def test_a_mistake_is_an_error_and_a_result_is_the_status():
    def mistake(_):
        raise UserError("file: wrong")

    assert end_of(mistake) == "error: file: wrong"
    assert end_of(lambda _: 1) == 1


@pytest.mark.parametrize("flags", [["--load_from", ""], ["--paths", "a", ""], ["--dataset_root="]])
def test_an_empty_value_is_a_wrong_argument(flags, capsys):
    """train.py --load_from "$WEIGHTS" without that variable trained from scratch, without a word."""
    arguments = parser("", "")
    add_recipe_flags(arguments, default_config="recipe.yml")
    arguments.add_argument("--load_from")
    arguments.add_argument("--paths", nargs="+")
    with pytest.raises(SystemExit, match="2"):
        arguments.parse_args(flags)
    assert f"argument {flags[0].rstrip('=')}: is empty" in capsys.readouterr().err


def test_overrides_beside_named_weights_may_be_long():
    """They are no names of files, also where the weights bring the recipe and its own overrides."""
    arguments = parser("", "")
    add_recipe_flags(arguments, weights=("model_path",))
    arguments.add_argument("--model_path")
    override = "train_dataset.transforms=" + "x" * 300
    found = arguments.parse_args(["--model_path", "stdc1_seg_camvid", "--opts", override])
    assert found.typed_opts == [override] and found.opts[-1] == override


def rejected(parse, text):
    with pytest.raises(argparse.ArgumentTypeError) as error:
        parse(text)
    return str(error.value)


def test_whole_numbers_within_their_range():
    parse = whole_number(-2, 30)
    assert [parse(text) for text in ("-2", "30", "+7", " 0 ")] == [-2, 30, 7, 0]
    for text in ("-3", "31", "", "-", "1.0", "1e1", "+-5", "--5", "1_0", "0x1", "9" * 5000):
        assert rejected(parse, text) == f"{text!r} is not a whole number from -2 to 30"


def test_real_numbers_within_their_range():
    parse = real_number(0.5, 2)
    assert [parse(text) for text in ("0.5", "2", "1e0", ".75")] == [0.5, 2, 1, 0.75]
    for text in ("0.49", "2.01", "nan", "inf", "-1", "", "1,5"):
        assert rejected(parse, text) == f"{text!r} is not a number from 0.5 to 2"
    assert rejected(real_number(), "inf") == "'inf' is not a number"


def test_sizes_are_width_and_height():
    assert image_size("1024x512") == (1024, 512) and image_size("1x32768") == (1, 32768)
    for text in ("1024", "1024x", "x512", "0x512", "1024x32769", "1024x512x3", "1024*512", "10.5x4"):
        assert rejected(image_size, text) == f"{text!r} is not a size such as 1024x512, in pixels"
