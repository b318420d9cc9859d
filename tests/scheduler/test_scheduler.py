"""Learning rates against tables computed by hand."""

import paddle
import pytest

from scheduler import WarmupConstant, WarmupCosine, WarmupPoly, warmup_constant, warmup_cosine, warmup_poly

PADDLE_SEED = {
    "learning_rate": 0.01,
    "iters": 80000,
    "end_lr": 1e-5,
    "warmup_iters": 1000,
    "warmup_start_lr": 1e-5,
}
OFFICIAL = {
    "learning_rate": 0.01,
    "iters": 60000,
    "warmup_iters": 1000,
    "warmup_start_lr": 1e-5,
    "warmup": "exponential",
}


@pytest.mark.parametrize(
    ("schedule", "table"),
    [
        (PADDLE_SEED, {0: 1e-5, 1: 1.999e-5, 500: 5.005e-3, 1000: 0.01, 40500: 5.36351e-3, 80000: 1e-5}),
        (OFFICIAL, {0: 1e-5, 1: 1.00693e-5, 500: 3.16228e-4, 1000: 0.01, 30500: 5.3589e-3, 60000: 0, 60001: 0}),
        ({"learning_rate": 0.01, "iters": 100}, {0: 0.01, 50: 5.3589e-3, 75: 2.8717e-3, 99: 1.5849e-4}),
    ],
)
def test_rates(schedule, table):
    for iteration, rate in table.items():
        assert warmup_poly(iteration, **schedule) == pytest.approx(rate, rel=1e-4, abs=1e-12)


def test_a_run_shorter_than_its_warmup_only_warms_up():
    rates = [warmup_poly(t, 1.0, iters=5, warmup_iters=10) for t in range(5)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_scheduler_is_the_function_and_jumps_to_any_iteration():
    schedule = WarmupPoly(**OFFICIAL)
    for iteration in range(4):
        assert schedule.get_lr() == warmup_poly(iteration, **OFFICIAL) == schedule.last_lr
        schedule.step()
    schedule.step(30500)
    assert schedule() == warmup_poly(30500, **OFFICIAL)


@pytest.mark.parametrize(("options", "message"), [({"warmup": "cosine"}, "warmup"), ({"warmup_start_lr": 0}, "start")])
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        WarmupPoly(**{**OFFICIAL, **options})


def test_an_exponential_warmup_of_no_iterations_needs_no_start():
    assert WarmupPoly(0.5, iters=10, warmup="exponential")() == 0.5


def test_cosine_is_paddles_after_its_warmup():
    options = {"learning_rate": 0.02, "end_lr": 0.001, "warmup_iters": 10}
    theirs = paddle.optimizer.lr.CosineAnnealingDecay(0.02, T_max=90, eta_min=0.001)
    for iteration in range(10, 101):
        assert warmup_cosine(iteration, iters=100, **options) == pytest.approx(theirs(), rel=1e-9)
        theirs.step()
    by_hand = {0: 0, 5: 0.01, 10: 0.02, 55: 0.0105, 100: 0.001, 120: 0.001}
    for iteration, rate in by_hand.items():
        assert warmup_cosine(iteration, iters=100, **options) == pytest.approx(rate)


def test_constant_is_reached_by_its_warmup():
    rates = [warmup_constant(iteration, 0.4, warmup_iters=4, warmup_start_lr=0.2) for iteration in (0, 1, 4, 1000)]
    assert rates == pytest.approx([0.2, 0.25, 0.4, 0.4])


def test_each_schedule_has_the_rates_of_its_kind():
    cosine, constant = WarmupCosine(1.0, 8, warmup_iters=2), WarmupConstant(1.0, warmup_iters=2)
    for schedule, rates in ((cosine, {0: 0, 1: 0.5, 5: 0.5, 8: 0}), (constant, {0: 0, 1: 0.5, 5: 1, 8: 1})):
        for iteration, rate in rates.items():
            schedule.step(iteration)
            assert schedule() == pytest.approx(rate)
