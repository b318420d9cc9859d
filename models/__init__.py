"""Networks by name. Importing this package also makes PaddleSeg's evaluate, train and predict work."""

from compat import UserError, repair_paddleseg

from models.registry import build_model, list_models

repair_paddleseg()

__all__ = ["UserError", "build_model", "list_models"]
