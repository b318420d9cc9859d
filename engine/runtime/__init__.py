"""Networks as a deployed program sees them: uint8 RGB images in, class maps out, whatever engine computes them."""

from engine.runtime.description import DEPLOY_FILE, Description, exported_folder, read_description, write_description
from engine.runtime.eager import EagerNetwork
from engine.runtime.load import DEFAULT_ENGINES, ENGINES, EXPORTED_ENGINES, PRECISIONS, load_network, open_network
from engine.runtime.network import Network
from engine.runtime.segmenter import Segmentation, Segmenter
from engine.runtime.windows import Windows, WindowSegmenter

__all__ = [
    "DEFAULT_ENGINES",
    "DEPLOY_FILE",
    "ENGINES",
    "EXPORTED_ENGINES",
    "PRECISIONS",
    "Description",
    "EagerNetwork",
    "Network",
    "Segmentation",
    "Segmenter",
    "WindowSegmenter",
    "Windows",
    "exported_folder",
    "load_network",
    "open_network",
    "read_description",
    "write_description",
]
