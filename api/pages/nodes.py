"""The pages of the nodes: the cluster as a picture, and one node with its jobs."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request, Response

from api.pages.browser_session import caller_of
from api.pages.cluster_answers import ask
from api.pages.rendering import page, page_frame
from api.state.services import services_of

TILE_FIELDS = [
    *("name", "status", "accepts_jobs", "partitions", "reason"),
    *("cpus", "allocated_cpus", "memory", "allocated_memory", "gpus"),
]
JOB_FIELDS = ["id", "name", "user", "state", "cpus", "node_names", "elapsed", "time_limit"]
CAPACITIES = {"nodes": "nodes", "cores": "cores", "memory": "memory", "gpus": "GPUs"}


async def show_nodes(request: Request) -> Response:
    """Return the page of all nodes: a tile for each, by partition."""
    caller, services = await caller_of(request), services_of(request)
    overview, listed = await asyncio.gather(
        ask(services, caller, "overview", {}),
        ask(services, caller, "nodes", {"fields": TILE_FIELDS}),
    )
    nodes = listed.output["items"] if listed.output else []
    members: dict[str, list[dict[str, Any]]] = {}
    for node in nodes:
        for partition in node["partitions"] or [""]:
            members.setdefault(partition, []).append(node)
    return await page(
        "nodes.html",
        listed.status,
        answer=listed,
        overview=overview.output,
        capacities=CAPACITIES,
        members=members,
        **page_frame(request, caller.token),
    )


async def show_node(request: Request) -> Response:
    """Return the page of one node: hardware, state, and the jobs on it."""
    caller, services = await caller_of(request), services_of(request)
    name = request.path_params["node"]
    listed, queue = await asyncio.gather(
        ask(services, caller, "nodes", {"names": name}),
        ask(services, caller, "jobs", {"fields": JOB_FIELDS, "states": ["RUNNING", "COMPLETING"]}),
    )
    nodes, jobs = listed.output or [], queue.output["items"] if queue.output else []
    return await page(
        "node.html",
        listed.status if nodes or listed.error else 404,
        answer=listed,
        name=name,
        node=nodes[0] if nodes else None,
        jobs=[job for job in jobs if name in job["node_names"]],
        **page_frame(request, caller.token),
    )
