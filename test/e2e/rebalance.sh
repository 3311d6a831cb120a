# Running work moves to where it is better off: a pool of three workers beside the first one. Sourced by test/e2e/run.
s08_nodes() { t ps --job s08 -o json | jq -c '[.items[].status.node] | unique'; }
S08_rebalance_plans_then_moves_start_before_stop() {
  export TUTTI_CONFIG="$work/three.json"  # this runs in a shell of its own
  "$tutti" up --workers 3 --data "$work/three" --api-port 0 --worker-port 0 --rm >"$work/three-up.log" 2>&1 & three=$!
  trap 'kill -TERM $three; wait $three' EXIT
  eventually 60 t node list
  eventually 60 sh -c "'$tutti' node list -o json | jq -e '[.items[] | select(.status.health == \"ready\")] | length == 3'"
  t image import "$work/rootfs" hello:1 --cmd /bin/sh -q
  # Two on node-1, one each on the others: all others cordoned.
  t node cordon node-2 -q; t node cordon node-3 -q
  job s08 2 'sleep 1000' 'update: {min_healthy_time: 1s}
' | t job run - -q
  t node cordon node-1 -q; t node uncordon node-2 -q; t job scale s08 3 -q
  t node cordon node-2 -q; t node uncordon node-3 -q; t job scale s08 4 -q
  t node uncordon node-1 -q; t node uncordon node-2 -q
  [ "$(s08_nodes)" = '["node-1","node-2","node-3"]' ]
  eventually 30 sh -c "[ \"\$('$tutti' job show s08 -o json | jq -r .status.deployment.state)\" = succeeded ]"

  # A plan, and nothing more.
  before=$(t ps --job s08 -o json | jq -c '[.items[] | [.id, .status.node]]')
  t rebalance | tee "$work/s08.plan"; grep -Eq '^s08-main-2 +node-2 +node-1 +empties node-2$' "$work/s08.plan"; grep -q 'nodes in use: 3 -> 1' "$work/s08.plan"
  t rebalance --max-moves 1 -o json | jq -e '(.moves | length) == 1 and .nodes_used_after == 2'
  [ "$(t ps --job s08 -o json | jq -c '[.items[] | [.id, .status.node]]')" = "$before" ]
  t operation list -o json | jq -e '[.items[] | select(.status.operation == "pool.rebalance")] | length == 0'

  # What is wrong is told.
  ask() { curl -sS --cacert "$work/three/manager/authority.pem" -H "Authorization: Bearer ${2:-$(cat "$work/three/admin-token")}" -H 'content-type: application/json' -d "$1" -o "$work/s08.answer" -w '%{http_code}' "$(url)/v1/rebalance"; }
  [ "$(ask '{"dry_run":true,"max_moves":0}')" = 400 ]; jq -e '.errors[0].path == "max_moves"' "$work/s08.answer"
  [ "$(ask '{"max_parallel":1000}')" = 400 ]; [ "$(ask '{"dry_run":true,"node_pool":"none-such"}')" = 404 ]
  [ "$(ask '{"dryrun":true}')" = 400 ]; jq -e '.errors[0].hint | test("dry_run")' "$work/s08.answer"
  for role in viewer operator; do
    token=$(curl -sS --cacert "$work/three/manager/authority.pem" -H "Authorization: Bearer $(cat "$work/three/admin-token")" -d "{\"name\":\"$role\",\"role\":\"$role\"}" "$(url)/v1/tokens" | jq -r .token)
    [ "$(ask '{}' "$token")" = 403 ]
  done
  [ "$(ask '{"dry_run":true}' "$token")" = 200 ]
  set +e; t rebalance --max-moves many 2>"$work/s08.err"; [ $? = 2 ] || exit 1; set -e

  # Done: never fewer than four run, and one node holds them.
  t rebalance --apply >"$work/s08.done" 2>&1 & apply=$!
  least=99
  while kill -0 $apply 2>/dev/null; do
    now=$(t ps --job s08 -o json | jq '[.items[] | select(.status.state == "running")] | length'); [ "$now" -ge "$least" ] || least=$now
  done
  wait $apply; cat "$work/s08.done"; [ "$(grep -c '2 of 2 moved' "$work/s08.done")" = 1 ]; [ "$least" -ge 4 ]
  [ "$(s08_nodes)" = '["node-1"]' ]; t rebalance -o json | jq -e '.moves == []'
  t operation list -o json | jq -e '[.items[] | select(.status.operation == "pool.rebalance")] | length == 1 and .[0].status.state == "succeeded" and (.[0].status.moves | length) == 2'
  t job delete s08 -q
}
