"""README and docs: links lead somewhere, commands have the flags that they are given, marked blocks run."""

import shutil
from pathlib import Path

import paddle
import pytest

from engine.recipe import load_recipe
from models import build_model
from tests.helpers import pages
from tests.helpers.pages import PAGES, ROOT

BLOCKS = pages.blocks()
COMMANDS = [block for block in BLOCKS if block.language in ("", "bash", "sh")]
PROSE = ("text", "bibtex", "json", "cpp", "cmake")
MADE_BY_THE_READER = {"configs/mine.yml"}


def short(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_links_and_paths_lead_somewhere(page):
    text = pages.without_blocks(page)
    for link in pages.LINK.finditer(text):
        path, _, anchor = link["target"].partition("#")
        if path.startswith(("http://", "https://", "mailto:")):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link["target"]
        assert not anchor or anchor in pages.anchors(target), link["target"]
    for path in pages.PATH.findall(text):
        if path.startswith(("output/", "data/mine", "configs/mine", "pictures/")) or "NAME" in path:
            continue
        assert any((folder / path).exists() for folder in (ROOT, page.parent)), path


def test_the_readmes_are_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
    assert len((ROOT / "README_cn.md").read_text(encoding="utf-8").splitlines()) <= 160


@pytest.mark.parametrize("page", [page for page in PAGES if short(page).startswith("docs/")], ids=short)
def test_a_page_opens_with_what_it_is_for_and_a_command(page):
    title, _, purpose, *rest = page.read_text(encoding="utf-8").splitlines()
    assert title.startswith("# ") and purpose and not purpose.startswith(("#", "<", "`"))
    assert any(line.startswith("```") for line in rest[:10])


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.name)
def test_commands_have_the_flags_that_they_are_given(block):
    known = set(pages.make_targets())
    for words in block.commands():
        for word in words:
            if word.startswith("configs/") and word not in MADE_BY_THE_READER:
                assert (ROOT / word).is_file(), word
        if words[0] == "make":
            assert {word.partition("=")[0] for word in words[1:]} <= known, words
            continue
        try:
            pages.parse_only(words)
        except ValueError:
            assert block.mark.startswith("not run: "), f"{words}: mark the block <!-- not run: why -->"
        except SystemExit:
            pytest.fail(f"{' '.join(words)}: its parser refuses this")


@pytest.fixture(scope="module")
def workplace(sample_root, tmp_path_factory):
    """A folder with configs, a rendered sample, and weights where `make demo` leaves them."""
    folder = tmp_path_factory.mktemp("workplace")
    shutil.copytree(ROOT / "configs", folder / "configs")
    shutil.copytree(sample_root, folder / "data" / "sample")
    weights = folder / "output" / "demo" / "best_model" / "model.pdparams"
    weights.parent.mkdir(parents=True)
    paddle.save(build_model("stdc1_seg", 19).state_dict(), str(weights))
    return folder


@pytest.mark.parametrize(
    "command", sorted({tuple(words) for block in COMMANDS if block.mark == "run" for words in block.commands()})
)
def test_marked_commands_run(command, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    pages.run(list(command))


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language not in ("", "bash", "sh", *PROSE)],
    ids=lambda block: block.name,
)
def test_python_and_recipes_run(block, workplace, monkeypatch):
    if block.mark.startswith("not run: "):
        compile(block.text, str(block.page), "exec") if block.language == "python" else None
        return
    monkeypatch.chdir(workplace)
    if block.language == "yaml":
        recipe = Path("configs") / "of_the_page.yml"
        recipe.write_text(block.text, encoding="utf-8")
        load_recipe(recipe)
    else:
        assert block.language == "python", f"{block.language}: mark the block <!-- not run: why -->"
        exec(compile(block.text, str(block.page), "exec"), {"__name__": "page"})
