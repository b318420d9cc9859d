"""Learning rates against tables computed by hand."""

import pytest

from scheduler import WarmupPoly, warmup_poly

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
        (OFFICIAL, {0: 1e-5, 1: 1.00693e-5, 500: 3.16228e-4, 1000: 0.01, 30500: 5.3589e-3, 60000: 0}),
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
