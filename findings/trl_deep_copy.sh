#!/usr/bin/env bash
# TRL 1.16: a deep copy of a trainer's model computes with the original's weights.
#
# Expected: copy.deepcopy(trainer.model) is a model of its own, as of any other module. Seen: the trainer has put a function in
# the place of the model's forward, bound to the original; the copy takes it along, so what is done to the copy's weights
# changes nothing that the copy says, and a snapshot that is kept for later is none.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet trl==1.16.0 transformers==5.23.0 torch==2.13.0 datasets==5.2.0 2>/dev/null
cat > "$place/run.py" <<'PY'
import copy
import os
import warnings

os.environ["TOKENIZERS_PARALLELISM"] = "false"
warnings.simplefilter("ignore")
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

words = Tokenizer(models.WordLevel({"<e>": 0, "a": 1, "b": 2, "<u>": 3}, unk_token="<u>"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<e>", pad_token="<e>", unk_token="<u>")
sizes = dict(vocab_size=4, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
torch.manual_seed(0)
plain = LlamaForCausalLM(LlamaConfig(**sizes, eos_token_id=0, pad_token_id=0))
trainer = GRPOTrainer(
    model=plain, processing_class=tokenizer, reward_funcs=lambda completions, **_: [0.0] * len(completions),
    args=GRPOConfig(output_dir="out", report_to="none", bf16=False, use_cpu=True, per_device_train_batch_size=8),
    train_dataset=Dataset.from_list([{"prompt": "a b"}] * 8),
)
tokens = torch.tensor([[1, 2, 1]])
for name, model in (("before a trainer has it", LlamaForCausalLM(plain.config)), ("trainer.model", trainer.model)):
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
        same = torch.equal(twin(input_ids=tokens).logits, model(input_ids=tokens).logits)
    print(f"{name}: a deep copy whose weights are all 0 gives the original's logits: {same}")
    assert same == (name == "trainer.model"), "this has changed"
PY
cd "$place"
OMP_NUM_THREADS=1 "$place/env/bin/python" "$place/run.py" 2>/dev/null
# Output seen:
#   before a trainer has it: a deep copy whose weights are all 0 gives the original's logits: False
#   trainer.model: a deep copy whose weights are all 0 gives the original's logits: True
