# What a new user meets first: the command line. Sourced by test/e2e/run.

code_of() { local code=0; "$@" || code=$?; echo "$code"; }  # for commands that are to fail
gone() { ! t job show "$1" >/dev/null 2>&1; }

J11_run_rm_is_removed_when_its_command_was_killed() {
  "$tutti" run --rm --name j11killed hello:1 -- sleep 2 & cli=$!
  eventually 20 state_is j11killed-0 running; kill -9 "$cli"; wait "$cli" || true
  t job show j11killed -o json | jq -e '.spec.ttl == "1m"'; t ps -o name | grep -q j11killed-0
  name=$(t run -d --rm hello:1 -- true); eventually 20 gone "${name%-0}"
  fails t run --rm --name j11never nothing.invalid/none:1 2>/dev/null; eventually 20 gone j11never
  t job delete j11killed -q
}
J11_run_passes_signals_on_and_leaves_at_the_third() {
  "$tutti" run --name j11term hello:1 -- sh -c 'trap "exit 42" TERM; echo ready; while true; do sleep 0.1; done' >"$work/j11.out" & cli=$!
  eventually 20 grep -q ready "$work/j11.out"; kill -TERM "$cli"; code=0; wait "$cli" || code=$?; [ "$code" = 42 ]; t job delete j11term -q
  "$tutti" run --rm --name j11deaf hello:1 -- sh -c 'trap "" INT TERM; echo ready; while true; do sleep 0.1; done' >"$work/j11.out" 2>"$work/j11.err" & cli=$!
  eventually 20 grep -q ready "$work/j11.out"; kill -TERM "$cli"; sleep 0.5; kill -TERM "$cli"; eventually 5 grep -q 'once more kills it' "$work/j11.err"
  kill -TERM "$cli"; code=0; wait "$cli" || code=$?; [ "$code" = 143 ]; eventually 20 gone j11deaf
}
in_a_terminal() { # OUTPUT COMMAND…: with a terminal of its own, which grows when the command says "ready"; its exit code
  python3 -c 'import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0: os.execv(sys.argv[2], sys.argv[2:])
out = open(sys.argv[1], "wb", 0)
said = b""
while True:
  try: piece = os.read(fd, 4096) or sys.exit(1)
  except OSError: break
  out.write(piece)
  said = said[-5:] + piece
  if b"ready" in said: fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))' "$@"
}
J11_run_in_a_terminal_heeds_signals() {
  rm -f "$work/j11tty.out"; in_a_terminal "$work/j11tty.out" "$tutti" run -it --rm --name j11tty hello:1 -- sh -c 'trap "exit 5" TERM; echo ready; while true; do sleep 0.1; done' & on=$!
  eventually 20 grep -q ready "$work/j11tty.out"; kill -TERM "$(pgrep -f "^[^ ]*tutti run -it --rm --name j11tty" | tail -1)"
  code=0; wait "$on" || code=$?; [ "$code" = 5 ]; eventually 20 gone j11tty
}
J11_run_in_a_terminal_that_grows() {
  rm -f "$work/j11size.out"; in_a_terminal "$work/j11size.out" "$tutti" run -it --rm --name j11size hello:1 -- sh -c 'echo ready; until [ "$(busybox stty size)" = "50 120" ]; do sleep 0.1; done; exit 9' & on=$!
  code=0; timeout 30 tail --pid=$on -f /dev/null; wait "$on" || code=$?; [ "$code" = 9 ]; eventually 20 gone j11size
}
J11_run_has_dockers_options() {
  [ "$(FROM_HERE=yes t run --rm -e FROM_HERE -e A=b -w /tmp -u 7 --cpus 0.5 --memory 128m hello:1 sh -c 'echo $FROM_HERE $A $PWD $(id -u)')" = "yes b /tmp 7" ]
  name=$(t run -d --name j11opts -p 18053:53/udp -v j11data:/data:ro --cpus 0.5 --memory 128m hello:1 sleep $nap)
  t job show j11opts -o json | jq -e '.spec.tasks[0] | .resources.cpu == 500 and .resources.memory == 134217728 and .ports[0].protocol == "udp" and .ports[0].host == 18053 and .volumes[0].read_only'
  fails t run -d --name j11opts hello:1 true 2>"$work/j11.err"; grep -q "a job 'j11opts' already" "$work/j11.err"
  t stop "$name" -q; t start "$name" -q; t inspect "$name" -o name; t rm "$name" -q; t job delete j11opts -q
  [ "$(code_of t run -p foo hello:1 2>"$work/j11.err")" = 2 ]; grep -q 'not a port' "$work/j11.err"
  [ "$(code_of t run -v foo hello:1 2>/dev/null)" = 2 ]; [ "$(code_of t run --cpus lots hello:1 2>/dev/null)" = 2 ]
}
J11_run_says_why_it_could_not_start() { [ "$(code_of t run --rm hello:1 nosuchcmd 2>"$work/j11.err")" = 127 ]; grep -q 'nosuchcmd.*not found' "$work/j11.err"; }
J11_run_waits_without_spinning() {
  "$tutti" run --rm --name j11wait --cpus 900 hello:1 true 2>"$work/j11.err" & cli=$!
  eventually 10 grep -q waiting "$work/j11.err"
  ticks() { awk '{print $14 + $15}' "/proc/$cli/stat"; }
  before=$(ticks); sleep 3; [ $(($(ticks) - before)) -lt 30 ]  # of 300
  kill -INT "$cli"; code=0; wait "$cli" || code=$?; [ "$code" = 130 ]; eventually 10 gone j11wait
}
U04_ps_shows_what_lives() {
  name=$(t run -d hello:1 true); eventually 20 sh -c "'$tutti' instance show $name -o json | jq -e .status.finished"
  fails sh -c "'$tutti' ps -o name | grep -q '^$name$'"; t ps -a -o name | grep -q "^$name$"; t job delete "${name%-0}" -q
}
U04_everything_is_checked_before_anything_is_sent() {
  job u04 1 'sleep 1000' | t job run - -q
  for wrong in "--typo" "--tail 3" "another" "--timeout soon" "-- sh"; do [ "$(code_of t job stop u04 $wrong 2>/dev/null)" = 2 ]; done
  [ "$(code_of t job scale u04 abc 2>/dev/null)" = 2 ]; [ "$(code_of t instance logs u04-main-0 --tail many 2>/dev/null)" = 2 ]; [ "$(code_of t -o xml ps 2>/dev/null)" = 2 ]
  count_running u04 1; [ "$(t job show u04 -o json | jq .status.stopped)" = false ]; t job delete u04 -q
}
U04_names_are_suggested() {
  job u04names 1 'sleep 1000' | t job run - -q
  [ "$(code_of t job show u04name 2>"$work/u.err")" = 3 ]; grep -q "did you mean 'u04names'" "$work/u.err"
  fails t logs u04names-main-1 2>"$work/u.err"; grep -q "did you mean 'u04names-main-0'" "$work/u.err"
  fails t node show ndoe-1 2>"$work/u.err"; grep -q "did you mean 'node-1'" "$work/u.err"
  fails t instnace list 2>"$work/u.err"; grep -q "did you mean 'instance'" "$work/u.err"
  fails t job shwo 2>"$work/u.err"; grep -q "did you mean 'show'" "$work/u.err"; [ "$(grep -c '^tutti:' "$work/u.err")" = 1 ]; t job delete u04names -q
}
U04_every_command_has_help() {
  for words in run ps "job run" "job scale" "instance logs" "node label" "image push" "operation wait" "context use" logs; do
    t $words --help | head -1 | grep -q '^Example: tutti'; t help $words | grep -q -- '--help'
  done
  t job --help | grep -q 'scale NAME'; [ "$(t --version)" = "$(t version)" ]
}
U04_file_errors_name_their_place() {
  printf 'job: x\ntasks:\n  - name: a\n    imgae: hello:1\n' >"$work/place.yaml"
  for verb in run plan validate; do
    fails t job $verb "$work/place.yaml" 2>"$work/u.err"; grep -q "$work/place.yaml:4:5: " "$work/u.err"; [ "$(grep -c 'place.yaml is not valid' "$work/u.err")" = 1 ]
  done
  [ "$(code_of t job run "$work/nothing.yaml" 2>"$work/u.err")" = 3 ]; [ "$(grep -c '^tutti:' "$work/u.err")" = 1 ]; grep -q 'nothing.yaml: No such file' "$work/u.err"
}
W02_a_label_is_taken_away() { t node label node-2 w02=x w02b=y; t node label node-2 w02- w02b=z; t node show node-2 -o json | jq -e '.labels | has("w02") == false and .w02b == "z"'; fails t node label node-2 nothing 2>/dev/null; t node label node-2 w02b-; }
C05_copies_go_to_names_too() {
  job c05names 1 'sleep 1000' | t job run - -q; echo payload >"$work/c05.txt"
  t cp "$work/c05.txt" c05names-main-0:/tmp/other.txt; [ "$(t exec c05names-main-0 cat /tmp/other.txt)" = payload ]
  t cp "$work/c05.txt" c05names-main-0:/tmp/other.txt; t cp c05names-main-0:/tmp/other.txt "$work/back.txt"; [ "$(cat "$work/back.txt")" = payload ]
  mkdir -p "$work/c05dir"; t cp c05names-main-0:/tmp/other.txt "$work/c05dir"; [ -f "$work/c05dir/other.txt" ]; t cp "$work/c05dir" c05names-main-0:/tmp/renamed; t exec c05names-main-0 ls /tmp/renamed/other.txt
  fails t cp c05names-main-0:/tmp/nothing "$work/x" 2>/dev/null; fails t cp "$work/c05.txt" c05names-main-0:/no/such/name 2>"$work/c.err"; grep -q '/no/such' "$work/c.err"; [ ! -e "$work/x" ]; t job delete c05names -q
}
C05_exec_tells_what_is_not_there() {
  job c05exec 1 'sleep 1000' | t job run - -q
  [ "$(code_of t exec c05exec-main-0 nosuchcmd 2>"$work/c.err")" = 127 ]; grep -q 'nosuchcmd.*not found' "$work/c.err"
  [ "$(code_of t exec c05exec-main-0 /etc/passwd 2>"$work/c.err")" = 126 ]; [ "$(code_of t exec c05exec-main-0 -- sh -c 'exit 127' 2>/dev/null)" = 127 ]
  [ "$(t exec -e A=b -w /etc -u 9 c05exec-main-0 sh -c 'echo $A $PWD $(id -u)')" = "b /etc 9" ]
  fails timeout 10 "$tutti" exec -it c05exec-main-0 sh </dev/null 2>"$work/c.err"; grep -q 'not a terminal' "$work/c.err"; t job delete c05exec -q
}
C04_logs_have_times_and_begin_where_asked() {
  job c04since 1 'echo old; sleep 3; echo new; sleep 1000' | t job run - -q; eventually 20 sh -c "'$tutti' logs c04since-main-0 | grep -q new"
  t logs --timestamps c04since-main-0 | head -1 | grep -Eq '^20[0-9-]+T[0-9:.]+Z old$'; [ "$(t logs --since 2s c04since-main-0)" = new ]
  at=$(t logs --timestamps c04since-main-0 | tail -1 | cut -d' ' -f1); [ "$(t logs --since "$at" c04since-main-0)" = new ]; [ "$(t logs --tail 1 c04since-main-0)" = new ]; t job delete c04since -q
}
T06_a_pool_comes_back_where_it_was() {
  export TUTTI_CONFIG="$work/again.json"  # a second pool beside the first; this runs in a shell of its own
  again() { "$tutti" up --workers 2 --data "$work/again" --api-port 0 --worker-port 0 --threads 3 --node-limits licence=2 --container-runtime crun "$@" >"$work/again.log" 2>&1 & up2=$!; eventually 30 both_ready; }
  both_ready() { [ "$(t node list -o json | jq '[.items[] | select(.status.health == "ready")] | length')" = 2 ]; }
  address() { jq -r '.contexts[0].address' "$TUTTI_CONFIG"; }
  again; before=$(address); t node show node-1 -o json | jq -e '.status.inventory.limits.licence == 2'
  kill -TERM "$up2"; wait "$up2"; again; [ "$(address)" = "$before" ]
  rm -f "$work/taken"
  # Its ports taken by somebody else: it takes others, and the workers that joined before find it.
  kill -TERM "$up2"; wait "$up2"
  python3 -c 'import socket, sys, time
for port in sys.argv[2:]: s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((sys.argv[1], int(port))); s.listen(); globals()[port] = s
print("taken", flush=True); time.sleep(600)' "${before%:*}" "$(cat "$work/again/api-port")" "$(cat "$work/again/worker-port")" >"$work/taken" & taker=$!
  eventually 10 grep -q taken "$work/taken"; again --rm; [ "$(address)" != "$before" ]; kill "$taker"; kill -TERM "$up2"; wait "$up2"
  # The prefix it would have is another's now.
  ip link add tt-e2e-taken type veth peer name tt-e2e-peer; ip addr add "${before%:*}/24" dev tt-e2e-taken; ip link set tt-e2e-taken up; ip link set tt-e2e-peer up
  again --rm; other=$(address); kill -TERM "$up2"; wait "$up2"; ip link delete tt-e2e-taken; [ "${other%:*}" != "${before%:*}" ]
}
H01_a_crash_loop_is_no_success() {
  [ "$(code_of t job run - -q 2>"$work/h.err" < <(job h01loop 1 'exit 3' '    restart: {policy: always, attempts: 100, delay: 500ms}
'))" = 1 ]; grep -q 'exit code 3' "$work/h.err"; grep -q 'tutti explain h01loop' "$work/h.err"
  eventually 20 sh -c "'$tutti' explain h01loop | grep -q 'last exit code 3.*next try'"; t explain h01loop-main | grep -q 'attempt'; t explain main | grep -q main-0 || true
  eventually 20 sh -c "'$tutti' ps --job h01loop | grep -q restarting"; t job delete h01loop -q
}
S05_explain_answers_any_word() {
  job s05b 1 'sleep 1000' '    ports: [{name: http, container: 80, host: 18099}]
' | t job run - -q
  job s05c 2 'sleep 1000' '    ports: [{name: http, container: 80, host: 18099}]
' | t job run - -q --no-wait; eventually 10 count_running s05c 1
  t explain s05c | tee "$work/s05.out"; grep -Eq 'instance s05[bc]-main-[01] of job s05[bc] has it' "$work/s05.out"
  t explain s05b-main | grep -q 's05b-main-0: placed'; t explain node-1 | grep -q 'node-1: node, ready'
  [ "$(code_of t explain s05x 2>"$work/s05.err")" = 3 ]; grep -q "nothing is called 's05x'" "$work/s05.err"; grep -q 'did you mean' "$work/s05.err"
  t job delete s05b -q; t job delete s05c -q
}
J04_tasks_of_a_group_stop_side_by_side() {
  { printf 'job: j04stop\ntasks:\n'; for task in a b c; do printf '  - {name: %s, group: g, image: "hello:1", stop_grace: 4s, command: [sh, -c, "trap \\"\\" TERM; sleep %s"]}\n' "$task" "$nap"; done; } | t job run - -q
  t job stop j04stop --no-wait; eventually 3 state_is j04stop-g-0 stopping; eventually 9 sh -c "'$tutti' instance show j04stop-g-0 -o json | jq -e .status.finished"  # 12 s one after another
  t job delete j04stop -q
}
U04_what_a_plain_user_may_not_is_said() {
  plain() { HOME=$work/nobody setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
  install "$tutti" "$work/tutti-plain"; chmod 755 "$work" "$work/tutti-plain"
  fails plain "$work/tutti-plain" up --data "$work/nobody" 2>"$work/plain.err"; grep -q 'needs root' "$work/plain.err"
  echo '{}' >"$work/closed.json"; chmod 600 "$work/closed.json"
  fails plain env TUTTI_CONFIG="$work/closed.json" "$work/tutti-plain" node list 2>"$work/plain.err"; grep -q 'closed.json: Permission denied' "$work/plain.err"
  chmod 700 "$work"
}
U04_complaints_say_what_there_is() {
  says() { local code=$1 text=$2; shift 2; set +e; t "$@" >"$work/u04c.out" 2>&1; [ $? = "$code" ] || { cat "$work/u04c.out"; exit 1; }; set -e; grep -qF -- "$text" "$work/u04c.out"; }
  says 2 'max_moves: out of range — from 1 to 1000' rebalance --max-moves 0; says 3 'node_pool: unknown — there are: default' rebalance --node-pool nosuch
  says 2 "'-1' is below 0" rebalance --max-moves -1; says 2 "'-1' is not a count" job scale u04c -1; says 2 'usage: tutti pool set --policy POLICY' pool set
  t help | grep -q '| scheduler '; t help | grep -q '^tutti sim '; t image list | grep -Eq '^hello:1 .* (amd64|arm64) '
  [ "$(t rebalance --apply 2>&1 | grep -c 'nothing to move')" = 1 ]
}
