# Sourced by the scripts: runs long steps with a line and a time for each, and their output in build/logs.

log_folder=build/logs
mkdir -p "$log_folder"
# A step that is done within this many seconds is not mentioned.
stage_silent_seconds=0

# stage NAME COMMAND...: the command's output is shown if it fails, and its status returned.
stage() {
  local name=$1 start=$SECONDS announced='' status=0 log
  log=$log_folder/$(tr -cs 'A-Za-z0-9\n' '-' <<<"$name").log
  shift
  set -m  # a process group of its own: Ctrl-C ends everything that the step has started
  "$@" >"$log" 2>&1 </dev/null &
  local pid=$!
  set +m
  # shellcheck disable=SC2064  # the pid of now
  trap "kill -- -$pid 2>/dev/null" EXIT
  while kill -0 $pid 2>/dev/null; do
    if [ -z "$announced" ] && [ $((SECONDS - start)) -ge "$stage_silent_seconds" ]; then
      printf '%-48s' "$name ..." >&2
      announced=yes
    fi
    sleep 0.2
  done
  wait $pid || status=$?
  trap - EXIT
  if [ $status -ne 0 ]; then
    printf '\n%s: failed after %d s; the end of %s:\n\n' "$name" $((SECONDS - start)) "$log" >&2
    tail -n 80 "$log" >&2
  elif [ -n "$announced" ]; then
    printf '%5d s\n' $((SECONDS - start)) >&2
  fi
  return $status
}

# Compiles again only what has changed, where ccache is there.
if command -v ccache >/dev/null; then
  export CMAKE_CXX_COMPILER_LAUNCHER=ccache CMAKE_C_COMPILER_LAUNCHER=ccache
fi
