#!/bin/sh
# The three stories of resop over HTTP with curl alone, on the testbed: an administrator's, a
# portal's, a researcher's. RESOP is the service's address; Python only reads the JSON.
#
#   make testbed && .venv/bin/python -m testbed config >testbed.env
#   set -a && . ./testbed.env && set +a && .venv/bin/resop up      # in another terminal
#   testbed/stories.sh
set -eu
RESOP=${RESOP:-http://127.0.0.1:3000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# value PATH: what stands there in the JSON on standard input: `output.job`, `output.0.name`.
value() {
    python3 -c '
import json, sys
found = json.load(sys.stdin)
for key in filter(None, sys.argv[1].split(".")):
    found = found[int(key)] if isinstance(found, list) else found[key]
print(found if isinstance(found, str) else json.dumps(found))' "$1"
}

# log_in NAME PASSWORD: from now on we are this user.
log_in() {
    TOKEN=$(curl -sS --fail-with-body "$RESOP/auth/opn/login" \
        --data-urlencode "username=$1" --data-urlencode "password=$2" | value output.token)
}

# call ACTION [curl's options]: POST it; its answer as JSON. Ends the script when it fails.
call() {
    action=$1
    shift
    curl -sS --fail-with-body -X POST "$RESOP/$action" -H "Authorization: Bearer $TOKEN" "$@" ||
        { echo " <- $action" >&2; exit 1; }
}

json='Content-Type: application/json'

say '1. The administrator: one call creates a person in LDAP, in Slurm and in the portal'
log_in hpcadmin hpcadmin-pw
call hpccenter/opn/create_user -d username=newcomer -d 'full_name=A Newcomer' \
    -d mail=newcomer@hpc.example -d account=project1 --data-urlencode "password=it's new" >"$work/made"
value output <"$work/made"

say '   who logs in at once and submits a job that completes'
log_in newcomer "it's new"
call slurm/opn/submit -d name=first --data-urlencode 'script=#!/bin/sh
sleep 5; echo done by $USER
' >"$work/job"
job=$(value output.job <"$work/job")
call slurm/opn/wait -H 'Prefer: wait=60' -d "jobs=$job" -d timeout=55 | value output
call slurm/opn/output -d "job=$job" | value output.text

say '   whose usage stands in the report once Slurm has summed it up'
log_in hpcadmin hpcadmin-pw
call slurm/cmd/sacctmgr -H "$json" -d "{\"immediate\": true, \"input\": [\"roll\"]}" >/dev/null
call slurm/opn/report -d type=user -d users=newcomer -d unit=seconds | value output

say '   and who is removed, and cannot log in any more'
call hpccenter/opn/delete_user -d username=newcomer | value output
if (log_in newcomer "it's new") >"$work/refused" 2>&1; then
    echo 'newcomer can still log in' >&2
    exit 1
fi
cat "$work/refused"

say '2. The portal: nodes with their hardware, and the queue, as JSON'
log_in alice alice-pw
call slurm/opn/nodes >"$work/nodes"
value output <"$work/nodes" | head -c 2000
call slurm/opn/partitions | value output | head -c 1000

say '3. The researcher: 200 simulations with one call, watched, and their results'
call slurm/opn/sweep -H "$json" -d '{
    "name": "stories", "output": "stories-%a.out", "at_once": 50,
    "script": "#!/bin/sh\necho $T $SEED $((T * SEED))\n",
    "parameters": {"T": {"start": 1, "stop": 20}, "SEED": {"start": 1, "stop": 10}}
}' >"$work/sweep"
sweep=$(value output.job <"$work/sweep")
value output.runs <"$work/sweep"
