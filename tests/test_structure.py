"""Layers: what may import what; and the sizes of files and functions."""

import ast
from pathlib import Path

import pytest

grimp = pytest.importorskip("grimp", reason="it comes for Python 3.10 and later")

LAYERS = ({"benchmarks"}, {"tool"}, {"engine"}, {"models", "loss", "scheduler", "data"}, {"compat"})
ROOT = Path(__file__).parents[1]
FOLDERS = ("compat", "models", "loss", "scheduler", "data", "engine", "tool", "benchmarks", "tests")
LINES_OF_FILE, LINES_OF_FUNCTION, FILES_OF_ENGINE = 350, 60, 8
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.fixture(scope="module")
def imports():
    return grimp.build_graph(*sorted(set().union(*LAYERS)), cache_dir=None)


def test_a_layer_imports_only_from_those_below_it(imports):
    illegal = imports.find_illegal_dependencies_for_layers(layers=LAYERS)
    assert {(one.importer, one.imported) for one in illegal} == set()


def test_no_two_files_or_packages_import_each_other(imports):
    packages = [module for module in imports.modules if imports.find_children(module)]
    assert {one: imports.nominate_cycle_breakers(one) for one in packages} == {one: set() for one in packages}


def test_commands_import_no_other_command(imports):
    commands = {module for module in imports.find_children("tool") if not imports.find_children(module)}
    commands |= {f"benchmarks.{file.stem}" for file in (ROOT / "benchmarks").glob("[a-z]*.py")}
    imported = {one: imports.find_modules_directly_imported_by(one) & commands for one in commands}
    assert {one: others for one, others in imported.items() if others} == {}


def test_files_and_functions_are_short():
    long = []
    for file in [ROOT / "train.py", *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))]:
        text = file.read_text(encoding="utf-8")
        if text.count("\n") > LINES_OF_FILE:
            long.append(str(file.relative_to(ROOT)))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, FUNCTIONS) and node.end_lineno - node.lineno >= LINES_OF_FUNCTION:
                long.append(f"{file.relative_to(ROOT)}: {node.name}")
    assert long == []


def test_the_engine_has_few_files_beside_its_packages():
    assert len(list((ROOT / "engine").glob("*.py"))) <= FILES_OF_ENGINE
