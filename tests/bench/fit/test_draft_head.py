"""Training draft heads: losses, what is kept of texts, that training helps, and that a run goes on where it was
stopped.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, CohereConfig, GraniteConfig, PreTrainedConfig

from laconic import Limits, Sampling
from laconic.bench.fit import shards
from laconic.bench.fit.draft_head import Learning, batches, measures
from laconic.bench.fit.features import Recorder
from laconic.bench.fit.head_run import HeadRecipe, fit_head, shape_of, widened
from laconic.bench.fit.self_asked import Asking, asked, opening
from laconic.bench.fit.teacher import agreement, known_parts
from laconic.engine import Engine, Methods
from laconic.errors import HeadError, TaskError, UnmetNeed
from laconic.models.cache_host import CacheHost
from laconic.models.causal_lm import CausalLM
from laconic.models.parts import output_rows
from laconic.speculation.drafters.head.files import load
from laconic.speculation.drafters.head.kinds import KINDS, built
from laconic.speculation.drafters.head.losses import LOSSES
from laconic.speculation.drafters.head.teacher import Teacher
from laconic.types import Request
from tests import tiny


def engine(seed: int = 0, *, bias: dict[str, float] | None = None) -> Engine:
    return Engine(CausalLM(tiny.model(seed, sharpness=4.0, bias=bias)), tiny.text(), Methods(drafter="none"))


def texts(on: Engine, number: int, count: int = 6) -> list[Request]:
    """Random prompts; a random model's greedy texts run in circles, which a head can learn."""
    limits = Limits(60, answer_room=0)
    return [on.request(f"{number} {i}?", limits=limits, sampling=Sampling(0.0, seed=i)) for i in range(count)]


