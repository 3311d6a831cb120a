# Devices. Sourced by test/e2e/run.

S09_gpu_devices() {
  # A pool of its own, whose worker says that it has cards: a third node would confuse the rows that count two.
  export TUTTI_CONFIG="$work/gpu.json"
  "$tutti" up --workers 0 --data "$work/gpu" --api-port 0 --worker-port 0 --rm >"$work/gpu-up.log" 2>&1 & manager=$!
  eventually 20 t node list
  "$tutti" worker --data "$work/gpu-w" --run "$work/gpu-w-run" --manager "$(jq -r '.contexts[0].address' "$TUTTI_CONFIG")" --token "$(t node token -q)" \
    --devices gpu:T4:16Gi*2,gpu:A100:80Gi --cpu 4c --memory 1Gi >"$work/gpu-w.log" 2>&1 & worker=$!
  eventually 20 sh -c "'$tutti' node list -o json | jq -e '[.items[] | select(.status.health == \"ready\")] | length == 1'"
  t node show -o json "$(t node list -o json | jq -r '.items[0].name')" | jq -e '[.. | objects | select(has("devices")) | .devices[]?] | length >= 3'
  gpu_job() { # NAME GPU-YAML
    printf 'job: %s\ntasks:\n  - name: main\n    driver: process\n    command: [sh, -c, "env; sleep %s"]\n    stop_grace: 1s\n    network: host\n    resources: {cpu: 10m, memory: 8Mi}\n    gpu: %s\n' "$1" "$nap" "$2" | t job run - -q --no-wait
  }
  held() { t instance show "$1-main-0" -o json | jq -r '[.status.devices[] | .device + "/" + (.share | tostring)] | join(" ")'; }
  gpu_job big '{models: [A100, H100]}'; eventually 20 state_is big-main-0 running
  [ "$(held big)" = gpu2/1000 ]
  gpu_job one '{share: 600, memory: 16Gi}'; eventually 20 state_is one-main-0 running
  gpu_job two '{share: 400}'; eventually 20 state_is two-main-0 running
  [ "$(held one)" = gpu0/600 ] && [ "$(held two)" = gpu0/400 ]  # together on one card
  t instance logs one-main-0 | grep -qx TUTTI_DEVICES=gpu0; t instance logs one-main-0 | grep -qx NVIDIA_VISIBLE_DEVICES=gpu0; t instance logs one-main-0 | grep -qx TUTTI_DEVICE_SHARE=600
  gpu_job pair '{count: 2, models: [T4]}'  # one of the two is shared out
  eventually 10 sh -c "'$tutti' explain pair-main-0 -o json | jq -e '.reasons[] | select(.reason == \"not enough free gpu\")'"
  gpu_job never '{models: [H100]}'
  eventually 10 sh -c "'$tutti' explain never-main-0 -o json | jq -e '.reasons[] | select(.reason == \"has no 1 gpu of H100\")'"
  t job delete one -q; t job delete two -q
  eventually 20 state_is pair-main-0 running; [ "$(held pair)" = "gpu0/1000 gpu1/1000" ]
  fails gpu_job wrong '{count: 2, share: 500}' 2>"$work/gpu.err"; grep -q 'a share of more than one device' "$work/gpu.err"
  kill "$worker"; wait "$worker" || true
  "$tutti" worker --purge --data "$work/gpu-w" --run "$work/gpu-w-run"; kill "$manager"; wait "$manager" || true
}
S10_replay_prints_what_part_of_the_gpus_is_given_out() {
  { echo sn,cpu_milli,memory_mib,gpu,model; for i in 1 2 3 4 5 6; do echo "m$i,32000,131072,4,T4"; done; } >"$work/nodes.csv"
  { echo name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec
    for i in $(seq 1 10); do printf 'a%s,4000,4096,1,1000,\nb%s,2000,4096,1,470,T4\nc%s,1000,2048,0,0,\nd%s,8000,8192,2,1000,T4|A10\n' "$i" "$i" "$i" "$i"; done; } >"$work/pods.csv"
  for policy in fgd fragmentation binpack; do
    t sim replay --nodes "$work/nodes.csv" --pods "$work/pods.csv" --policy $policy --seeds 2 --rounds 4 -o json | tee "$work/replay.json"
    jq -e '.gpus == 24 and .pods == 40 and (.runs | length) == 2 and .allocated_pct_at_130 > 80 and .allocated_pct_at_130 <= 100' "$work/replay.json"
  done
  sed 's/^b3,2000/b3,2e3/' "$work/pods.csv" >"$work/bad.csv"
  fails t sim replay --nodes "$work/nodes.csv" --pods "$work/bad.csv" 2>"$work/replay.err"; grep -q "bad.csv: line 11: column cpu_milli: '2e3'" "$work/replay.err"
  fails t sim replay --nodes "$work/nodes.csv" --pods "$work/pods.csv" --policy fragmentaton 2>"$work/replay.err"; grep -q "did you mean 'fragmentation'" "$work/replay.err"
}
S10_the_manager_learns_where_gpus_go() {
  export TUTTI_CONFIG="$work/learn.json"
  "$tutti" up --workers 0 --data "$work/learn" --api-port 0 --worker-port 0 --rm --log-level info >"$work/learn-up.log" 2>&1 & manager=$!
  eventually 20 t node list
  address=$(jq -r '.contexts[0].address' "$TUTTI_CONFIG")
  "$tutti" worker --data "$work/learn-w" --run "$work/learn-w-run" --manager "$address" --token "$(t node token -q)" \
    --devices 'gpu:T4:16Gi*8' --cpu 4c --memory 1Gi >"$work/learn-w.log" 2>&1 & worker=$!
  eventually 20 sh -c "'$tutti' node list -o json | jq -e '[.items[] | select(.status.health == \"ready\")] | length == 1'"
  for gpu in 'share: 470' 'share: 810' 'count: 1'; do
    printf 'job: learn-%s\npolicy: fragmentation\ntasks:\n  - {name: main, driver: process, stop_grace: 1s, count: 80, network: host, command: [sleep, "'$nap'"], resources: {cpu: 10m, memory: 8Mi}, gpu: {%s}}\n' "${gpu##* }" "$gpu" | t job run - -q --no-wait
  done
  goes_by() { "$tutti" node list --schedulers -o json | jq -r ".items[$1].fragmentation"; }
  learned() { goes_by "$1" | grep -Eq '^(learned|FGD: nothing better was learned) from 240 requests'; }
  eventually 60 learned 0  # or nothing better than FGD, on one machine
  grep -q 'placement by fragmentation.*learned from 240 requests' "$work/learn-up.log"
  kill "$worker"; wait "$worker" || true
  "$tutti" worker --purge --data "$work/learn-w" --run "$work/learn-w-run"; kill "$manager"; wait "$manager" || true
}
S10_on_a_small_list_of_our_own_fragmentation_is_no_worse_than_fgd() {
  "$tutti" bench gpu -o json | tee "$work/bench-gpu.json"
  jq -e '[.. | objects | select(.name? and (.name | startswith("gpu.")))] | length == 8 and all(.met != false)' "$work/bench-gpu.json"
  # What it compares is what a replay of the list prints.
  data="$(dirname "${BASH_SOURCE[0]}")/../data/gpu"
  t sim replay --nodes "$data/nodes.csv" --pods "$data/pods.csv" --policy fgd --seeds 10 -o json >"$work/small.json"
  jq -e '.refused_but_fits == 0 and .allocated_pct_at_90 <= .asked_pct_at_90' "$work/small.json"
  jq -se '(.[1].allocated_pct_at_130 - (.[0] | .. | objects | select(.name? == "gpu.at_130_vs_fgd") | .peer_value)) | fabs < 0.01' "$work/bench-gpu.json" "$work/small.json"
}
