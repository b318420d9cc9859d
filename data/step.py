"""The base class of the transforms in a recipe's list."""

from compat.options import Options, Whole

from pydantic import Field
from typing_extensions import Annotated

Side = Annotated[Whole, Field(ge=1, le=2**15 - 1)]  # OpenCV resizes no longer sides


class Step(Options):
    """A transform: its options, and what it does."""

    type: str
