#!/usr/bin/env bash
# PyTorch 2.13.0: making an `nn.Embedding` on the meta device imports PyTorch's compiler and its distributed tensors.
#
# Expected: the meta device is how checkpoints are read without spending time or memory on weights that are about to be
# replaced, so a layer made there costs next to nothing, as `nn.Linear` does.
# Seen: the embedding's random initial values, which a meta tensor has no use for, are drawn by a Python reference of
# `normal_` whose first call imports `torch._dynamo` and all that this needs: some eight hundred modules and more than a
# second, which is about what `import torch` takes. `nn.utils.skip_init`, made for skipping this, imports hundreds too.
# An embedding on the CPU, or a parameter made of `torch.empty` on the meta device, imports nothing.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet torch==2.13.0 2>/dev/null
cat > "$place/run.py" <<'PY'
import subprocess
import sys

WAYS = {
    "Embedding on the CPU": "nn.Embedding(8, 8)",
    "Linear on meta": "nn.Linear(8, 8, device='meta')",
    "Embedding on meta": "nn.Embedding(8, 8, device='meta')",
    "skip_init of a Linear on meta": "nn.utils.skip_init(nn.Linear, 8, 8, device='meta')",
    "empty parameter on meta": "nn.Parameter(torch.empty(8, 8, device='meta'))",
}
found = {}
for name, way in WAYS.items():
    said = (
        "import sys, torch; from torch import nn; before = set(sys.modules); "
        f"{way}; new = set(sys.modules) - before; "
        "print(len(new), 'torch._dynamo' in new, 'torch.distributed.tensor' in new)"
    )
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", said], capture_output=True, text=True, check=True)
    modules, compiler, tensors = ran.stdout.split()
    found[name] = int(modules), compiler == "True", tensors == "True"
    print(f"{name}: {modules} more modules, the compiler {compiler}, distributed tensors {tensors}")
assert found["Embedding on meta"][0] > 400 and found["Embedding on meta"][1] and found["Embedding on meta"][2]
assert found["skip_init of a Linear on meta"][0] > 200
assert all(found[name][0] < 20 for name in ("Embedding on the CPU", "Linear on meta", "empty parameter on meta"))
PY
"$place/env/bin/python" "$place/run.py"
# Output seen:
#   Embedding on the CPU: 0 more modules, the compiler False, distributed tensors False
#   Linear on meta: 0 more modules, the compiler False, distributed tensors False
#   Embedding on meta: 804 more modules, the compiler True, distributed tensors True
#   skip_init of a Linear on meta: 487 more modules, the compiler False, distributed tensors False
#   empty parameter on meta: 0 more modules, the compiler False, distributed tensors False
