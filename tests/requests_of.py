"""Requests to the service in tests."""

import json


def post(ask, path, body, **settings):
    """The (status, answer) of one POST request."""

    async def work(client, _service):
        answer = await client.post(path, content=body if isinstance(body, bytes) else json.dumps(body))
        return answer.status_code, answer.json()

    return ask(work, **settings)


def pairs(answer):
    return [(item["id"], item["score"]) for item in answer["items"]]
