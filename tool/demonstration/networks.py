"""The networks of the page: loaded at their first use, and run one at a time."""

import threading
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from compat import UserError, unknown_name

import numpy as np

from data import ClassSet
from tool.prediction.classify import Classify


class Choice(NamedTuple):
    """A model in an engine.

    model, engine: names in the menus of the page.
    classes: of the model.
    load: loads the network, which may take seconds; with `gives_confidence`, the result also has Segmenter's `segment`.
    gives_confidence: whether the network can return a confidence.
    temperature: that logits are divided by for the confidence.
    """

    model: str
    engine: str
    classes: ClassSet
    load: Callable[[], Classify]
    gives_confidence: bool = False
    temperature: float = 1.0


class Prediction(NamedTuple):
    """A result. seconds: from image to class map and confidence; loading: seconds to load the network before, or 0."""

    class_map: np.ndarray  # [H, W] uint8
    classes: ClassSet
    seconds: float
    loading: float
    confidence: Optional[np.ndarray] = None  # [H, W] float32 in (0, 1]
    temperature: float = 1.0


class Networks:
    """The networks that the page offers; the first is the default."""

    def __init__(self, choices: Sequence[Choice]):
        self.choices: Dict[Tuple[str, str], Choice] = {(c.model, c.engine): c for c in choices}
        self.loaded: Dict[Tuple[str, str], Classify] = {}
        # Each engine uses all cores: two images at a time would slow each other down.
        self.lock = threading.Lock()

    def names(self) -> List[Dict]:
        """[{model, engine, confidence: whether it returns one}] in the order of the page's menus."""
        return [
            {"model": model, "engine": engine, "confidence": choice.gives_confidence}
            for (model, engine), choice in self.choices.items()
        ]

    def predict(self, model: str, engine: str, image: np.ndarray, confidence: bool = False) -> Prediction:
        """Segment an image [H, W, 3] uint8 RGB.

        Raises:
            UserError: for an unknown model and engine, or one that cannot be loaded or returns no confidence.
        """
        key = (model, engine)
        if key not in self.choices:
            raise unknown_name("The model and engine", " in ".join(key), (" in ".join(one) for one in self.choices))
        choice = self.choices[key]
        if confidence and not choice.gives_confidence:
            raise UserError(f"{model} in {engine} returns class maps alone; export it with --output_op softmax")
        with self.lock:
            asked = time.perf_counter()
            if key not in self.loaded:
                self.loaded[key] = choice.load()
                self.loaded[key](image)  # the first call of an engine prepares its memory
            start = time.perf_counter()
            classify = self.loaded[key]
            class_map, sure = classify.segment(image) if confidence else (classify(image), None)
            seconds = time.perf_counter() - start
        return Prediction(class_map, choice.classes, seconds, start - asked, sure, choice.temperature)
