"""The model-index, read back by the hub's own client."""

from pathlib import Path

import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

from densebench.host.errors import DensebenchError
from densebench.report.board.board import load_board
from densebench.report.formats.model_index import model_index

pytestmark = pytest.mark.usefixtures("own_places")


class TestModelIndex:
    def test_is_read_back_by_the_hub(self, papers: Path) -> None:
        text = model_index(load_board(papers), "seeds")
        start, body, end = text.split("---\n")
        assert (start, end) == ("", "")
        name, results = model_index_to_eval_results(yaml.safe_load(body)["model-index"])
        assert name == "seeds"
        assert len(results) == 4
        found = {(r.task_name, r.metric_type): r for r in results}
        second = found["t2, reference (in_context)", "mean_iou"]
        assert second.metric_value == pytest.approx(55)
        assert second.metric_args["seeds"] == [0, 1]
        assert second.metric_args["deviation"] == pytest.approx(7.07)
        assert second.task_type == "image-segmentation"
        assert len({result.unique_identifier for result in results}) == 2

    def test_one_seed_has_an_interval(self, papers: Path) -> None:
        body = yaml.safe_load(model_index(load_board(papers), "base").split("---\n")[1])
        _, results = model_index_to_eval_results(body["model-index"])
        low, high = results[0].metric_args["interval_95"]
        assert low < results[0].metric_value < high
        assert results[0].metric_args["interval_over"] == "40 images"
        assert results[0].metric_args["worse_than"] == 2

    def test_an_unknown_backbone_is_refused(self, papers: Path) -> None:
        with pytest.raises(DensebenchError, match="did you mean 'seeds'"):
            model_index(load_board(papers), "seed")

    def test_metrics_go_by_their_names_and_units(self, mixed: Path) -> None:
        front = model_index(load_board(mixed), "flat").strip("-\n")
        _, found = model_index_to_eval_results(yaml.safe_load(front)["model-index"])
        by_task = {(r.task_name.partition(",")[0], r.metric_type): r for r in found}
        error = by_task["depth", "rmse"]
        assert (error.metric_name, error.task_type) == ("RMSE, m", "other")
        assert error.metric_value == pytest.approx(0.4, abs=0.01)
        assert error.metric_args["better_than"] == 1
        assert by_task["depth", "near"].metric_name == "within 25%, per cent"
        assert by_task["colours", "mean_iou"].task_type == "image-segmentation"
