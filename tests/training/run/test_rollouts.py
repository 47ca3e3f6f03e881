"""Rollouts by the engine, as TRL's trainer asks for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from laconic.engine import Engine
from laconic.errors import TrainingError
from laconic.models.causal_lm import CausalLM
from laconic.training.run.rollouts import EngineRollouts
from laconic.training.run.workers import Workers
from laconic.types import Limits
from tests import tiny
from tests.speculation.exact import g_excess

PROMPTS = [[{"role": "user", "content": f"{i} + {i}?"}] for i in (1, 1, 2, 2, 3)]


def trainer(model: Any, step: int = 0) -> Any:
    return SimpleNamespace(
        model=model, accelerator=SimpleNamespace(unwrap_model=lambda it: it), state=SimpleNamespace(global_step=step)
    )


def rollouts(**options: Any) -> EngineRollouts:
    return EngineRollouts(tiny.text(), **{"max_tokens": 20, "seed": 5} | options)


def written(made: dict[str, Any]) -> list[list[int]]:
    return list(made["completion_ids"])


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny.model(3, bias=tiny.REASONER)


def test_every_prompt_gets_what_the_engine_writes_for_it(model: PreTrainedModel) -> None:
    made = rollouts()
    found = made(PROMPTS, trainer(model, step=4))
    engine = Engine(CausalLM(tiny.model(3, bias=tiny.REASONER)), tiny.text())
    for row, prompt in enumerate(PROMPTS):
        alone = engine.generate(prompt, sampling=made.sampling(4, row), limits=Limits(20, answer_room=0))
        assert written(found)[row] == list(alone.tokens)
        assert found["prompt_ids"][row] == list(engine.request(prompt).prompt)
    assert made.written == sum(map(len, written(found)))
    assert made.passes > 0


def test_neither_batch_nor_drafts_nor_what_came_before_change_a_rollout(model: PreTrainedModel) -> None:
    first = written(rollouts(batch=64)(PROMPTS, trainer(model)))
    assert written(rollouts(batch=2, drafter="none")(PROMPTS, trainer(model))) == first
    again = rollouts()
    assert written(again(PROMPTS, trainer(model, step=1))) != first
    assert written(again(PROMPTS, trainer(model, step=0))) == first
    assert first[0] != first[1]  # one prompt, two rollouts
    assert written(rollouts(seed=6)(PROMPTS, trainer(model))) != first


def test_they_are_of_the_weights_as_they_are_now_and_leave_these_alone(model: PreTrainedModel) -> None:
    made = rollouts()
    first = written(made(PROMPTS, trainer(model)))
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.lm_head.weight.mul_(-1)
    changed = written(made(PROMPTS, trainer(model, step=1)))
    with torch.no_grad():
        model.lm_head.weight.mul_(-1)
    assert changed != written(rollouts()(PROMPTS, trainer(model, step=1)))  # of the step, not of the weights
    assert written(rollouts()(PROMPTS, trainer(model))) == first
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert model.config._attn_implementation == tiny.model().config._attn_implementation
    assert all(value.requires_grad for value in model.parameters())


def test_they_take_the_fast_path_though_a_trainer_has_patched_the_model(model: PreTrainedModel) -> None:
    plain = rollouts()
    first = written(plain(PROMPTS, trainer(model)))
    own = model.forward
    model.forward = lambda *args, **kwargs: own(*args, **kwargs)  # as TRL does for its fused head
    made = rollouts()
    assert written(made(PROMPTS, trainer(model))) == first
    assert made.path == plain.path == CausalLM(tiny.model(3, bias=tiny.REASONER)).path


def test_an_adapter_is_merged_into_the_copy(model: PreTrainedModel) -> None:
    from peft import LoraConfig, get_peft_model

    first = written(rollouts()(PROMPTS, trainer(model)))
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    found = written(rollouts()(PROMPTS, trainer(adapted)))
    assert found != first
    merged = adapted.merge_and_unload()
    assert written(rollouts()(PROMPTS, trainer(merged))) == found


def test_a_rendered_prompt_is_taken_as_it_is(model: PreTrainedModel) -> None:
    text = tiny.text()
    rendered = [text.decode(text.ask(prompt)[0]) for prompt in PROMPTS]
    assert written(rollouts()(rendered, trainer(model))) == written(rollouts()(PROMPTS, trainer(model)))


def test_several_processes_write_what_one_does(model: PreTrainedModel) -> None:
    alone, made = rollouts(), rollouts(workers=2)
    first = written(alone(PROMPTS, trainer(model)))
    assert written(made(PROMPTS, trainer(model))) == first
    assert (made.path, made.written) == (alone.path, alone.written)
    assert made.passes >= alone.passes
    with torch.no_grad():
        model.lm_head.weight.mul_(-1)
    assert written(made(PROMPTS, trainer(model, step=1))) == written(alone(PROMPTS, trainer(model, step=1)))
    workers = made._engine
    assert isinstance(workers, Workers)
    with pytest.raises(TrainingError, match=r"(?s)has failed: .*AttributeError"):
        workers.run([None] * 4, batch=2)  # type: ignore[list-item]
    assert written(made(PROMPTS, trainer(model, step=1))) == written(alone(PROMPTS, trainer(model, step=1)))
    workers._processes[0].kill()
    workers._processes[0].join(10)
    with pytest.raises(TrainingError, match="a process that samples has ended"):
        made(PROMPTS, trainer(model, step=1))
    assert not any(process.is_alive() for process in workers._processes)


def nudged(model: Any, size: float, seed: int = 0) -> None:
    """A step of training, as far as the weights are concerned."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value += size * value.std() * torch.randn(value.shape, generator=generator)


