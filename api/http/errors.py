"""Turn every error into one JSON shape and one HTTP status; no other module does."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.http.allowed_methods import allowed_methods
from api.http.fastapi_internals import request_faults
from api.http.request_context import context_of
from api.http.root_path import public_path, root_path_of
from resop import errors

log = logging.getLogger(__name__)

STATUS: Mapping[type[errors.ResopError], int] = {
    errors.UnknownAction: 404,
    errors.UnknownTask: 404,
    errors.UnknownBatch: 404,
    errors.UnknownLogin: 404,
    errors.UnknownApiKey: 404,
    errors.UnknownApproval: 404,
    errors.ApprovalDecided: 409,
    errors.ApprovalOutdated: 409,
    errors.RequesterLoggedOut: 409,
    errors.InvalidOptions: 422,
    errors.MalformedRequest: 400,
    errors.UriTooLong: 414,
    errors.HeadersTooLarge: 431,
    errors.RequestTimedOut: 408,
    errors.HostNotAllowed: 421,
    errors.BodyTooLarge: 413,
    errors.BodyTruncated: 400,
    errors.UnsupportedBody: 415,
    errors.UnsupportedEncoding: 415,
    errors.PreconditionFailed: 412,
    errors.RangeNotSatisfiable: 416,
    errors.UploadMismatch: 409,
    errors.TaskRunning: 409,
    errors.RequestError: 422,
    errors.TooManyAttempts: 429,
    errors.NotPermitted: 403,
    errors.Forbidden: 403,
    errors.ApprovalRequired: 403,
    errors.ApprovalRefused: 403,
    errors.ApprovalExpired: 403,
    errors.UserBlocked: 403,
    errors.CsrfFailed: 403,
    errors.IdentityUnknown: 403,
    errors.SessionHeldByWorker: 403,
    errors.AccessError: 401,
    errors.LimitReached: 429,
    errors.ClusterError: 502,
    errors.StepTimedOut: 504,
    errors.TaskCancelled: 409,
    errors.JobNotFound: 404,
    errors.OperationFault: 500,
    errors.ActionError: 424,
    errors.ServiceError: 503,
    errors.RecordRefused: 507,
    errors.ServiceFault: 500,
    errors.ResopError: 500,
}
PATH_STATUS: Mapping[str, int] = {
    "missing": 404,
    "hidden": 404,
    "denied": 403,
    "exists": 409,
    "is_folder": 409,
    "not_folder": 409,
    "not_file": 409,
    "full": 507,
    "quota": 507,
}
"""The status of a PathFailed by its reason, where the request itself names the path."""
DEFAULT_RETRY_AFTER = 5


def status_of(kind: type[errors.ResopError]) -> int:
    """Return the HTTP status of an error type: its own, or that of its nearest base class."""
    return next(STATUS[each] for each in kind.__mro__ if each in STATUS)


def status_of_name(name: str) -> int:
    """Return the HTTP status of an error that was recorded by the name of its type."""
    kind = getattr(errors, name, errors.ServiceFault)
    return status_of(kind)


def failure(error: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """Return the JSON body of an unsuccessful response."""
    return {"success": False, **others, "error": error}


def install(app: FastAPI) -> None:
    """Register the exception handlers that answer every error in the one shape."""
    app.add_exception_handler(errors.ResopError, _resop_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)


def error_response(fault: errors.ResopError, **others: Any) -> JSONResponse:
    """Return the response for an error, with the headers that its status requires."""
    if isinstance(fault, errors.ServiceError):
        log.warning("%s: %s", type(fault).__name__, fault.__cause__ or fault.message)
    status = status_of(type(fault))
    if isinstance(fault, errors.PathFailed):
        status = PATH_STATUS.get(fault.details["reason"], status)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = str(fault.details.get("retry_after", DEFAULT_RETRY_AFTER))
    if isinstance(fault, errors.RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{fault.details['size']}"
    if isinstance(fault, errors.UnsupportedEncoding):
        headers["Accept-Encoding"] = "identity"  # RFC 7694, section 3
    if isinstance(fault, errors.UploadMismatch):
        headers["Upload-Offset"] = str(fault.details["received"])
    return JSONResponse(failure(fault.as_json(), **others), status, headers)


def refuse(request: Request, fault: errors.ResopError) -> JSONResponse:
    """Return the response for an error, and note in the request's context that it was refused."""
    context_of(request.scope).refused(fault.public_type)
    return error_response(fault)


async def _resop_error(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, errors.ResopError)
    return refuse(request, fault)


async def _invalid_request(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, RequestValidationError)
    return refuse(request, errors.InvalidOptions(request_faults(fault)))


async def _http_error(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, HTTPException)
    headers = dict(fault.headers or {})
    if fault.status_code == 405:
        if "Allow" in headers:  # of one route; the files of /docs have none
            headers["Allow"] = allowed_methods(request.app, request.scope)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    name = {404: "UnknownPath", 405: "MethodNotAllowed"}.get(fault.status_code, "RequestError")
    path, root_path = public_path(request.scope), root_path_of(request.scope)
    message = {
        404: f"nothing was found at {path}; GET {root_path}/ lists where to start",
        405: f"{path} does not support {request.method}",
    }.get(fault.status_code, str(fault.detail))
    context_of(request.scope).refused(name)
    error = {"type": name, "message": message, "retryable": False}
    return JSONResponse(failure(error), fault.status_code, headers)
