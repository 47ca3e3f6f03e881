#!/usr/bin/env bash
# Transformers 5.23.0, `generate(use_mtp=True)`: the multi-token-prediction head of a GLM-4.5 or DeepSeek-V3 checkpoint is
# found only if the model has exactly as many layers as a released one; in any other the weights are there and are
# reported as missing.
#
# Expected: the head is the layers behind the last one, whose number is `num_hidden_layers` in config.json.
# Seen: names are matched against the layer numbers of the releases (46 and 92 for GLM-4.5, 61 for DeepSeek-V3), so a
# pruned, deepened or small checkpoint of the family, head included, cannot draft with it. Who loads such a head adds the
# layer's name to the model's `_keys_to_ignore_on_load_unexpected` first.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 2>/dev/null
cat > "$place/run.py" <<'PY'
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Glm4MoeConfig, Glm4MoeForCausalLM


def checkpoint(folder, layers):
    torch.manual_seed(0)
    config = Glm4MoeConfig(
        vocab_size=97, hidden_size=32, intermediate_size=64, moe_intermediate_size=16, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, n_routed_experts=4, num_experts_per_tok=2,
        first_k_dense_replace=1, eos_token_id=None, pad_token_id=0,
    )
    Glm4MoeForCausalLM(config).save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    last, head = f"model.layers.{layers - 1}.", f"model.layers.{layers}."
    weights |= {head + name.removeprefix(last): w.clone() for name, w in list(weights.items()) if name.startswith(last)}
    weights |= {head + name: torch.ones(32) for name in ("enorm.weight", "hnorm.weight", "shared_head.norm.weight")}
    weights[head + "eh_proj.weight"] = torch.randn(32, 64)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


found = {}
for layers in (46, 12):
    folder = Path(sys.argv[1]) / str(layers)
    checkpoint(folder, layers)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    try:
        text = model.generate(torch.tensor([[3, 9, 27, 81]]), use_mtp=True, max_new_tokens=8, do_sample=False)
        found[layers] = f"{text.shape[1] - 4} tokens"
    except RuntimeError as error:
        found[layers] = str(error).replace(str(folder), "DIR").split(":")[0]
    print(f"{layers} layers: {found[layers]}")
assert found[46] == "8 tokens" and "weights are missing" in found[12]
PY
"$place/env/bin/python" "$place/run.py" "$place" 2>/dev/null
# Output seen:
#   46 layers: 8 tokens
#   12 layers: The following MtpModel weights are missing from DIR (checkpoint keys not matching the conversion mapping?)
