#!/usr/bin/env bash
# kvpress 0.5.5 with Transformers 5.2.0: after PyramidKVPress several tokens in one pass are an error, since layers have kept
# different numbers of entries.
#
# Expected: a question behind a context that was reduced is read in one pass, as kvpress's own pipeline does. Seen: the mask is
# made once, for the first layer's number of entries, and PyTorch refuses it in a layer with another; with SnapKVPress it works.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet kvpress==0.5.5 torch==2.13.0 transformers==5.2.0 2>/dev/null
cat > "$place/run.py" <<'PY'
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
sizes = dict(vocab_size=50, hidden_size=32, intermediate_size=32, num_attention_heads=4, num_key_value_heads=2)
model = LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=4, max_position_embeddings=512)).eval()
tokens = torch.randint(0, 50, (1, 200))
from kvpress import PyramidKVPress, SnapKVPress

for press in (SnapKVPress, PyramidKVPress):
    cache = DynamicCache()
    with torch.no_grad():
        with press(compression_ratio=0.5, window_size=8)(model):
            model(tokens, past_key_values=cache)
        lengths = [layer.keys.shape[2] for layer in cache.layers]
        try:
            model(tokens[:, :5], past_key_values=cache, position_ids=torch.arange(200, 205)[None])
            said = "five more tokens are read"
        except RuntimeError as error:
            said = "RuntimeError: " + str(error).split(" at ")[0]
    print(f"{press.__name__}: layers of {lengths}; {said}")
    assert ("RuntimeError" in said) == (press is PyramidKVPress), "this has changed"
PY
"$place/env/bin/python" "$place/run.py"
# Output seen:
#   SnapKVPress: layers of [100, 100, 100, 100]; five more tokens are read
#   PyramidKVPress: layers of [192, 131, 69, 8]; RuntimeError: The size of tensor a (136) must match the size of tensor b (197)