def test_a_rollout_that_is_drafted_from_the_last_one_is_that_of_the_new_weights(model: PreTrainedModel) -> None:
    """Reuse changes which random numbers a row has, and nothing else: neither order nor memory can be seen in it."""
    made = rollouts(reuse=True)
    first = written(made(PROMPTS, trainer(model)))
    assert made.share == 0
    assert first[0] != first[1]  # one prompt, two rollouts
    same = written(made(list(reversed(PROMPTS)), trainer(model, step=1)))
    assert sorted(same) == sorted(first)
    assert made.share > 0.7
    nudged(model, 0.1)
    changed = written(made(PROMPTS, trainer(model, step=2)))
    assert changed != first
    assert changed == written(rollouts(reuse=True)(PROMPTS, trainer(model, step=7)))  # which remembers nothing
    assert 0 < made.share < 0.7


def test_reuse_saves_passes_where_the_weights_have_changed_little(model: PreTrainedModel) -> None:
    passes = {}
    for reuse in (False, True):
        made = rollouts(reuse=reuse, drafter="none")
        made(PROMPTS, trainer(model))
        before = made.passes
        nudged(model, 0.001)
        made(PROMPTS, trainer(model, step=1))
        passes[reuse] = made.passes - before
    assert passes[True] < 0.6 * passes[False]


def test_what_is_reused_has_the_law_of_the_new_weights(model: PreTrainedModel) -> None:
    """First tokens after a change of the weights, each drafted from what came before it, beside the model's own law."""
    prompts = [[{"role": "user", "content": f"{i} + 1?"}] for i in range(1) for _ in range(1200)]
    made = rollouts(reuse=True, max_tokens=3)
    made(prompts, trainer(model))
    nudged(model, 0.3)
    found = written(made(prompts, trainer(model, step=1)))
    prompt, _ = tiny.text().ask(prompts[0])
    row = model(torch.tensor([prompt])).logits[0, -1].softmax(-1).tolist()
    law = {(token,): chance for token, chance in enumerate(row)}
    assert g_excess([(tokens[0],) for tokens in found], law) < 1
    assert 0.2 < made.share < 1


def test_several_processes_reuse_too(model: PreTrainedModel) -> None:
    alone, several = rollouts(reuse=True), rollouts(reuse=True, workers=2)
    for step in range(2):
        assert written(several(PROMPTS, trainer(model, step))) == written(alone(PROMPTS, trainer(model, step)))
    assert several.share == alone.share > 0
    several.over(model).close()  # type: ignore[attr-defined]


def test_a_drafter_stays_from_step_to_step(model: PreTrainedModel) -> None:
    cold = {"temperature": 0.01, "max_tokens": 60}  # the same texts in every step, as problems that come again have
    made = rollouts(**cold)
    first = written(made(PROMPTS, trainer(model)))
    passes = made.passes
    again = written(made(PROMPTS, trainer(model, step=1)))
    assert again == written(rollouts(**cold)(PROMPTS, trainer(model, step=1)))
    assert first == again
    assert made.passes - passes < 0.7 * passes
