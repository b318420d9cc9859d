"""Train variants of a recipe with several seeds, and test which of them differ from a baseline.

Each run is a process of train.py at low priority, in a subfolder of --save_dir, that resumes from its last checkpoint.
So the command can be stopped at any time; the same command continues, and skips the runs that are complete. Results are
written to SAVE_DIR/ablation_PLAN.csv, a line for each run with the IoU of every class, and printed as a table.
"""

import os
import time
from pathlib import Path
from typing import IO, Any, Dict, List, Optional, Sequence

from compat import UserError, logger
from compat.files import write_text

from benchmarks.study.plan import Plan, Run, load_plan
from benchmarks.study.scores import read_result, write_result
from benchmarks.study.tables import as_csv, find_rows, table
from benchmarks.study.training import check_settings, last_line, locked, remove_checkpoints, train
from engine.command import choose_device, dataset_overrides, parser, run, whole_number
from engine.resilience.checkpoint import prepare_save_dir
from tool.speed.provenance import provenance

SIGNAL_STATUS = 128  # an exit status of 128 + N means that signal N ended the process


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Train the runs that are not complete, write the CSV and print the table.

    Raises:
        UserError: for a wrong plan or folder, and at the end if a run has failed.
    """
    arguments = _parser().parse_args(argv)
    plan = load_plan(arguments.config)
    chosen = [one for variant in plan.chosen(arguments.only) for one in variant.runs()]
    save_dir = prepare_save_dir(arguments.save_dir)
    failed: List[str] = []
    if not arguments.table:
        choose_device(arguments.device)
        if hasattr(os, "nice"):
            os.nice(arguments.nice)
        with locked(save_dir) as lock:
            for number, one in enumerate(chosen, start=1):
                logger.info(
                    "run %d of %d: %s, seed %d, %d iterations", number, len(chosen), one.variant, one.seed, one.iters
                )
                try:
                    complete_run(one, save_dir / one.folder, arguments, lock)
                except UserError as error:
                    logger.error("%s", error)
                    failed.append(one.variant)
                write_csv(plan, save_dir)
    found = find_rows(plan, save_dir)
    print(f"\n{table(plan.baseline, found)}" if found else f"{save_dir}: no run of this plan is complete yet")
    if failed:
        raise UserError(f"{len(failed)} of {len(chosen)} runs have failed: {', '.join(failed)}; the log says why")
    return 0


def complete_run(one: Run, folder: Path, arguments, lock: IO[str]) -> Dict[str, Any]:
    """Train a run to its end and evaluate its last weights, unless that is done; returns its result.

    Raises:
        UserError: if the training fails.
        SystemExit: if a signal ends it.
    """
    check_settings(one, folder)
    result = read_result(folder)
    if result is None:
        flags = ["--dataset_root", str(Path(arguments.dataset_root).resolve())] if arguments.dataset_root else []
        flags += ["--device", arguments.device] if arguments.device else []
        started = time.perf_counter()
        status = train(one, folder, flags, lock)
        if status < 0 or status > SIGNAL_STATUS:
            raise SystemExit(status if status > 0 else SIGNAL_STATUS - status)
        if status:
            raise UserError(f"{one.variant}, seed {one.seed}: train.py ended with status {status}: {last_line(folder)}")
        logger.info("trained for %.0f s since the last start", time.perf_counter() - started)
        result = write_result(one, folder, dataset_overrides(arguments.dataset_root), _about())
        remove_checkpoints(folder)
    logger.info("mIoU %.4f, best %.4f, %.0f s", result["miou"], result["best_miou"], result["seconds"])
    return result


def write_csv(plan: Plan, save_dir: Path) -> None:
    """Write all results of the plan so far to one file."""
    write_text(save_dir / f"ablation_{plan.path.stem}.csv", as_csv(find_rows(plan, save_dir)))


def _about() -> Dict[str, str]:
    """The provenance of a run's figures."""
    about = provenance()
    return {"commit": about["commit"], "processor": about["machine"], "date": about["date"]}


def _parser():
    arguments = parser(
        __doc__,
        "python -m benchmarks.ablation --config configs/ablation/camvid.yml --dataset_root data/camvid --only default",
    )
    add = arguments.add_argument
    add("--config", type=Path, required=True, metavar="PLAN.yml", help="variants, seeds and iterations")
    add("--save_dir", default="output/ablation", help="folder of all runs (output/ablation)")
    add("--only", nargs="+", default=[], metavar="VARIANT", help="train only these variants")
    add("--table", action="store_true", help="train nothing; print the table of the results so far")
    add("--dataset_root", help="folder of the dataset, instead of the recipe's")
    add("--device", help="cpu, gpu or gpu:N; by default the GPU where there is one")
    add(
        "--nice",
        type=whole_number(0, 19),
        default=10,
        metavar="N",
        help="added to the process's niceness, 0 to 19 (10)",
    )
    return arguments


if __name__ == "__main__":
    run(main)
