"""Shared data, the device, and a browser.

Importing compat first puts zlib, threads and MKL in place before tests import paddle.
"""

import os
import shutil

# TF32 rounds to ten bits: comparisons with other computations need all 23.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")

import compat

import paddle
import pytest

from data.renderer.sample import render_sample
from engine.command import choose_device
from engine.recipe import load_recipe

SAMPLE_RECIPE = "configs/stdc1_seg_sample.yml"
DEVICE = os.environ.get("TEST_DEVICE", "cpu")


def pytest_configure():
    """Tests compute on TEST_DEVICE, by default the CPU; so do the commands that they start."""
    if DEVICE == "cpu" and paddle.is_compiled_with_cuda():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        choose_device(DEVICE)
    except compat.UserError as error:
        raise pytest.UsageError(f"TEST_DEVICE: {error}") from None


def pytest_terminal_summary(terminalreporter):
    """Name the device."""
    terminalreporter.write_line(f"Paddle {paddle.__version__} on {paddle.get_device()}")


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory):
    """A rendered sample of 6 + 3 images of 128 x 64."""
    root = tmp_path_factory.mktemp("sample")
    render_sample(str(root), train=6, val=3, size=(128, 64), seed=0)
    return root


@pytest.fixture
def small_recipe(sample_root):
    """The sample's recipe, small enough to train within a test; call it with further overrides."""

    def load(**overrides):
        return load_recipe(
            SAMPLE_RECIPE,
            {
                "train_dataset.dataset_root": str(sample_root),
                "val_dataset.dataset_root": str(sample_root),
                "train_dataset.transforms.RandomPaddingCrop.crop_size": [64, 64],
                "batch_size": 2,
                "iters": 2,
                **{key.replace("__", "."): value for key, value in overrides.items()},
            },
        )

    return load


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium without network, driven by selenium; what its console says is in get_log("browser")."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (browser and driver):
        pytest.skip("no Chromium with chromedriver here (apt-get install chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is in requirements-dev.txt")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1280,800"):
        options.add_argument(f"--{flag}")
    for flag in ("disable-background-networking", "disable-component-update", "disable-sync", "no-first-run"):
        options.add_argument(f"--{flag}")
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.set_page_load_timeout(60)
    opened.set_script_timeout(60)
    yield opened
    opened.quit()
