import pytest

from laconic.cli.defaults import DEFAULT, default
from laconic.cli.options import Choice, split
from laconic.errors import InvalidKnob, MethodError, UnknownMethod


def test_controllers_are_split_outside_brackets():
    assert split("budget:256+answer-confidence") == ("budget:256", "answer-confidence")
    assert split("a:x=[b+c]+d") == ("a:x=[b+c]", "d")
    assert split("none") == ()
    for empty in ("", "+a", "a++b", "a+"):
        with pytest.raises(InvalidKnob, match="empty"):
            split(empty)


def test_the_default_is_usable_and_gives_way():
    DEFAULT.plan()
    assert default(draft_model=True, thinking=True) == DEFAULT
    assert default(draft_model=True, thinking=False).think == ()
    without = default(draft_model=False, thinking=True).plan()
    assert not any(policy.needs.draft_model for policy in without.drafter.walk())


def test_what_is_said_takes_the_place_of_the_default(model):
    usual = Choice().methods(model, None)
    assert usual.think == DEFAULT.think
    assert Choice(drafter="prompt-lookup", length="aimd").methods(model, None).drafter == "prompt-lookup"
    assert Choice(drafter="none").methods(model, None).shape == "chain"
    assert Choice(exit="answer-confidence:0.8").methods(model, None).think == ("answer-confidence:0.8",)
    assert Choice(budget=99).methods(model, None).think == ("budget:99", *DEFAULT.think)
    assert Choice(budget=99, exit="none").methods(model, None).think == ("budget:99",)
    assert Choice(think="none").methods(model, None).think == ()
    assert Choice(think="budget:5").methods(model, None).think == ("budget:5",)
    assert Choice(budget=99).methods(model, None, thinking=False).think == ()
    assert Choice().methods(model, "a-draft").drafter == "draft-model"


def test_names_are_checked_before_a_model_is_loaded(model):
    with pytest.raises(UnknownMethod):
        Choice(drafter="sufix").methods(model, None)


def test_a_drafter_that_decides_lengths_hears_no_other(model):
    chosen = Choice(drafter="bandit:arms=suffix@constant:2|none").methods(model, None)
    assert chosen.plan().length.spec() == "by-arm"
    for said in ({"length": "constant:3"}, {"shape": "best-first"}):
        with pytest.raises(MethodError, match=r"would not be heard\. Say it in the arms"):
            Choice(drafter="bandit:arms=suffix@constant:2|none", **said).methods(model, None)
