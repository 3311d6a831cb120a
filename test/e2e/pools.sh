# Pools of their own beside the first one. Sourced by test/e2e/run.
S10_bench_prints_figures() {
  t bench memory --quick -o json | tee "$work/bench.json"; jq -e '.items | length == 2 and all(.value > 1 and .unit == "MiB" and .target != "")' "$work/bench.json"
  fails t bench memroy 2>"$work/bench.err"; grep -q "did you mean 'memory'" "$work/bench.err"; t bench --list | grep -q submit
}
S10_a_fleet_is_a_pool_like_any_other() {
  export TUTTI_CONFIG="$work/fleet.json"  # a second pool beside the first; this runs in a shell of its own
  "$tutti" up --workers 0 --data "$work/fleet" --api-port 0 --worker-port 0 --rm >"$work/fleet-up.log" 2>&1 & manager=$!
  eventually 20 t node list
  "$tutti" sim fleet --nodes 30 --manager "$(jq -r '.contexts[0].address' "$TUTTI_CONFIG")" --token "$(t node token -q --uses 30)" --fail-one-in 50 >"$work/fleet.log" 2>&1 & fleet=$!
  eventually 30 sh -c "[ \$('$tutti' node list -o json | jq '[.items[] | select(.status.health == \"ready\")] | length') = 30 ]"
  printf 'job: many\ntasks:\n  - {name: main, driver: fake, count: 300, command: [x], resources: {cpu: 100m, memory: 64Mi}, restart: {delay: 100ms}}\n' | t job run - -q --no-wait
  eventually 30 sh -c "[ \$('$tutti' job show many -o json | jq .status.running) = 300 ]"
  kill "$fleet"; wait "$fleet"; kill "$manager"; wait "$manager"
}
