#!/bin/bash
# The driver, on the head: a new study, or the one that is there goes on.
set -eu
places=(--data-dir "$DATA_DIR" --weights-dir "$WEIGHTS_DIR" --address auto)
if [ -f "$RUNS_DIR/$NAME/study.json" ]; then
    exec resnet-search resume "$RUNS_DIR/$NAME" "${places[@]}"
fi
exec resnet-search run "$STUDY" --name "$NAME" --runs-dir "$RUNS_DIR" "${places[@]}"
