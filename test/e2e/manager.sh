# The manager's own work: catalog, history, the API's hygiene. Sourced by test/e2e/run.

# A registry of somebody else's, for pushes: its port is known before the pool starts, so that the pool may list it.
registry_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export TUTTI_INSECURE_REGISTRIES=127.0.0.1:$registry_port

blob_count() { find "$work/pool/manager/catalog/blobs" -type f | wc -l; }
oci_archive() { # FILE: hello:1 with one more layer, so that its content is its own
  local dir=$work/oci-archive-$RANDOM
  mkdir -p "$dir/root/etc" && date +%N >"$dir/root/etc/made" && cp -r "$work/rootfs/." "$dir/root" && tar -C "$dir/root" -cf "$1" . && rm -rf "$dir"
}

I02_import_of_a_url() {
  oci_archive "$work/served.tar"
  python3 -u -m http.server --bind 127.0.0.1 --directory "$work" 0 >"$work/http.log" 2>&1 & server=$!
  eventually 10 grep -q 'port [0-9]' "$work/http.log"; port=$(grep -o 'port [0-9]*' "$work/http.log" | cut -d' ' -f2)
  t image import "http://127.0.0.1:$port/served.tar" from-url:1 --rootfs --cmd /bin/sh
  fails t image import "http://127.0.0.1:$port/nothing.tar" from-url:2 --rootfs 2>"$work/url.err"; grep -q '404' "$work/url.err"
  kill "$server"; [ "$(t run --rm from-url:1 -- echo ok)" = ok ]; t image delete from-url:1
}
I01_push_goes_to_a_registry_elsewhere() {
  TUTTI_CONFIG=$work/other.json "$tutti" manager --data "$work/registry" --api-port "$registry_port" --worker-port 0 >"$work/registry.log" 2>&1 & server=$!
  eventually 20 test -s "$work/registry/bootstrap-credential"
  TUTTI_CONFIG=$work/other.json t login --address "127.0.0.1:$registry_port" --authority "$work/registry/authority.pem" --credential-file "$work/registry/bootstrap-credential"
  token=$(jq -r '.contexts[0].token' "$work/other.json")
  fails t image push hello:1 "127.0.0.1:$registry_port/team/hello:7" 2>"$work/push.err"; grep -qi 'credentials' "$work/push.err"
  TUTTI_REGISTRY_PASSWORD=$token t image push hello:1 "127.0.0.1:$registry_port/team/hello:7" --username any
  TUTTI_CONFIG=$work/other.json t image list -o name | grep -q 'team/hello:7'
  fails grep -rq "$token" "$work/pool/manager/state.db" "$work/up.log"
  t operation list -o json | jq -e '[.items[] | select(.status.operation == "image.push" and .status.state == "succeeded")] | length == 1'
  kill "$server"; wait "$server" || true
  fails t image push nothing:1 "127.0.0.1:$registry_port/x:1"; fails t image push hello:1 nowhere 2>"$work/push.err"; grep -q 'REGISTRY/NAME' "$work/push.err"
}
I01_push_brings_local_images_into_the_catalog() {
  creds="any:$(cat "$work/pool/admin-token")"; address=$(jq -r '.contexts[0].address' "$TUTTI_CONFIG")
  skopeo copy --quiet --src-tls-verify=false --src-creds "$creds" "docker://$address/hello:1" "oci-archive:$work/local.tar:x"
  t image push "oci-archive:$work/local.tar:x" --name local/pushed:1 -q; [ "$(t run --rm local/pushed:1 -- echo there)" = there ]; t image delete local/pushed:1
}
I10_prune_keeps_what_is_referred_to_or_coming_in() {
  age_blobs() { find "$work/pool/manager/catalog/blobs" -type f -exec touch -d '3 hours ago' {} +; }
  age_blobs; t image prune --grace 1h -q  # what other tests left
  registry="$(url)/v2/half/blobs/uploads/"
  at=$(api -X POST -D - -o /dev/null "$registry" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
  at=$(api -X PATCH -H 'content-type: application/octet-stream' --data-binary 'first half,' -D - -o /dev/null "$(url)${at#https://*:*[0-9]}" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
  oci_archive "$work/gone.tar"; t image import "$work/gone.tar" gone:1 --rootfs --cmd /bin/sh -q; t image delete gone:1
  job i10 1 'sleep 1000' | t job run - -q; before=$(blob_count)
  t image prune -q; [ "$(blob_count)" = "$before" ]  # all of it is young
  fails t image prune --grace 1s 2>"$work/prune.err"; grep -q kPruneGraceSecondsMin "$work/prune.err"
  age_blobs
  kill -9 "$(pgrep -f -- "manager --data $work/pool/manager" | head -1)"; eventually 20 t node list
  t image prune --grace 1h -q; [ "$(blob_count)" = $((before - 3)) ]
  digest=sha256:$(printf 'first half,second' | sha256sum | cut -d' ' -f1)
  [ "$(api -X PUT -H 'content-type: application/octet-stream' --data-binary 'second' -o /dev/null -w '%{http_code}' "$(url)${at#https://*:*[0-9]}?digest=$digest")" = 201 ]
  count_running i10 1; [ "$(t run --rm hello:1 -- echo still)" = still ]; t job delete i10 -q
}
U04_a_broken_connection_is_asked_again() {
  # Ends the first two connections as a manager does that is killed, then passes bytes on.
  cat >"$work/breaker.py" <<'PY'
import socket, sys, threading
host, port = sys.argv[1].rsplit(":", 1)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
def pump(a, b):
    try:
        while data := a.recv(65536): b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError: pass
for n in range(1000):
    near, _ = listener.accept()
    if n < 2:
        near.close()
        continue
    far = socket.create_connection((host, int(port)))
    for pair in ((near, far), (far, near)): threading.Thread(target=pump, args=pair, daemon=True).start()
PY
  python3 "$work/breaker.py" "$(jq -r '.contexts[0].address' "$TUTTI_CONFIG")" >"$work/breaker.port" & breaker=$!
  eventually 10 test -s "$work/breaker.port"
  t node list --address "127.0.0.1:$(cat "$work/breaker.port")" -o name | grep -q node-1
  kill "$breaker"
}
J13_asking_again_writes_nothing() {
  job j13 1 'sleep 1000' | t job run - -q; t job stop j13 -q
  revision() { api "$(url)/v1/jobs" | jq -r .revision; }
  stop() { api -X POST "$(url)/v1/jobs/j13:stop" | jq -r .operation.id; }
  first=$(stop); before=$(t operation list -o json | jq '.items | length'); [ "$(stop)" = "$first" ]
  [ "$(t operation list -o json | jq '.items | length')" = "$before" ]; t job delete j13 -q
}
U04_contexts_are_made_used_and_forgotten() {
  (
    export TUTTI_CONFIG=$work/contexts-too.json; cp "$work/contexts.json" "$TUTTI_CONFIG"; first=$(jq -r .current "$TUTTI_CONFIG")
    printf '%s' "$(cat "$work/pool/admin-token")" | t login --address "$(jq -r '.contexts[0].address' "$TUTTI_CONFIG")" --authority "$work/pool/manager/authority.pem" --context second
    [ "$(t context list -o name | wc -l)" = 2 ]; t context list | grep -q '^\* *second'; t whoami -o json | jq -e '.role == "admin"'
    fails grep -q token <(t context list -o json); [ "$(stat -c %a "$TUTTI_CONFIG")" = 600 ]
    t context use "$first"; t context delete "$first"; [ "$(jq -r .current "$TUTTI_CONFIG")" = second ]; t node list -o name | grep -q node-1
    fails t context use nothing 2>"$work/ctx.err"; grep -q "no context 'nothing'" "$work/ctx.err"
  )
}
U01_unknown_parameters_are_refused() {
  refused() { api -o "$work/u01.json" -w '%{http_code}' "$(url)$1" | grep -qx 400; jq -e ".status == 400 and (.detail | contains(\"$2\")) and (.errors | length) > 0" "$work/u01.json"; }
  refused '/v1/instances?filter=foo===bar' "GET /v1/instances takes no parameter 'filter'"; refused '/v1/jobs?order=foo' "'order'"
  refused '/v1/jobs?nosuch=1' "'nosuch'"; refused '/v1/jobs?fields=name' "'fields' cannot be 'name'"; refused '/v1/instances?watch&job=x' "'job'"
  api -f -o /dev/null "$(url)/v1/jobs?limit=10&project=default&fields=*"; api -f -o /dev/null "$(url)/v1/instances?live&all=0"
  for words in "job list" "ps -a" "node list" "node list --schedulers" "image list --all" "event list" "operation list" "project list" "pool show" whoami; do
    # shellcheck disable=SC2086
    t $words --project default >/dev/null
  done
  printf 'job: u01\ntasks: [{name: a, image: "hello:1", command: [sleep, "%s"]}]\n' "$nap" | t job run - -q
  [ "$(api "$(url)/v1/instances?project=default&live" | jq '[.items[] | select(.name == "u01-a-0")] | length')" = 1 ]; t job delete u01 -q
}
U02_the_status_in_a_problem_is_that_of_the_answer() {
  for call in "DELETE /v1/jobs" "PUT /v1/jobs/hello" "GET /v1/nothing" "GET /v1/jobs/nothing" "GET /v1/jobs?nosuch"; do
    code=$(api -D "$work/u02.head" -o "$work/u02.json" -w '%{http_code}' -X "${call%% *}" "$(url)${call#* }"); jq -e ".status == $code" "$work/u02.json"
  done
  [ "$(api -D "$work/u02.head" -X DELETE "$(url)/v1/jobs" | jq -r '"\(.status) \(.title)"')" = '405 method_not_allowed' ]; grep -qi '^allow: GET, HEAD, POST' "$work/u02.head"
}
C05_exec_on_what_is_not_there() {
  for verb in "exec nosuch -- true" "attach nosuch"; do
    # shellcheck disable=SC2086
    set +e; t instance $verb 2>"$work/c05n.err"; [ $? = 3 ] || exit 1; set -e; grep -qx "tutti: no instance 'nosuch'" "$work/c05n.err"
  done
}
W02_a_used_token_says_so_in_words() {
  set +e; t worker --manager "$(jq -r '.contexts[0].address' "$TUTTI_CONFIG")" --data "$work/w02n" --run "$work/w02n-run" --token "$(t node token -q --uses 1 | sed 's/^[^.]*\.[^.]*/aaaaaaaaaaaa.bad/')" >"$work/w02n.err" 2>&1; [ $? != 0 ] || exit 1; set -e
  grep -q 'refused the join: this join token is unknown, expired or used' "$work/w02n.err"; fails grep -q '"type"' "$work/w02n.err"; rm -rf "$work/w02n"
}
