"""The list of built-in methods: one line each. The module behind a line is imported when the name is first used."""

from laconic.policy import registry

_DRAFTERS = "laconic.speculation.drafters"
registry.register("drafter", "bandit", f"{_DRAFTERS}.bandit:Bandit")
registry.register("drafter", "none", f"{_DRAFTERS}.none:NoDrafter")
registry.register("drafter", "draft-model", f"{_DRAFTERS}.draft_model:DraftModel")
registry.register("drafter", "prompt-lookup", f"{_DRAFTERS}.prompt_lookup:PromptLookup")
registry.register("drafter", "token-recycling", f"{_DRAFTERS}.token_recycling:TokenRecycling")
registry.register("drafter", "rest", f"{_DRAFTERS}.rest:Rest")
registry.register("drafter", "stand", f"{_DRAFTERS}.stand:Stand")
registry.register("drafter", "suffix", f"{_DRAFTERS}.suffix:Suffix")

_LENGTHS = "laconic.speculation.length"
registry.register("length", "ada-eagle", f"{_LENGTHS}.ada_eagle:AdaEAGLE")
registry.register("length", "bandit", f"{_LENGTHS}.bandit:Bandit")
registry.register("length", "constant", f"{_LENGTHS}.constant:Constant")
registry.register("length", "adaedl", f"{_LENGTHS}.adaedl:AdaEDL")
registry.register("length", "aimd", f"{_LENGTHS}.aimd:AIMD")
registry.register("length", "confidence", f"{_LENGTHS}.confidence:Confidence")
registry.register("length", "diffuspec", f"{_LENGTHS}.diffuspec:DiffuSpec")
registry.register("length", "goodput", f"{_LENGTHS}.goodput:Goodput")
registry.register("length", "marginal", f"{_LENGTHS}.marginal:Marginal")
registry.register("length", "specdec++", f"{_LENGTHS}.specdec_pp:SpecDecPP")
registry.register("length", "svip", f"{_LENGTHS}.svip:SVIP")
registry.register("length", "tetris", f"{_LENGTHS}.tetris:Tetris")

_SHAPES = "laconic.speculation.shape"
registry.register("shape", "chain", f"{_SHAPES}.chain:Chain")
registry.register("shape", "best-first", f"{_SHAPES}.best_first:BestFirst")
registry.register("shape", "dyspec", f"{_SHAPES}.dyspec:DySpec")
registry.register("shape", "k-ary", f"{_SHAPES}.k_ary:KAry")
registry.register("shape", "opt-tree", f"{_SHAPES}.opt_tree:OptTree")
registry.register("shape", "sequoia", f"{_SHAPES}.sequoia:Sequoia")
registry.register("shape", "stochastic-beam", f"{_SHAPES}.stochastic_beam:StochasticBeam")

_VERIFIERS = "laconic.speculation.verify"
registry.register("verifier", "block", f"{_VERIFIERS}.block:Block")
registry.register("verifier", "importance", f"{_VERIFIERS}.importance:Importance")
registry.register("verifier", "k-seq", f"{_VERIFIERS}.k_seq:KSeq")
registry.register("verifier", "match", f"{_VERIFIERS}.match:Match")
registry.register("verifier", "specinfer", f"{_VERIFIERS}.specinfer:SpecInfer")
registry.register("verifier", "speculative-sampling", f"{_VERIFIERS}.speculative_sampling:SpeculativeSampling")
registry.register("verifier", "traversal", f"{_VERIFIERS}.traversal:Traversal")

_TRANSFORMS = "laconic.speculation.transform"
registry.register("transform", "cascade", f"{_TRANSFORMS}.cascade:Cascade")
registry.register("transform", "contrastive", f"{_TRANSFORMS}.contrastive:Contrastive")
registry.register("transform", "ensemble", f"{_TRANSFORMS}.ensemble:Ensemble")

