"""The list of built-in methods: one line each. The module behind a line is imported when the name is first used."""

from laconic.policy import registry

_DRAFTERS = "laconic.speculation.drafters"
registry.register("drafter", "none", f"{_DRAFTERS}.none:NoDrafter")
registry.register("drafter", "draft-model", f"{_DRAFTERS}.draft_model:DraftModel")
registry.register("drafter", "prompt-lookup", f"{_DRAFTERS}.prompt_lookup:PromptLookup")
registry.register("drafter", "suffix", f"{_DRAFTERS}.suffix:Suffix")

_LENGTHS = "laconic.speculation.length"
registry.register("length", "bandit", f"{_LENGTHS}.bandit:Bandit")
registry.register("length", "constant", f"{_LENGTHS}.constant:Constant")
registry.register("length", "adaedl", f"{_LENGTHS}.adaedl:AdaEDL")
registry.register("length", "aimd", f"{_LENGTHS}.aimd:AIMD")
registry.register("length", "confidence", f"{_LENGTHS}.confidence:Confidence")
registry.register("length", "marginal", f"{_LENGTHS}.marginal:Marginal")
registry.register("length", "svip", f"{_LENGTHS}.svip:SVIP")

_SHAPES = "laconic.speculation.shape"
registry.register("shape", "chain", f"{_SHAPES}.chain:Chain")
registry.register("shape", "best-first", f"{_SHAPES}.best_first:BestFirst")

_VERIFIERS = "laconic.speculation.verify"
registry.register("verifier", "match", f"{_VERIFIERS}.match:Match")
registry.register("verifier", "speculative-sampling", f"{_VERIFIERS}.speculative_sampling:SpeculativeSampling")

_THINK = "laconic.thinking"
registry.register("think", "budget", f"{_THINK}.budget.budget:Budget")
registry.register("think", "answer-confidence", f"{_THINK}.exit.answer_confidence:AnswerConfidence")
