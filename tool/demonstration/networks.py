"""The networks of the page: loaded when they are first asked for, and run one at a time."""

import threading
import time
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

from compat import unknown_name

import numpy as np

from data import ClassSet
from tool.prediction.classify import Classify


class Choice(NamedTuple):
    """A model in an engine; `load` builds its network, which may take seconds."""

    model: str
    engine: str
    classes: ClassSet
    load: Callable[[], Classify]


class Prediction(NamedTuple):
    """`seconds` is the time inside the network alone, image in and class map out; `loading` what came before, once."""

    class_map: np.ndarray  # [H, W] uint8
    classes: ClassSet
    seconds: float
    loading: float


class Networks:
    """What the page can choose from; the first is its default."""

    def __init__(self, choices: Sequence[Choice]):
        self.choices: Dict[Tuple[str, str], Choice] = {(c.model, c.engine): c for c in choices}
        self.loaded: Dict[Tuple[str, str], Classify] = {}
        # Each engine takes all cores: two images at once would only slow each other down.
        self.lock = threading.Lock()

    def names(self) -> List[Dict[str, str]]:
        """[{model, engine}] in the order of the page's menus."""
        return [{"model": model, "engine": engine} for model, engine in self.choices]

    def predict(self, model: str, engine: str, image: np.ndarray) -> Prediction:
        """Segment an image [H, W, 3] uint8 RGB.

        Raises:
            UserError: for a choice that is not there, or that cannot be loaded.
        """
        key = (model, engine)
        if key not in self.choices:
            raise unknown_name("The model and engine", " in ".join(key), (" in ".join(one) for one in self.choices))
        with self.lock:
            asked = time.perf_counter()
            if key not in self.loaded:
                self.loaded[key] = self.choices[key].load()
                self.loaded[key](image)  # the first call of an engine prepares its memory
            start = time.perf_counter()
            class_map = self.loaded[key](image)
            seconds = time.perf_counter() - start
        return Prediction(class_map, self.choices[key].classes, seconds, start - asked)
