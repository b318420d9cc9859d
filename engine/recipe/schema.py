"""What a recipe holds: frozen models of its options.

The options of networks and losses are their constructors' arguments, those of a dataset the arguments of its layout;
transforms and samplers are defined in data as models of their options, optimisers and schedules in optimization.
"""

from typing import Any, Dict, Mapping, Optional, Tuple, Union

from compat import UserError
from compat.options import (
    ByType,
    Count,
    NotNegative,
    Number,
    OneOrMany,
    Options,
    Pattern,
    Positive,
    Whole,
    custom_error,
    options_of,
)

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Annotated, Literal

from data import dataset_classes
from data.class_uniform import ClassUniformOptions
from data.classes import IGNORED, ClassSet
from data.copy_paste import CopyPasteOptions
from data.layouts import LAYOUTS
from data.transforms import Normalize, Steps, build_transform
from engine.recipe.optimization import AnyOptimizer, AnySchedule
from loss.criterion import Objective
from loss.distillation import DISTILLATIONS
from models.registry import BUILDERS, IMAGENET_CLASSIFIERS

Scale = Annotated[Number, Field(gt=0, le=16)]
EmptyAsMapping = BeforeValidator(lambda value: {} if value is None else value)


class BackboneRecipe(Options):
    """`pretrained` is a converted ImageNet weight file."""

    pretrained: Optional[str] = None


class ModelRecipe(Options):
    """`type` is a segmentation network of models.list_models(); the subclass of each type has its network's options.

    `widths` are those of models.narrowing, which tool.prune writes.
    """

    type: str
    pretrained: Optional[str] = None
    backbone: Annotated[BackboneRecipe, EmptyAsMapping] = BackboneRecipe()
    widths: Dict[str, Count] = Field(default_factory=dict)

    @property
    def options(self) -> Dict[str, Any]:
        """What was given for the network's own arguments."""
        return self.beyond(ModelRecipe)


class DatasetRecipe(Options):
    """See data.build_dataset; the subclass of each type has its layout's options."""

    type: str
    dataset_root: str
    mode: Literal["train", "val", "test"]
    transforms: Steps = ()
    cache: Literal["auto", "always", "never"] = "auto"
    cache_dir: Optional[str] = None
    class_uniform: Optional[ClassUniformOptions] = None
    copy_paste: Optional[CopyPasteOptions] = None
    extra_list: Optional[str] = None

    @property
    def options(self) -> Dict[str, Any]:
        """What was given for the layout's own arguments."""
        return self.beyond(DatasetRecipe)

    @property
    def class_set(self) -> ClassSet:
        """Names and colours of the classes, known without the dataset's images."""
        return dataset_classes(self.type, self.dataset_root, **self.options)

    @property
    def class_count(self) -> int:
        return len(self.class_set.names)

    @property
    def normalize(self) -> Normalize:
        """The normalisation among the transforms, or the default one."""
        return build_transform(self.transforms, self.mode).normalize

    @model_validator(mode="after")
    def _check_parts(self):
        _validate_by(lambda: self.class_set)
        _validate_by(build_transform, self.transforms, self.mode)
        if self.mode != "train" and (self.class_uniform or self.copy_paste or self.extra_list):
            raise custom_error(f"class_uniform, copy_paste and extra_list are for mode train, not {self.mode}")
        return self


class Protocol(Options):
    """How an image is evaluated: the arguments of paddleseg.core.evaluate, and `align_corners`.

    align_corners: how images and logits are resized; False as in PaddleSeg, True as in the original STDC-Seg.
    """

    aug_eval: bool = True
    scales: Union[Scale, Annotated[Tuple[Scale, ...], Field(min_length=1)]] = 1.0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    is_slide: bool = False
    crop_size: Optional[Tuple[Count, Count]] = None
    stride: Optional[Tuple[Count, Count]] = None
    align_corners: bool = False

    @model_validator(mode="after")
    def _check_window(self):
        if self.is_slide and not (self.crop_size and self.stride):
            raise custom_error("is_slide needs crop_size and stride, each (w, h)")
        if self.is_slide and any(step > side for step, side in zip(self.stride, self.crop_size)):
            raise custom_error(
                f"stride {self.stride} must be at most crop_size {self.crop_size}, or pixels would be left out"
            )
        return self


def names_protocols(test_config: Mapping) -> bool:
    """Whether it names protocols, instead of being the one protocol of PaddleSeg's."""
    return any(isinstance(one, (Mapping, Protocol)) for one in test_config.values())


def _named_protocols(raw: Any) -> Any:
    """Named protocols; PaddleSeg's flat form is one protocol named `val`."""
    return {"val": raw} if isinstance(raw, Mapping) and raw and not names_protocols(raw) else raw


