# What the checks of the packages share; they run in the project's folder.

# fail WORDS...: one line, and out.
fail() {
    echo "tests/package: $*" >&2
    exit 1
}

# need PROGRAM...
need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || fail "'$program' is needed; see docs/releasing.md"
    done
}

# quietly LOG COMMAND...: the log's end where the command fails.
quietly() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 </dev/null && return
    tail -n 40 "$log" >&2
    fail "failed: $*"
}

# release FOLDER: the release archive of the last commit, FOLDER/qins-VERSION.tar.xz; its name
# without .tar.xz is printed.
release() {
    local tar
    quietly "$1/setup.log" meson setup "$1/build" -Dtests=false
    quietly "$1/dist.log" meson dist -C "$1/build" --no-tests --allow-dirty --formats xztar
    tar=$(echo "$1"/build/meson-dist/*.tar.xz)
    mv "$tar" "$1/"
    rm -rf "$1/build"
    basename "$tar" .tar.xz
}
