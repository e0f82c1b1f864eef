"""Which channels go: shares, thresholds, budgets, floors, rounding."""

import keras
import numpy as np
import pytest
from keras import layers

import tfdeep
from tests.pruning.zoo import EXACT, concatenated, filled, layer_norm, partly
from tfdeep.pruning import (
    ChannelGraph,
    Magnitude,
    PruningPlan,
    Random,
    load_plan,
)


def chain(*widths, size=4):
    model = keras.Sequential([keras.Input((size,))])
    for number, width in enumerate(widths):
        model.add(layers.Dense(width, "relu", name=f"d{number}"))
    model.add(layers.Dense(2, name="out"))
    return model


@pytest.fixture
def two():
    return ChannelGraph(chain(4, 6))


SCORES = {"d0": [1, 2, 3, 4], "d1": [0.1, 0.2, 5, 6, 7, 8]}


class TestShares:
    def test_global(self, two):
        plan = two.plan(SCORES, ratio=0.5)
        assert plan.removed == {"d0": [0, 1, 2], "d1": [0, 1]}
        assert plan.kept == {"d0": [3], "d1": [2, 3, 4, 5]}
        assert plan.widths == {"d0": (4, 1), "d1": (6, 4), "out": (2, 2)}

    def test_local(self, two):
        plan = two.plan(SCORES, ratio=0.5, scope="local")
        assert plan.removed == {"d0": [0, 1], "d1": [0, 1, 2]}

    def test_by_pattern(self, two):
        plan = two.plan(SCORES, scope={"d1": 0.34, "d*": 0.25})
        assert plan.removed == {"d0": [0], "d1": [0, 1, 2]}

    @pytest.mark.parametrize(
        ("count", "ratio", "gone"),
        [(10, 0.9, 9), (10, 0.3, 3), (10, 0.25, 3), (7, 0.5, 4), (3, 0.7, 3)],
    )
    def test_counted_in_whole_numbers(self, count, ratio, gone):
        graph = ChannelGraph(chain(count))
        plan = graph.plan(
            {"d0": range(count)}, ratio=ratio, max_ratio=0.999, scope="local"
        )
        kept = max(count - gone, 1)  # One stays, whatever the share.
        assert len(plan.kept["d0"]) == kept

    def test_groups_without_a_score_keep_all(self, two):
        assert two.plan({"d0": [1, 2, 3, 4]}, ratio=0.5).removed == {
            "d0": [0, 1]
        }


