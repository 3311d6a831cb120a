# Versions, updates, drains. Sourced by test/e2e/run.

version_is() { [ "$(t job show "$1" -o json | jq -r .version)" = "$2" ]; }

J08_plan_says_what_would_change_and_does_nothing() {
  job j08 2 'sleep 1000' | t job plan - | tee "$work/j08.out"
  grep -q 'job j08: new' "$work/j08.out"; grep -q '2 to start' "$work/j08.out"; grep -Eq 'j08-main-1 +start +node-' "$work/j08.out"
  set +e; t job show j08 2>/dev/null; [ $? = 3 ]; set -e
  job j08 2 'sleep 1000' | t job run - -q
  job j08 2 'sleep 1000' | t job plan - | grep -q 'the same as version 1'
  job j08 3 'sleep 2000' | t job plan - -o json | jq -e '.version == 2 and .replace == 2 and .start == 1 and ([.changes[].path] | index("tasks[main].count"))'
  job j08 1 'sleep 1000' '    resources: {cpu: 900c}
' | t job plan - | grep -q 'not enough cpu'
  version_is j08 1; fails sh -c "echo 'job: j08' | '$tutti' job plan - 2>/dev/null"; t job delete j08 -q
}
J09_versions_differ_and_go_back() {
  job j09 1 'sleep 1000' | t job run - -q; job j09 1 'sleep 2000' '    resources: {cpu: 50m}
' | t job run - -q
  t job diff j09 | tee "$work/j09.out"; grep -q 'version 1 -> 2' "$work/j09.out"; grep -q 'tasks\[main\].resources.cpu: 100m -> 50m' "$work/j09.out"
  t job diff j09 2 1 -o json | jq -e '[.items[] | select(.path == "tasks[main].resources.cpu") | .after == 100] == [true]'
  t job revert j09 1 -q; version_is j09 3; fails sh -c "'$tutti' job diff j09 1 3 | grep -q tasks"
  eventually 20 sh -c "'$tutti' instance exec j09-main-0 -- ps | grep -q 'sleep $nap'"
  set +e; t job revert j09 77 -q 2>"$work/j09.err"; [ $? = 3 ] || exit 1; set -e; grep -q 'history' "$work/j09.err"; t job delete j09 -q
}
deployment() { t job show "$1" -o json | jq -r ".status.deployment.$2"; }
deployment_is() { [ "$(deployment "$1" state)" = "$2" ]; }
update_job() { # NAME COUNT COMMAND UPDATE
  job "$1" "$2" "$3" "update: $4
"
}
old_pids() { pgrep -fx "sleep $nap" | sort | tr '\n' ' '; }

