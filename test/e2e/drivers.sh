# Workers and drivers: what lives on over a worker's end, logs, limits. Sourced by test/e2e/run.

worker_pid() { pgrep -f -- "--data $work/pool/worker-${1#node-} " | head -1; } # NODE
worker_back() { # NODE OLD-PID: another process has taken over
  local now
  now=$(worker_pid "$1") && [ -n "$now" ] && [ "$now" != "$2" ]
}
in_node() { local at; at=$(worker_pid "$1"); shift; nsenter --net="/proc/$at/ns/net" "$@"; } # NODE COMMAND…
holds_port() { in_node "$1" ss -Hltnp "sport = :$2" | grep -q "pid=$(worker_pid "$1"),"; } # NODE PORT
no_rule_with() { [ -z "$(in_node "$1" nft list ruleset | grep "$2" || true)" ]; } # NODE PORT
port_is_free() { in_node "$1" python3 -c "import socket; socket.create_server(('', $2))"; }

N01_published_ports_are_held_over_a_restart() {
  job n01r 1 'echo page > /tmp/index.html; exec httpd -f -p 80 -h /tmp' '    ports: [{name: http, container: 80, host: 18091}]
' | t job run - -q
  node=$(t instance show n01r-main-0 -o json | jq -r .status.node); at=$(t instance show n01r-main-0 -o json | jq -r .status.node_address)
  eventually 5 curl -fsS --max-time 2 "http://$at:18091/"
  old=$(worker_pid "$node"); holds_port "$node" 18091
  kill -9 "$old"; eventually 20 worker_back "$node" "$old"
  # Held by the new process, and nobody else can have it.
  eventually 20 holds_port "$node" 18091
  fails port_is_free "$node" 18091 2>"$work/n.err"; grep -qi 'in use' "$work/n.err"
  [ "$(curl -fsS --max-time 2 "http://$at:18091/")" = page ]
  t job delete n01r -q
  eventually 10 port_is_free "$node" 18091
  fails curl -fsS --max-time 2 "http://$at:18091/"
}
N01_a_network_goes_when_its_instance_ended_without_a_worker() {
  printf 'job: n01e\ntype: batch\ntasks:\n  - name: main\n    image: hello:1\n    command: [sh, -c, "while [ ! -e /tmp/end ]; do sleep 0.1; done"]\n    restart: {policy: never}\n    ports: [{name: http, container: 80, host: 18092}]\n' | t job run - -q --no-wait
  eventually 10 state_is n01e-main-0 running; node=$(t instance show n01e-main-0 -o json | jq -r .status.node)
  supervisor=$up; old=$(worker_pid "$node")
  kill -STOP "$supervisor"; kill -9 "$old"  # nobody starts another yet
  inside=$(pgrep -f "^sh -c while .* /tmp/end" | head -1); touch "/proc/$inside/root/tmp/end"; eventually 10 fails kill -0 "$inside"
  kill -CONT "$supervisor"; eventually 20 worker_back "$node" "$old"
  eventually 20 sh -c "'$tutti' ps --all --job n01e -o json | jq -e '.items[0].status.state == \"completed\"'"
  eventually 10 port_is_free "$node" 18092
  eventually 10 no_rule_with "$node" 18092
  t job delete n01e -q
}
C01_images_that_nothing_uses_go_from_a_node() {
  for name in c01used c01late c01old; do "$tutti" image import "$work/rootfs" "$name:1" --cmd "/bin/$name" -q; done
  printf 'job: c01u\ntasks:\n  - {name: main, image: "c01used:1", constraints: ["node.name == node-1"], stop_grace: 1s, command: [sleep, "%s"]}\n' "$nap" | t job run - -q
  for name in late old; do printf 'job: c01%s\ntype: batch\ntasks:\n  - {name: main, image: "c01%s:1", constraints: ["node.name == node-1"], command: ["true"]}\n' "$name" "$name" | t job run - -q; done
  images=$work/pool/worker-1/images/images
  record() { grep -l "c01$1@" "$images"/*.json; }
  for name in late old; do record "$name"; t job delete "c01$name" -q; done
  digest=$(jq -r .digest "$(record old)")
  told() { t node show node-1 -o json | jq -e --arg d "$digest" '.status.images.held[] | select(.digest == $d)'; }
  eventually 10 told; touch -d '25 hours ago' "$(record used)" "$(record old)"
  old=$(worker_pid node-1); kill -9 "$old"; eventually 20 worker_back node-1 "$old"  # it looks at once, then every minute
  eventually 20 fails record old
  record late; eventually 10 sh -c "[ -z \"\$(find '$(record used)' -mmin +60)\" ]"; count_running c01u 1
  eventually 10 fails told
  [ "$(t instance exec c01u-main-0 -- echo works)" = works ]; t job delete c01u -q
}
C04_logs_follow_over_rotation_and_restart() {
  # 24 MB in 1 KB lines: more than two files, fewer than are kept.
  job c04r 1 'n=0; pad=$(head -c 1000 /dev/zero | tr \\\\0 x); while [ $n -lt 24000 ]; do n=$((n+1)); echo $n $pad; done; echo written; sleep 1000' | t job run - -q
  node=$(t instance show c04r-main-0 -o json | jq -r .status.node)
  t instance logs c04r-main-0 -f 2>/dev/null >"$work/c04r.out" & follower=$!
  eventually 60 grep -qx written "$work/c04r.out"; kill "$follower"; wait "$follower" || true
  [ "$(grep -c ' x' "$work/c04r.out")" = 24000 ]; grep ' x' "$work/c04r.out" | cut -d' ' -f1 | sort -n -c
  old=$(worker_pid "$node"); kill -9 "$old"; eventually 20 worker_back "$node" "$old"
  eventually 20 sh -c "[ \"\$('$tutti' instance logs c04r-main-0 --tail 1 2>/dev/null)\" = written ]"
  [ "$(t instance logs c04r-main-0 --tail 15000 2>/dev/null | head -1 | cut -d' ' -f1)" = 9002 ]
  t job delete c04r -q
}
C02_out_of_memory_is_said() {
  printf 'job: c02o\ntype: batch\ntasks:\n  - name: main\n    image: hello:1\n    command: [sh, -c, "x=a; while true; do x=$x$x; done"]\n    resources: {memory: 16Mi}\n    restart: {policy: never}\n    reschedule: {attempts: 0}\n' | t job run - -q --no-wait
  eventually 30 sh -c "'$tutti' ps --all --job c02o -o json | jq -e '.items[0].status.finished'"
  t instance show c02o-main-0 -o json | tee /dev/stderr | jq -e '.status.tasks[0].oom_killed and (.status.tasks[0].reason | test("out of memory.*16Mi"))'
  t job delete c02o -q
}
V02_what_cannot_be_suspended_is_refused_and_runs_on() {
  job c08 1 'sleep 1000' | t job run - -q
  set +e; t instance suspend c08-main-0 2>"$work/c08.err"; code=$?; set -e
  cat "$work/c08.err"; [ $code = 1 ]; grep -q 'driver container cannot suspend' "$work/c08.err"
  state_is c08-main-0 running; t instance resume c08-main-0 -q; state_is c08-main-0 running
  t job delete c08 -q
}
