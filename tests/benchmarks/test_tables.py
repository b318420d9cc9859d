"""The figures of README and docs are those of benchmarks/results, whose files say where they come from."""

import json
import re
import shutil

from compat import UserError

import pytest

from benchmarks import tables
from benchmarks.figures import accuracy, files, render
from benchmarks.figures.words import CHINESE
from tests.helpers import pages

FILES = sorted(files.FOLDER.glob("*.json"))


def test_readme_and_docs_have_the_figures_of_the_results(capsys):
    assert tables.main(["--check"]) == 0, capsys.readouterr().out


def test_every_figure_can_be_made_in_both_languages():
    for name, make in render.FIGURES.items():
        assert make("en") and make("zh"), name
    assert "部署参数量" in render.FIGURES["networks"]("zh")


def test_each_chinese_word_stands_in_a_table_of_a_page():
    cells = {cell.strip() for page in pages.PAGES for cell in page.read_text(encoding="utf-8").split("|")}
    assert set(CHINESE.values()) - cells == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_says_where_its_figures_come_from(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    if path.stem == "published":
        assert all(one["source"] for one in content["cityscapes_val_miou"])
        return
    about = content["measured"]
    assert about["machine"] and about["threads"] and about["versions"]["paddlepaddle"] and about["command"]
    assert re.fullmatch(r"[0-9a-f]{7,12}\+?", about["commit"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", about["date"])
    assert not re.search(r'["\s=]/\w', json.dumps(about))  # no path of a machine


def test_a_changed_figure_is_found_and_written(tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(files.FOLDER, tmp_path / "results")
    monkeypatch.setattr(files, "FOLDER", folder)
    page = tmp_path / "page.md"
    page.write_text("One in <!-- figures: empty_target -->x<!-- end of figures --> is empty.\n", encoding="utf-8")
    assert tables.main(["--check", str(page)]) == 1 and "-One in" in capsys.readouterr().out
    assert tables.main([str(page)]) == 0 and tables.main(["--check", str(page)]) == 0
    assert "empty_target -->16%<!--" in page.read_text()
    (folder / "random_detail_target.json").write_text('{"empty": 0.25}')
    assert tables.main(["--check", str(page)]) == 1
    page.write_text("<!-- figures: evaluation -->\n<!-- end of figures -->\n")
    assert tables.main([str(page)]) == 0 and "-->\n\n| " in page.read_text() and " |\n\n<!-- end" in page.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- figures: evaluations --><!-- end of figures -->", "did you mean evaluation"),
        ("<!-- figures: evaluation --> 0.5", "has no '<!-- end of figures -->'"),
    ],
)
def test_bad_markers(tmp_path, text, message):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(UserError, match=message):
        tables.main([str(page)])


def test_runs_of_the_ablation_and_of_paddleseg_join_the_table(tmp_path, monkeypatch):
    folder = shutil.copytree(files.FOLDER, tmp_path / "results")
    monkeypatch.setattr(files, "FOLDER", folder)
    (folder / "ablation_camvid.csv").write_text(
        "variant,iters,seed,miou\ndefault,600,0,0.5\nlovasz,4000,1,0.91\nworse,4000,1,0.6\n"
        "adamw,600,0,0.5\nadamw,600,1,0.7\nfocal,600,0,0.4\n"
    )
    (folder / "paddleseg_camvid_4000_0.json").write_text(
        '{"network": "stdc1_seg", "iterations": 4000, "seed": 0, "miou": 0.421}'
    )
    runs = accuracy.camvid_runs()
    assert runs["this project", "stdc1_seg", 600] == {0: 50.0, 1: 36.7, 2: 36.4}
    assert runs["this project, lovasz", "stdc1_seg", 4000] == {1: 91.0}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in accuracy.camvid("en").splitlines()]
    assert ["PaddleSeg 2.8.0", "STDC1-Seg", "4000", "0", "42.1"] in rows
    headlines = accuracy.results("en")
    assert "CamVid 480x360 val, 4000 iterations, this project, lovasz" in headlines and "worse" not in headlines
    assert not any(cells[0] == "this project, adamw" for cells in rows)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in accuracy.levers("en").splitlines()[2:4]]
    # The default's mean is (50 + 36.7 + 36.4) / 3 = 41.03.
    assert rows == [["`adamw`", "600", "60.0 (50.0, 70.0)", "+19.0"], ["`focal`", "600", "40.0", "-1.0"]]
