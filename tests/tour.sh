#!/usr/bin/env bash
# Runs the tour of a README exactly as it is written: every ```sh block of the section whose heading contains "tour", one
# after the other, in one shell that stops at the first failure.
#
# Usage: tests/tour.sh README.md
#
# The shell starts in the folder of the README, with an empty home of its own, so that what the tour leaves behind goes
# away with it. Cargo, if the tour calls it, keeps its real home. What the tour starts in the background is ended at the end.
set -euo pipefail

readme=$(realpath "$1")
home=$(mktemp -d "${TMPDIR:-/tmp}/weir-tour-XXXXXX")
script="$home/tour"

awk '
    /^```/ && inside { inside = 0; next }
    /^```sh$/ && tour { inside = 1; found = 1; next }
    /^```/ && !inside { other = !other; next }
    inside { print; next }
    !other && /^#+ / {
        match($0, /^#+/)
        # A heading of the same or a higher level ends the section.
        if (tour && RLENGTH <= level) tour = 0
        if (tolower($0) ~ /tour/) { tour = 1; level = RLENGTH }
    }
    END { if (!found) exit 3 }
' "$readme" > "$script.body" || { echo "no \`\`\`sh block in a section named tour: $readme" >&2; exit 1; }

{
    echo 'set -euo pipefail'
    # Background jobs of the tour: asked to stop, then awaited.
    echo "trap 'jobs -p | xargs -r kill 2>/dev/null || true; wait' EXIT"
    echo 'set -x'
    cat "$script.body"
} > "$script"

export CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}" RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}"
status=0
(cd "$(dirname "$readme")" && HOME="$home" timeout 600 bash "$script" < /dev/null) || status=$?
if [ "$status" -ne 0 ]; then
    echo "the tour of $readme ended with $status; what it left is in $home" >&2
    exit "$status"
fi
rm -r "$home"
echo "the tour of $(basename "$readme") works as written"
