"""tool.prepare_data import: from a folder of a user to a network that has trained on it."""

import numpy as np
import pytest
import yaml
from PIL import Image

from engine.build import dataset_of
from engine.recipe import load_recipe
from tests.data.test_importing import box, colored, ids, labelme, masked
from tool.prepare_data import main


def test_labelme_files_become_a_dataset_that_trains(tmp_path, capsys):
    source = tmp_path / "my photos"
    for number in range(5):
        source.mkdir(exist_ok=True)
        labelme(source, [box("person: sitting", 2, 3, 12, 9)], name=f"shot {number}")
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    assert main(["import", str(source), "--save_dir", str(tmp_path / "data"), "--val_share", "0.4"]) == 1
    output = capsys.readouterr().out
    assert "5 images, 2 classes" in output and "splits: train 3, val 2 (one sequence" in output
    assert "the same image in several splits" in output  # the test's photographs are one; nothing else is wrong
    assert "1 problem(s)" in output and (tmp_path / "data" / "check.png").is_file()
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before

    recipe = load_recipe(str(tmp_path / "data" / "recipe.yml"))
    train, val = dataset_of(recipe.train_dataset), dataset_of(recipe.val_dataset)
    assert (len(train), len(val)) == (3, 2) and train.classes.names == ("background", "person: sitting")
    expected = np.zeros((16, 24), np.uint8)
    expected[3:10, 2:13] = 1
    np.testing.assert_array_equal(val.read(1).label, expected)
    assert recipe.batch_size == 3 and recipe.train_dataset.transforms

    from train import main as train_main

    train_main(["--config", str(tmp_path / "data" / "recipe.yml"), "--iters", "1", "--save_dir", str(tmp_path / "run")])
    assert (tmp_path / "run" / "best_model" / "model.pdparams").is_file()


def test_a_rare_class_is_weighted_and_an_import_is_not_overwritten(tmp_path):
    rare = np.zeros((16, 24), np.uint8)
    rare[0, 0] = 1
    source = masked(tmp_path / "source", rare, rare, np.array(rare))
    main(["import", str(source), "--save_dir", str(tmp_path / "data")])
    text = (tmp_path / "data" / "recipe.yml").read_text(encoding="utf-8")
    assert "Below 1 % of the training pixels: class_1" in text
    loss = load_recipe(str(tmp_path / "data" / "recipe.yml")).loss
    assert "main" in loss and yaml.safe_load(text)["loss"]["main"]["class_weights"] == "auto"
    from compat import UserError

    with pytest.raises(UserError, match="holds a dataset already"):
        main(["import", str(source), "--save_dir", str(tmp_path / "data")])
    with pytest.raises(UserError, match="is the source"):
        main(["import", str(source), "--save_dir", str(source)])


def test_colours_and_names_reach_the_dataset(tmp_path):
    colors = [(0, 0, 0), (200, 10, 10)]
    source = masked(tmp_path / "source", *(colored(ids(0, 1), colors) for _ in range(3)))
    (source / "p.txt").write_text("sea 0 0 0\nisland 200 10 10\n")
    main(["import", str(source), "--save_dir", str(tmp_path / "data"), "--palette", str(source / "p.txt")])
    classes = dataset_of(load_recipe(str(tmp_path / "data" / "recipe.yml")).val_dataset).classes
    assert classes.names == ("sea", "island") and classes.colors == tuple(colors)
    label = np.asarray(Image.open(next((tmp_path / "data" / "labels").glob("*.png"))))
    np.testing.assert_array_equal(label, ids(0, 1))