AnyModel = Annotated[
    ModelRecipe,
    ByType(
        options_of(build, name, ModelRecipe, skip=("num_classes",))
        for name, build in BUILDERS.items()
        if name not in IMAGENET_CLASSIFIERS  # which no recipe trains
    ),
]
AnyDataset = Annotated[
    DatasetRecipe,
    ByType(options_of(layout.find, name, DatasetRecipe, skip=("root", "mode")) for name, layout in LAYOUTS.items()),
]


class TeacherRecipe(Options):
    """The teacher of a distillation: a recipe with weights, or the folder of an export of logits and its engine.

    flip: whether its logits are averaged with those of the mirrored image.
    """

    config: Optional[str] = None
    weights: Optional[str] = None
    exported: Optional[str] = None
    engine: str = "paddle"
    flip: bool = False

    @model_validator(mode="after")
    def _check_one_kind(self):
        given = (bool(self.config), bool(self.weights), bool(self.exported))
        if given not in ((True, True, False), (False, False, True)):
            raise custom_error("give config and weights, or exported, the folder of tool.export")
        return self


class DistillTermRecipe(Options):
    """A loss between an output of the network and the teacher's main output; a subclass has the options of its type."""

    type: str
    output: str = "main"
    weight: NotNegative = 1.0


AnyDistillTerm = Annotated[
    DistillTermRecipe, ByType(options_of(build, name, DistillTermRecipe) for name, build in DISTILLATIONS.items())
]


class DistillRecipe(Options):
    """See engine.training.distillation."""

    teacher: TeacherRecipe
    terms: Annotated[Tuple[AnyDistillTerm, ...], Field(min_length=1), OneOrMany]

    @model_validator(mode="after")
    def _check_terms(self):
        names = [(term.output, term.type) for term in self.terms]
        if len(set(names)) < len(names):
            raise custom_error("terms: the same type twice for one output; use one term with the sum of their weights")
        return self


class Recipe(Options):
    """Everything that decides what a run computes.

    batch_size: images of a batch on one device.
    accumulate: batches of an iteration, which ends with one step of the optimiser.
    total_batch_size: the batch, over all devices and accumulated batches, that the learning rate is stated for; by
        default batch_size * accumulate.
    precision, amp_level: see engine.training.precision.
    ema_decay, ema_ramp, ema_beta: decay of the weight average and how it grows, see engine.training.ema; 0: no average.
    test_config: named protocols; the first decides which model is the best.
    early_stop_intervals: the run stops after so many validations without a better model; 0: never.
    cudnn_exhaustive_search: on a GPU, time cuDNN's algorithms for each new shape instead of using its heuristics.
    tf32: on a GPU, matrix products and convolutions of float32 may round their factors to 10 bits.
    distill: losses against a teacher.
    recompute: see models.recompute; a training step takes about 40 % less memory, by computing most of the forward pass
        twice with the same results; on one device only.
    freeze: regular expressions of parameters that are not trained; their batch norms' running statistics stay too, see
        models.freezing.
    """

    batch_size: Count
    iters: Count
    model: AnyModel
    train_dataset: AnyDataset
    val_dataset: AnyDataset
    optimizer: AnyOptimizer
    lr_scheduler: AnySchedule
    loss: Objective
    test_config: Annotated[Dict[str, Protocol], Field(min_length=1), BeforeValidator(_named_protocols)]
    total_batch_size: Count
    accumulate: Count = 1
    save_interval: Count = 1000
    log_iters: Count = 10
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    amp_level: Literal["O1", "O2"] = "O1"
    ema_decay: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    ema_ramp: Literal["hyperbolic", "exponential"] = "hyperbolic"
    ema_beta: Positive = 15.0
    early_stop_intervals: Annotated[Whole, Field(ge=0)] = 0
    cudnn_exhaustive_search: bool = False
    tf32: bool = True
    distill: Optional[DistillRecipe] = None
    recompute: bool = False
    freeze: Annotated[Tuple[Pattern, ...], OneOrMany] = ()

    @model_validator(mode="after")
    def _check_together(self):
        if self.train_dataset.mode != "train":
            raise custom_error(f"train_dataset.mode: {self.train_dataset.mode}; only mode train has crops and labels")
        classes = self.train_dataset.class_count
        for output, terms in self.loss.items():
            for term in terms:
                ignored, weights = getattr(term, "ignore_index", IGNORED), getattr(term, "class_weights", None)
                if ignored != IGNORED:
                    raise custom_error(
                        f"loss.{output}.ignore_index: {ignored}; all datasets mark ignored pixels with {IGNORED}"
                    )
                if isinstance(weights, tuple) and len(weights) != classes:
                    raise custom_error(
                        f"loss.{output}.class_weights: {len(weights)} numbers for the dataset's {classes} classes"
                    )
                if isinstance(weights, tuple) and not any(weights):
                    raise custom_error(f"loss.{output}.class_weights: all are 0, so that nothing would be trained")
        return self


def _validate_by(build, *arguments) -> None:
    """Call `build`; its UserError becomes the validation error of the options that are being checked."""
    try:
        build(*arguments)
    except UserError as error:
        raise custom_error(str(error)) from None
