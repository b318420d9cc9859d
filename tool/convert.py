"""Convert weights that other projects published, without torch and without running anything that a file contains.

The source is recognised by the names of its tensors: the official STDC (ImageNet and segmentation), BiSeSTDC and
DDRNet, mmsegmentation's STDC and DDRNet, and PaddleSeg's STDCSeg. A tensor that nothing explains ends in an error.
With --target official a `.pdparams` of this project becomes a `.safetensors` with the original project's names, and
with --target half one of half the size with our names, which loads as the `.pdparams` does.
"""

from pathlib import Path
from typing import Optional, Sequence

from compat import UserError

from engine.command import parser, run, whole_number
from engine.conversion import SOURCES, convert, to_official
from engine.conversion.half import to_half
from engine.conversion.weight_files import PADDLE_SUFFIX, SAFE_SUFFIX, read_weight_file, write_weight_file
from models import list_models

EXAMPLE = "python -m tool.convert pretrained/STDCNet813M_73.91.tar pretrained/stdc1_imagenet.pdparams --model stdc1"


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Convert one file and print the report; raises UserError, with nothing written, where a tensor is unexplained."""
    arguments = parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="file to convert")
    add("output", type=Path, metavar="OUTPUT", help=f"*{PADDLE_SUFFIX}, or *{SAFE_SUFFIX} with the other targets")
    add("--model", required=True, choices=list_models(), help="the network that the weights are for")
    add("--source", default="auto", choices=["auto", *(source.name for source in SOURCES)], help="default: auto")
    add(
        "--num_classes",
        type=whole_number(1, 10**4),
        help="of the network; a classifier of another number is replaced by a fresh one",
    )
    add("--target", default="paddle", choices=["paddle", "official", "half"], help="default: paddle")
    options = arguments.parse_args(argv)
    back = options.target == "official"
    suffix = PADDLE_SUFFIX if options.target == "paddle" else SAFE_SUFFIX
    if options.output.suffix != suffix:
        arguments.error(f"OUTPUT must end in {suffix} with --target {options.target}")
    if options.num_classes is not None and options.target != "paddle":
        arguments.error(f"--num_classes is not for --target {options.target}")
    if options.output.exists() and options.checkpoint.exists() and options.output.samefile(options.checkpoint):
        raise UserError(f"{options.output}: would overwrite the checkpoint; choose another OUTPUT")
    state, beside = read_weight_file(options.checkpoint)
    try:
        report = f"read        {len(state)} tensors"
        if back:
            tensors = to_official(state, options.model)
        elif options.target == "half":
            tensors = to_half(state, options.model)
        else:
            conversion = convert(state, options.model, options.num_classes, options.source)
            tensors, report = conversion.tensors, conversion.report()
    except UserError as error:
        raise UserError(f"{options.checkpoint}: {error}") from error
    write_weight_file(options.output, tensors)
    print(report)
    if beside:
        print(f"ignored     beside the weights: {', '.join(beside)}")
    print(f"wrote       {len(tensors)} tensors to {options.output}")


if __name__ == "__main__":
    run(main)
