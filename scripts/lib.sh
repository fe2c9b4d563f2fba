# Shared by the scripts: finds Python and keeps a virtual environment in step with pyproject.toml and the lock.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pythons='3.11 3.12 3.13' # which pyproject.toml names; newer ones are tried, without the lock

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
        [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON is not a Python of version 3.11 or newer"
    done
    die "qconv needs Python 3.11 or newer; PYTHON=/path/to/python3 names one"
}

# Whether the lock, scripts/requirements/, has wheels for this Python on this machine; scripts/lock sees that it has them.
lock_covers() {
    local version abi
    read -r version abi < <("$1" -c 'import platform, sys, sysconfig
print("%d.%d" % sys.version_info[:2], sysconfig.get_config_var("SOABI"), platform.machine())')
    case " $pythons " in *" $version "*) ;; *) return 1 ;; esac
    case $abi in
        cpython-3??-x86_64-linux-gnu\ * | cpython-3??-aarch64-linux-gnu\ * | cpython-3??-darwin\ arm64) ;;
        *) return 1 ;;
    esac
}

# make_venv DIRECTORY EXTRA [PIP'S OPTIONS]: qconv from this checkout, with the extra (base: none) in the versions of the
# lock; with options, or where the lock does not reach, in versions that pip chooses within pyproject.toml's ranges.  Done
# once, and again when Python, pyproject.toml, the lock or the options have changed; with --upgrade every time.
make_venv() {
    local directory=$1 extra=$2 python want lock=$root/scripts/requirements
    shift 2
    python=$(find_python)
    if [ $# -gt 0 ] || ! lock_covers "$python"; then lock=; fi
    want=$("$python" -c 'import sys; print(sys.version, sys.prefix)' && echo "$root $*" &&
        cat "$root/pyproject.toml" ${lock:+"$lock"/*.txt})
    case " $* " in
        *' --upgrade '*) ;;
        *)
            for made in "$directory/.made-dev" "$directory/.made-$extra"; do
                [ "$(cat "$made" 2>/dev/null)" != "$want" ] || return 0
            done
            ;;
    esac
    say "Installing into ${directory#"$root"/} (once; it takes a minute)"
    "$python" -m venv "$directory" ||
        die "cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"
    rm -f "$directory"/.made-*
    install_qconv "$directory/bin/python" "$extra" "$lock" "$@" ||
        die "pip could not install qconv and what it needs; the lines above say why"
    printf '%s\n' "$want" >"$directory/.made-$extra"
}

# install_qconv PYTHON EXTRA LOCK [PIP'S OPTIONS]: with a lock, nothing is fetched whose hash is not in it.
install_qconv() {
    local pip=("$1" -m pip install -qq --disable-pip-version-check) extra=$2 lock=$3
    shift 3
    if [ -n "$lock" ]; then
        "${pip[@]}" --require-hashes --requirement "$lock/$extra.txt" &&
            "${pip[@]}" --no-build-isolation --no-deps --editable "$root"
    else
        "${pip[@]}" "$@" --editable "$root$([ "$extra" = base ] || echo "[$extra]")"
    fi
}
