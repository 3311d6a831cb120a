# Who places and where: schedulers of their own, priorities, gangs, limits. Sourced by test/e2e/run.

project_allows() { api -X PATCH -H 'content-type: application/json' -d "$1" "$(url)/v1/projects/default" -o /dev/null -f; }
# What one large task can ask for and leave a little: no two fit on a node.
most_cpu() { echo "$(($(t node show node-1 -o json | jq .status.available.cpu) - 100))m"; }

T03_the_managers_machine_is_a_worker_as_well() {
  export TUTTI_CONFIG="$work/t03.json"  # a second pool; this runs in a shell of its own
  "$tutti" up --workers 1 --data "$work/t03" --api-port 0 --worker-port 0 --rm >"$work/t03-up.log" 2>&1 & own=$!
  eventually 30 sh -c "[ \"\$('$tutti' node list -o json | jq '[.items[] | select(.status.health == \"ready\")] | length')\" = 1 ]"
  "$tutti" image import "$work/rootfs" hello:1 --cmd /bin/sh -q
  [ "$(timeout 60 "$tutti" run --rm hello:1 -- echo here)" = here ]
  # Host network: what listens there listens on the manager's own machine.
  port=$((21000 + $$ % 8000))
  printf 'job: t03\ntasks:\n  - {name: main, image: "hello:1", network: host, stop_grace: 1s, command: [sh, -c, "echo page > /tmp/index.html; exec httpd -f -p %s -h /tmp"]}\n' "$port" | t job run - -q
  eventually 10 curl -fsS --max-time 2 "http://127.0.0.1:$port/"; t job delete t03 -q
  # A port that it names is its own there, whatever the node's range.
  printf 'job: t03p\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, network: host, ports: [{name: http, container: %s}], command: [sleep, "'$nap'"]}\n' "$port" | t job run - -q
  count_running t03p 1; t job delete t03p -q
  kill -TERM "$own"; wait "$own"
}
T04_schedulers_of_their_own_share_the_work() {
  token=$(t node token --role scheduler -q); address=$(jq -r '.contexts[0].address' "$TUTTI_CONFIG")
  "$tutti" scheduler --manager "$address" --token "$token" --name s1 2>"$work/s1.log" & s1=$!
  "$tutti" scheduler --manager "$address" --token "$token" --name s2 2>"$work/s2.log" & s2=$!
  eventually 15 sh -c "[ \"\$('$tutti' node list --schedulers -o json | jq -r '[.items[] | select(.health == \"ready\") | .share] | join(\",\")')\" = '1 of 3,2 of 3,3 of 3' ]"
  for i in $(seq 12); do printf 'job: t04-%s\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, count: 3, command: [sleep, "'$nap'"], resources: {cpu: 10m}}\n' "$i" | t job run - -q --no-wait; done
  running() { [ "$(t ps -o json | jq '[.items[] | select(.status.job | startswith("t04-")) | select(.status.state == "running")] | length')" = "$1" ]; }
  eventually 20 running 36
  eventually 5 sh -c "'$tutti' node list --schedulers -o json | jq -e '[.items[1:][] | select(.placed > 0)] | length == 2'"
  # One is killed, one hangs: what fell to them falls to the one inside.
  kill -9 "$s1"; kill -STOP "$s2"
  for i in $(seq 13 24); do printf 'job: t04-%s\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, count: 3, command: [sleep, "'$nap'"], resources: {cpu: 10m}}\n' "$i" | t job run - -q --no-wait; done
  eventually 20 running 72
  eventually 10 sh -c "[ \$('$tutti' node list --schedulers -o json | jq '.items | length') = 1 ]"
  kill -CONT "$s2"; eventually 15 sh -c "[ \$('$tutti' node list --schedulers -o json | jq '.items | length') = 2 ]"
  kill -TERM "$s2"; wait "$s2"
  running 72; [ "$(t ps -o json | jq '[.items[] | select(.status.job | startswith("t04-")) | .name] | length == (unique | length)')" = true ]
  # A scheduler's token opens nothing else.
  [ "$(curl -s --cacert "$work/pool/manager/authority.pem" -o /dev/null -w '%{http_code}' -H "Authorization: Bearer ${token%.*}" "$(url)/v1/jobs")" = 403 ]
  fails timeout 5 "$tutti" scheduler --manager "$address" --token nonsense 2>"$work/s3.log"; grep -q 'role scheduler' "$work/s3.log"
  for i in $(seq 24); do t job delete "t04-$i" -q --no-wait; done; eventually 20 running 0
}
J07_more_important_work_pushes_less_important_aside() {
  project_allows '{"preemption": false}'; cpu=$(most_cpu)
  low() { printf 'job: j07low\npriority: 10\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, count: 2, command: [sleep, "'$nap'"], resources: {cpu: %s}}\n' "$cpu"; }
  high() { printf 'job: j07high\npriority: 80\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, command: [sleep, "'$nap'"], resources: {cpu: %s}}\n' "$cpu"; }
  low | t job run - -q; count_running j07low 2
  high | t job run - -q --no-wait; eventually 5 sh -c "'$tutti' explain j07high | grep -q 'not enough cpu'"; count_running j07low 2
  t explain j07high | grep -q 'preemption is off'
  project_allows '{"preemption": true}'
  eventually 15 count_running j07high 1; eventually 15 count_running j07low 1
  t event list --limit 100 | grep 'instance.preempted' | grep -q 'pushed aside by j07high-main-0 (priority 80)'
  [ "$(t ps --job j07low -o json | jq '[.items[] | select(.status.state == "pending" or .status.node == "")] | length')" -ge 1 ]
  t job delete j07high -q; eventually 15 count_running j07low 2
  t job delete j07low -q; project_allows '{"preemption": false}'
}
J07_gang_preempts() {
  project_allows '{"preemption": true}'; cpu=$(most_cpu)
  of() { printf 'job: %s\npriority: %s\n%stasks:\n  - {name: main, driver: process, stop_grace: 1s, count: %s, command: [sleep, "'$nap'"], resources: {cpu: %s}}\n' "$1" "$2" "$4" "$3" "$cpu" | t job run - -q ${5:-}; }
  gang='placement: {all_or_nothing: true}
'
  of j07l 10 2 ''; count_running j07l 2
  # Three would never fit on two nodes: nobody goes for them, and explain says so. Two do.
  of j07g 80 3 "$gang" --no-wait
  eventually 5 sh -c "'$tutti' explain j07g | tee /dev/stderr | grep -q 'less important work cannot make room for all 3 that wait'"
  count_running j07l 2; count_running j07g 0
  t job scale j07g 2 -q; eventually 15 count_running j07g 2; count_running j07l 0
  [ "$(t event list --limit 200 | grep 'instance.preempted' | grep -c 'pushed aside by j07g-main-[01] (priority 80)')" = 2 ]
  [ "$(t ps --job j07l -o json | jq '[.items[] | select(.status.state == "pending" or .status.node == "")] | length')" = 2 ]
  t job delete j07g -q; eventually 15 count_running j07l 2
  # Not for one of the same priority; and a gang that is pushed aside is one that waits.
  of j07s 10 2 "$gang" --no-wait; eventually 5 sh -c "'$tutti' explain j07s | grep -q 'cannot make room for all 2'"; count_running j07l 2
  t job delete j07l -q; eventually 15 count_running j07s 2
  of j07t 90 2 "$gang"; count_running j07t 2; eventually 15 count_running j07s 0
  project_allows '{"preemption": false}'; t explain j07s | grep -q 'all 2 that wait at once'
  t job delete j07t -q; eventually 15 count_running j07s 2; t job delete j07s -q
}
S01_policies_and_S03_spread_share_out() {
  printf 'job: s01\npolicy: spread\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, count: 4, command: [sleep, "'$nap'"]}\n' | t job run - -q
  [ "$(t ps --job s01 -o json | jq -c '[.items[].status.node] | group_by(.) | map(length)')" = '[2,2]' ]; t job delete s01 -q
  t node label node-1 e2e=left -q; t node label node-2 e2e=right -q
  printf 'job: s03\nplacement:\n  spread: [{attribute: node.label.e2e, targets: {left: 75}}]\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, count: 8, command: [sleep, "'$nap'"]}\n' | t job run - -q
  [ "$(t ps --job s03 --node node-1 -o name | wc -l)" = 6 ]; t job delete s03 -q
  printf 'job: s03a\nplacement:\n  affinities: [{constraint: "node.label.e2e == right", weight: 100}]\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, count: 3, command: [sleep, "'$nap'"]}\n' | t job run - -q
  [ "$(t ps --job s03a --node node-2 -o name | wc -l)" = 3 ]; t job delete s03a -q
}
S01_the_pools_policy() {
  t pool set --policy binpack -q
  of_four() { printf 'job: %s\nupdate: {min_healthy_time: 1s}\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, count: 4, command: [sleep, "%s"], resources: {cpu: 150m}}\n' "$1" "$nap" | t job run - -q; }
  shared_out() { t ps --job "$1" -o json | jq -c '[.items[].status.node] | group_by(.) | map(length)'; }
  of_four s01a; [ "$(shared_out s01a)" = '[4]' ]
  eventually 30 sh -c "[ \"\$('$tutti' job show s01a -o json | jq -r .status.deployment.state)\" = succeeded ]"
  t rebalance | tee /dev/stderr | grep -q '^0 moves for fewer nodes in use (policy binpack)'
  t pool set --policy spread -o json | jq -e '.spec.policy == "spread"'; t pool -o json | jq -e '.spec.policy == "spread" and .status.nodes == 2'
  of_four s01b; [ "$(shared_out s01b)" = '[2,2]' ]; [ "$(shared_out s01a)" = '[4]' ]
  t rebalance >"$work/s01.plan"; cat "$work/s01.plan"; grep -q 'for an even load (policy spread)' "$work/s01.plan"; grep -q '^s01a-main-' "$work/s01.plan"
  t event list --limit 100 | grep 'pool.updated' | grep -q 'policy spread instead of binpack'
  # What is wrong is told, and changes nothing.
  fails t pool set --policy sprad 2>"$work/s01.err"; cat "$work/s01.err"; grep -q spread "$work/s01.err"
  fails t pool set --policy default 2>"$work/s01.err"; grep -q 'name one' "$work/s01.err"; [ "$(code_of t pool set 2>/dev/null)" = 2 ]
  ask() { curl -sS --cacert "$work/pool/manager/authority.pem" -H "Authorization: Bearer $1" -X PATCH -H 'content-type: application/json' -H "If-Match: $2" -d "$3" -o /dev/null -w '%{http_code}' "$(url)/v1/pool"; }
  admin=$(cat "$work/pool/admin-token"); operator=$(api -d '{"name":"s01","role":"operator"}' "$(url)/v1/tokens" | jq -r .token)
  [ "$(ask "$admin" '"999"' '{"policy":"greedy"}')" = 412 ]; [ "$(ask "$operator" '*' '{"policy":"greedy"}')" = 403 ]; [ "$(ask "$admin" '*' '{}')" = 400 ]
  t pool -o json | jq -e '.spec.policy == "spread"'
  [ "$(ask "$admin" "\"$(t pool -o json | jq .version)\"" '{"policy":"binpack"}')" = 200 ]; t pool -o json | jq -e '.spec.policy == "binpack"'
  t job delete s01a -q; t job delete s01b -q
}
P05_a_project_says_what_it_allows() {
  t project list -o name | grep -qx default
  t project set default --preemption --host-path /srv/a --host-path /srv/b -o json | jq -e '.spec == {allow_privileged: false, preemption: true, host_paths: ["/srv/a", "/srv/b"]}'
  t projects | grep -q '^default  *true  *false  */srv/a /srv/b'
  t project set default --preemption=false -q; t project show default -o json | jq -e '.spec.preemption == false and (.spec.host_paths | length) == 2'
  fails t project set default --host-path srv 2>"$work/p05.err"; grep -q absolute "$work/p05.err"; [ "$(code_of t project set default 2>/dev/null)" = 2 ]
  fails t project show defualt 2>"$work/p05.err"; grep -q "did you mean 'default'" "$work/p05.err"
  t project set default --host-path '' -q; t project show default -o json | jq -e '.spec.host_paths == []'
}
S07_all_or_nothing_waits_whole() {
  cpu=$(most_cpu)
  printf 'job: s07\nplacement: {all_or_nothing: true}\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, count: 3, command: [sleep, "'$nap'"], resources: {cpu: %s}}\n' "$cpu" | t job run - -q --no-wait
  printf 'job: s07after\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, command: [sleep, "'$nap'"], resources: {cpu: 10m}}\n' | t job run - -q
  count_running s07 0; t explain s07 | grep -q 'all 3 that wait at once'; t job scale s07 2 -q; count_running s07 2; t job delete s07 -q; t job delete s07after -q
}
J04_a_job_stays_together() {
  printf 'job: j04\nplacement: {same_node: true}\npolicy: spread\ntasks:\n  - {name: a, driver: process, stop_grace: 1s, count: 2, command: [sleep, "'$nap'"]}\n  - {name: b, driver: process, stop_grace: 1s, count: 2, command: [sleep, "'$nap'"]}\n' | t job run - -q
  [ "$(t ps --job j04 -o json | jq '[.items[].status.node] | unique | length')" = 1 ]; t job delete j04 -q
  printf 'job: j04g\ntasks:\n  - {name: web, group: g, image: "hello:1", stop_grace: 1s, command: [sh, -c, "echo shared > /tmp/index.html; exec httpd -f -p 80 -h /tmp"]}\n  - {name: side, group: g, image: "hello:1", stop_grace: 1s, command: [sh, -c, "sleep %s"]}\n' "$nap" | t job run - -q
  eventually 5 sh -c "[ \"\$('$tutti' instance exec j04g-g-0 --task side -- wget -qO- http://127.0.0.1/)\" = shared ]"; t job delete j04g -q
}
S05_explain_tells_scores() {
  printf 'job: s05s\nplacement: {affinities: [{constraint: "node.name == node-1", weight: 60}]}\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, command: [sleep, "%s"], resources: {cpu: 10m}}\n' "$nap" | t job run - -q
  t explain s05s-main-0 | tee /dev/stderr | grep -q 'node-1 (where it is) .*affinity node.name == node-1 60'
  t explain s05s-main-0 -o json | jq -e '.scores[0].node == .node and .score == .scores[0].score and ((([.scores[0].terms[].score] | add) - .score) | fabs) < 0.1'
  t job delete s05s -q
  # What waits stands in a line; one of higher priority is served first.
  for priority in 20 80; do printf 'job: s05p%s\npriority: %s\ntasks:\n  - {name: main, driver: process, command: [sleep, "1"], resources: {cpu: 900c}}\n' "$priority" "$priority" | t job run - -q --no-wait; done
  eventually 5 sh -c "'$tutti' explain s05p20 | grep -q '2 wait for a place, 1 of them before this one'"; t explain s05p80 | grep -q '2 wait for a place, 0 of them'
  t job delete s05p20 -q --no-wait; t job delete s05p80 -q --no-wait
}
S06_image_locality() {
  "$tutti" image import "$work/rootfs" s06:1 --cmd /bin/true -q  # a config of its own, hence a digest of its own
  # Something on either node: an empty one would count more.
  printf 'job: s06fill\ntype: system\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, command: [sleep, "%s"], resources: {cpu: 10m}}\n' "$nap" | t job run - -q
  on() { printf 'job: %s\n%stasks:\n  - {name: main, image: "s06:1", stop_grace: 1s, command: [sleep, "%s"], resources: {cpu: 10m, memory: 16Mi}%s}\n' "$1" "${3:-}" "$nap" "${2:+, constraints: [\"node.name == $2\"]}" | t job run - -q; }
  node_of() { t instance show "$1-main-0" -o json | jq -r .status.node; }
  on s06a node-2; digest=$(t image show s06:1 -o json | jq -r '.items[0].status.digest')
  eventually 10 sh -c "'$tutti' node show node-2 -o json | jq -e --arg d '$digest' '.status.images.held[] | select(.digest == \$d)'"
  t node show node-1 -o json | jq -e --arg d "$digest" '[.status.images.held[]? | select(.digest == $d)] | length == 0'
  t job delete s06a -q
  on s06b; [ "$(node_of s06b)" = node-2 ]; t explain s06b-main-0 | tee /dev/stderr | grep -q 'node-2 (where it is).*image there already 2'
  # A score, never a filter; and what has been fetched is told.
  on s06c node-1; [ "$(node_of s06c)" = node-1 ]
  eventually 10 sh -c "'$tutti' node show node-1 -o json | jq -e --arg d '$digest' '.status.images.held[] | select(.digest == \$d)'"
  for job in s06b s06c s06fill; do t job delete "$job" -q; done
}
