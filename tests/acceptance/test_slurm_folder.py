"""Slurm in a folder that is on nobody's PATH, as the setting SLURM_BIN tells."""

from tests.acceptance.conftest import SLURM_BIN, only_embedded
from tests.support.service import Caller, failure

STAND_INS = f"""\
#!/bin/sh -e
mkdir -p '{SLURM_BIN}'
cd '{SLURM_BIN}'
cat >sinfo <<'E'
#!/bin/sh
echo "PATH=$PATH"
E
cat >scontrol <<'E'
#!/bin/sh
echo "NodeName=standin State=IDLE CPUTot=4 Gres=gpu:(null):1"
E
cat >sbatch <<'E'
#!/bin/sh
cat >/dev/null
printf 'sbatch: error: one\\nsbatch: error: two\\n' >&2
exit 1
E
chmod +x sinfo scontrol sbatch
"""


@only_embedded
def test_commands_and_operations_find_slurm_in_its_folder(bob: Caller) -> None:
    written = bob.post("core/opn/script", {"script": STAND_INS})
    assert written.json()["success"], written.text
    answer = bob.post("slurm/cmd/sinfo", {}).json()
    assert answer["output"].startswith(f"PATH={SLURM_BIN}:")
    assert answer["command"] == "sinfo"
    [node] = bob.post("slurm/opn/nodes", {}).json()["output"]
    assert (node["name"], node["status"], node["gpus"]["gpu"]["total"]) == ("standin", "IDLE", 1)
    error = failure(bob.post("slurm/opn/submit", {"script": "#!/bin/sh\n"}), 424)
    assert error["message"] == "sbatch: one\ntwo (exit code 1)"
