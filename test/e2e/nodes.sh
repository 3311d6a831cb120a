# Nodes: what their users wish of them, what they are asked for. Sourced by test/e2e/run.

sleepers() { # NAME COUNT [TASK-LINES] [JOB-LINES]
  printf 'job: %s\n%stasks:\n  - name: main\n    driver: process\n    stop_grace: 1s\n    count: %s\n    command: [sleep, "%s"]\n    resources: {cpu: 10m}\n%s' "$1" "${4:-}" "$2" "$nap" "${3:-}"
}
nodes_of() { t ps --job "$1" -o json | jq -r '[.items[] | select(.status.state == "running") | .status.node] | sort | join(" ")'; }
is_on() { [ "$(nodes_of "$1")" = "$2" ]; }

W06_a_cordoned_node_takes_nothing_new() {
  sleepers w06c 2 '' 'policy: spread
' | t job run - -q; is_on w06c 'node-1 node-2'
  t node cordon node-1 -q; t node list | grep '^node-1 ' | grep -q ' cordoned '
  # What runs there runs on; what comes goes elsewhere, and explain says why.
  t job scale w06c 5 -q; is_on w06c 'node-1 node-2 node-2 node-2 node-2'
  t explain w06c-main-1 | grep -q '1: cordoned'
  sleepers w06here 1 '    constraints: ["node.name == node-1"]
' | t job run - -q --no-wait; eventually 5 sh -c "'$tutti' explain w06here | grep -q 'cordoned'"; count_running w06here 0
  # It still does what it is told: a restart in place, a stop.
  before=$(t ps --job w06c --node node-1 -o name); t instance restart "$before" -q; eventually 10 is_on w06c 'node-1 node-2 node-2 node-2 node-2'
  # Room comes: what waited starts, without being asked.
  t node uncordon node-1 -q; eventually 10 is_on w06here node-1
  t event list --limit 100 | grep 'node.updated' | grep -q 'node-1 .*cordoned, by '; t event list --limit 100 | grep 'node.updated' | grep -q 'node-1 .*eligible, by '
  t job delete w06c -q; t job delete w06here -q
}
W06_a_drain_moves_work_one_by_one() {
  sleepers w06d 4 '' 'policy: spread
update: {min_healthy_time: 500ms}
disruption: {max_unavailable: 1}
' | t job run - -q; is_on w06d 'node-1 node-1 node-2 node-2'
  # Never more than one of the four missing: seen by a watch of all that happens.
  cursor=$(api "$(url)/v1/instances?limit=1" | jq -r .revision)
  t node drain node-1 --deadline 60s >"$work/drain.out" 2>&1; tail -1 "$work/drain.out" | grep -q drained
  eventually 10 is_on w06d 'node-2 node-2 node-2 node-2'; t node list | grep '^node-1 ' | grep -q ' draining '
  api -N --max-time 2 "$(url)/v1/instances?watch=1&from=$cursor" >"$work/drain.watch" || true
  grep '^data: ' "$work/drain.watch" | cut -c7- | jq -rs '
    reduce (.[] | select(.object.status.job == "w06d" or .status.job == "w06d") | (.object // .)) as $i
      ({state: {}, least: 4}; .state[$i.name] = $i.status.state
        | .least = ([.least, 4 - ([.state[] | select(. != "running")] | length)] | min)) | .least' | tee /dev/stderr | grep -qx 3
  # Drained again: there is nothing to do, and that is said. Work stays away until it is wanted back.
  t node drain node-1 -q; t job scale w06d 5 -q; [ "$(t ps --job w06d --node node-1 -o name | wc -l)" = 0 ]
  t node uncordon node-1 -q; t node list | grep '^node-1 ' | grep -q ' eligible '
  fails t node drain nowhere 2>"$work/drain.err"; grep -q "no node 'nowhere'\|nowhere" "$work/drain.err"
  t job delete w06d -q
}
W06_a_drain_waits_for_batch_work_until_its_deadline() {
  printf 'job: w06b\ntype: batch\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, command: [sleep, "%s"], resources: {cpu: 10m}, constraints: ["node.name == node-2"], reschedule: {attempts: 0}}\n' "$nap" | t job run - -q --no-wait
  eventually 10 count_running w06b 1
  t node drain node-2 --deadline 3s -q; count_running w06b 0; t ps --all --job w06b -o json | jq -e '[.items[] | select(.status.node == "node-2" and .status.finished)] | length == 1'
  t node uncordon node-2 -q; t job delete w06b -q
}
W06_disabled_is_none_of_the_others() {
  sleepers w06x 2 '' 'policy: spread
' | t job run - -q; is_on w06x 'node-1 node-2'
  t node disable node-2 -q; t node list | grep '^node-2 ' | grep -q ' disabled '; t node show node-2 -o json | jq -e '.status.health == "ready"'
  is_on w06x 'node-1 node-2'; t job scale w06x 4 -q; is_on w06x 'node-1 node-1 node-1 node-2'
  t node enable node-2 -q; t job delete w06x -q
}
W10_countable_things_of_a_node_are_kept_to() {
  # Two licences on each node (see the pool's start): a third that is bound to one waits for it.
  sleepers w10 3 '    node_limits: {licence: 1}
    constraints: ["node.name == node-1"]
' | t job run - -q --no-wait; eventually 10 count_running w10 2
  t explain w10 | tee /dev/stderr | grep -q 'licence'; t explain w10 | grep -q 'node-1'
  sleepers w10b 1 '    node_limits: {licence: 2}
' | t job run - -q; is_on w10b node-2
  t job scale w10 2 -q; sleepers w10c 1 '    node_limits: {licence: 1}
' | t job run - -q --no-wait; eventually 5 sh -c "'$tutti' explain w10c | grep -q licence"; count_running w10c 0
  # One goes: who waits for what it had is served.
  t job scale w10 1 -q; eventually 10 is_on w10c node-1
  # Nobody has five, or any of another kind.
  sleepers w10d 1 '    node_limits: {licence: 5}
' | t job run - -q --no-wait; eventually 5 sh -c "'$tutti' explain w10d | grep -q licence"
  for name in w10 w10b w10c w10d; do t job delete $name -q; done
}
S03_constraints_of_every_kind() {
  t node label node-1 s03=a s03version=1.10 s03cores=16 s03set=x,y -q; t node label node-2 s03=b s03version=1.9 s03cores=8 s03set=y,z s03more=1 -q
  # A system job has one on each node that will do.
  where_it_will_do() { # CONSTRAINT NODES
    printf 'job: s03c\ntype: system\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, command: [sleep, "%s"], resources: {cpu: 10m}, constraints: ["%s"]}\n' "$nap" "$1" | t job run - -q --no-wait
    eventually 10 is_on s03c "$2"; t job delete s03c -q
  }
  where_it_will_do 'node.label.s03 == a' node-1
  where_it_will_do 'node.label.s03 != a' node-2
  where_it_will_do 'node.label.s03cores > 8' node-1
  where_it_will_do 'node.label.s03cores < 16' node-2
  where_it_will_do 'node.label.s03cores >= 8' 'node-1 node-2'
  where_it_will_do 'node.label.s03 in b, c' node-2
  where_it_will_do 'node.label.s03 =~ ^[ac]$' node-1
  where_it_will_do 'node.label.s03version version >= 1.10' node-1
  where_it_will_do 'node.label.s03set contains z' node-2
  where_it_will_do 'node.label.s03more set' node-2
  where_it_will_do 'node.label.s03more unset' node-1
  where_it_will_do 'node.arch == x86_64' 'node-1 node-2'
  # What is not understood is told, with its place.
  sleepers s03w 1 '    constraints: ["node.arch ~ x86"]
' >"$work/s03.yaml"; fails t job run "$work/s03.yaml" 2>"$work/s03.err"; cat "$work/s03.err"; grep -q 's03.yaml' "$work/s03.err"; grep -q 'tasks\[0\].constraints\[0\]' "$work/s03.err"
  # Where nobody will do, explain counts for each constraint.
  sleepers s03n 1 '    constraints: ["node.label.s03 == c"]
' | t job run - -q --no-wait; eventually 5 sh -c "'$tutti' explain s03n | grep -q '2: .*node.label.s03 == c'"; t job delete s03n -q
  t node label node-1 s03- s03version- s03cores- s03set- -q; t node label node-2 s03- s03version- s03cores- s03set- s03more- -q
}
S03_affinity_and_anti_affinity_are_wishes() {
  # Avoided, while there is another; taken when the other is shut.
  sleepers s03v 2 '' 'placement:
  affinities: [{constraint: "node.name == node-1", weight: -100}]
' | t job run - -q; is_on s03v 'node-2 node-2'
  t node cordon node-2 -q; t job scale s03v 3 -q; is_on s03v 'node-1 node-2 node-2'; t node uncordon node-2 -q
  t job delete s03v -q
}
S04_what_waits_is_served_by_rank_when_room_comes() {
  cpu=$(most_cpu)
  sleepers s04 2 '' | sed "s/cpu: 10m/cpu: $cpu/" | t job run - -q
  for priority in 10 90 50; do sleepers "s04p$priority" 1 '' "priority: $priority
" | sed "s/cpu: 10m/cpu: $cpu/" | t job run - -q --no-wait; done
  eventually 5 sh -c "'$tutti' explain s04p10 | grep -q '3 wait for a place, 2 of them before this one'"
  # Room for one, then for another: the most important first, and nothing is asked again by hand.
  t job scale s04 1 -q; eventually 10 count_running s04p90 1; count_running s04p50 0; count_running s04p10 0
  t job delete s04 -q; eventually 10 count_running s04p50 1; count_running s04p10 0
  t job delete s04p90 -q; eventually 10 count_running s04p10 1
  # One may say how long it waits.
  sleepers s04t 1 '' 'pending_timeout: 1s
' | sed "s/cpu: 10m/cpu: 900c/" | t job run - -q --no-wait
  eventually 15 sh -c "'$tutti' ps --all --job s04t -o json | tee /dev/stderr | jq -e '[.items[] | select(.status.finished)] | length >= 1'"
  t event list --limit 100 | grep 's04t' | tee /dev/stderr | grep -qi 'waited\|pending'
  for name in s04p50 s04p10 s04t; do t job delete $name -q; done
}
