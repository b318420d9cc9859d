"""Every command with wrong values for every flag: it works, leaves with status 2, or says in one or two lines why not.

The flags come from the commands' own parsers, so that a new flag is tested the day it is added. The networks and the
clocks are stand-ins: what is tested is how a command takes its arguments, not what it computes.
"""

import argparse
import ast
import contextlib
import importlib
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

from compat import UserError

import paddle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paddle import nn

import engine.build
import tool.demo
import tool.evaluate
import tool.export
import tool.latency
import tool.model_info
import tool.prepare_data
from engine.training.trainer import Trainer
from tool.speed.networks import Variants

ROOT = Path(__file__).parents[2]
BENCHMARKS = sorted(file.stem for file in (ROOT / "benchmarks").glob("[a-z]*.py"))
# What stands for every flag beside the one that is tried. A `*` fills in the folder of the test's files.
COMMANDS = {
    "train": {"--config": ["*recipe.yml"], "--save_dir": ["*out"], "--seed": ["1"]},
    "tool.convert": {"checkpoint": ["*tiny.pdparams"], "output": ["*converted.pdparams"], "--model": ["stdc1"]},
    "tool.demo": {"--config": ["*recipe.yml"], "--model_path": ["*tiny.pdparams"], "--port": ["0"]},
    "tool.evaluate": {"--config": ["*recipe.yml"], "--model_path": ["*tiny.pdparams"], "--bootstrap": ["2"]},
    "tool.export": {"--config": ["*recipe.yml"], "--model_path": ["*tiny.pdparams"], "--save_dir": ["*export"]},
    "tool.latency": {"--model": ["stdc1_seg"]},
    "tool.model_info": {"--model": ["stdc1_seg"]},
    "tool.predict": {
        "--config": ["*recipe.yml"],
        "--model_path": ["*tiny.pdparams"],
        "--image_path": ["*image.png"],
        "--save_dir": ["*predictions"],
    },
    "tool.prepare_data sample": {
        "--save_dir": ["*rendered"],
        "--size": ["64x64"],
        "--train": ["1"],
        "--val": ["1"],
    },
    "tool.prepare_data cityscapes": {"--dataset_root": ["*sample"], "--save_dir": ["*lists"]},
    "tool.prepare_data camvid": {"--dataset_root": ["*sample"], "--save_dir": ["*lists"]},
    "tool.prepare_data import": {"source": ["*masked"], "--save_dir": ["*imported"]},
    "tool.prepare_data check": {"--config": ["*recipe.yml"], "--sheet": ["*sheet.png"]},
    "tool.prepare_data cache": {"--config": ["*recipe.yml"], "--cache_dir": ["*cache"]},
    "tool.prepare_data check-submission": {"submission": ["*image.png"]},
}
WRONG = (
    *("", " ", "abc", "-1", "0", "1", "1.5", "nan", "inf", "-inf", "1e999", "9" * 30, "-" + "9" * 30, "0x10", "1,2"),
    *("1x1", "0x0", "9x" + "9" * 30, "xx", "é", "\U0001f6b2", "a" * 300, "a=b", "=", "a.b=[", "iters=abc", "{", "%s"),
    *("*sample", "*image.png", "*tiny.pdparams", "*recipe.yml", "*image.png/below", "*gone/gone", "*text.txt", "."),
    *("*zip.zip", "stdc1_seg", "*damaged.png", "cpu", "gpu:99", "gpu:x", "all"),
)


class TinyNetwork(nn.Layer):
    """One convolution; every class of the field's networks that a command asks for."""

    def __init__(self, num_classes):
        super().__init__()
        self.output_names = ("main",)
        self.head = nn.Conv2D(3, num_classes, 1)

    def forward(self, image):
        return [self.head(image)]


