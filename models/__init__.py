"""Networks by name. Importing this package also makes PaddleSeg's evaluate, train and predict work."""

import compat  # first: it must come before paddle

from compat import UserError
from models.registry import build_model, list_models

compat.repair_paddleseg()

__all__ = ["UserError", "build_model", "list_models"]
