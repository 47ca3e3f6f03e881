#!/usr/bin/env bash
# kvpress 0.5.5 with Transformers 5.2.0: of a prompt that is read in pieces only the first one is reduced, and nothing says so.
#
# Expected: under a press with a ratio of one half, a prompt of 200 tokens leaves 100 entries however it is read, as chunked
# prefill is a matter of memory. Seen: the pieces after the first count as decoding and stay whole.
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
from kvpress import KnormPress

for pieces in (1, 2, 4):
    cache = DynamicCache()
    with torch.no_grad(), KnormPress(compression_ratio=0.5)(model):
        begin = 0
        for piece in tokens.chunk(pieces, 1):
            places = torch.arange(begin, begin + piece.shape[1])[None]
            model(piece, past_key_values=cache, position_ids=places)
            begin += piece.shape[1]
    kept = cache.layers[0].keys.shape[2]
    print(f"200 tokens in {pieces} pieces: {kept} entries are left")
    assert kept == 200 - 200 // pieces // 2, "this has changed"
PY
"$place/env/bin/python" "$place/run.py"
# Output seen:
#   200 tokens in 1 pieces: 100 entries are left
#   200 tokens in 2 pieces: 150 entries are left
#   200 tokens in 4 pieces: 175 entries are left
