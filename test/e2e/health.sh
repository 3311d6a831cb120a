# Health checks: http, tcp, exec; readiness, liveness, startup. Sourced by test/e2e/run.

health_is() { [ "$(t instance show "$1" -o json | jq -r .status.health)" = "$2" ]; }
attempt_of() { t instance show "$1" -o json | jq -r '.status.tasks[0].position.attempt'; }
attempt_is() { [ "$(attempt_of "$1")" = "$2" ]; }
inside() { t instance exec "$@"; }  # NAME -- COMMAND…
told() { t event list --limit 200 -o json | jq -e --arg type "$2" --arg name "$1" --arg words "$3" '[.items[].status | select(.type == $type and .object_name == $name and (.message | contains($words)))] | length > 0'; }
kill_worker_of() {
  local node
  node=$(t instance show "$1" -o json | jq -r .status.node)
  kill -9 "$(pgrep -f -- "--data $work/pool/worker-${node#node-} " | head -1)"
}

H03_wrong_checks_are_told_where_and_what() {
  fails sh -c "printf 'job: x\ntasks:\n  - name: a\n    image: hello:1\n    ports: [{name: http, container: 80}]\n    health: [{type: http, port: htpt}]\n' | '$tutti' job run - 2>'$work/h03.err'"
  cat "$work/h03.err"; grep -q 'tasks\[0\].health\[0\].port' "$work/h03.err"; grep -q 'did you mean "http"' "$work/h03.err"
}
H03_readiness_by_http_is_shown_and_survives_the_worker() {
  job h03r 1 'mkdir -p /tmp/w; exec httpd -f -p 80 -h /tmp/w' '    ports: [{name: http, container: 80}]
    health: [{kind: startup, type: tcp, interval: 100ms, failures: 1000}, {path: /ready, interval: 200ms, failures: 2}]
' | t job run - -q --no-wait
  eventually 20 health_is h03r-main-0 unhealthy; t ps --job h03r | grep -q 'unhealthy'; t explain h03r-main-0 | grep -q 'status 404'
  t job show h03r -o json | jq -e '.status.deployment.reason | test("status 404")'
  inside h03r-main-0 -- touch /tmp/w/ready; eventually 20 health_is h03r-main-0 healthy; told h03r-main-0 instance.healthy checks
  kill_worker_of h03r-main-0; eventually 20 inside h03r-main-0 -- rm /tmp/w/ready
  eventually 20 health_is h03r-main-0 unhealthy; told h03r-main-0 instance.unhealthy 'readiness check failed 2 times in a row: status 404'
  inside h03r-main-0 -- touch /tmp/w/ready; eventually 20 health_is h03r-main-0 healthy; attempt_is h03r-main-0 1; t job delete h03r -q
}
H03_liveness_by_a_command_restarts_the_task() {
  job h03l 1 'touch /tmp/alive; sleep 1000' '    restart: {policy: always, attempts: 5, delay: 100ms}
    health: [{kind: liveness, type: exec, command: [test, -e, /tmp/alive], interval: 200ms, timeout: 10s, failures: 2}]
' | t job run - -q
  eventually 20 health_is h03l-main-0 healthy; inside h03l-main-0 -- rm /tmp/alive
  eventually 20 attempt_is h03l-main-0 2; eventually 20 health_is h03l-main-0 healthy
  told h03l-main-0 instance.failed 'liveness check failed 2 times in a row: exit code 1'; told h03l-main-0 instance.running 'restarted (1 so far)'
  t ps --job h03l -o json | jq -e '.items[0].status.restarts == 1'; t job delete h03l -q
}
H03_a_slow_start_is_waited_for_and_one_that_is_too_slow_restarted() {
  job h03s 1 'until [ -e /tmp/go ]; do sleep 0.1; done; exec httpd -f -p 9000 -h /tmp' '    health:
      - {kind: startup, type: tcp, port: "9000", interval: 200ms, failures: 1000}
      - {kind: liveness, type: tcp, port: "9000", interval: 200ms, failures: 1}
' | t job run - -q --no-wait
  eventually 20 state_is h03s-main-0 running; health_is h03s-main-0 starting; kill_worker_of h03s-main-0
  eventually 20 inside h03s-main-0 -- touch /tmp/go; eventually 20 health_is h03s-main-0 healthy; attempt_is h03s-main-0 1; t job delete h03s -q
  job h03t 1 'sleep 1000' '    restart: {policy: always, attempts: 5, delay: 100ms}
    health: [{kind: startup, type: tcp, port: "9000", interval: 200ms, failures: 2}]
' | t job run - -q --no-wait
  eventually 30 sh -c "[ \$('$tutti' instance show h03t-main-0 -o json | jq .status.restarts) -ge 1 ]"
  told h03t-main-0 instance.failed 'startup check failed 2 times in a row: cannot connect'; t job delete h03t -q
}
H03_a_process_is_asked_in_the_nodes_own_network() {
  printf 'job: h03p\ntasks:\n  - name: main\n    driver: process\n    command: [busybox, httpd, -f, -p, "127.0.0.1:18099", -h, /tmp]\n    stop_grace: 1s\n    health: [{type: tcp, port: "18099", interval: 200ms}, {type: exec, command: [/bin/true], interval: 200ms, timeout: 10s}]\n' | t job run - -q
  eventually 20 health_is h03p-main-0 healthy; t job delete h03p -q
}
H03_a_version_whose_checks_fail_is_reverted_by_itself() {
  checked() { # COMMAND
    job h03u 2 "$1" 'update: {min_healthy_time: 500ms, healthy_deadline: 6s, auto_revert: true}
' | sed 's|^    stop_grace: 1s|&\n    ports: [{name: http, container: 80}]\n    health: [{kind: startup, type: tcp, interval: 100ms, failures: 1000}, {path: /ready, interval: 200ms}]|'
  }
  checked 'mkdir -p /tmp/w; touch /tmp/w/ready; exec httpd -f -p 80 -h /tmp/w' | t job run - -q; eventually 20 deployment_is h03u succeeded
  set +e; checked 'mkdir -p /tmp/w; exec httpd -f -p 80 -h /tmp/w' | t job run - -q 2>"$work/h03u.err"; [ $? = 1 ] || exit 1; set -e
  told h03u deployment.failed 'did not become healthy within 6s: readiness check failed 3 times in a row: status 404'
  eventually 30 version_is h03u 3; eventually 30 deployment_is h03u succeeded; [ "$(deployment h03u reverting)" = true ]
  eventually 20 sh -c "[ \$('$tutti' ps --job h03u -o json | jq '[.items[] | select(.status.health == \"healthy\")] | length') = 2 ]"; t job delete h03u -q
}
