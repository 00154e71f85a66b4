#!/usr/bin/env bash
# Makes an image of a root that boots with its own kernel and init, with the agent as a service in it: a folder or a tar archive.
# The same as `minions bake-agent`, which has more to say: minions bake-agent --help
set -euo pipefail
exec minions bake-agent "$@"
