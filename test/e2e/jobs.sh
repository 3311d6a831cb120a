# Work that begins later: by the clock, by a request, after other work. Sourced by test/e2e/run.

status_of() { t job show "$1" -o json | jq -r ".status.$2"; }
status_is() { [ "$(status_of "$1" "$2")" = "$3" ]; }
children() { t job list --parent "$1" -o json | jq -r "[.items[] | select($2)] | length"; }
children_are() { [ "$(children "$1" "$2")" = "$3" ]; }
children_at_least() { [ "$(children "$1" "$2")" -ge "$3" ]; }
batch() { # NAME COMMAND [JOB-YAML-LINES]
  printf 'type: batch\n%s' "${3:-}"; job "$1" 1 "$2"
}
twice_launched() { t job list --parent "$1" -o json | jq -e '[.items[].status | select(.launch == "periodic") | .launched_for] | length != (unique | length)'; }

J03_periodic_job() {
  batch j03p 'echo ran' 'periodic: {cron: "@every 1s", time_zone: Europe/Zurich, keep: 3}
' | t job run - -q; status_is j03p state periodic; [ "$(status_of j03p next_launch)" != "" ]
  eventually 20 children_at_least j03p '.status.state == "completed"' 2
  # A manager that is killed launches no time twice, and goes on.
  kill -9 "$(pgrep -f -- "manager --data $work/pool/manager" | head -1)"; eventually 20 t node list; last=$(status_of j03p last_launch)
  eventually 20 sh -c "[ \"\$('$tutti' job show j03p -o json | jq -r .status.last_launch)\" \\> '$last' ]"; fails twice_launched j03p
  eventually 20 children_are j03p '.status.result == "completed"' 3; t explain j03p | grep -q 'next at'
  t job stop j03p -q; status_is j03p state stopped; fails t job periodic force j03p -q 2>"$work/j03p.err"; grep -q 'job start j03p' "$work/j03p.err"
  t job delete j03p -q; fails sh -c "'$tutti' job list -o name | grep -q j03p"
  fails sh -c "printf 'job: x\ntype: batch\nperiodic: {cron: \"61 * * * *\"}\ntasks: [{name: a, image: \"hello:1\"}]\n' | '$tutti' job run - 2>'$work/j03p.err'"; grep -q 'not a minute' "$work/j03p.err"
  fails sh -c "printf 'job: x\ntype: batch\nperiodic: {cron: \"* * * * *\", time_zone: Mars/Base}\ntasks: [{name: a, image: \"hello:1\"}]\n' | '$tutti' job run - 2>'$work/j03p.err'"; grep -q 'time zone' "$work/j03p.err"
}
J03_periodic_overlap_and_force() {
  batch j03f 'sleep 1000' 'periodic: {cron: "@every 1s", overlap: forbid}
' | t job run - -q; eventually 20 children_are j03f '.status.running == 1' 1
  eventually 20 sh -c "'$tutti' event list --limit 200 | grep -q 'job.left-out.*j03f'"; children_are j03f true 1
  fails t job periodic force j03f -q 2>"$work/j03f.err"; grep -q 'still runs' "$work/j03f.err"; t job delete j03f -q
  eventually 15 sh -c "! pgrep -fx 'sleep $nap'"
  batch j03r 'sleep 1000' 'periodic: {cron: "0 0 1 1 *", overlap: replace}
' | t job run - -q; t job periodic force j03r --no-wait | grep -q '^job j03r-'; eventually 15 children_are j03r '.status.running == 1' 1
  t job periodic force j03r -q; eventually 15 children_are j03r '.status.running == 1' 1; children_are j03r '.status.result == "stopped"' 1; t job delete j03r -q
}
J03_parameterized_job() {
  { batch j03d 'cat $TUTTI_PAYLOAD; echo \"meta ${meta.user} $TUTTI_META_GREETING\"; sleep 0.2; test ${meta.user} = ana' 'parameterized: {payload: required, meta_required: [user], meta_optional: [greeting]}
'; echo '    restart: {policy: never}'; echo '    reschedule: {attempts: 0}'; } | t job run - -q; status_is j03d state parameterized
  echo 'the payload' | t job dispatch j03d --meta user=ana --meta greeting=hello - | tee "$work/j03d.out"; child=$(sed -n 's/^job //p' "$work/j03d.out" | head -1)
  status_is "$child" result completed; t instance logs "$child-main-0" | tee "$work/j03d.log"; grep -q 'the payload' "$work/j03d.log"; grep -q 'meta ana hello' "$work/j03d.log"
  set +e; echo x | t job dispatch j03d --meta user=bob - 2>/dev/null; [ $? = 1 ] || exit 1; set -e; children_are j03d '.status.result == "failed"' 1
  fails t job dispatch j03d --meta nobody=x 2>"$work/j03d.err"; grep -q 'meta.user' "$work/j03d.err"; grep -q 'meta.nobody' "$work/j03d.err"; grep -q 'payload' "$work/j03d.err"
  # The same payload for a plain process.
  printf 'job: j03x\ntype: batch\nparameterized: {}\ntasks:\n  - {name: main, driver: process, command: [/bin/sh, -c, "cat $TUTTI_PAYLOAD"]}\n' | t job run - -q
  child=$(printf 'to a process' | t job dispatch j03x - | sed -n 's/^job //p' | head -1); t instance logs "$child-main-0" | grep -q 'to a process'
  # Asked for twice with one key, it is launched once.
  for i in 1 2; do api -X POST -H 'content-type: application/json' -H 'idempotency-key: j03x' -d '{}' "$(url)/v1/jobs/j03x:dispatch" | jq -e '.object.status.parent == "j03x"'; done
  children_are j03x true 2; t job delete j03d -q; t job delete j03x -q
}
J06_after() {
  task() { printf '  - {name: %s, image: "hello:1", command: [sh, -c, "%s"], after: [%s], restart: {policy: never}, reschedule: {attempts: 0}}\n' "$1" "$2" "$3"; }
  { echo 'job: j06'; echo 'type: batch'; echo 'tasks:'; task build 'sleep 1; echo built' ''; task check 'echo checked' build; task alarm 'echo alarm' '{name: check, when: failed}'; } >"$work/j06.yaml"
  t job run "$work/j06.yaml" -q --no-wait; eventually 10 sh -c "'$tutti' explain j06 | grep -q 'check waits for task build to complete'"
  eventually 20 status_is j06 result completed; [ "$(t ps --all --job j06 -o name | sort | tr '\n' ' ')" = 'j06-build-0 j06-check-0 ' ]
  t job run "$work/j06.yaml" 2>&1 | grep -q 'alarm not needed: task check completed'  # run again, and waited for
  timeout 30 "$tutti" job scale j06 check=2 -q  # ends although one task was skipped
  finished() { t instance show "$1" -o json | jq -r ".status.tasks[0].$2"; }
  [[ $(finished j06-build-0 finished) < $(finished j06-check-0 started) ]]
  # A job after a job; what fails for good blocks it, run again it is waited for again.
  { echo 'job: j06a'; echo 'type: batch'; echo 'tasks:'; task main 'exit 1' ''; } | t job run - -q --no-wait
  { echo 'job: j06b'; echo 'type: batch'; echo 'after: [j06a]'; echo 'tasks:'; task main 'echo second' ''; } >"$work/j06b.yaml"
  set +e; t job run "$work/j06b.yaml" 2>"$work/j06.err"; [ $? = 1 ] || exit 1; set -e; cat "$work/j06.err"; grep -q 'never starts: job j06a failed' "$work/j06.err"; t explain j06b | grep -q 'job j06a failed'
  { echo 'job: j06a'; echo 'type: batch'; echo 'tasks:'; task main 'sleep 0.5' ''; } | t job run - -q --no-wait
  eventually 20 status_is j06b result completed
  # A circle is refused with its name; so is a job that is not there.
  fails sh -c "{ echo 'job: j06a'; echo 'type: batch'; echo 'after: [j06b]'; echo 'tasks: [{name: a, image: \"hello:1\"}]'; } | '$tutti' job run - 2>'$work/j06.err'"; grep -q 'j06a -> j06b -> j06a' "$work/j06.err"
  { echo 'job: j06c'; echo 'type: batch'; echo 'tasks:'; task a true b; task b true a; } | fails t job run - 2>"$work/j06.err"; grep -q 'a -> b -> a' "$work/j06.err"
  fails sh -c "sed 's/j06a/nobody/' '$work/j06b.yaml' | '$tutti' job run - 2>'$work/j06.err'"; grep -q 'no job' "$work/j06.err"
  for name in j06 j06a j06b; do t job delete $name -q; done
}
J10_ttl_and_deadline() {
  batch j10t 'true' 'ttl: 2s
' | t job run - -q; status_is j10t result completed; eventually 20 sh -c "! '$tutti' job show j10t 2>/dev/null"
  set +e; batch j10d 'sleep 1000' 'deadline: 2s
' | t job run - 2>"$work/j10.err"; [ $? = 1 ] || exit 1; set -e; grep -q 'deadline of 2s' "$work/j10.err"; status_is j10d result failed; eventually 10 sh -c "! pgrep -fx 'sleep $nap'"; t job delete j10d -q
}
