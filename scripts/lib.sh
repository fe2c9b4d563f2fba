# Shared by the scripts: finds Python and keeps a virtual environment in step with pyproject.toml.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() {
    if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then printf '\033[1m== %s\033[0m\n' "$*" >&2; else printf '== %s\n' "$*" >&2; fi
}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# The first Python that is new enough; PYTHON=... names another.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
        [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON is no Python of version 3.11 or newer"
    done
    die "qconv needs Python 3.11 or newer; PYTHON=/path/to/python3 names one"
}

# make_venv DIRECTORY EXTRA [CONSTRAINTS]: qconv with the extra (base: none), installed from this checkout.  Done once,
# and again when Python, pyproject.toml or the constraints have changed.
make_venv() {
    local directory=$1 extra=$2 constraints=${3:-/dev/null} python want
    python=$(find_python)
    want=$("$python" -c 'import sys; print(sys.version, sys.prefix)' && echo "$root" && cat "$root/pyproject.toml" "$constraints")
    for made in "$directory/.made-dev" "$directory/.made-$extra"; do
        [ "$(cat "$made" 2>/dev/null)" != "$want" ] || return 0
    done
    say "Installing into ${directory#"$root"/} (once; it takes a minute)"
    "$python" -m venv "$directory" ||
        die "cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"
    "$directory/bin/python" -m pip install -qq --disable-pip-version-check --constraint "$constraints" \
        --editable "$root$([ "$extra" = base ] || echo "[$extra]")" ||
        die "pip could not install qconv and what it needs; the lines above say why"
    printf '%s\n' "$want" >"$directory/.made-$extra"
}
