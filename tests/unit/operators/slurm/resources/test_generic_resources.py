"""Generic resources in the forms that scontrol, squeue and sacct print."""

from operators.slurm.parsing import gpus_by_type, parse_tres
from operators.slurm.resources.generic_resources import count_by_name, gpus_of, parse_gres


def test_every_form_is_counted() -> None:
    cases = {
        "": {},
        "(null)": {},
        "gpu": {("gpu", ""): 1},
        "gpu:2": {("gpu", ""): 2},
        "gpu:2(S:0-1)": {("gpu", ""): 2},
        "gpu:a100:4": {("gpu", "a100"): 4},
        "gpu:a100:2(S:0,2),gpu:v100:1": {("gpu", "a100"): 2, ("gpu", "v100"): 1},
        "gpu:(null):3(IDX:0,2-3)": {("gpu", ""): 3},
        "gpu:a100:0(IDX:N/A)": {("gpu", "a100"): 0},
        "gpu:1g.10gb:7(S:0)": {("gpu", "1g.10gb"): 7},
        "gpu:nvidia_a100-sxm4-80gb:8": {("gpu", "nvidia_a100-sxm4-80gb"): 8},
        "gpu:no_consume:2": {("gpu", ""): 2},
        "gpu:a100:no_consume:2": {("gpu", "a100"): 2},
        "vgpu:2,gpu:1": {("vgpu", ""): 2, ("gpu", ""): 1},
        "shard:a100:3(2/8,1/8),mps:200(200/400)": {("shard", "a100"): 3, ("mps", ""): 200},
        "shard:2K": {("shard", ""): 2048},
        "bandwidth:lustre:4G": {("bandwidth", "lustre"): 4 << 30},
        "gres:gpu:1": {("gpu", ""): 1},
        "gres/gpu:a100=2": {("gpu", "a100"): 2},
        "gres/gpu=4": {("gpu", ""): 4},
    }
    for text, counts in cases.items():
        assert parse_gres(text) == counts, text


def test_what_jobs_use_is_found_whichever_side_names_the_type() -> None:
    cases = [
        ("gpu:2(S:0)", "gpu:(null):1(IDX:0)", {"gpu": (2, 1)}),
        ("gpu:a100:2", "gpu:1", {"gpu:a100": (2, 1)}),
        ("gpu:2", "gpu:a100:1(IDX:1)", {"gpu": (2, 1)}),
        ("gpu:a:1,gpu:b:1", "gpu:a:1(IDX:0),gpu:b:0(IDX:N/A)", {"gpu:a": (1, 1), "gpu:b": (1, 0)}),
        ("(null)", "gpu:0", {}),
        ("gpu:4,shard:16", "gpu:1(IDX:0),shard:3(3/4,0/4)", {"gpu": (4, 1), "shard": (16, 3)}),
    ]
    for available, used, expected in cases:
        found = count_by_name(available, used)
        assert {k: (v["total"], v["allocated"]) for k, v in found.items()} == expected, available
    assert list(gpus_of(count_by_name("gpu:a100:2,gpu:1,vgpu:8", ""))) == ["a100", "gpu"]


def test_resources_of_jobs_count_each_gpu_once() -> None:
    cases = {
        "cpu=4,gres/gpu=4,gres/gpu:a100=3": {"a100": 3, "gpu": 1},
        "gres/gpu:a100=2": {"a100": 2},
        "gres/gpu=2": {"gpu": 2},
        "gres/vgpu=2,gres/shard=8": {},
    }
    for text, expected in cases.items():
        assert gpus_by_type(parse_tres(text)) == expected, text
