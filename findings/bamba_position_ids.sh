#!/usr/bin/env bash
# Transformers 5.23.0, Bamba: a call that goes on from a cache without `position_ids` rotates the new tokens as if they
# stood at the beginning of the text. The logits are wrong, and nothing says so.
#
# Expected: as in the other decoders of the library (Llama here, and every other causal model type with this argument
# that could be built small), `position_ids` that are left out go on behind what the cache holds.
# Seen: Bamba's begin at 0. With `position_ids` given the logits agree with the pass without a cache. `generate` gives
# them and is right; decoding loops that call the model themselves (speculation, constrained decoding) are not.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 2>/dev/null
cat > "$place/run.py" <<'PY'
import torch
from transformers import BambaConfig, BambaForCausalLM, LlamaConfig, LlamaForCausalLM

sizes = dict(vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, initializer_range=0.3)
mamba = dict(attn_layer_indices=[1], mamba_n_heads=4, mamba_d_head=16, mamba_n_groups=1, mamba_d_state=16)
text = torch.tensor([[3, 9, 27, 81, 11, 33, 5, 8]])
off = {}
for name, kind, config in (("bamba", BambaForCausalLM, BambaConfig(**sizes, **mamba)),
                           ("llama", LlamaForCausalLM, LlamaConfig(**sizes))):
    torch.manual_seed(0)
    model = kind(config).double().eval()
    with torch.inference_mode():
        expected = model(text, use_cache=False).logits[0, -1]
        for said, more in (("without", {}), ("with", {"position_ids": torch.tensor([[7]])})):
            cache = model(text[:, :7], use_cache=True).past_key_values
            found = model(text[:, 7:], past_key_values=cache, use_cache=True, **more).logits[0, -1]
            off[name, said] = float((found - expected).abs().max() / expected.std())
            print(f"{name}, {said} position_ids: largest error {off[name, said]:.0e} of the logits' spread")
assert off["bamba", "without"] > 1e-2 and off["bamba", "with"] < 1e-5
assert max(off["llama", said] for said in ("without", "with")) < 1e-5
PY
"$place/env/bin/python" "$place/run.py" 2>/dev/null
# Output seen:
#   bamba, without position_ids: largest error 2e-01 of the logits' spread
#   bamba, with position_ids: largest error 8e-07 of the logits' spread
#   llama, without position_ids: largest error 5e-16 of the logits' spread
#   llama, with position_ids: largest error 5e-16 of the logits' spread