_RELAXATIONS = "laconic.speculation.relax"
registry.register("relaxation", "entropy-gate", f"{_RELAXATIONS}.entropy_gate:EntropyGate")
registry.register("relaxation", "epsilon", f"{_RELAXATIONS}.epsilon:Epsilon")
registry.register("relaxation", "judge-head", f"{_RELAXATIONS}.judge_head:JudgeHead")
registry.register("relaxation", "lenience", f"{_RELAXATIONS}.lenience:Lenience")
registry.register("relaxation", "top-k", f"{_RELAXATIONS}.top_k:TopK")
registry.register("relaxation", "typical", f"{_RELAXATIONS}.typical:Typical")

_THINK = "laconic.thinking"
registry.register("think", "budget", f"{_THINK}.budget.budget:Budget")
registry.register("think", "effort", f"{_THINK}.budget.effort:Effort")
registry.register("think", "end-temperature", f"{_THINK}.budget.end_temperature:EndTemperature")
registry.register("think", "soft-landing", f"{_THINK}.budget.soft_landing:SoftLanding")
registry.register("think", "answer-agreement", f"{_THINK}.exit.answer_agreement:AnswerAgreement")
registry.register("think", "answer-confidence", f"{_THINK}.exit.answer_confidence:AnswerConfidence")
registry.register("think", "answer-entropy", f"{_THINK}.exit.answer_entropy:AnswerEntropy")
registry.register("think", "closing-rank", f"{_THINK}.exit.closing_rank:ClosingRank")
registry.register("think", "confidence-probe", f"{_THINK}.exit.confidence_probe:ConfidenceProbe")
registry.register("think", "entropy-slope", f"{_THINK}.exit.entropy_slope:EntropySlope")
registry.register("think", "loop-break", f"{_THINK}.exit.loop_break:LoopBreak")
registry.register("think", "settled", f"{_THINK}.exit.settled:Settled")
registry.register("think", "be-concise", f"{_THINK}.hint.be_concise:BeConcise")
registry.register("think", "chain-of-draft", f"{_THINK}.hint.chain_of_draft:ChainOfDraft")
registry.register("think", "concise-hint", f"{_THINK}.hint.concise_hint:ConciseHint")
registry.register("think", "confidence-injection", f"{_THINK}.hint.confidence_injection:ConfidenceInjection")
registry.register("think", "no-wait", f"{_THINK}.hint.no_wait:NoWait")
registry.register("think", "switch-penalty", f"{_THINK}.hint.switch_penalty:SwitchPenalty")
registry.register("think", "token-budget", f"{_THINK}.hint.token_budget:TokenBudget")
registry.register("think", "no-thinking", f"{_THINK}.route.no_thinking:NoThinking")
registry.register("think", "free", f"{_THINK}.route.free:Free")
registry.register("think", "max-tokens", f"{_THINK}.route.max_tokens:MaxTokens")
registry.register("think", "sampling", f"{_THINK}.route.sampling:Resample")
registry.register("think", "say", f"{_THINK}.route.say:Say")
registry.register("think", "cascade", f"{_THINK}.route.cascade:Cascade")
registry.register("think", "route-by-chance", f"{_THINK}.route.by_chance:ByChance")
registry.register("think", "route-by-length", f"{_THINK}.route.by_length:ByLength")
registry.register("think", "route-by-probe", f"{_THINK}.route.by_probe:ByProbe")
registry.register("think", "route-by-trigger", f"{_THINK}.route.by_trigger:ByTrigger")
registry.register("think", "route-by-word", f"{_THINK}.route.by_word:ByWord")
registry.register("think", "spec-exit", f"{_THINK}.exit.spec_exit:SpecExit")
registry.register("think", "steer", f"{_THINK}.steer.steer:Steer")
registry.register("think", "trimr", f"{_THINK}.exit.trimr:TrimR")

_MEMORY = f"{_THINK}.memory"
registry.register("think", "handbook", f"{_MEMORY}.behaviors:Behaviors")
registry.register("memory", "infty-think", f"{_MEMORY}.infty_think:InftyThink")
registry.register("memory", "pdr", f"{_MEMORY}.pdr:PDR")
registry.register("memory", "sequential-refine", f"{_MEMORY}.sequential_refine:SequentialRefine")
