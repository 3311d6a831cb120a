S10_bench_prints_figures() {
  t bench memory --quick -o json | tee "$work/bench.json"; jq -e '.items | length == 2 and all(.value > 1 and .unit == "MiB" and .target != "")' "$work/bench.json"
  fails t bench memroy 2>"$work/bench.err"; grep -q "did you mean 'memory'" "$work/bench.err"; t bench --list | grep -q submit
}
