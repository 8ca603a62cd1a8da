#!/bin/bash
# Converts one checkpoint on a Slurm cluster: an array of N tasks (default 8), a merge that waits for all of
# them, and a report whatever comes of it. Run it again after any failure: what is done is not done again.
#
#   MODEL=/data/model OUT=/data/model.qins ./submit.sh [N]
#
# OPTIONS         options of qins convert, as a shell would read them: "--bits 6 --plan 'my plan.json'"
# QINS            the program (default: qins on PATH), which all nodes must have
# SBATCH_OPTIONS  options of sbatch, with blanks between: "--partition=long --account=lab"
# DEPENDENCY      what the array waits for, as sbatch takes it: "afterok:1234"
# VERIFY          0: the report does not verify the archive against the model
set -euo pipefail
: "${MODEL:?the checkpoint}" "${OUT:?the archive to be made}"
here=$(dirname "$(readlink -f "$0")")
N=$((10#${1:-8})) # 08 is no octal number
# A model that only the nodes have is theirs to find, or to miss.
MODEL=$(realpath -m -- "$MODEL")
OUT=$(realpath -m -- "$OUT")
export MODEL OUT N QINS=${QINS:-qins} OPTIONS=${OPTIONS:-} VERIFY=${VERIFY:-1}
bash -nc "options=($OPTIONS)" || exit 2
mkdir -p -- "$(dirname -- "$OUT")"

# Logs lie beside the archive; sbatch would take % in a name for a pattern.
log=${OUT//%/%%}
read -ra more <<<"${SBATCH_OPTIONS:-}"
submit() { sbatch --parsable --export=ALL --kill-on-invalid-dep=yes "${more[@]}" "$@"; }

array=$(submit ${DEPENDENCY:+--dependency="$DEPENDENCY"} --array="1-$N" --output="$log.task-%a.log" \
    "$here/convert-array.sbatch")
array=${array%%;*}
merge=$(submit --dependency="afterok:$array" --output="$log.merge.log" "$here/merge.sbatch")
merge=${merge%%;*}
report=$(submit --dependency="afterany:$merge" --output="$log.report.log" "$here/report.sbatch")
echo "$array $merge ${report%%;*}"
