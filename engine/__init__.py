"""Training, evaluation, recipes and checkpoints: where networks, losses, schedules and data meet."""

import compat  # noqa: F401  it must come before paddle
