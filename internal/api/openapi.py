"""What all routes have in common, in the API's description: keys, limits, bodies, and refusals."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from internal.api.error_shapes import shown_status
from internal.api.security import is_public, needed_scope

_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, where OpenAI's clients put theirs.",
    },
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_TOO_MANY = "There were too many requests. Retry-After says when to try again."
_OUR_ERROR = {"$ref": "#/components/schemas/ErrorBody"}
_FRAMEWORK_ERROR = {"$ref": "#/components/schemas/HTTPValidationError"}
_FRAMEWORK_ERRORS = ("HTTPValidationError", "ValidationError")


def complete_description(app: FastAPI) -> None:
    """Have the description name the keys, and every answer that any route can give."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = describe()
            schema.setdefault("components", {})["securitySchemes"] = _SCHEMES
            for name in _FRAMEWORK_ERRORS:  # its shape of errors, which we do not use
                schema["components"].get("schemas", {}).pop(name, None)
            for path, methods in schema["paths"].items():
                for method, operation in methods.items():
                    _describe_operation(path, method.upper(), operation)
        return describe()

    app.openapi = described  # type: ignore[method-assign] # as FastAPI's documentation has it


def _describe_operation(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    schema = _OUR_ERROR if is_public(path) else _error_schema(responses)
    _add(responses, "429", _TOO_MANY, schema)
    for status, answer in responses.items():
        if status >= "4":  # errors are JSON, whatever the route answers otherwise
            (content,) = answer["content"].values()
            answer["content"] = {"application/json": content}
    if responses.get("422", {}).get("content") == _json(_FRAMEWORK_ERROR):
        del responses["422"]
        status = str(shown_status(path, 422))
        _add(responses, status, "A parameter, or a field of the body, cannot be used.", schema)
    if "requestBody" in operation:
        _add(responses, "400", "The body cannot be read.", schema)
        _add(responses, "413", "The body is too large.", schema)
    if is_public(path):
        return
    scope = needed_scope(method, path)
    operation["security"] = [{name: []} for name in _SCHEMES]
    _add(responses, "401", "There is no API key with the request, or it is not valid.", schema)
    _add(responses, "403", f"The API key does not have the scope `{scope}`.", schema)


def _add(responses: dict[str, Any], status: str, description: str, schema: Any) -> None:
    """Describe an answer, unless the route does so itself."""
    responses.setdefault(status, {"description": description, "content": _json(schema)})


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _error_schema(responses: dict[str, Any]) -> Any:
    """Return the shape of a route's errors: of those that it declares itself, else of most."""
    for status, answer in responses.items():
        for content in answer.get("content", {}).values():
            schema = content.get("schema", {})
            if status >= "4" and "$ref" in schema and schema != _FRAMEWORK_ERROR:
                return schema
    return _OUR_ERROR
