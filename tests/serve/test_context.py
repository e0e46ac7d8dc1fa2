"""Context over HTTP: what GET /context says, and users without a history."""

import recommenders

from jaxrec.data.attributes.user_columns import Column

COLUMNS = (Column("gender", values=("F", "M")), Column("age", ends=(20.0, 40.0)))


def test_what_is_shown_is_said(ask):
    async def work(client, service):
        return (await client.get("/context")).json()

    shown = recommenders.recommender(
        "two-tower", items=12, context="gap,type,session,asked_hour", types=("view",), columns=COLUMNS, start_prob=0.1
    )
    gender = {"name": "gender", "kind": "text", "values": ["F", "M"], "more": False}
    said = ask(work, recommender=shown)
    assert said == {
        "events": ["times", "types", "sessions"],
        "now": True,
        "user_columns": [gender, {"name": "age", "kind": "number"}],
        "alone": True,
    }
    nothing = {"events": [], "now": False, "user_columns": [], "alone": False}
    assert ask(work, recommender=recommenders.recommender("two-tower", items=12)) == nothing


def test_a_user_without_a_history_is_answered_by_what_is_known(ask):
    async def work(client, service):
        found = []
        for body in (
            {"events": [], "user_columns": {"gender": "F", "age": 33}},
            {"history": [], "user_columns": {"gender": "F", "age": 33}},
            {"events": [], "user_columns": {"gender": "X"}},
            {"events": []},
            {"histories": [[], ["i1"]], "user_columns": {"gender": "F", "age": 33}},
            {"events": [], "user_columns": {"city": "Rome"}},
        ):
            answer = await client.post("/recommend", json=body | {"k": 3})
            found.append((answer.status_code, answer.json()))
        return found

    rec = recommenders.recommender("two-tower", items=12, columns=COLUMNS, start_prob=0.1)
    (_, events), (_, history), (_, strange), (_, nobody), (_, several), (status, wrong) = ask(work, recommender=rec)
    wanted = [item for item, _ in rec.recommend([], 3, user_columns={"gender": "F", "age": 33})]
    assert [item["id"] for item in events["items"]] == wanted and not events["fallback"]
    assert events == history
    assert [item["id"] for item in several["results"][0]["items"]] == wanted
    assert strange["fallback"] and nobody["fallback"] and strange["unknown"] == ["X"]
    assert status == 404 and wrong["errors"][0]["field"] == "user_columns"
    assert "the model does not use 'city': it uses gender, age" in wrong["errors"][0]["message"]


def test_events_of_one_time_are_a_basket_in_any_order(ask):
    events = [{"item": f"i{v}", "time": time} for v, time in ((1, 0), (2, 0), (3, 86_400), (4, 86_400))]

    async def work(client, service):
        asked = [
            client.post("/recommend", json={"events": each, "k": 3}) for each in (events, events[1::-1] + events[:1:-1])
        ]
        return [(await each).json()["items"] for each in asked]

    rec = recommenders.recommender("sasrec", items=12, length=7, baskets=True)
    one, other = ask(work, recommender=rec)
    wanted = rec.recommend([each["item"] for each in events], 3, times=[each["time"] for each in events])
    assert [item["id"] for item in one] == [item["id"] for item in other] == [item for item, _ in wanted]
