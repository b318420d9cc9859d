"""The floors of the house: what may import what."""

from pathlib import Path

import pytest

grimp = pytest.importorskip("grimp", reason="it comes for Python 3.10 and later")

FLOORS = ({"benchmarks"}, {"tool"}, {"engine"}, {"models", "loss", "scheduler", "data"}, {"compat"})
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def imports():
    return grimp.build_graph(*sorted(set().union(*FLOORS)), cache_dir=None)


def test_no_import_runs_upwards_or_to_a_neighbour(imports):
    illegal = imports.find_illegal_dependencies_for_layers(layers=FLOORS)
    assert {(one.importer, one.imported) for one in illegal} == set()


def test_no_two_files_or_rooms_import_each_other(imports):
    rooms = [module for module in imports.modules if imports.find_children(module)]
    assert {room: imports.nominate_cycle_breakers(room) for room in rooms} == {room: set() for room in rooms}


def test_commands_import_no_other_command(imports):
    commands = {module for module in imports.find_children("tool") if not imports.find_children(module)}
    commands |= {f"benchmarks.{file.stem}" for file in (ROOT / "benchmarks").glob("[a-z]*.py")}
    imported = {one: imports.find_modules_directly_imported_by(one) & commands for one in commands}
    assert {one: others for one, others in imported.items() if others} == {}
