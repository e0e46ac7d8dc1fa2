"""Describes the service, from its pydantic models, as an OpenAPI document and as an HTML page."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from typing import Any

from pydantic.json_schema import models_json_schema

from jaxrec.serve.schema import Errors

SAID = {
    400: "the body is no JSON",
    401: "the token is missing or wrong",
    403: "it is meant for another host, or comes from a page of another site",
    404: "there is no such item, user, attribute or value",
    408: "the body took too long",
    409: "an item to be added is already in the catalogue",
    413: "the body is too long",
    415: "the Content-Type is not application/json",
    422: "a field is wrong: errors name it",
    503: "too busy; Retry-After says when to try again",
}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A path of the service, with its handler and schema."""

    method: str
    path: str
    handler: Any
    summary: str
    answer: Any  #: model, or list of alternative models
    body: Any = None  #: model of the request body
    parameters: tuple = ()
    errors: tuple = ()  #: possible error statuses


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Returns the OpenAPI 3.1 document of Endpoints, as a dictionary."""
    answers = [model for each in endpoints for model in _models(each.answer)]
    wanted: list[tuple[Any, Any]] = [(each.body, "validation") for each in endpoints if each.body]
    wanted += [(model, "serialization") for model in [*answers, Errors]]
    names, schemas = models_json_schema(wanted, ref_template="#/components/schemas/{model}")
    paths: dict[str, dict] = {}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, names)
    return {
        "openapi": "3.1.0",
        "info": {"title": "jaxrec", "version": version("jaxrec"), "description": "What a user may want next."},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def page(described: dict) -> str:
    """Returns the document as a self-contained HTML page."""
    operations = [
        (path, method, said) for path, methods in described["paths"].items() for method, said in methods.items()
    ]
    parts = [_described(path, method, said, described["components"]["schemas"]) for path, method, said in operations]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        '<title>jaxrec: the service</title><link rel="icon" href="data:,"><link rel="stylesheet" href="page.css">'
        '<main class="docs"><h1>The service</h1><p>For programs: <a href="openapi.json">openapi.json</a>. '
        'To try: <a href="./">the page</a>. Ids are integers or texts, as they were trained on.</p>'
        f"{''.join(parts)}</main></html>"
    )


def _models(answer):
    return answer if isinstance(answer, list) else [answer]


def _operation(endpoint, names):
    answers = [names[model, "serialization"] for model in _models(endpoint.answer)]
    responses = {"200": _content(answers[0] if len(answers) == 1 else {"oneOf": answers}, "the answer")}
    errors = names[Errors, "serialization"]
    statuses = {*endpoint.errors, *(400, 401, 403), *([415] if endpoint.body else [])}
    responses |= {str(status): _content(errors, SAID[status]) for status in sorted(statuses)}
    operation = {
        "summary": endpoint.summary,
        "operationId": f"{endpoint.method.lower()}_{endpoint.path[1:]}",
        "responses": responses,
    }
    if endpoint.parameters:
        operation["parameters"] = [{"in": "query", "required": False, **each} for each in endpoint.parameters]
    if endpoint.body:
        body = names[endpoint.body, "validation"]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _content(schema, description):
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _described(path, method, said, schemas):
    rows = [(each["name"], each["schema"], "") for each in said.get("parameters", ())]
    if "requestBody" in said:
        body = schemas[_name(said["requestBody"]["content"]["application/json"]["schema"])]
        fields = body["properties"].items()
        rows += [(name, field, "required" if name in body.get("required", ()) else "") for name, field in fields]
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(_kind(field))}<td>"
        f"{escape('; '.join(filter(None, [required, field.get('description'), _default(field)])))}"
        for name, field, required in rows
    )
    table = f"<table><tr><th>field<th>type<th>meaning{cells}</table>" if rows else ""
    gives = ", or ".join(_shape(ref, schemas) for ref in _refs(said["responses"]["200"]))
    title = f"<h2><code>{method.upper()} {path}</code></h2><p>{escape(said['summary'])}.</p>"
    return f"{title}{table}<pre>{escape(gives)}</pre>"


def _refs(response):
    schema = response["content"]["application/json"]["schema"]
    return schema.get("oneOf", [schema])


def _name(ref):
    return ref["$ref"].rpartition("/")[2]


def _shape(schema, schemas):
    """Formats the shape of an answer: {"items": [{"id": integer or string, …}], …}."""
    if "$ref" in schema:
        schema = schemas[_name(schema)]
    if schema.get("type") == "object":
        return (
            "{" + ", ".join(f'"{name}": {_shape(each, schemas)}' for name, each in schema["properties"].items()) + "}"
        )
    if schema.get("type") == "array":
        return f"[{_shape(schema['items'], schemas)}, …]"
    return _kind(schema)


def _kind(schema):
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"] if each.get("type") != "null")
    if schema.get("type") == "array":
        inner, most = _kind(schema["items"]), schema.get("maxItems")
        return f"list of ({inner})" + (f", at most {most:,}" if most else "")
    if "maximum" in schema:
        return f"{schema['type']}, {schema['minimum']} to {schema['maximum']}"
    return schema.get("type", "")


def _default(schema):
    default = schema.get("default")
    return None if default is None else f"default {default!r}".replace("True", "true")
