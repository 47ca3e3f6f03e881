#!/usr/bin/env bash
# Transformers 5.23.0 with PyTorch 2.13.0 on a CPU: mixture-of-experts models cannot compute in float64, dense ones can.
#
# Expected: a model that was converted with `.double()`, the usual reference for judging rounding, runs whatever its
# layers are. Seen: Mixtral (and about fifty other types with experts) raises inside the grouped matrix product that
# is chosen by default. With experts_implementation="eager" the same weights run, and agree with float32.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 2>/dev/null
cat > "$place/run.py" <<'PY'
import copy

import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

sizes = dict(vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2)
text = torch.tensor([[3, 9, 27, 81]])
torch.manual_seed(0)
dense = LlamaForCausalLM(LlamaConfig(**sizes)).eval()
sparse = MixtralForCausalLM(MixtralConfig(**sizes, num_local_experts=4)).eval()
with torch.inference_mode():
    print("llama, float64:", dense.double()(text).logits.dtype)
    single = sparse(text).logits
    double = copy.deepcopy(sparse).double()
    try:
        double(text)
        raise SystemExit("mixtral ran in float64")
    except RuntimeError as error:
        print("mixtral, float64:", str(error).split(",")[0])
    double.set_experts_implementation("eager")
    found = double(text).logits
    print("mixtral, float64, eager experts:", found.dtype, f"off float32 by {(found - single).abs().max():.0e}")
    assert found.dtype == torch.float64 and (found - single).abs().max() < 1e-5
PY
"$place/env/bin/python" "$place/run.py" 2>/dev/null
# Output seen:
#   llama, float64: torch.float64
#   mixtral, float64: Expected mat_a to be Float32
#   mixtral, float64, eager experts: torch.float64 off float32 by 1e-07
