"""`POST` endpoints on bare ASGI: bytes of JSON in, bytes of JSON out.

FastAPI would resolve dependencies, build request and response objects and check the answer a
second time: more time than the prediction takes, for nothing that a caller sees. It would also
quote the input in its errors and let through what JSON forbids. So these endpoints read, check
and write by themselves, and FastAPI describes them in its document.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.errors import ApiError, refusal
from api.schema import Error

QuestionT = TypeVar("QuestionT", bound=BaseModel)


# Made once, as it takes longer to make than to use. `len`: count the fields, convert no number.
_count_fields = json.JSONDecoder(object_pairs_hook=len, parse_int=len).decode


class JsonEndpoint(Generic[QuestionT]):
    """An ASGI application that answers one kind of question."""

    def __init__(
        self,
        question: type[QuestionT],
        limit_kib: int,
        answer: Callable[[QuestionT], Awaitable[BaseModel]],
        *,
        waits: bool = False,
    ) -> None:
        """Take what makes the endpoint.

        Args:
            question: the body; an object with exactly one field.
            limit_kib: largest body, in KiB.
            answer: makes the answer.
            waits: whether `answer` waits for something, so that the client may go away meanwhile;
                `answer` is then cancelled.
        """
        self._question = question
        self._limit = limit_kib * 1024
        self._too_large = f"Send a body of at most {limit_kib} KiB."
        self._answer = answer
        self._waits = waits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            ApiError: 400, 413, 415 or 422.
            ClientDisconnect: the client went away before its body was complete, or while it waited.
        """
        _check_headers(scope)
        question = self._parse(await self._read(receive))
        answering = self._answer(question)
        answer = await (_unless_gone(receive, answering) if self._waits else answering)
        # The serializer itself: `model_dump_json` makes a string of it first.
        body = answer.__pydantic_serializer__.to_json(answer, by_alias=True)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _read(self, receive: Receive) -> bytes:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            if len(body) > self._limit:
                raise ApiError(413, self._too_large)
            more = message.get("more_body", False)
        return body

    def _parse(self, body: bytes) -> QuestionT:
        try:
            question = self._question.model_validate_json(body)
        except ValidationError as error:
            raise refusal(self._question, error) from None
        # Of a field that is sent twice the parser takes the last in silence.
        if _count_fields(body.decode()) > 1:
            raise ApiError(422, f"Send the field '{next(iter(self._question.model_fields))}' once.")
        return question


class JsonRoute(APIRoute):
    """The route of a `JsonEndpoint`, with what FastAPI's document needs to know of it."""

    def __init__(
        self,
        path: str,
        question: type[QuestionT],
        limit_kib: int,
        answer: Callable[[QuestionT], Awaitable[BaseModel]],
        answer_model: type[BaseModel],
        *,
        waits: bool = False,
    ) -> None:
        """Route `POST path`; see `JsonEndpoint` for the other arguments."""
        super().__init__(
            path,
            answer,
            methods=["POST"],
            response_model=answer_model,
            responses={code: {"model": Error} for code in (400, 413, 415, 422, 500)},
        )
        self.app = JsonEndpoint(question, limit_kib, answer, waits=waits)


class GetRoute(Route):
    """`GET path` and no other method: Starlette's own would answer HEAD as well."""

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        super().__init__(path, endpoint)
        self.methods = {"GET"}


async def _unless_gone(receive: Receive, answering: Awaitable[BaseModel]) -> BaseModel:
    """Await an answer; cancel it when the client goes away, as nobody would read it."""
    answer = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _check_headers(scope: Scope) -> None:
    media_type = b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            media_type = value
        elif name == b"content-encoding":
            raise ApiError(415)
    if media_type.partition(b";")[0].strip().lower() != b"application/json":
        raise ApiError(415)
