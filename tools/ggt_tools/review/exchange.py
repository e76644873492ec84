"""What the page's script exchanges with the desk, as JSON: decisions come in, the next pairs go out.

All functions run in the desk's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ggt_tools.review.comparisons import ComparisonView, place_of_best
from ggt_tools.review.desk import Desk
from ggt_tools.review.queue import PairView
from ggt_tools.review.submissions import InvalidSubmission, check_id, read_choice, read_decision, read_list

Json = dict[str, Any]
MAX_VIEWS = 8  # that a page has at a time


def exchange(desk: Desk, body: Json, page: str, reviewer: str) -> Json:
    """Store what a page submits, and hand out what it shows next.

    Args:
        desk: The desk.
        body: The request: `kind` is "study" for comparisons, `decisions` are stored, `have` are the views that the page
            has, `later` those that it postpones, `want` is how many views it wants to have, and `candidate` the one
            pair that it shows.
        page: Id of the page.
        reviewer: Who judges.

    Returns:
        `saved`: ids of the decisions that are in the ledger. `replaced`: the decision that is in force in place of a
        submitted one, because its view had been judged. `refused`: why a decision cannot be stored. `looks`: the views
        that the page has now. `progress`: how many pairs are judged, and how many wait.

    Raises:
        InvalidSubmission: The request is not what our page sends.
    """
    is_study = body.get("kind") == "study"
    want = min(_count(body.get("want", 0)), MAX_VIEWS)
    answer: Json = {"saved": [], "replaced": [], "refused": []}
    _store(reviewer, read_list(body.get("decisions", [])), answer, _store_choices if is_study else _store_pairs, desk)
    have = [str(id) for id in read_list(body.get("have", []))[:MAX_VIEWS]]
    if is_study:
        desk.refresh()
        desk.study.restore_leases(reviewer, page, have)
        looks = [comparison_json(view) for view in desk.study.hand_out(reviewer, page, want)]
        return answer | {"looks": looks, "progress": desk.study.progress(reviewer)}
    for id in read_list(body.get("later", [])):
        desk.postpone(reviewer, str(id), page)
    candidate = body.get("candidate", "")
    if candidate:
        view, decision = desk.open_pair(reviewer, page, str(candidate))
        looks = [pair_json(view) | {"decided": decision}] if view and want else []
    else:
        desk.restore_leases(reviewer, page, have)
        looks = [pair_json(view) for view in desk.hand_out(reviewer, page, want)]
    return answer | {"looks": looks, "progress": desk.progress(reviewer)}


def undo(desk: Desk, body: Json, page: str, reviewer: str) -> Json:
    """Undo the reviewer's last decision, and return its view as `look`, null if there is none, and `progress`.

    Raises:
        InvalidSubmission: The id of the record that undoes it is wrong.
    """
    id = str(body.get("id", ""))
    check_id(id)
    if body.get("kind") == "study":
        comparison = desk.study.undo(reviewer, id, page)
        look = comparison_json(comparison) if comparison else None
        return {"look": look, "progress": desk.study.progress(reviewer)}
    view = desk.undo(reviewer, id, page)
    return {"look": pair_json(view) if view else None, "progress": desk.progress(reviewer)}


def pair_json(view: PairView) -> Json:
    """Return what the page shows of a pair; it has to fetch the images."""
    item = view.item
    return _view_json(view.id, item.key, item.degradation, item.width, item.height, image_count=2)


def comparison_json(view: ComparisonView) -> Json:
    """Return what the page shows of a comparison; it has to fetch the images."""
    photo = view.photo
    return _view_json(
        view.id, view.comparison.key, photo.degradation, photo.width, photo.height, image_count=1 + len(view.images)
    )


def _view_json(id: str, key: str, about: str, width: int, height: int, *, image_count: int) -> Json:
    images = [f"/look/{id}/{place}" for place in range(image_count)]
    return {"id": id, "key": key, "about": about, "width": width, "height": height, "images": images}


Store = Callable[[Desk, str, list[Any]], list[Json | None]]


def _store(reviewer: str, submitted: list[Any], answer: Json, store: Store, desk: Desk) -> None:
    """Store submissions together; if one of them is refused, each alone. Add to the answer what became of each."""
    try:
        for one, instead in zip(submitted, store(desk, reviewer, submitted), strict=True):
            if instead is None:
                answer["saved"].append(one["id"])
            else:
                answer["replaced"].append({"id": one["id"], "look": one["look"]} | instead)
    except InvalidSubmission as error:
        if len(submitted) == 1:
            id = submitted[0].get("id") if isinstance(submitted[0], dict) else None
            answer["refused"].append({"id": id, "error": str(error)})
            return
        for one in submitted:
            _store(reviewer, [one], answer, store, desk)


def _store_pairs(desk: Desk, reviewer: str, submitted: list[Any]) -> list[Json | None]:
    """Store decisions on pairs, and return what is in force in place of each one that is not stored."""
    decisions = [read_decision(one) for one in submitted]
    desk.store(reviewer, decisions)
    instead = [desk.decision_instead_of(reviewer, decision) for decision in decisions]
    return [None if fact is None else {"decision": fact.decision, "reason": fact.reason} for fact in instead]


def _store_choices(desk: Desk, reviewer: str, submitted: list[Any]) -> list[Json | None]:
    """Store choices, and return what is in force in place of each one that is not stored."""
    choices = [read_choice(one) for one in submitted]
    desk.study.store(reviewer, choices)
    instead = [desk.study.choice_instead_of(reviewer, choice) for choice in choices]
    return [None if fact is None else {"best": place_of_best(fact)} for fact in instead]


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