class TestFloors:
    def test_min_channels(self, two):
        plan = two.plan(SCORES, ratio=0.8, min_channels=3)
        assert {n: len(k) for n, k in plan.kept.items()} == {"d0": 3, "d1": 3}

    def test_max_ratio(self, two):
        plan = two.plan(SCORES, ratio=0.9, max_ratio=0.5)
        assert {n: len(k) for n, k in plan.kept.items()} == {"d0": 2, "d1": 3}

    def test_they_hold_for_each_layer(self):
        """`c` is in two groups, of which one alone may go down to 1."""
        graph = ChannelGraph(partly())
        assert {g.name: g.channels for g in graph.free} == {"a": 4, "b": 6}
        scores = {"a": [0, 0, 0, 0], "b": [1, 1, 1, 1, 1, 1]}
        plan = graph.plan(scores, ratio=0.9, min_channels=3)
        assert plan.widths["a"][1] == 3 and plan.widths["b"][1] == 3
        plan = graph.plan(scores, ratio=0.9, max_ratio=0.5)
        assert plan.widths == {
            "a": (4, 2), "b": (6, 3), "c": (10, 5), "out": (3, 3)
        }  # fmt: skip

    def test_no_layer_is_emptied(self):
        graph = ChannelGraph(filled(concatenated()))
        scores = {g.name: np.zeros(g.channels) for g in graph.free}
        plan = graph.plan(scores, ratio=0.999, max_ratio=0.999)
        assert all(after >= 1 for _, after in plan.widths.values())
        assert (
            min(
                plan.compact(graph.model)
                .predict(np.ones((1, 6, 6, 3), "float32"), verbose=0)
                .shape
            )
            >= 1
        )

    def test_round_to_gives_back(self):
        graph = ChannelGraph(chain(30, 20))
        scores = Random(seed=0).scores(graph)
        plain = graph.plan(scores, ratio=0.5)
        plan = graph.plan(scores, ratio=0.5, round_to=8)
        for name, kept in plan.kept.items():
            least = len(plain.kept[name])
            expected = min(-(-least // 8) * 8, 30 if name == "d0" else 20)
            assert len(kept) == expected
            assert set(kept) >= set(plain.kept[name])

    def test_exclude(self):
        graph = ChannelGraph(chain(4, 6), exclude=["d0"])
        (group,) = graph.free
        assert group.name == "d1"
        assert graph.groups[0].reason == "it is excluded"
        graph = ChannelGraph(chain(4, 6))
        assert list(graph.plan(SCORES, ratio=0.5, exclude=["d1"]).removed) == [
            "d0"
        ]
        with pytest.raises(ValueError, match="nothing"):
            graph.plan(SCORES, ratio=0.5, exclude=["nothing*"])


class TestBudgets:
    @pytest.mark.parametrize("name", ["residual", "attention", "concatenated"])
    @pytest.mark.parametrize("kind", ["parameters", "multiply_adds"])
    def test_never_exceeded_and_no_channel_too_many(self, name, kind):
        graph = ChannelGraph(filled(EXACT[name][0]()))
        scores = Random(seed=1).scores(graph)
        before = getattr(tfdeep.models.count(graph.model), kind)
        budget = int(0.6 * before)
        plan = graph.plan(scores, **{f"max_{kind}": budget})
        same = graph.plan(scores, **{f"max_{kind}": 0.6})
        assert same.removed == plan.removed
        small = plan.compact(graph.model)
        count = getattr(tfdeep.models.count(small), kind)
        assert count == getattr(plan, kind)[1] <= budget
        last = max(
            ((scores[n][c], n, c) for n, cs in plan.removed.items() for c in cs)
        )
        removed = {n: list(c) for n, c in plan.removed.items()}
        removed[last[1]].remove(last[2])
        assert getattr(PruningPlan(removed, graph), kind)[1] > budget

    def test_local(self):
        graph = ChannelGraph(chain(40, 40))
        scores = Random(seed=0).scores(graph)
        plan = graph.plan(scores, max_parameters=0.5, scope="local")
        one, other = (len(kept) for kept in plan.kept.values())
        assert abs(one - other) <= 1
        assert plan.parameters[1] <= plan.parameters[0] / 2

    def test_out_of_reach(self, two):
        with pytest.raises(ValueError, match="least possible is 11 of 64"):
            two.plan(SCORES, max_parameters=10, max_ratio=0.99)
        plan = two.plan(SCORES, max_parameters=11, max_ratio=0.99)
        assert plan.parameters == (64, 11)


class TestRefused:
    @pytest.mark.parametrize(
        "ratio", [1, 1.0, -0.1, "half", True, float("nan")]
    )
    def test_ratio(self, two, ratio):
        with pytest.raises(ValueError, match=r"`ratio` must be .* \[0, 1\)"):
            two.plan(SCORES, ratio=ratio)

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"ratio": 0.5, "max_parameters": 9},
            {"ratio": 0.1, "scope": {"d0": 0.1}},
        ],
    )
    def test_targets(self, two, settings):
        with pytest.raises(ValueError, match="Exactly one of `ratio`"):
            two.plan(SCORES, **settings)

    @pytest.mark.parametrize(
        ("settings", "name"),
        [
            ({"scope": "all"}, "scope"),
            ({"max_ratio": 1.0}, "max_ratio"),
            ({"min_channels": 0}, "min_channels"),
            ({"round_to": 1.5}, "round_to"),
            ({"exact_only": 1}, "exact_only"),
        ],
    )
    def test_settings(self, two, settings, name):
        with pytest.raises(ValueError, match=f"`{name}`"):
            two.plan(SCORES, ratio=0.5, **settings)

    @pytest.mark.parametrize("budget", [0, -3, 1.5, "half", True])
    def test_budgets(self, two, budget):
        with pytest.raises(ValueError, match="`max_parameters` must be"):
            two.plan(SCORES, max_parameters=budget)

    def test_scores(self, two):
        with pytest.raises(TypeError, match="`scores` must be"):
            two.plan([1, 2], ratio=0.5)
        with pytest.raises(ValueError, match="Received: 'd9'"):
            two.plan({"d9": [1]}, ratio=0.5)
        with pytest.raises(ValueError, match="4 channels"):
            two.plan({"d0": [1]}, ratio=0.5)
        with pytest.raises(ValueError, match="NaN"):
            two.plan({"d0": [1, 2, 3, np.nan]}, ratio=0.5)

    def test_an_inexact_group_by_name(self):
        graph = ChannelGraph(layer_norm())
        scores = Magnitude().scores(graph)
        with pytest.raises(ValueError, match="'low': norm mixes its channels"):
            graph.plan(scores, scope={"low": 0.5}, exact_only=True)


class TestFiles:
    def test_round_trip(self, two, tmp_path):
        plan = two.plan(SCORES, ratio=0.5)
        plan.save(tmp_path / "plan.json")
        loaded = load_plan(tmp_path / "plan.json")
        assert loaded.to_dict() == plan.to_dict()
        assert str(loaded) == str(plan)
        assert loaded.compact(two.model).count_params() == plan.parameters[1]

    def test_no_plan(self, tmp_path):
        (tmp_path / "other.json").write_text("{}")
        with pytest.raises(ValueError, match="must be what"):
            load_plan(tmp_path / "other.json")

    def test_the_table(self, two):
        lines = str(two.plan(SCORES, ratio=0.5)).splitlines()
        assert lines[0].split() == [
            "layer", "before", "after", "parameters", "multiply-adds",
        ]  # fmt: skip
        assert lines[1].split() == ["d0", "4", "1", "5", "4"]
        assert lines[-1].split() == ["total", "23", "16"]


class TestForAnotherModel:
    def test_other_names(self, two):
        plan = two.plan(SCORES, ratio=0.5)
        with pytest.raises(ValueError, match="must be the one that this plan"):
            plan.compact(chain(4, 7))
        with pytest.raises(ValueError, match="must be the one that this plan"):
            plan.mask(chain(4, 6, 3))

    def test_a_model_that_was_changed_since(self, two):
        plan = two.plan(SCORES, ratio=0.5)
        two.model.add(layers.Dense(3, name="more"))
        with pytest.raises(ValueError, match="changed since"):
            plan.compact(two.model)

    def test_a_trained_copy(self, two, tmp_path):
        plan = two.plan(SCORES, ratio=0.5)
        copy = keras.models.clone_model(two.model)
        assert plan.compact(copy).count_params() == plan.parameters[1]
        two.model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert plan.compact(loaded).count_params() == plan.parameters[1]
