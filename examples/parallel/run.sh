#!/bin/bash
# Runs the lists of this folder, which `qins batch --emit parallel` wrote, by GNU parallel, or one line after
# the other where there is none. Run it again after any failure: what is done is not done again,
# but for archives of one shard, which are made anew.
#   bash run.sh [options of parallel, such as --jobs 4 or --sshloginfile nodes]
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")" || exit 4
code=0
for list in prepare tasks merge verify; do
    [ -s "$list.txt" ] || continue
    if parallel --version 2>/dev/null | grep -q GNU; then
        SHELL=/bin/bash parallel --will-cite --jobs "${JOBS:-2}" --joblog "$list.log" "$@" <"$list.txt" || code=1
    else
        while IFS= read -r line; do
            bash -c "$line" </dev/null || code=1
        done <"$list.txt"
    fi
done
exit "$code"