def test_losses_are_what_they_are_called() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    q = torch.tensor([[0.25, 0.5, 0.25], [0.1, 0.1, 0.8]])
    found = {name: loss(p.log(), q.log() + 3.0) for name, loss in LOSSES.items()}
    assert found["ce"].tolist() == pytest.approx([-math.log(0.25), -math.log(0.8)])
    assert found["tvd"].tolist() == pytest.approx([0.25, 0.0], abs=1e-6)
    forward = 0.5 * math.log(2) + 0.3 * math.log(0.6) + 0.2 * math.log(0.8)
    backward = 0.25 * math.log(0.5) + 0.5 * math.log(5 / 3) + 0.25 * math.log(1.25)
    assert found["kl"].tolist() == pytest.approx([forward, 0.0], abs=1e-6)
    assert found["reverse-kl"].tolist() == pytest.approx([backward, 0.0], abs=1e-6)
    m = [0.375, 0.4, 0.225]
    js = sum(0.5 * a * math.log(a / c) + 0.5 * b * math.log(b / c)
             for a, b, c in zip([0.5, 0.3, 0.2], [0.25, 0.5, 0.25], m, strict=True))  # fmt: skip
    assert found["jsd"].tolist() == pytest.approx([js, 0.0], abs=1e-6)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_leads_to_the_target(name: str) -> None:
    torch.manual_seed(0)
    target = (torch.randn(4, 6) * 2).log_softmax(-1)
    logits = nn.Parameter(torch.zeros(4, 6))
    optimiser = torch.optim.Adam([logits], lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        LOSSES[name](target, logits).mean().backward()
        optimiser.step()
    apart = 0.5 * (logits.detach().softmax(-1) - target.exp()).abs().sum(-1)
    if name == "ce":  # it knows the likeliest token alone
        assert logits.argmax(-1).equal(target.argmax(-1))
    else:
        assert float(apart.max()) < 0.12


def test_features_are_taken_along_the_texts_while_they_are_written() -> None:
    on = engine()
    found = []
    recorder = Recorder((0, 1), lambda tokens, outputs, prompt: found.append((tokens, outputs, prompt)))
    requests = texts(on, 0, 3)
    results = on.using(drafter=recorder, length="constant:1").run(requests, batch=3)
    whole = {tuple(r.prompt) + tuple(result.tokens) for r, result in zip(requests, results, strict=True)}
    assert {tokens for tokens, _, _ in found} == whole
    assert {tokens[:prompt] for tokens, _, prompt in found} == {tuple(request.prompt) for request in requests}
    for tokens, outputs, _ in found:
        truth = on.target.residuals(tokens[:-1], (0, 1))  # type: ignore[attr-defined]
        assert outputs.allclose(torch.stack([truth[0], truth[1]], 1), atol=1e-4)


def test_texts_are_kept_in_batches_and_read_back(tmp_path: Path) -> None:
    first = [([1, 2, 3], torch.ones(2, 2, 4), 1), ([4, 5], 2 * torch.ones(1, 2, 4), 1)]
    shards.save(tmp_path, 0, first)
    shards.save(tmp_path, 1, [([6, 7, 8, 9], 3 * torch.ones(3, 2, 4), 2)])
    shards.save(tmp_path, 3, [([1, 1], torch.ones(1, 2, 4), 1)])  # behind a gap: of another run
    kept = shards.kept(tmp_path)
    assert [shards.count(place) for place in kept] == [5, 4]
    read = shards.read(kept)
    assert (len(read), read.lengths, read.starts) == (3, [3, 2, 4], [0, 3, 5])
    tokens, features = read.one(1)
    assert tokens == [4, 5]
    assert features.equal(2 * torch.ones(1, 2, 4))
    part = read.part(1, 3)
    assert part.one(1)[0] == [6, 7, 8, 9]
    seen = [row[valid].tolist() for batch in batches(read, Learning(batch_tokens=8), 0)
            for row, valid in zip(batch.tokens, batch.valid, strict=True)]  # fmt: skip
    assert (read.prompts, part.prompts) == ([1, 1, 2], [1, 2])
    assert sorted(seen) == [[1, 2, 3], [4, 5], [6, 7, 8, 9]]
    assert [b.tokens.shape[1] for b in batches(read, Learning(longest=2), 0)] == [2]


@pytest.mark.parametrize("kind", [*sorted(set(KINDS) - {"kangaroo"}), "kangaroo@1", "mtp@1"])
def test_training_helps_and_the_head_drafts_about_as_well_as_it_measures(kind: str, tmp_path: Path) -> None:
    on = engine()
    learning = Learning(epochs=8, batch_tokens=256, seed=1)
    kind, _, early = kind.partition("@")
    recipe = HeadRecipe(kind, tokens=9000, kept=264, early=int(early or 0), batch=8, held_out=0.2, learning=learning)
    said: list[str] = []
    made = fit_head(on, lambda number, replies: texts(on, number), tmp_path, recipe, after=said.append)
    after = made.about.measures
    assert any("tokens written" in line for line in said)
    assert any("loss" in line for line in said)
    untrained = load(tmp_path).head
    for parameter in untrained.parameters():
        nn.init.normal_(parameter, std=0.02)
    held = shards.read(shards.kept(tmp_path / "texts"))
    held = held.part(len(held) - 5, len(held))
    teacher = Teacher(on.target, torch.arange(264))
    embed = nn.Embedding.from_pretrained(on.target.embeddings(range(264)))  # type: ignore[attr-defined]
    before = measures(untrained, held, teacher, embed, torch.arange(264), learning)
    assert after["tokens_a_pass"] > before["tokens_a_pass"] + 0.25
    drafts = on.using(drafter=f"head:{tmp_path}", length="constant:1")
    results = drafts.run(texts(on, 10_000, 12), batch=4)
    accepted = sum(r.usage.accepted for r in results) / sum(r.usage.drafted for r in results)
    # A pass writes more where drafts hold, so passes see more of the places where they do not.
    assert 0.6 * after["likeliest"][0] < accepted < after["likeliest"][0] + 0.1


def test_a_run_that_was_stopped_goes_on_with_its_texts(tmp_path: Path) -> None:
    on = engine()
    asked_for: list[int] = []

    def give(number: int, replies: object) -> list[Request]:
        asked_for.append(number)
        if number == 2 and len(asked_for) == 3:
            raise KeyboardInterrupt
        return texts(on, number) if number < 4 else []

    recipe = HeadRecipe("medusa", tokens=10**6, kept=50, batch=6, learning=Learning(epochs=0.3))
    with pytest.raises(KeyboardInterrupt):
        fit_head(on, give, tmp_path, recipe)
    assert len(shards.kept(tmp_path / "texts")) == 2
    made = fit_head(on, give, tmp_path, recipe)
    assert asked_for == [0, 1, 2, 2, 3, 4]
    assert made.about.training["texts"] + made.about.measures["texts"] == 24


def test_texts_of_another_target_are_not_gone_on_with(tmp_path: Path) -> None:
    on, other = engine(), engine(7)
    recipe = HeadRecipe("medusa", tokens=500, kept=50, batch=6, learning=Learning(epochs=0.3))
    fit_head(on, lambda number, replies: texts(on, number), tmp_path, recipe)
    with pytest.raises(HeadError, match="another"):
        fit_head(other, lambda number, replies: texts(other, number), tmp_path, recipe)


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    on = engine()
    with pytest.raises(HeadError, match="no kind of head"):
        fit_head(on, lambda number, replies: texts(on, number), tmp_path, HeadRecipe("eagle4"))
    with pytest.raises(HeadError, match="last layer"):
        fit_head(on, lambda number, replies: texts(on, number), tmp_path, HeadRecipe(layers=(0,)))
    with pytest.raises(HeadError, match="2 of 2 layers"):  # as many as is usual for its kind
        fit_head(on, lambda number, replies: texts(on, number), tmp_path, HeadRecipe("kangaroo"))
    with pytest.raises(HeadError, match="first layers"):
        fit_head(on, lambda number, replies: texts(on, number), tmp_path, HeadRecipe("kangaroo", early=0))
    with pytest.raises(TaskError):
        fit_head(on, lambda number, replies: texts(on, number, 1) if number == 0 else [], tmp_path, HeadRecipe(kept=50))
    on.target.host = CacheHost(tiny.model())  # type: ignore[attr-defined]
    with pytest.raises(UnmetNeed, match="outputs of the target's layers"):
        fit_head(on, lambda number, replies: [], tmp_path, HeadRecipe())


def test_a_teacher_of_other_parts_is_noticed(tmp_path: Path) -> None:
    on = engine()
    fit_head(on, lambda number, replies: texts(on, number) if number < 2 else [], tmp_path,
             HeadRecipe("medusa", kept=50, learning=Learning(epochs=0.1)))  # fmt: skip
    read, kept = shards.read(shards.kept(tmp_path / "texts")), torch.arange(264)
    teacher = Teacher(on.target, kept)
    assert agreement(teacher, on.target, kept, read)[0] > 0.98
    assert agreement(teacher, on.target, kept, read)[1] < 0.01
    teacher._rows = teacher._rows.roll(1, 0)
    assert agreement(teacher, on.target, kept, read)[0] < 0.5
    with pytest.raises(UnmetNeed, match="distributions are"):
        known_parts(teacher, on.target, kept, read)


def test_a_chat_model_asks_itself() -> None:
    on = engine()
    start = opening(on.text)
    assert on.text.decode(start) == "<|im_start|>user\n"
    asking = Asking(question=24, reply=30, temperatures=(0.0, 0.7), batch=3, questions=6)
    first, again, second = asked(on, asking, 0), asked(on, asking, 0), asked(on, asking, 1)
    assert [r.prompt for r in first] == [r.prompt for r in again]
    assert not {r.prompt for r in first} & {r.prompt for r in second}
    assert all(r.prompt[: len(start)] == start for r in first)
    assert {r.sampling.temperature for r in first} <= {0.0, 0.7}
    with pytest.raises(UnmetNeed, match="chat template"):
        opening(tiny.text(template=None))


def test_it_also_asks_for_work_on_what_it_wrote() -> None:
    on = engine(bias={"<|im_end|>": 8.0})  # its questions end
    asking = Asking(question=24, reply=30, batch=3, questions=6, over=1.0)
    replies = [on.text.encode(f"Reply number {i}, which is long enough to be worked on by somebody.") for i in range(4)]
    thought_up = asked(on, asking, 1)
    both = asked(on, asking, 1, replies)
    assert [r.prompt for r in both[: len(thought_up)]] == [r.prompt for r in thought_up]
    work = [on.text.decode(r.prompt) for r in both[len(thought_up) :]]
    assert len(work) == len(thought_up) > 2
    assert all("Reply number" in text for text in work)
    assert len(set(work)) > 1
    assert asked(on, asking, 1, [[1, 2, 3]]) == thought_up, "too short to work on"
    assert [r.prompt for r in asked(on, asking, 1, replies)] == [r.prompt for r in both]


def test_the_replies_of_one_batch_are_there_for_the_next(tmp_path: Path) -> None:
    on = engine()
    told: list[list[int]] = []

    def give(number: int, replies: list[list[int]]) -> list[Request]:
        told.append([len(reply) for reply in replies])
        return texts(on, number) if number < 2 else []

    recipe = HeadRecipe("medusa", tokens=10**6, kept=50, batch=6, learning=Learning(epochs=0.3))
    fit_head(on, give, tmp_path, recipe)
    assert told[0] == []
    assert len(told[1]) == 6
    assert all(0 < length <= 60 for length in told[1])
    fit_head(on, give, tmp_path, recipe)  # which begins with what is there
    assert told[-1] == told[2]


@pytest.mark.parametrize("kind", ["mtp", "medusa"])
def test_a_head_that_was_taught_on_some_tokens_says_the_others_too(kind: str, tmp_path: Path) -> None:
    on = engine()
    learning = Learning(epochs=24, batch_tokens=256, seed=1)
    recipe = HeadRecipe(kind, tokens=6000, kept=264, taught=150, batch=8, held_out=0.2, learning=learning)
    made = fit_head(on, lambda number, replies: texts(on, number), tmp_path, recipe)
    about = made.about
    assert about.training["taught"] == 150
    assert about.measures["covered"] == 1.0
    assert made.head.kept.tolist() == list(range(264))
    held = shards.read(shards.kept(tmp_path / "texts"))
    held = held.part(len(held) - 5, len(held))
    teacher = Teacher(on.target, torch.arange(264))
    embed = nn.Embedding.from_pretrained(on.target.embeddings(range(264)))  # type: ignore[attr-defined]
    narrow = HeadRecipe(kind, tokens=6000, kept=150, batch=8, held_out=0.2, learning=learning)
    only = fit_head(on, lambda number, replies: texts(on, number), tmp_path, narrow)
    assert len(only.head.kept) == 150
    found = measures(made.head, held, teacher, embed, torch.arange(264), learning)
    some = measures(only.head, held, Teacher(on.target, only.head.kept), embed, only.head.kept, learning)
    assert found["likeliest"][0] > some["likeliest"][0] - 0.05, "and what it was taught, it says as well"


@pytest.mark.parametrize("config", [GraniteConfig, CohereConfig])
def test_a_teacher_scales_logits_as_its_model_does(config: type[PreTrainedConfig], tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 264, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
    }  # fmt: skip
    made = config(**sizes, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    if config is GraniteConfig:
        made.logits_scaling = 4.0
    model = AutoModelForCausalLM.from_config(made)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(40)
    on = Engine(CausalLM(model.eval()), tiny.text(), Methods(drafter="none"))
    recipe = HeadRecipe("medusa", tokens=300, kept=50, learning=Learning(epochs=0.1))
    fit_head(on, lambda number, replies: texts(on, number), tmp_path, recipe)
    read, kept = shards.read(shards.kept(tmp_path / "texts")), torch.arange(264)
    assert agreement(Teacher(on.target, kept), on.target, kept, read)[1] < 0.01


def test_rows_that_nothing_was_learned_of_stay_as_they_are() -> None:
    """However few others have moved: by a tenth of their length, at random."""
    on = engine()
    shape = shape_of(on, HeadRecipe(kept=264))
    every = output_rows(on.target, torch.arange(264)).float()
    for taught in (10, 32, 40, 200):
        head = built("medusa", replace(shape, kept=taught), {})
        head.keep(torch.arange(taught))
        noise = torch.randn(taught, 32, generator=torch.Generator().manual_seed(0)) * 0.1 * every.std()
        with torch.no_grad():
            head.lm_head.weight.copy_(every[:taught] + noise)
        made = widened(head, HeadRecipe("medusa", kept=264), shape, torch.arange(264), on.target)
        assert made.lm_head.weight[:taught].equal(head.lm_head.weight)
        off = (made.lm_head.weight - every)[taught:].norm() / every[taught:].norm()
        assert off < 0.12, taught


def test_work_on_replies_fits_into_a_small_context() -> None:
    model = tiny.model(0, sharpness=4.0, bias={"<|im_end|>": 8.0})
    model.config.max_position_embeddings = 400
    on = Engine(CausalLM(model), tiny.text(), Methods(drafter="none"))
    replies = [on.text.encode("A long reply of many words. " * n) for n in (3, 6, 7)]
    asking = Asking(question=24, reply=30, batch=3, questions=6, over=3.0)
    both = asked(on, asking, 1, replies)
    work = [on.text.decode(r.prompt) for r in both if "A long reply" in on.text.decode(r.prompt)]
    assert work
    assert all(len(r.prompt) + 30 <= 400 for r in both)
    assert not asked(on, Asking(reply=380, questions=0), 1, replies), "none of them fits"


def test_texts_that_are_damaged_or_not_there_are_refused(tmp_path: Path) -> None:
    shards.save(tmp_path, 0, [([1, 2, 3], torch.ones(2, 2, 4), 1)])
    for said in ("{", "[]", "{}", '{"model": "x", "layers": 3}'):
        (tmp_path / "of.json").write_text(said)
        with pytest.raises(HeadError, match="damaged"):
            shards.begin(tmp_path, "x", (0, 1))
    (tmp_path / "00000.safetensors").write_bytes(b"no")
    for reading in (shards.count, shards.replies, lambda place: shards.read([place])):
        with pytest.raises(HeadError, match="damaged"):
            reading(tmp_path / "00000.safetensors")
    with pytest.raises(TaskError, match="no texts"):
        shards.read([])
    with pytest.raises(HeadError, match="cannot be kept"):
        shards.begin(tmp_path / "of.json" / "below", "x", (0,))
