"""Every error of the service, in one shape and from one place."""

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError
from starlette.responses import JSONResponse
from starlette.types import Scope

from api.schema import MAX_BATCH, MAX_SENTENCE_CHARACTERS, Error

# status: (code, what to do). The gateway's own errors have the same codes.
ERRORS = {
    400: ("bad_request", 'Send one JSON object in UTF-8, such as {"sentence": "I am glad"}.'),
    404: ("not_found", "Ask for POST /predict or POST /predict/batch."),
    405: ("method_not_allowed", "Use a method that the Allow header names."),
    413: ("content_too_large", "Send a smaller body."),
    415: (
        "unsupported_media_type",
        "Send Content-Type: application/json and no Content-Encoding.",
    ),
    422: ("invalid_request", "Send one JSON object with the field that is asked for."),
    499: ("client_closed_request", "The client went away before its request was complete."),
    500: ("internal_error", "Try again; if it happens twice, report the request_id."),
    503: ("not_ready", "Wait until /readyz answers 200."),
}

# Pydantic's own messages can quote the input; these name the field and the rule.
_RULES = {
    "missing": "The field '{field}' is required.",
    "extra_forbidden": "Send the field '{field}' and no other.",
    "list_type": "The field '{field}' must be a list of strings.",
    "too_short": "The field '{field}' must hold at least 1 sentence.",
    "too_long": f"The field '{{field}}' must hold at most {MAX_BATCH} sentences.",
    "string_type": "{text} must be a string.",
    "string_too_short": "{text} must hold at least 1 character.",
    "string_too_long": f"{{text}} must hold at most {MAX_SENTENCE_CHARACTERS} characters.",
    "blank": "{text} must hold more than white space.",
}


class ApiError(Exception):
    """A request that is refused, with a status of `ERRORS` and its sentence or a finer one."""

    def __init__(self, status: int, detail: str | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.detail = detail


def outcome(status: int) -> str:
    """Name a status for the metrics: `ok`, or the error code."""
    return "ok" if status < 400 else ERRORS.get(status, ERRORS[500])[0]


def refusal(model: type[BaseModel], error: ValidationError) -> ApiError:
    """Say why a body was refused as `model`, without a word of what it held."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return ApiError(400)
    # Not from the error: there an unknown field's name is the client's word.
    field = next(iter(model.model_fields))
    text = f"The field '{field}'"
    if len(first["loc"]) == 2:
        text = f"Sentence {int(first['loc'][1]) + 1} of the field '{field}'"
    rule = _RULES.get(first["type"], "Send one JSON object with the field '{field}'.")
    return ApiError(422, rule.format(field=field, text=text))


def error_body(status: int, request_id: str, detail: str | None = None) -> Error:
    """Build the body for a status of `ERRORS`, with its sentence or a finer one."""
    code, default = ERRORS[status]
    return Error(error=code, detail=detail or default, request_id=request_id)


def error_response(
    scope: Scope,
    status: int,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Build the answer for `status`; one that is not foreseen is our fault, so a 500."""
    known = status if status in ERRORS else 500
    body = error_body(known, scope["request_id"], detail)
    return JSONResponse(body.model_dump(), known, headers)
