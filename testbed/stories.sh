#!/bin/sh
# Plays three stories on the testbed, over HTTP with curl: an administrator's, a portal's and a
# researcher's. RESOP is the service's address; Python only reads the JSON answers.
#
#   make testbed && .venv/bin/python -m testbed config >testbed.env
#   set -a && . ./testbed.env && set +a && .venv/bin/resop up      # in another terminal
#   testbed/stories.sh
set -eu
RESOP=${RESOP:-http://127.0.0.1:3000}
if ! curl -sSf -o /dev/null "$RESOP/health/live"; then
    echo "stories.sh: no resop answers at $RESOP; see the top of this file for how to start it" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# value PATH: print the value at this path of the JSON on standard input (`output.0.name`).
value() {
    python3 -c '
import json, sys
value = json.load(sys.stdin)
for key in filter(None, sys.argv[1].split(".")):
    value = value[int(key)] if isinstance(value, list) else value[key]
print(value if isinstance(value, str) else json.dumps(value))' "$1"
}

# log_in NAME PASSWORD: log in, and use this user's token from now on.
log_in() {
    TOKEN=$(curl -sS --fail-with-body "$RESOP/auth/opn/login" \
        --data-urlencode "username=$1" --data-urlencode "password=$2" | value output.token)
}

# call ACTION [curl's options]: run the action and print its JSON answer; exit if it fails.
call() {
    action=$1
    shift
    curl -sS --fail-with-body -X POST "$RESOP/$action" -H "Authorization: Bearer $TOKEN" "$@" \
        >"$work/answer" || { cat "$work/answer" >&2; echo " (answer of $action)" >&2; exit 1; }
    cat "$work/answer"
}

# expect EXPECTED ACTUAL: print the value; exit if it differs from the expected one.
expect() {
    [ "$1" = "$2" ] || { echo "expected $1, got $2" >&2; exit 1; }
    printf '%s\n' "$2"
}

json='Content-Type: application/json'
user=newcomer$$ # a new name each time, because a deleted user's home folder remains

say '1. The administrator: one call creates a user in LDAP, in Slurm and in the portal'
log_in hpcadmin hpcadmin-pw
call hpccenter/opn/create_user -d "username=$user" -d 'full_name=A Newcomer' \
    -d "mail=$user@hpc.example" -d account=project1 --data-urlencode "password=it's new" \
    >"$work/user"
value output <"$work/user"

say '   The new user can log in at once and submits a job, which completes'
log_in "$user" "it's new"
call slurm/opn/submit -d job_name=first --data-urlencode 'script=#!/bin/sh
sleep 5; echo "done by $USER"
' >"$work/job"
job=$(value output.job <"$work/job")
call slurm/opn/wait -H 'Prefer: wait=120' -d "id=$job" -d timeout=100 >"$work/ended"
expect COMPLETED "$(value output.state <"$work/ended")"
expect "done by $user" "$(call slurm/opn/output -d "id=$job" | value output.text)"

say '   The usage report includes the job once Slurm has summed it up (by itself every hour)'
log_in hpcadmin hpcadmin-pw
hour=$(date +%FT%H:00:00) next=$(date -d '+1 hour' +%FT%H:00:00)
until
    call slurm/cmd/sacctmgr -H "$json" \
        -d "{\"input\": [\"roll\", \"$hour\", \"$next\"]}" >"$work/roll"
    call slurm/opn/report -H "$json" -d "{\"type\": \"user_utilization_by_account\",
        \"start\": \"$hour\",
        \"unit\": \"seconds\", \"users\": [\"$user\"]}" >"$work/report"
    value output.periods.0.rows.0.figures.used <"$work/report" 2>"$work/nothing"
do
    tries=$((${tries:-0} + 1))
    [ "$tries" -lt 20 ] || { echo 'no usage in the report' >&2; cat "$work/report" >&2; exit 1; }
    sleep 2
done

say '   The administrator deletes the user, who cannot log in any more'
call hpccenter/opn/delete_user -d "username=$user" | value output
status=$(curl -sS -o "$work/refused" -w '%{http_code}' "$RESOP/auth/opn/login" \
    -d "username=$user" --data-urlencode "password=it's new")
expect 401 "$status"
value error.message <"$work/refused"

say '2. The portal: nodes with their hardware, and partitions, as JSON'
log_in alice alice-pw
call slurm/opn/nodes >"$work/nodes"
value output.0 <"$work/nodes"
call slurm/opn/partitions >"$work/partitions"
value output.0 <"$work/partitions"

say '3. The researcher: 200 simulations with one call'
call slurm/opn/sweep -H "$json" -d '{
    "job_name": "stories", "output": "stories-%a.out", "at_once": 50,
    "script": "#!/bin/sh\necho \"T=$T SEED=$SEED gives $((T * SEED))\"\n",
    "parameters": {"T": {"start": 1, "stop": 20}, "SEED": {"start": 1, "stop": 10}}
}' >"$work/sweep"
sweep=$(value output.job <"$work/sweep")
expect 200 "$(value output.runs <"$work/sweep")"

say '   Poll the task, without holding a connection open'
call slurm/opn/wait -H 'Prefer: respond-async' -d "id=$sweep" -d timeout=600 >"$work/task"
task=$(value task <"$work/task")
until
    curl -sS --fail-with-body "$RESOP/tasks/$task?wait=5" -H "Authorization: Bearer $TOKEN" \
        >"$work/task"
    printf '%s %s\n' "$(value state <"$work/task")" "$(value progress <"$work/task")"
    [ "$(value state <"$work/task")" != running ] && [ "$(value state <"$work/task")" != queued ]
do :; done
expect succeeded "$(value state <"$work/task")"
expect COMPLETED "$(value output.state <"$work/task")"

say '   Read the results, each with its parameters'
value output.values.199 <"$work/sweep"
call slurm/opn/output -d "id=${sweep}_199" -d path=stories-199.out | value output.text
expect 200 "$(call core/opn/run -d 'command=cat stories-*.out | sort -u | wc -l; rm stories-*.out' |
    value output.stdout)"

say 'All three stories succeeded.'
