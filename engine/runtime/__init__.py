"""Networks as a deployed program sees them: uint8 RGB images in, class maps out, whatever engine computes them."""

from engine.runtime.description import DEPLOY_FILE, Description, read_description, write_description
from engine.runtime.eager import EagerNetwork
from engine.runtime.load import EXPORTED_ENGINES, PRECISIONS, load_network
from engine.runtime.network import Network

__all__ = [
    "DEPLOY_FILE",
    "EXPORTED_ENGINES",
    "PRECISIONS",
    "Description",
    "EagerNetwork",
    "Network",
    "load_network",
    "read_description",
    "write_description",
]
