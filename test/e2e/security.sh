# What an attacker tries: each row is an attack that must fail, or the defence at work. Sourced by test/e2e/run.
as() { local who=$1; shift; curl -sS --cacert "$work/pool/manager/authority.pem" -H "Authorization: Bearer $who" "$@"; }
code() { local who=$1; shift; as "$who" -o "$work/code.out" -w '%{http_code}' "$@"; }
token_of() { api -X POST -H 'content-type: application/json' -d "$1" "$(url)/v1/tokens" | jq -r .token; }
post() { local who=$1 body=$2; shift 2; code "$who" -X POST -H 'content-type: application/json' -d "$body" "$@"; }

A02_an_admin_of_a_project_is_none_of_the_pool() {
  admin=$(token_of '{"name":"sec-pa","role":"admin","project":"default"}')
  for at in tokens join-tokens; do [ "$(post "$admin" '{"name":"sec-more","role":"admin"}' "$(url)/v1/$at")" = 403 ]; done
  [ "$(code "$admin" -X PATCH -d '{"allow_privileged":true}' "$(url)/v1/projects/default")" = 403 ]
  [ "$(code "$admin" -X DELETE "$(url)/v1/nodes/node-1?fenced")" = 403 ]; [ "$(code "$admin" "$(url)/v1/tokens")" = 403 ]
  [ "$(code "$admin" "$(url)/v1/jobs")" = 200 ]
}
A02_operators_do_not_ask_again_for_what_admins_asked() {
  operator=$(token_of '{"name":"sec-op","role":"operator"}')
  drain=$(api -X POST -d '{}' "$(url)/v1/nodes/node-2:drain?wait=10s" | jq -r .operation.id); t node enable node-2 -q
  [ "$(post "$operator" '' "$(url)/v1/operations/$drain:retry")" = 403 ]; [ "$(post "$operator" '' "$(url)/v1/operations/$drain:cancel")" = 403 ]
  t node show node-2 -o json | jq -e '.spec.eligibility == "eligible"'
}
A03_a_session_is_worth_what_its_token_is() {
  short=$(token_of '{"name":"sec-short","role":"operator","ttl":"1h"}')
  session=$(as "$short" -X POST -H 'content-type: application/json' -d '{"name":"sec-s1"}' "$(url)/v1/sessions" | jq -r .token)
  second=$(as "$session" -X POST -H 'content-type: application/json' -d '{"name":"sec-s2"}' "$(url)/v1/sessions" | jq -r .token)
  [ "$(code "$second" "$(url)/v1/jobs")" = 200 ]; api "$(url)/v1/tokens" | jq -e '[.items[] | select(.name == "sec-s2" and .status.expires != "")] | length == 1'
  api -X DELETE "$(url)/v1/tokens/$(echo "$short" | cut -d_ -f2)"
  for each in "$short" "$session" "$second"; do [ "$(code "$each" "$(url)/v1/jobs")" = 401 ]; done
}
C03_nobody_becomes_the_node_without_consent() {
  for wish in '"security":{"cap_add":["SYS_ADMIN"]}' '"security":{"cap_add":["ALL"]}' '"security":{"privileged":true}' '"driver":"process","user":"root"' \
    '"driver":"process","user":"0:1000"' '"driver":"process","user":"www-data"' '"driver":"process","security":{"no_new_privileges":false}'; do
    [ "$(post "$(cat "$work/pool/admin-token")" '{"job":"c03n","tasks":[{"name":"a","image":"hello:1","command":["sleep","1000"],'"$wish"'}]}' "$(url)/v1/jobs")" = 403 ]
    jq -e '.errors[0].path | startswith("tasks[0].")' "$work/code.out"
  done
  # Allowed, then not any more: what was stored meanwhile does not come back by a revert.
  api -X PATCH -H 'content-type: application/json' -d '{"allow_privileged":true}' "$(url)/v1/projects/default" >/dev/null
  printf 'job: c03n\ntasks: [{name: a, count: 0, image: "hello:1", security: {cap_add: [SYS_ADMIN]}}]\n' | t job run - -q
  api -X PATCH -H 'content-type: application/json' -d '{"allow_privileged":false}' "$(url)/v1/projects/default" >/dev/null
  printf 'job: c03n\ntasks: [{name: a, count: 0, image: "hello:1"}]\n' | t job run - -q
  [ "$(post "$(cat "$work/pool/admin-token")" '{"version":1}' "$(url)/v1/jobs/c03n:revert")" = 403 ]; t job delete c03n -q
}
C03_a_process_is_confined_and_so_are_copies() {
  printf 'job: c03p\ntasks:\n  - name: a\n    driver: process\n    command: [sh, -c, "id -u; cat /etc/shadow; cat %s; ls %s; rm -f /media/file; echo v > /media/file && echo wrote; grep Seccomp: /proc/self/status; exec sleep %s"]\n    volumes: [{kind: local, source: c03p, target: /media}]\n' \
    "$work/pool/worker-1/identity/key.pem" "$work/pool/worker-1/images" "$nap" | t job run - -q
  eventually 10 sh -c "'$tutti' instance logs c03p-a-0 2>/dev/null | grep -q 'Seccomp:.2'"
  t instance logs c03p-a-0 2>&1 | head -6 >"$work/c03p.log"; cat "$work/c03p.log"; grep -q '^19[0-9]\{8\}$' "$work/c03p.log"; grep -q wrote "$work/c03p.log"; [ "$(grep -c 'ermission denied' "$work/c03p.log")" = 3 ] || exit 1
  mkdir -p "$work/c03p/back"; echo evil >"$work/c03p/evil"
  for path in /etc/shadow "$work/pool/worker-1/identity/key.pem"; do fails t instance cp "c03p-a-0:$path" "$work/c03p/"; done
  fails t instance cp "$work/c03p/evil" c03p-a-0:/etc; [ ! -e /etc/evil ]; [ ! -e "$work/c03p/shadow" ]
  t instance cp "$work/c03p/evil" c03p-a-0:/media; t instance cp c03p-a-0:/media/evil "$work/c03p/back"; grep -rq evil "$work/c03p/back"
  fails t instance exec --user root c03p-a-0 -- true; fails t instance exec c03p-a-0 -- cat /etc/shadow; t job delete c03p -q
}
V02_a_link_in_a_host_path_is_not_followed() {
  mkdir -p "$work/shared/data"; ln -s /etc "$work/shared/link"
  api -X PATCH -H 'content-type: application/json' -d "{\"host_paths\":[\"$work/shared\"]}" "$(url)/v1/projects/default" | jq -e '.id'
  mounted() { printf 'job: v02\ntype: batch\ntasks: [{name: a, image: "hello:1", command: [ls, /there], volumes: [{kind: host, source: %s, target: /there}], restart: {policy: never}, reschedule: {attempts: 0}}]\n' "$1" | t job run - "${@:2}"; }
  mounted "$work/shared/data" -q; t job delete v02 -q; mounted "$work/shared/link" -q --no-wait
  eventually 15 sh -c "'$tutti' ps --all --job v02 | grep -q 'through a link'"; t job delete v02 -q
  fails mounted /etc -q; fails mounted "$work/shared/../../../etc" -q
  api -X PATCH -H 'content-type: application/json' -d '{"host_paths":[]}' "$(url)/v1/projects/default" | jq -e '.id'
}
I05_a_worker_pulls_what_its_instances_need() {
  node=$work/pool/worker-1/identity/node.json; for part in certificate private_key authority; do jq -r ".$part" "$node" >"$work/i05.$part"; done
  curl_worker() { curl -sS --cacert "$work/i05.authority" --cert "$work/i05.certificate" --key "$work/i05.private_key" "$@"; }
  at=https://$(jq -r .worker_address "$node")
  t image import "$work/rootfs" i05secret:1 --cmd /bin/true -q; t image import "$work/rootfs" i05mine:1 --cmd /bin/sh -q
  printf 'job: i05\ntasks: [{name: a, image: "i05mine:1", command: [sleep, "%s"]}]\n' "$nap" | t job run - -q
  node_name=$(t instance show i05-a-0 -o json | jq -r .status.node); node=$work/pool/worker-${node_name#node-}/identity/node.json
  for part in certificate private_key; do jq -r ".$part" "$node" >"$work/i05.$part"; done
  [ "$(curl_worker -o /dev/null -w '%{http_code}' "$at/v2/i05mine/manifests/1")" = 200 ]; [ "$(curl_worker -o /dev/null -w '%{http_code}' "$at/v2/i05secret/manifests/1")" = 403 ]
  curl_worker "$at/v2/_catalog" | jq -e '.repositories | index("i05mine") and (index("i05secret") | not)'
  [ "$(curl_worker -o /dev/null -w '%{http_code}' -X POST "$at/v2/i05mine/blobs/uploads/")" = 403 ]; t job delete i05 -q
}
# A certificate of node NAME for its own key that ended DAYS ago (or will, with a number below 0).
certificate_ending() { # IDENTITY-FILE DAYS OUT
  mkdir -p "$work/ca"; : >"$work/ca/index"; echo 4242 >"$work/ca/serial"; jq -r .private_key "$1" >"$work/ca/key"
  printf '[ca]\ndefault_ca=c\n[c]\ndatabase=%s/ca/index\nserial=%s/ca/serial\nnew_certs_dir=%s/ca\ncertificate=%s\nprivate_key=%s\ndefault_md=sha256\npolicy=p\nx509_extensions=e\nunique_subject=no\n[p]\ncommonName=supplied\n[e]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n' \
    "$work" "$work" "$work" "$work/pool/manager/authority.pem" "$work/pool/manager/authority.key" >"$work/ca/conf"
  openssl req -new -key "$work/ca/key" -subj "/CN=$(jq -r .node "$1")" -out "$work/ca/request"
  openssl ca -batch -notext -config "$work/ca/conf" -startdate "$(date -u -d "-$(($2 + 60)) days" +%Y%m%d%H%M%SZ)" -enddate "$(date -u -d "$((-$2)) days" +%Y%m%d%H%M%SZ)" -in "$work/ca/request" -out "$3"
}
A05_an_expired_worker_comes_back_by_its_key() {
  node=$work/pool/worker-2/identity/node.json; at=https://$(jq -r .worker_address "$node"); jq -r .authority "$node" >"$work/a05.authority"; jq -r .private_key "$node" >"$work/a05.key"
  ask() { curl -sS --cacert "$work/a05.authority" --cert "$1" --key "$work/a05.key" -o "$work/a05.out" -w '%{http_code}' "${@:2}"; }
  certificate_ending "$node" 3 "$work/a05.pem"
  [ "$(ask "$work/a05.pem" "$at/v1/worker/session")" = 401 ]; [ "$(ask "$work/a05.pem" "$at/v2/_catalog")" = 401 ]
  [ "$(ask "$work/a05.pem" --data-binary "@$work/ca/request" "$at/v1/worker/renew")" = 200 ]; openssl x509 -in "$work/a05.out" -checkend $((80 * 24 * 3600))
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/a05.other" -subj "/CN=$(jq -r .node "$node")" -out "$work/a05.csr"
  [ "$(ask "$work/a05.pem" --data-binary "@$work/a05.csr" "$at/v1/worker/renew")" = 403 ]
  certificate_ending "$node" 40 "$work/a05.old"; fails ask "$work/a05.old" "$at/v1/worker/session"
  # The worker itself: stopped, its certificate ends, and it comes back; one that will end soon it renews by itself.
  for days in 3 -10; do
    certificate_ending "$node" "$days" "$work/a05.pem"; pid=$(pgrep -f -- "--data $work/pool/worker-2 " | head -1)
    kill -STOP "$pid"; jq --rawfile c "$work/a05.pem" '.certificate = $c' "$node" >"$work/a05.json"; cat "$work/a05.json" >"$node"; kill -KILL "$pid"
    eventually 30 sh -c "jq -r .certificate '$node' | openssl x509 -checkend $((80 * 24 * 3600))"
    eventually 30 sh -c "'$tutti' node show node-2 -o json | jq -e '.status.health == \"ready\"'"
  done
}
C05_what_a_task_gives_out_is_not_set_user_id() {
  job c05s 1 'cp /bin/busybox /tmp/suid; chown 1234 /tmp/suid; chmod 4755 /tmp/suid; mkfifo /tmp/pipe; ln -s /etc/shadow /tmp/link; sleep 1000' | t job run - -q; mkdir -p "$work/c05s"
  eventually 10 t instance exec c05s-main-0 -- test -L /tmp/link; t instance cp c05s-main-0:/tmp/suid "$work/c05s"
  [ "$(stat -c %a-%u "$work/c05s/suid")" = 755-0 ]; [ -z "$(find /tmp -maxdepth 1 -name 'tutti-cp-*' -newer "$work/c05s/suid")" ]
  t instance cp c05s-main-0:/tmp/link "$work/c05s"; [ -L "$work/c05s/link" ]; timeout 10 "$tutti" instance cp c05s-main-0:/tmp/pipe "$work/c05s"; [ -p "$work/c05s/pipe" ]
  t job delete c05s -q
}
D05_a_bomb_is_refused() {
  python3 - >"$work/bomb.yaml" <<'P'
print("job: bomb\nlabels: &a {k: v}\nx0: &x0 [1,1,1,1,1,1,1,1,1,1]")
for i in range(1, 12): print(f"x{i}: &x{i} [" + ",".join(f"*x{i-1}" for _ in range(10)) + "]")
P
  [ "$(api -m 20 -X POST --data-binary @"$work/bomb.yaml" -o "$work/bomb.out" -w '%{http_code}' "$(url)/v1/jobs")" = 413 ]
}
A08_a_strangers_body_is_small() {
  head -c 300000 /dev/zero | tr '\0' ' ' >"$work/a08"; admin=$(cat "$work/pool/admin-token")
  [ "$(code tutti_stranger -X POST --data-binary @"$work/a08" "$(url)/v1/jobs")" = 413 ]; [ "$(code "$admin" -X POST --data-binary @"$work/a08" "$(url)/v1/jobs")" = 400 ]
  [ "$(code tutti_stranger -X POST -H 'Transfer-Encoding: chunked' --data-binary @"$work/a08" "$(url)/v1/join")" = 413 ]; [ "$(code tutti_stranger -X POST -d x "$(url)/v1/jobs")" = 401 ]
  [ "$(code tutti_stranger -X PUT --data-binary @"$work/a08" "$(url)/v2/x/manifests/y")" = 413 ]
}
A08_a_worker_that_lies_is_cut_off() {
  cat >"$work/liar.py" <<'P'
import base64, json, os, socket, ssl, struct, sys
node = json.load(open(sys.argv[1]))
host, port = node["worker_address"].rsplit(":", 1)
for part in ("certificate", "private_key"): open(f"{sys.argv[2]}.{part}", "w").write(node[part])
tls = ssl.create_default_context(cadata=node["authority"]); tls.check_hostname = False
tls.load_cert_chain(f"{sys.argv[2]}.certificate", f"{sys.argv[2]}.private_key")
def frame(message):
    text = json.dumps(message).encode()
    size = struct.pack(">BH", 254, len(text)) if len(text) < 65536 else struct.pack(">BQ", 255, len(text))
    return b"\x81" + size + b"\0\0\0\0" + text
def session(messages):
    link = tls.wrap_socket(socket.create_connection((host, int(port)))); link.settimeout(10)
    link.sendall(b"GET /v1/worker/session HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(os.urandom(16)) + b"\r\n\r\n")
    said = b""
    while b"\r\n\r\n" not in said: said += link.recv(4096)
    link.sendall(frame(messages[0]))
    while len(messages) > 1 and b"welcome" not in said: said += link.recv(65536)
    link.sendall(b"".join(frame(m) for m in messages[1:]))
    while piece := link.recv(65536): said += piece  # times out unless the manager ends it
    return said
def hello(name): return {"hello": {"boot_id": "b", "process": 1, "inventory": {"hostname": name, "arch": "x86_64", "capacity": {"cpu": 1000, "memory": 1 << 30}}, "held": []}}
assert b"kInventoryBytesMax" in session([hello("A" * 200000)])
assert b"kReportsPerMessageMax" in session([hello("liar"), {"status": {"sequence": 1, "reports": [{"instance": "000000000001", "tasks": []}] * 257}}])
P
  python3 "$work/liar.py" "$work/pool/worker-2/identity/node.json" "$work/liar"
  eventually 20 sh -c "'$tutti' node show node-2 -o json | jq -e '.status.health == \"ready\"'"
}
# ---- tokens and sessions
ended_within() { local s=$1 pid=$2; eventually "$s" sh -c "! kill -0 $pid"; }
A03_every_role_may_ask_who_it_is() {
  for role in viewer operator admin scheduler; do [ "$(as "$(token_of '{"name":"a03-'$role'","role":"'$role'"}')" "$(url)/v1/whoami" | jq -r .role)" = "$role" ]; done
}
A03_sessions_in_a_loop_lock_nobody_out() {
  viewer=$(token_of '{"name":"a03-loop","role":"viewer"}')
  for i in $(seq 40); do post "$viewer" '{}' "$(url)/v1/sessions"; echo; done >"$work/a03.codes"
  [ "$(grep -c 201 "$work/a03.codes")" = 20 ] && [ "$(grep -c 429 "$work/a03.codes")" = 20 ] || exit 1
  [ "$(api "$(url)/v1/tokens?limit=1000" | jq '[.items[] | select(.name == "a03-loop")] | length')" = 21 ]
  api -X DELETE "$(url)/v1/tokens/$(echo "$viewer" | cut -d_ -f2)"; [ "$(api "$(url)/v1/tokens?limit=1000" | jq '[.items[] | select(.name == "a03-loop")] | length')" = 0 ]
}
A03_nobody_is_taken_for_another() {
  viewer=$(token_of '{"name":"a03-v","role":"viewer"}'); head -c 3000000 /dev/zero | tr '\0' a >"$work/a03.name"
  [ "$(as "$viewer" -o /dev/null -w '%{http_code}' -X POST -H 'content-type: application/json' --data-binary "@-" "$(url)/v1/sessions" < <(printf '{"name":"%s"}' "$(cat "$work/a03.name")"))" = 400 ]
  [ "$(post "$viewer" '{"name":"a\nb"}' "$(url)/v1/sessions")" = 400 ]
  mine=$(as "$(as "$viewer" -X POST -H 'content-type: application/json' -d '{"name":"admin"}' "$(url)/v1/sessions" | jq -r .token)" "$(url)/v1/whoami" | jq -r .identity)
  theirs=$(api "$(url)/v1/whoami" | jq -r .identity); echo "$mine $theirs"; [ "$mine" != "$theirs" ]; [[ $mine =~ ^token:admin#[0-9a-z]{12}$ ]]
}
A04_what_is_open_ends_with_its_token() {
  job a04 1 'while true; do echo tick; sleep 0.2; done' | t job run - -q; operator=$(token_of '{"name":"a04","role":"operator"}'); scheduler=$(t node token --role scheduler -q)
  session=$(as "$operator" -X POST -d '{}' "$(url)/v1/sessions" | jq -r .token); at=$(url); ca=$work/pool/manager/authority.pem
  as "$session" -N -o "$work/a04.watch" "$at/v1/events?watch" & watch=$!
  as "$session" -N -o "$work/a04.logs" "$at/v1/instances/a04-main-0/logs?follow" & logs=$!
  TUTTI_CONFIG=$work/a04.json "$tutti" login --address "${at#https://}" --authority "$ca" --token "$session" >/dev/null
  TUTTI_CONFIG=$work/a04.json "$tutti" instance exec a04-main-0 -- sleep 60 >/dev/null 2>"$work/a04.exec" & exec_=$!
  "$tutti" scheduler --name a04 --manager "${at#https://}" --token "$scheduler" >"$work/a04.scheduler" 2>&1 & own=$!
  eventually 15 sh -c "'$tutti' node list --schedulers -o json | jq -e '[.items[] | select(.name == \"a04\" and .health == \"ready\")] | length == 1'"
  eventually 10 grep -q tick "$work/a04.logs"; eventually 5 grep -q ready "$work/a04.watch"; kill -0 $watch; kill -0 $logs; kill -0 $exec_
  for each in "$operator" "$scheduler"; do api -X DELETE "$at/v1/tokens/$(echo "$each" | cut -d_ -f2)"; done
  ended_within 10 $watch && ended_within 10 $logs && ended_within 10 $exec_ || exit 1
  grep -q 'has ended' "$work/a04.watch"; grep -q 'has ended' "$work/a04.exec"
  eventually 10 sh -c "'$tutti' node list --schedulers -o json | jq -e '[.items[] | select(.name == \"a04\")] | length == 0'"; kill $own
  t job delete a04 -q
}
A04_one_token_has_its_share_of_the_watches() {
  viewer=$(token_of '{"name":"a04-w","role":"viewer"}'); at=$(url); urls=(); for i in $(seq 240); do urls+=(-o "$work/a04w/$i" "$at/v1/events?watch"); done; mkdir -p "$work/a04w"
  as "$viewer" -N --http1.1 -Z --parallel-immediate --parallel-max 300 "${urls[@]}" 2>/dev/null & all=$!
  eventually 30 sh -c "[ \$(grep -l kWatchersPerTokenMax $work/a04w/* | wc -l) -ge 35 ]"
  [ "$(api -N -m 3 "$at/v1/events?watch" 2>/dev/null | grep -c ready)" -ge 1 ]; kill $all; rm -rf "$work/a04w"
}
C03_consent_taken_back_launches_nothing_more() {
  project() { api -X PATCH -H 'content-type: application/json' -d "{\"allow_privileged\":$1}" "$(url)/v1/projects/default" >/dev/null; }
  project true; printf 'job: c03d\ntype: batch\nparameterized: {}\ntasks: [{name: a, image: "hello:1", command: ["true"], security: {privileged: true}}]\n' | t job run - -q
  printf 'job: c03s\ntasks: [{name: a, count: 0, image: "hello:1", command: [sleep, "1000"], security: {privileged: true}}]\n' | t job run - -q; project false
  admin=$(cat "$work/pool/admin-token"); [ "$(post "$admin" '{}' "$(url)/v1/jobs/c03d:dispatch")" = 403 ]; [ "$(post "$admin" '{"count":1}' "$(url)/v1/jobs/c03s:scale")" = 403 ]
  t job stop c03s -q; [ "$(post "$admin" '{}' "$(url)/v1/jobs/c03s:start")" = 403 ]; jq -e '.detail | test("does not allow job c03s")' "$work/code.out"
  t job delete c03d -q; t job delete c03s -q
}
A08_silent_strangers_leave_room_for_others() {
  cat >"$work/silent.py" <<'P'
import socket, sys, time
host, port = sys.argv[1].rsplit(":", 1)
links = []
for i in range(1200):
    try: links.append(socket.create_connection((host, int(port)), timeout=5))
    except OSError: pass
print("there", flush=True); time.sleep(float(sys.argv[2]))
P
  (ulimit -n 4096; exec python3 "$work/silent.py" "$(jq -r '.contexts[0].address' "$TUTTI_CONFIG")" 15) >"$work/silent.out" & silent=$!
  eventually 30 grep -q there "$work/silent.out"; [ "$(find "/proc/$(pgrep -f -- "manager --data $work/pool/manager" | head -1)/fd" | wc -l)" -lt 600 ]
  kill $silent
}
