"""What a recipe says of the optimiser and of the learning rate."""

from typing import Dict, Tuple

from compat.options import ByType, NotNegative, Number, OneOrMany, Options, Pattern, Positive, Whole, custom_error

from pydantic import Field, model_validator
from typing_extensions import Annotated, Literal


class OptimizerRecipe(Options):
    """Options that all optimisers share; a subclass has those of its `type`.

    no_weight_decay: kinds of parameters without weight decay: `norm` (batch-norm weights and biases), `bias`.
    lr_mult: {regular expression on parameter names: factor of the learning rate}; the first match counts.
    frozen: regular expressions of parameters that are not trained. Batch norm's running statistics are still updated,
        unlike with Recipe.freeze.
    norm_sparsity: weight of an L1 penalty on batch norms' scales; see engine.training.sparsity.
    """

    type: str
    weight_decay: NotNegative = 0.0
    norm_sparsity: NotNegative = 0.0
    no_weight_decay: Annotated[Tuple[Literal["norm", "bias"], ...], OneOrMany] = ()
    lr_mult: Dict[Pattern, NotNegative] = Field(default_factory=dict)
    frozen: Annotated[Tuple[Pattern, ...], OneOrMany] = ()


class Momentum(OptimizerRecipe):
    """SGD with momentum."""

    type: Literal["Momentum"] = "Momentum"
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    use_nesterov: bool = False


class SGD(Momentum):
    """PaddleSeg's: plain SGD, or with the momentum that is given."""

    type: Literal["SGD", "sgd"] = "SGD"
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0


class AdamW(OptimizerRecipe):
    """Adam with decoupled weight decay: weight <- weight * (1 - rate * weight_decay)."""

    type: Literal["AdamW"] = "AdamW"
    beta1: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[Number, Field(ge=0, lt=1)] = 0.999
    epsilon: Positive = 1e-8


class ScheduleRecipe(Options):
    """Options that all schedules share: the peak and the warmup to it; a subclass has the decay of its `type`."""

    type: str
    learning_rate: Positive
    warmup_iters: Annotated[Whole, Field(ge=0)] = 0
    warmup_start_lr: NotNegative = 0.0
    warmup: Literal["linear", "exponential"] = "linear"

    @model_validator(mode="after")
    def _check_warmup(self):
        if self.warmup == "exponential" and self.warmup_iters and not self.warmup_start_lr:
            raise custom_error("warmup_start_lr: an exponential warmup cannot start at 0")
        return self


class PolynomialDecay(ScheduleRecipe):
    """See scheduler.warmup_poly."""

    type: Literal["PolynomialDecay"] = "PolynomialDecay"
    power: NotNegative = 0.9
    end_lr: NotNegative = 0.0


class CosineAnnealingDecay(ScheduleRecipe):
    """See scheduler.warmup_cosine; half a cosine period from the warmup to the end of the run."""

    type: Literal["CosineAnnealingDecay"] = "CosineAnnealingDecay"
    end_lr: NotNegative = 0.0


class Constant(ScheduleRecipe):
    """See scheduler.warmup_constant."""

    type: Literal["Constant"] = "Constant"


AnyOptimizer = Annotated[OptimizerRecipe, ByType([Momentum, SGD, AdamW], default="Momentum")]
AnySchedule = Annotated[
    ScheduleRecipe, ByType([PolynomialDecay, CosineAnnealingDecay, Constant], default="PolynomialDecay")
]
