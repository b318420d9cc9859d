"""Every plan in configs/ablation can be read, has no variant twice, and trains its baseline as long as its variants."""

from pathlib import Path

import pytest

from benchmarks.study.plan import load_plan

PLANS = sorted(Path("configs/ablation").glob("*.yml"))


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_a_plan_of_the_project(path):
    plan = load_plan(path)
    runs = [run for variant in plan.chosen() for run in variant.runs()]
    settings = [(run.config, *run.options) for run in runs if run.seed == 0]
    assert len({tuple(sorted(options)) for options in settings}) == len(settings), "two variants are the same"
    assert {run.iters for run in runs if run.variant == plan.baseline} == {run.iters for run in runs}
    assert f"--config {path}" in path.read_text()
