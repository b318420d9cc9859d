"""tool.prepare_data import: from a folder of a user to a network that has trained on it."""

import shlex

from compat import UserError, logger

import numpy as np
import pytest
import yaml
from PIL import Image

from engine.build import dataset_of
from engine.recipe import load_recipe
from engine.training.finetuning import take_starting_weights
from engine.training.options import RunOptions
from models import build_model
from tests.data.test_importing import colored, ids, masked
from tests.data.test_labelme import box, labelme
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
    with pytest.raises(UserError, match="holds a dataset already"):
        main(["import", str(source), "--save_dir", str(tmp_path / "data")])
    with pytest.raises(UserError, match="lies in the source"):
        main(["import", str(source), "--save_dir", str(source)])
    with pytest.raises(UserError, match="lies in the source"):
        main(["import", str(source), "--save_dir", str(source / "dataset")])
    assert not (source / "dataset").exists()


def test_commands_for_a_recipe_can_be_pasted(tmp_path, capsys):
    """A folder with a space in its name must be quoted in the recipe and in the output."""
    source = masked(tmp_path / "source", *(ids(0, 1) for _ in range(2)))
    main(["import", str(source), "--save_dir", str(tmp_path / "my data")])
    pasted = f"python train.py --config '{tmp_path / 'my data' / 'recipe.yml'}'\n"
    assert pasted in capsys.readouterr().out
    assert pasted in (tmp_path / "my data" / "recipe.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("weights", ["stdc1_seg_camvid", None])
def test_the_recipe_normalises_as_the_weights_do_that_it_starts_from(weights, tmp_path, capsys, caplog, monkeypatch):
    """Recipes had the mean of ImageNet alone, which the network that comes with the repository did not learn with."""
    source = masked(tmp_path / "source", *(ids(0, 1) for _ in range(2)))
    finetune = ["--finetune", weights] if weights else []
    main(["import", str(source), "--save_dir", str(tmp_path / "data"), *finetune])
    command = shlex.join(["python", "train.py", "--config", str(tmp_path / "data" / "recipe.yml"), *finetune])
    assert f"train: {command}\n" in capsys.readouterr().out
    assert f"#   {command}\n" in (tmp_path / "data" / "recipe.yml").read_text(encoding="utf-8")
    recipe = load_recipe(str(tmp_path / "data" / "recipe.yml"))
    mean, std = ((0.5,) * 3, (0.5,) * 3) if weights else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for part in (recipe.train_dataset, recipe.val_dataset):
        assert (tuple(part.normalize.mean), tuple(part.normalize.std)) == (mean, std)
    monkeypatch.setattr(logger, "propagate", True)
    network = build_model(recipe.model.type, recipe.train_dataset.class_count, **recipe.model.options)
    take_starting_weights(network, recipe, RunOptions(finetune="stdc1_seg_camvid"))
    assert "--finetune stdc1_seg_camvid: took" in caplog.text and ("normalised" in caplog.text) != bool(weights)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("stdc1_seg_camvit", "neither a file here nor a name of weights .*; did you mean stdc1_seg_camvid"),
        ("stdc2_seg_mmseg", "holds weights of stdc2_seg, and the recipe's network is stdc1_seg"),
        ("stdc1_imagenet_mmseg", "holds only a backbone"),
    ],
)
def test_weights_that_no_import_can_start_from(weights, message, tmp_path):
    source = masked(tmp_path / "source", *(ids(0, 1) for _ in range(2)))
    with pytest.raises(UserError, match=message):
        main(["import", str(source), "--save_dir", str(tmp_path / "data"), "--finetune", weights])
    assert not (tmp_path / "data").exists()


def test_weights_whose_recipe_is_not_known(tmp_path, capsys):
    source = masked(tmp_path / "source", *(ids(0, 1) for _ in range(2)))
    (tmp_path / "w.pdparams").touch()
    main(["import", str(source), "--save_dir", str(tmp_path / "data"), "--finetune", str(tmp_path / "w.pdparams")])
    assert "w.pdparams: how its images were normalised is not known; the recipe has" in capsys.readouterr().out
    assert load_recipe(str(tmp_path / "data" / "recipe.yml")).train_dataset.normalize.mean[0] == 0.485


def test_colours_and_names_reach_the_dataset(tmp_path):
    colors = [(0, 0, 0), (200, 10, 10)]
    source = masked(tmp_path / "source", *(colored(ids(0, 1), colors) for _ in range(3)))
    (source / "p.txt").write_text("sea 0 0 0\nisland 200 10 10\n")
    main(["import", str(source), "--save_dir", str(tmp_path / "data"), "--palette", str(source / "p.txt")])
    classes = dataset_of(load_recipe(str(tmp_path / "data" / "recipe.yml")).val_dataset).classes
    assert classes.names == ("sea", "island") and classes.colors == tuple(colors)
    label = np.asarray(Image.open(next((tmp_path / "data" / "labels").glob("*.png"))))
    np.testing.assert_array_equal(label, ids(0, 1))


def test_two_images_of_one_name_are_refused(tmp_path):
    """Lists may name images of one stem in folders outside the source."""
    source = masked(tmp_path / "source", ids(0, 1))
    image, mask = next((source / "images").iterdir()), next((source / "masks").iterdir())
    lines = []
    for city in ("a", "b"):
        (tmp_path / city).mkdir()
        photo = tmp_path / city / "1.png"
        photo.write_bytes(image.read_bytes())
        lines.append(f"{photo} {mask}\n")
    (tmp_path / "lists").mkdir()
    for file, listed in (("train.txt", lines), ("val.txt", [f"{image} {mask}\n"])):
        (tmp_path / "lists" / file).write_text("".join(listed))
    with pytest.raises(UserError, match="two images have the same name"):
        main(["import", str(tmp_path / "lists"), "--save_dir", str(tmp_path / "data")])


def test_a_photo_listed_outside_the_source_is_not_overwritten_by_its_label(tmp_path):
    source = masked(tmp_path / "source", ids(0, 1), ids(1, 0))
    (tmp_path / "photos").mkdir()
    before = np.full((16, 24, 3), 90, np.uint8)
    Image.fromarray(before).save(tmp_path / "photos" / "a.png")
    (source / "train.txt").write_text("../photos/a.png masks/0.png\n")
    (source / "val.txt").write_text("images/1.jpg masks/1.png\n")
    main(["import", str(source), "--save_dir", str(tmp_path / "out" / "data"), "--seed", "1"])
    train = dataset_of(load_recipe(str(tmp_path / "out" / "data" / "recipe.yml")).train_dataset)
    image, label = train.read(0)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(label, ids(0, 1))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["data"]


def test_a_missing_dataset_is_named_and_its_folder_not_created(tmp_path):
    with pytest.raises(UserError, match="gone: no such dataset folder"):
        main(["cityscapes", "--dataset_root", str(tmp_path / "gone")])
    assert not (tmp_path / "gone").exists()


def test_overrides_without_a_recipe_are_refused(sample_root):
    with pytest.raises(UserError, match="--opts a=b: overrides a recipe"):
        main(["check", "--dataset_root", str(sample_root), "--sheet", "", "--opts", "a=b"])
