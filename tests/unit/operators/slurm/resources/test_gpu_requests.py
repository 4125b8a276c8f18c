"""GPUs that jobs ask for in every form of Slurm 22.05 to 26.05, where no accounting counts them."""

from operators.slurm.resources.gpu_requests import JobSize, count_gpus, gpus_of_line, with_gpus

SIZE = JobSize(nodes=3, tasks=6, sockets_per_node=2)


def test_gpus_are_those_of_the_whole_job_in_every_form() -> None:
    cases = [
        ({"per_job": "gpu:4"}, {"gpu": 4}),
        ({"per_job": "gres/gpu:a100:4"}, {"a100": 4}),
        ({"per_job": "gres:gpu:a100:2,gres:gpu:v100:1"}, {"a100": 2, "v100": 1}),
        ({"per_node": "gres:gpu:2"}, {"gpu": 6}),
        ({"per_node": "gres/gpu"}, {"gpu": 3}),
        ({"per_task": "gres/gpu=1"}, {"gpu": 6}),
        ({"per_task": "cpu=2,gres/gpu:h100=2"}, {"h100": 12}),
        ({"per_socket": "gres/gpu:1"}, {"gpu": 6}),
        ({"per_node": "gres/shard:2,gres/gpu:1g.10gb:7"}, {"1g.10gb": 21}),
        ({"per_job": "(null)", "per_node": "N/A", "per_task": ""}, {}),
    ]
    for requests, gpus in cases:
        assert count_gpus(requests, SIZE) == gpus, requests
    assert count_gpus({"per_socket": "gpu:1"}, SIZE._replace(sockets_per_node=None)) is None
    assert count_gpus({"per_task": "gpu:1"}, SIZE._replace(tasks=None)) is None
    assert count_gpus({"per_task": "cpu=1"}, SIZE._replace(tasks=None)) == {}


def test_gpus_are_added_only_where_the_accounting_has_none() -> None:
    gpus = count_gpus({"per_node": "gpu:a100:1,gpu:1"}, SIZE)
    assert with_gpus({"cpu": 4}, gpus) == {"cpu": 4, "gres/gpu": 6, "gres/gpu:a100": 3}
    for tracked in ({"cpu": 4, "gres/gpu": 2}, {"gres/gpu:v100": 1}):
        assert with_gpus(tracked, gpus) == tracked
    assert with_gpus({"cpu": 4}, None) == with_gpus({"cpu": 4}, count_gpus({}, SIZE)) == {"cpu": 4}


def test_submission_lines_tell_the_gpus_unless_they_depend_on_more() -> None:
    lines = {
        "sbatch --gpus=4 run": {"gpu": 4},
        "sbatch -G a100:2,v100:1 run": {"a100": 2, "v100": 1},
        "sbatch -HG2 run": {"gpu": 2},
        "sbatch --gres=gpu:a100:2,disk:10 run": {"a100": 6},
        "sbatch --gpus-per-node a100:2 run": {"a100": 6},
        "sbatch --ntasks=4 --gpus-per-task=1 run": {"gpu": 4},
        "sbatch -n 4 --tres-per-task=cpu=2,gres/gpu:1 run": {"gpu": 4},
        "sbatch --sockets-per-node=2 --gpus-per-socket=h100:1 run": {"h100": 6},
        "sbatch --gpus-per-task=1 run": None,
        "sbatch run --gpus=4": {},
        "sbatch --partition=gpu run": {},
        "sbatch run": {},
        "salloc --gpus=4": None,
        "": {},
    }
    for line, gpus in lines.items():
        assert gpus_of_line(line, "run", 3) == gpus, line
    assert gpus_of_line("sbatch --wrap=prog --gpus=8", "wrap", 1) is None
