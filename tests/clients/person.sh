#!/bin/sh
# Stands in for a browser (BROWSER=person.sh): a person who consents to everything. It returns at once, as browsers do.
here="$(cd "$(dirname "$0")" && pwd)"
"$here/node_modules/.bin/node" "$here/person.mjs" "$1" </dev/null >&2 &
