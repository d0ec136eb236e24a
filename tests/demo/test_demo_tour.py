"""The demo's table and what it prints of it fit each other."""

from clipseg_ray.demo import tour
from clipseg_ray.demo.vocabulary import VOCABULARY
from clipseg_ray.evaluation.report import ReportRow
from clipseg_ray.evaluation.scores import Scores
from clipseg_ray.evaluation.tally import Tally
from clipseg_ray.queries.table import load_queries


def test_every_row_is_of_written_queries_whose_truth_the_scenes_have() -> None:
    written = {query.query_id: query for query in load_queries("builtin:demo", None, 0.5) if query.keep}
    known = {name for entry in VOCABULARY for name in (entry.query_id, *entry.texts)}
    assert {query_id for ids in tour._ROWS.values() for query_id in ids} <= written.keys()
    assert set(tour._SHOWN) <= written.keys()
    for query in written.values():
        assert set(query.concept) <= known, query.query_id
        assert query.concept, query.query_id
    assert {bool(q.group) + 2 * bool(q.suppress) + 4 * bool(q.expression) for q in written.values()} == {0, 1, 2, 4}


def test_what_competes_stands_beside_the_same_alone() -> None:
    def row(name: str, true: int, silent: int) -> ReportRow:
        tally = Tally(true_positive=true, false_negative=100 - true, absent_silent=silent, absent_found=10 - silent)
        scores = Scores.of(
            [tally], threshold=None, best_threshold=None, ap=None, each_ap=(), ap_clipseg=None, ap_images=None
        )
        return ReportRow(name=name, truth="", asked="", pictures="all", thresholds={}, scores=scores)

    said = tour.beside([row(name, 10 + place, 5) for place, name in enumerate(tour._ROWS)])
    names = list(tour._ROWS)
    for (alone, others), line in zip(tour._BESIDE.values(), said.splitlines()[1:], strict=True):
        found, expected = line.split()[-7:], [10 + names.index(alone), 10 + names.index(others)]
        assert " ".join(found[1:]) == f"0.{expected[0]}0 | 0.{expected[1]}0 0.500 | 0.500"
