#!/bin/sh
# From a folder of LabelMe files to an int8 network, a table to choose by, and a C++ program that runs it.
#   sh examples/from_labelme.sh SOURCE SAVE_DIR [WEIGHTS]
# SOURCE holds images and their JSON files. WEIGHTS to start from are a file or a name, by default stdc1_seg_camvid.
# From the environment: ITERS of training (100), SIZE as "H W" that the network is exported for ("360 480"), and PYTHON.
# Needs requirements-deploy.txt, CMake and a C++ compiler.
set -eu
usage='usage: sh examples/from_labelme.sh SOURCE SAVE_DIR [WEIGHTS]'
source=${1:?$usage}
out=${2:?$usage}
weights=${3:-stdc1_seg_camvid}
python=${PYTHON:-python}
recipe=$out/data/recipe.yml
best=$out/run/best_model
iters=${ITERS:-100}
size=${SIZE:-360 480}

"$python" -m tool.prepare_data import "$source" --save_dir "$out/data" --finetune "$weights"
"$python" train.py --config "$recipe" --finetune "$weights" --iters "$iters" --save_interval "$iters" \
    --save_dir "$out/run"
"$python" -m tool.evaluate --config "$recipe" --model_path "$best"
# shellcheck disable=SC2086  # SIZE is two numbers
"$python" -m tool.export --config "$recipe" --model_path "$best" --save_dir "$out/export" --int8 --input_shape 1 3 $size
"$python" -m tool.benchmark --config "$recipe" --model_path "$out/export" --save_dir "$out/benchmark" --runs 5

openvino=$("$python" -c 'from openvino.utils import get_cmake_path; print(get_cmake_path())')
cmake -S examples/cpp -B "$out/cpp" -DOpenVINO_DIR="$openvino"
cmake --build "$out/cpp" --parallel
# As PPM, which the program reads without OpenCV too.
image=$(find "$out/data/images" -type f | sort | head -n 1)
"$python" -c 'import sys, cv2; cv2.imwrite(sys.argv[2], cv2.imread(sys.argv[1]))' "$image" "$out/image.ppm"
"$out/cpp/segment" "$out/export" "$out/image.ppm" --precision int8 --save_dir "$out/segmented"
