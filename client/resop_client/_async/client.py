"""The client: log in, run any action, start tasks, sweeps and batches, transfer files."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx2

from resop_client._async.batches import AsyncBatch
from resop_client._async.connection import AsyncConnection, login_of
from resop_client._async.device_flow import AsyncDeviceFlow
from resop_client._async.files import AsyncFiles
from resop_client._async.operators import AsyncOperator
from resop_client._async.sweeps import AsyncSweep
from resop_client._async.tasks import WAIT_SECONDS, AsyncTask
from resop_client.catalog import Catalog
from resop_client.connection_choice import choose_login, choose_profile
from resop_client.device_code import DeviceCode
from resop_client.errors import RequestError, UnexpectedAnswer
from resop_client.login_store import LoginStore, default_store
from resop_client.record import Record
from resop_client.sweep_options import named_values, read_script, split_arguments
from resop_client.version import check_service_version

if TYPE_CHECKING:
    from resop_client.executor import SlurmExecutor

DEFAULT_BATCH_ACTION = "core.run"


class AsyncResop:
    """One service and one login there.

    Operators are attributes, and their actions are methods: `await hpc.slurm.nodes()`.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        profile: str | None = None,
        store: LoginStore | None = None,
        retry_seconds: float = 60.0,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        """Use the stored login of a profile, or of RESOP_URL and RESOP_TOKEN, or the given one.

        `token` is that of a login, or an API key. `retry_seconds`: how long a request is repeated
        while the service does not answer, where that is safe. Raises NotLoggedIn if no service is
        named anywhere.
        """
        self._store = store or default_store()
        self.profile = choose_profile(profile, store=self._store)
        """The name under which the login is stored."""
        self.connection = AsyncConnection(
            choose_login(url, token, self.profile, self._store),
            store=None if token else self._store,
            profile=self.profile,
            retry_seconds=retry_seconds,
            http=http,
        )
        """Sends any other request of the API: `hpc.connection.get("/limits")`."""
        self.files = AsyncFiles(self.connection)
        """The files of the cluster."""
        self._catalog: Catalog | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __getattr__(self, name: str) -> AsyncOperator:
        """Return an operator; that there is one of this name is checked when it is used."""
        if name.startswith("_"):
            raise AttributeError(name)
        return AsyncOperator(self, name)

    def __repr__(self) -> str:
        login = self.connection.login
        user = f"{login.username}@{login.cluster} " if login.username else ""
        return f"<{type(self).__name__} {user}{login.url}>"

    @property
    def url(self) -> str:
        """The address of the service."""
        return self.connection.login.url

    @property
    def username(self) -> str:
        """The user; empty if the token was given, not made by a login of this client."""
        return self.connection.login.username

    async def aclose(self) -> None:
        """Close the connections; the login remains."""
        await self.connection.aclose()

    async def login(
        self,
        username: str,
        password: str,
        *,
        otp: str | None = None,
        cluster: str | None = None,
        keep: bool = True,
    ) -> Self:
        """Log in with an account of the cluster, and store the login for the next run.

        Raises LoginRefused, OtpRequired (then give `otp`), …, and VersionMismatch.
        """
        await self.service()
        sent = {"username": username, "password": password, "otp": otp, "cluster": cluster}
        options = {name: value for name, value in sent.items() if value is not None}
        answer = await self.connection.post("/auth/opn/login", options)
        self.connection.use(login_of(self.url, answer["output"]), keep=keep)
        return self

    async def login_at_issuer(
        self,
        show: Callable[[DeviceCode], object],
        *,
        cluster: str | None = None,
        keep: bool = True,
    ) -> Self:
        """Log in at the site's OpenID Connect issuer, and store the login for the next run.

        `show` gets the code that a person enters there, and the address of the page. Raises
        LoginRefused if they do not, and RequestError if the service has no issuer.
        """
        service = await self.service()
        issuer = service.get("openid")
        if issuer is None:
            raise RequestError(f"{self.url} takes no logins of an OpenID Connect issuer")
        token = await AsyncDeviceFlow(issuer["issuer"], issuer["client_id"]).id_token(show)
        options = {"id_token": token, **({"cluster": cluster} if cluster else {})}
        answer = await self.connection.post("/auth/opn/login_token", options)
        self.connection.use(login_of(self.url, answer["output"]), keep=keep)
        return self

    async def logout(self, *, keep_running: bool = True) -> Record:
        """End the login, and remove its key from the cluster.

        Its tasks continue, or are cancelled without `keep_running`.
        """
        answer = await self.connection.post("/auth/opn/logout", {"keep_running": keep_running})
        self.connection.forget()
        output: Record = answer["output"]
        return output

    async def service(self) -> Record:
        """Return what the service says of itself: version, clusters, limits.

        Raises UnexpectedAnswer if it is not this service, and VersionMismatch.
        """
        answer = await self.connection.get("/")
        if not isinstance(answer, Record) or answer.get("service") != "resop":
            raise UnexpectedAnswer(f"{self.url} is another service: is the address right?")
        check_service_version(str(answer.get("version", "")), self.url)
        return answer

    async def catalog(self) -> Catalog:
        """Return the operators of the service and their actions."""
        if self._catalog is None:
            self.connection.require_token()
            self._catalog = Catalog(await self.connection.get("/operators"))
        return self._catalog

    async def _path(self, action: str) -> str:
        """Return the path of an action; one that begins with `/` is taken as it is."""
        return action if action.startswith("/") else (await self.catalog()).path(action)

    async def describe(self, action: str) -> Record:
        """Return an action's description, options and examples."""
        path = await self._path(action)
        description: Record = await self.connection.get(path)
        return description

    async def run(
        self,
        action: str,
        *arguments: str,
        tags: Sequence[str] = (),
        task_timeout: float | None = None,
        options: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        **more: Any,
    ) -> Any:
        """Run an action, wait for its end, and return its output. Raises its error.

        `arguments` are those of a command. Options are keywords; `options` takes names that
        Python does not allow, such as `no-header`. A request that is cut off is repeated, and does
        not run the action twice; a call with the same `idempotency_key` does not either.
        """
        sent = _sent(arguments, options, more)
        prefer = f"wait={WAIT_SECONDS:g}"
        answer = await self._post(action, sent, tags, task_timeout, prefer, idempotency_key)
        if "state" in answer:  # 202: it has not ended
            return await AsyncTask(self.connection, answer).result()
        return answer.get("output")

    async def start(
        self,
        action: str,
        *arguments: str,
        tags: Sequence[str] = (),
        task_timeout: float | None = None,
        options: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        **more: Any,
    ) -> AsyncTask:
        """Start an action, and return its task at once; the arguments are those of `run`."""
        sent = _sent(arguments, options, more)
        answer = await self._post(
            action, sent, tags, task_timeout, "respond-async", idempotency_key
        )
        if "state" not in answer:  # an answer that is shared has ended already
            answer = await self.connection.get(f"/tasks/{answer['task']}")
        return AsyncTask(self.connection, answer)

    async def dry_run(
        self, action: str, *arguments: str, options: Mapping[str, Any] | None = None, **more: Any
    ) -> Record:
        """Validate options, and return what would run; run nothing."""
        path = await self._path(action)
        shown: Record = await self.connection.post(
            path, _sent(arguments, options, more), params={"dry_run": "true"}, repeatable=True
        )
        return shown

    async def _post(
        self,
        action: str,
        options: Mapping[str, Any],
        tags: Sequence[str],
        task_timeout: float | None,
        prefer: str,
        idempotency_key: str | None,
    ) -> Record:
        self.connection.require_token()
        path = await self._path(action)
        limit = {} if task_timeout is None else {"timeout": f"{task_timeout:g}"}
        answer: Record = await self.connection.post(
            path,
            options,
            params={"tag": list(tags), **limit},
            headers={"Prefer": prefer, "Idempotency-Key": idempotency_key or str(uuid.uuid4())},
            repeatable=True,
            wait=WAIT_SECONDS,
        )
        return answer

    async def task(self, task_id: str) -> AsyncTask:
        """Return one of your tasks."""
        return AsyncTask(self.connection, await self.connection.get(f"/tasks/{task_id}"))

    async def tasks(self, **filters: Any) -> AsyncIterator[AsyncTask]:
        """Yield your tasks, newest first; the filters are `state`, `operator`, `tag`, `text`, …"""
        query = {"limit": 100, **filters}
        while True:
            page = await self.connection.get("/tasks", params=query)
            for each in page["tasks"]:
                yield AsyncTask(self.connection, each)
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    async def sweep(
        self,
        script: str | Path,
        *,
        parameters: Mapping[str, Any] | None = None,
        cluster: str | None = None,
        tags: Sequence[str] = (),
        **arguments: Any,
    ) -> AsyncSweep:
        """Submit a parameter sweep as one job array: `hpc.sweep("run.sh", X=[1, 2])`.

        `script` is a file here, or its text. Names in capitals are parameters, with a list, range
        or array of values each; `parameters` takes those with other names. Everything else is an
        option of `slurm:sweep`, such as `partition`, `time_limit` or `mode="zip"`.
        """
        found, options = split_arguments(arguments)
        if values := named_values(parameters or {}) | found:
            options["parameters"] = values
        if cluster is not None:
            options["cluster"] = cluster
        submission = await self.run(
            "slurm.sweep", tags=tags, options={"script": read_script(script), **options}
        )
        return AsyncSweep(self, submission, cluster)

    async def find_sweep(self, job: int, *, cluster: str | None = None) -> AsyncSweep:
        """Return a sweep that was submitted earlier, by the id of its job."""
        options: dict[str, Any] = {"cluster": cluster} if cluster else {}
        found = await self.run("slurm.results", id=str(job), **options)
        submission = Record(job=job, runs=len(found["members"]))
        return AsyncSweep(self, submission, cluster)

    def executor(self, **options: Any) -> SlurmExecutor:
        """Return an executor of concurrent.futures whose calls run as jobs of Slurm.

        The options are those of `SlurmExecutor` (`python`, `max_workers`, …) and of `slurm:submit`,
        such as `partition` or `time_limit`. Needs cloudpickle. Raises WrongPython.
        """
        from resop_client.executor import SlurmExecutor

        return SlurmExecutor(self, **options)

    async def batch(
        self,
        action: str = DEFAULT_BATCH_ACTION,
        options: Mapping[str, Any] | None = None,
        *,
        items: Sequence[Mapping[str, Any]] | None = None,
        mode: str | None = None,
        at_once: int | None = None,
        tags: Sequence[str] = (),
        **parameters: Any,
    ) -> AsyncBatch:
        """Run an action with many sets of options: one task for each combination of parameters.

        In `options`, `{{NAME}}` is replaced by the value of that parameter. `items` lists the
        parameters of each task instead.
        """
        path = await self._path(action)
        sweep = named_values(parameters) or None
        sent = {"sweep": sweep, "items": items, "mode": mode, "at_once": at_once}
        body = {name: value for name, value in sent.items() if value is not None}
        answer = await self.connection.post(
            f"{path}/batch",
            {"options": options or {}, **body},
            params={"tag": list(tags)},
            headers={"Idempotency-Key": str(uuid.uuid4())},
            repeatable=True,
        )
        return AsyncBatch(self.connection, answer)

    async def find_batch(self, batch_id: str) -> AsyncBatch:
        """Return one of your batches."""
        return AsyncBatch(self.connection, await self.connection.get(f"/batches/{batch_id}"))


def _sent(
    arguments: Sequence[str], options: Mapping[str, Any] | None, more: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of an action: those of None are not given."""
    given = {name: value for name, value in more.items() if value is not None}
    words = {"input": [str(each) for each in arguments]} if arguments else {}
    return {**(options or {}), **given, **words}