H04_rolling_waits_for_health_and_label_changes_restart_nothing() {
  update_job h04 3 'sleep 1000' '{max_parallel: 1, min_healthy_time: 1s}' | t job run - -q; eventually 15 deployment_is h04 succeeded
  pids=$(old_pids); { update_job h04 3 'sleep 1000' '{max_parallel: 2, min_healthy_time: 1s}'; echo 'labels: {a: b}'; } | t job run - -q
  eventually 15 deployment_is h04 succeeded; [ "$(deployment h04 version)" = 2 ]; [ "$(old_pids)" = "$pids" ]
  update_job h04 3 'sleep 2000' '{max_parallel: 1, min_healthy_time: 2s}' | t job run - -q --no-wait
  eventually 10 sh -c "'$tutti' job show h04 -o json | jq -e '.status.deployment | .state == \"running\" and (.reason | test(\"healthy\"))'"
  eventually 30 deployment_is h04 succeeded; t event list --limit 100 | grep -q 'deployment.succeeded'; t job delete h04 -q
}
H04_canaries_stand_beside_until_promoted() {
  update_job h04c 2 'sleep 1000' '{min_healthy_time: 500ms}' | t job run - -q; eventually 15 deployment_is h04c succeeded
  update_job h04c 2 'sleep 2000' '{strategy: canary, canary: 1, min_healthy_time: 500ms}' | t job run - 2>&1 | grep -q 'job promote h04c'
  deployment_is h04c waiting; t ps --job h04c -o name | sort | tr '\n' ' ' | grep -q 'h04c-main-0 h04c-main-0-next h04c-main-1'
  kill -9 "$(pgrep -f -- "manager --data $work/pool/manager" | head -1)"; eventually 20 t node list; deployment_is h04c waiting
  t job promote h04c 2>"$work/h04c.progress"; fails grep -Eq '^0 of 2|3 old' "$work/h04c.progress"; eventually 20 deployment_is h04c succeeded
  eventually 10 sh -c "[ \"\$('$tutti' ps --job h04c -o name | sort | tr '\n' ' ')\" = 'h04c-main-0 h04c-main-1 ' ]"
  fails t job promote h04c -q 2>"$work/h04c.err"; grep -q 'canary or blue-green' "$work/h04c.err"; t job delete h04c -q
}
H04_blue_green_aborted_leaves_the_old_ones_alone() {
  update_job h04b 2 'sleep 1000' '{min_healthy_time: 500ms}' | t job run - -q; eventually 15 deployment_is h04b succeeded; pids=$(old_pids)
  update_job h04b 2 'sleep 2000' '{strategy: blue-green, min_healthy_time: 500ms}' | t job run - -q; deployment_is h04b waiting; eventually 10 count_running h04b 4
  t job abort h04b -q; eventually 15 count_running h04b 2; [ "$(old_pids)" = "$pids" ]; version_is h04b 3; t job diff h04b 1 3 -o json | jq -e '.items == []'; t job delete h04b -q
}
H04_a_failing_version_is_reverted_by_itself() {
  update_job h04r 2 'sleep 1000' '{min_healthy_time: 500ms}' | t job run - -q; eventually 15 deployment_is h04r succeeded
  set +e; update_job h04r 2 'exit 1' '{min_healthy_time: 1s, healthy_deadline: 3s, auto_revert: true}' | t job run - -q 2>"$work/h04r.err"; [ $? = 1 ] || exit 1; set -e
  eventually 30 version_is h04r 3; eventually 30 deployment_is h04r succeeded; [ "$(deployment h04r reverting)" = true ]; eventually 10 count_running h04r 2
  t event list --limit 100 | grep -q 'deployment.failed'; t event list --limit 100 | grep -q 'deployment.reverting'
  grep -q 'tutti: failed: version 2: .*did not become healthy within 3s.*; version 3 brings back what served before' "$work/h04r.err"
  t job history h04r | tee "$work/h04r.out"; grep -Eq '^1 +superseded' "$work/h04r.out"; grep -Eq '^2 +failed .*did not become healthy' "$work/h04r.out"; grep -Eq '^3 \(active\) +active' "$work/h04r.out"; t job delete h04r -q
}
H04_what_fails_for_good_takes_one_slot_and_says_why() {
  update_job h04g 3 'sleep 1000' '{min_healthy_time: 500ms}' | t job run - -q; eventually 15 deployment_is h04g succeeded
  ids() { t ps --job h04g -o json | jq -r '.items[].id' | sort; }; ids >"$work/h04g.ids"
  update_job h04g 3 'exit 3' '{min_healthy_time: 500ms}' | sed 's/stop_grace: 1s/stop_grace: 1s\n    restart: {policy: never}\n    reschedule: {attempts: 0}/' >"$work/h04g.yaml"
  fails t job run "$work/h04g.yaml" -q 2>"$work/h04g.err"; grep -q 'h04g-main-0 failed for good: exit code 3' "$work/h04g.err"; deployment_is h04g failed
  eventually 10 count_running h04g 3; [ "$(ids | comm -12 - "$work/h04g.ids" | wc -l)" = 2 ]; t job delete h04g -q
}
H06_no_progress_fails_the_update() {
  update_job h06 1 'sleep 1000' '{min_healthy_time: 500ms}' | t job run - -q; eventually 15 deployment_is h06 succeeded
  { update_job h06 1 'sleep 1000' '{min_healthy_time: 500ms, progress_deadline: 3s, start_first: true}' | sed 's/stop_grace: 1s/stop_grace: 2s\n    resources: {cpu: 900c}/'; } >"$work/h06.yaml"
  fails t job run "$work/h06.yaml" -q 2>"$work/h06.err"; grep -q 'nothing more became healthy within 3s' "$work/h06.err"; count_running h06 1; t job delete h06 -q
}
