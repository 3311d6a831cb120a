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
T05_up_refuses_wrong_settings_before_it_makes_anything() {
  while read -r wrong says; do
    set +e; TUTTI_CONFIG=$work/t05.json timeout 20 "$tutti" up --data "$work/t05" --api-port 0 --worker-port 0 --rm $wrong >"$work/t05.out" 2>"$work/t05.err"; code=$?; set -e
    cat "$work/t05.err"; [ $code = 2 ]; grep -q -- "$says" "$work/t05.err"; grep -q -- "${wrong%%[= ]*}" "$work/t05.err"; [ ! -s "$work/t05.out" ]; [ ! -e "$work/t05" ]
  done <<'ROWS'
--worker-cpu=-5 500m
--worker-cpu=0c nothing
--worker-memory=1 ambiguous
--reserve-memory=many 256Mi
--node-limits=licence licence=2
--node-limits=licence=-1 licence=2
--container-runtime=docker crun or runc
--log-level=loud debug, info, warning or error
--threads=0 1 to 64
--network=10.86.0.0 /8 to /24
ROWS
  for role in manager worker scheduler; do
    set +e; timeout 20 "$tutti" $role --log-level loud 2>"$work/t05.err"; code=$?; set -e
    [ $code = 2 ]; grep -q 'debug, info, warning or error' "$work/t05.err"
  done
}
own_net() { ip netns add "$1"; ip -n "$1" link set lo up; } # NAME: a network that nothing else is in
in_net() { local name=$1; shift; nsenter --net="/run/netns/$name" "$@"; } # NAME COMMAND…
N01_up_takes_a_range_that_nothing_overlaps() {
  net=e2e-range-$$ one=; export TUTTI_CONFIG="$work/range.json"; trap 'kill $one || true; wait $one || true; ip netns delete $net' EXIT
  own_net "$net"  # of 10.64 to 10.191 all is taken but 10.77
  for taken in 64.0.0/13 72.0.0/14 76.0.0/16 78.0.0/15 80.0.0/12 96.0.0/11 128.0.0/10; do ip -n "$net" route add blackhole "10.$taken"; done
  nsenter --net="/run/netns/$net" "$tutti" up --workers 0 --data "$work/range" --api-port 0 --worker-port 0 --rm >"$work/range.log" 2>&1 & one=$!
  eventually 20 in_net "$net" "$tutti" node list || { cat "$work/range.log"; false; }
  kill "$one"; wait "$one"; [ "$(cat "$work/range/network")" = 10.77.0.0/16 ]
  set +e; in_net "$net" "$tutti" up --workers 0 --data "$work/range" --network 10.78.0.0/16 2>"$work/range.err"; code=$?; set -e
  [ $code = 2 ]; grep -q '10.77.0.0/16' "$work/range.err"
}
N01_a_node_without_its_network_takes_no_containers() {
  net=e2e-way-$$ one=; export TUTTI_CONFIG="$work/way.json"; trap 'kill $one || true; wait $one || true; ip netns delete $net' EXIT
  own_net "$net"; ip -n "$net" link add inway type bridge; ip -n "$net" addr add 10.97.1.1/24 dev inway; ip -n "$net" link set inway up
  nsenter --net="/run/netns/$net" "$tutti" up --workers 1 --network 10.97.0.0/16 --data "$work/way" --api-port 0 --worker-port 0 --rm >"$work/way.log" 2>&1 & one=$!
  driver() { in_net "$net" "$tutti" node list -o json | jq -e ".items[0].status.drivers[] | select(.name == \"$1\") | $2"; } # NAME CONDITION
  eventually 30 driver container '.healthy == false and (.reason | test("overlaps.*link inway"))'
  driver process .healthy
  ip -n "$net" link delete inway
  eventually 30 driver container .healthy
}
