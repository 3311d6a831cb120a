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
