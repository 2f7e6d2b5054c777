#!/bin/sh
# Trains a run on another machine that shares no folder with this one: copies the run folder there, and brings back
# checkpoints, previews and the LoRA file as they are made, each before the window hears of it.
#
#   "Where runs are computed", or --worker:  sh packaging/over_ssh.sh gpu-box
#   with another command there:              sh packaging/over_ssh.sh gpu-box accelerate launch --multi_gpu --no_python lora-atelier
#
# There must be: lora-atelier (the same version), and the pictures and the base model under the same paths as here, e.g.
# copied once with  rsync -aR /home/me/pictures/zorblin gpu-box:/  . Needs ssh with a key, and tar, on both sides.
# Stop the run before the window is closed: in the background it would train to its end there, but hear no more commands.
# REMOTE_RUNS says where the copy is kept there (lora_atelier_runs in the home folder).
set -u

# The last two words are `worker RUN_FOLDER`; what lies between the host and them is the command there.
host=$1
shift
command=
while [ $# -gt 2 ]; do
  command="$command $1"
  shift
done
run=$2
there=${REMOTE_RUNS:-lora_atelier_runs}/$(basename "$run")

# As a word for the other shell: in single quotes, with those inside it written as '\''.
quoted() {
  printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"
}

# Brings paths of the run folder here; a path that is not there (yet) is no fault.
fetch() {
  for path in "$@"; do
    ssh "$host" "cd $(quoted "$there") && tar -cf - $(quoted "$path") 2>/dev/null" </dev/null | tar -xf - -C "$run" 2>/dev/null
  done
}

# As long as this script runs, the folder counts as being trained in (util-linux's flock; macOS has none).
if command -v flock >/dev/null; then
  exec 9>>"$run/.lock"
  flock -n 9 || { echo "Another worker is training in $run." >&2; exit 1; }
fi
trap '' PIPE # a window that is gone does not keep results from being fetched

tar -cf - -C "$run" --exclude=./.lock --exclude=./events.jsonl --exclude=./log.txt . |
  ssh "$host" "mkdir -p $(quoted "$there") && tar -xf - -C $(quoted "$there")" || exit 1

status=$(mktemp) || exit 1
trap 'rm -f "$status"' EXIT
{
  ssh "$host" "${command:-lora-atelier} worker $(quoted "$there")"
  echo $? >"$status"
} | while IFS= read -r line; do
  case $line in
  '{"type": "checkpoint_saved"'* | '{"type": "preview_drawn"'*)
    fetch "$(printf '%s\n' "$line" | sed 's/.*"path": "\([^"]*\)".*/\1/')" log.txt
    ;;
  '{"type": "exported"'*) fetch export ;;
  '{"type": "finished"'* | '{"type": "failed"'*) fetch log.txt ;;
  esac
  printf '%s\n' "$line" >>"$run/events.jsonl"
  printf '%s\n' "$line" 2>/dev/null
done
exit "$(cat "$status")"