@pytest.fixture(scope="module")
def files(sample_root, tmp_path_factory):
    """The folder of the files that the arguments name."""
    folder = tmp_path_factory.mktemp("files")
    shutil.copytree(sample_root, folder / "sample")
    image = next((sample_root / "leftImg8bit" / "val").rglob("*.png")).read_bytes()
    label = next((sample_root / "gtFine" / "val").rglob("*_labelTrainIds.png")).read_bytes()
    (folder / "image.png").write_bytes(image)
    (folder / "damaged.png").write_bytes(image[:-30])
    (folder / "text.txt").write_text("hello\n")
    (folder / "zip.zip").write_bytes(b"PK\x03\x04" + bytes(60))
    for name in ("masked/images/a.png", "masked/images/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image)
        (folder / name.replace("images", "masks")).parent.mkdir(exist_ok=True)
        (folder / name.replace("images", "masks")).write_bytes(label)
    paddle.save(TinyNetwork(19).state_dict(), str(folder / "tiny.pdparams"))
    dataset = f"{{type: Cityscapes, dataset_root: {(folder / 'sample').as_posix()}"
    (folder / "recipe.yml").write_text(
        "batch_size: 2\niters: 2\nmodel: {type: stdc1_seg}\n"
        f"train_dataset: {dataset}, mode: train, transforms: [{{type: RandomPaddingCrop, crop_size: [32, 32]}}, "
        f"{{type: Normalize}}]}}\nval_dataset: {dataset}, mode: val, transforms: [{{type: Normalize}}]}}\n"
        "optimizer: {type: Momentum, momentum: 0.9}\nlr_scheduler: {learning_rate: 0.01}\n"
        "loss: {main: {type: CrossEntropyLoss}}\ntest_config: {full: {scales: 0.5}}\n"
    )
    return folder


@pytest.fixture(scope="module", autouse=True)
def stand_ins(files):
    """Nothing is trained, timed, served or compiled; default outputs go to a folder of the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(files)
        patch.setattr(engine.build, "build_model", lambda name, num_classes, **options: TinyNetwork(num_classes))
        patch.setattr(Trainer, "fit", lambda self: {})
        server = SimpleNamespace(serve_forever=lambda: None)
        patch.setattr(tool.demo, "make_server", lambda *arguments, **options: server)
        patch.setattr(tool.export, "export_network", lambda *arguments: {})
        patch.setattr(tool.export, "report_int8", lambda *arguments: None)
        patch.setattr(tool.latency, "measure_peaks", lambda threads: {})
        patch.setattr(tool.latency, "build_variants", lambda *arguments: Variants([], []))
        patch.setattr(tool.latency, "deployed_cost", lambda *arguments: (0, 0))
        render = tool.prepare_data.render_sample

        def render_little(folder, train, val, size, seed):
            render(folder, min(train, 1), min(val, 1), tuple(min(side, 64) for side in size), seed)

        patch.setattr(tool.prepare_data, "render_sample", render_little)
        info = tool.model_info.ModelInfo
        patch.setattr(tool.model_info, "inspect_model", lambda name, classes, options: info(name, 1, 1, 1, {}, (), 1))
        yield


def main_of(command):
    return importlib.import_module(command.split()[0]).main


def parser_of(command):
    """The argument parser that a command's main builds; of a subcommand, its own."""
    caught = []

    def parse_args(parser, *_):
        caught.append(parser)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(SystemExit):
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        main_of(command)([])
    for name in command.split()[1:]:
        (choices,) = (one for one in caught[0]._actions if isinstance(one, argparse._SubParsersAction))
        return choices.choices[name]
    return caught[0]


def flags_of(command):
    """{name in COMMANDS: how many values it takes}; 0 for a switch."""
    counts = {}
    for action in parser_of(command)._actions:
        if not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            name = next((one for one in action.option_strings if one.startswith("--")), action.dest)
            counts[name] = {None: 1, "+": 2, "*": 2, "?": 1}.get(action.nargs, action.nargs)
    return counts


def outcome(command, arguments):
    """Run a command; anything but success, status 2 or a UserError of one or two lines fails the test."""
    try:
        main_of(command)([*command.split()[1:], *arguments])
    except SystemExit as leaving:
        assert leaving.code in (0, 2), arguments
    except UserError as error:
        assert 1 <= len(str(error).splitlines()) <= 2, (arguments, str(error))
    except Exception as error:
        raise AssertionError(f"{command} {arguments}: {type(error).__name__}: {error}") from error


def lines_of(command, wrong, folder):
    """The command line with `wrong`, {flag: values}, in place of its usual flags."""
    usual = COMMANDS[command]
    positional = [usual[name] for name in usual if not name.startswith("--") and name not in wrong]
    positional += [values for name, values in wrong.items() if not name.startswith("--")]
    line = [value for values in positional for value in values]
    for name, values in {**usual, **wrong}.items():
        line += [name, *values] if name.startswith("--") else []
    return [value.replace("*", f"{folder}{os.sep}", 1) if value.startswith("*") else value for value in line]


@pytest.mark.parametrize("command", COMMANDS)
def test_usual_values_work(command, files):
    if command.split()[-1] not in ("tool.convert", "camvid", "check-submission"):  # for which there is no such file
        main_of(command)([*command.split()[1:], *lines_of(command, {}, files)])


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_values_give_no_traceback(command, files):
    counts = flags_of(command)
    assert set(COMMANDS[command]) <= set(counts)

    @settings(
        derandomize=True,
        deadline=None,
        database=None,
        max_examples=int(os.environ.get("STDC_EXAMPLES", 30)),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def try_values(data):
        flags = data.draw(st.lists(st.sampled_from(sorted(counts)), min_size=1, max_size=2, unique=True))
        values = st.one_of(st.sampled_from(WRONG), st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5))
        wrong = {name: data.draw(st.lists(values, min_size=counts[name], max_size=counts[name])) for name in flags}
        outcome(command, lines_of(command, wrong, files))

    try_values()


def test_int8_asks_for_its_dataset_before_the_export(files, monkeypatch):
    monkeypatch.setattr(tool.export, "export_network", lambda *_: pytest.fail("exported first"))
    line = [*lines_of("tool.export", {}, files), "--int8", "--dataset_root", "gone"]
    with pytest.raises(UserError, match="gone: no such dataset folder"):
        tool.export.main(line)
    with pytest.raises(SystemExit, match="2"):
        tool.export.main([*line, "--calibration_images", "0"])


@pytest.mark.parametrize("flag", ["--json", "--csv"])
def test_evaluate_asks_for_its_files_before_the_work(files, monkeypatch, flag):
    monkeypatch.setattr(tool.evaluate, "evaluate_subject", lambda *_: pytest.fail("evaluated first"))
    with pytest.raises(UserError, match="below: cannot be written"):
        tool.evaluate.main([*lines_of("tool.evaluate", {}, files), flag, str(files / "image.png" / "below")])


@pytest.mark.parametrize("command", [f"benchmarks.{name}" for name in BENCHMARKS])
def test_benchmarks_explain_themselves(command, capsys):
    pytest.importorskip("paddleseg")
    with pytest.raises(SystemExit) as leaving:
        main_of(command)(["--help"])
    assert leaving.value.code == 0 and "example:" in capsys.readouterr().out


@pytest.mark.parametrize("file", [ROOT / "train.py", *ROOT.glob("tool/*.py"), *ROOT.glob("benchmarks/[a-z]*.py")])
def test_every_command_turns_a_users_mistake_into_a_line(file):
    """`run` does it; main() alone would end in a traceback."""
    if file.stem == "__init__":
        return
    last = ast.parse(file.read_text(encoding="utf-8")).body[-1]
    assert isinstance(last, ast.If) and ast.unparse(last.body[-1]) == "run(main)"
