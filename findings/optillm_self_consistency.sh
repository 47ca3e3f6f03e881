#!/usr/bin/env bash
# optillm 0.4.0, approach `self_consistency`: replies are grouped by how they are spelled, so short ones with different
# answers are one group, and the answer of the first of them is returned for all.
#
# Expected: the answer that most replies agree on. One of five says 3 and four say 2, so 2.
# Seen: no answer is read. A reply joins the first group whose first reply difflib finds at least 0.8 alike. "The answer
# is \boxed{3}." and "The answer is \boxed{2}." differ in one of 24 characters (0.96 alike), so all five are one group,
# and a group is answered with its first reply: 3 is returned exactly if the model wrote it first. In longer replies it
# goes the other way: four that are worded differently and end in the same \boxed{2} are four groups of one, and among
# groups of the same size the first reply, 3, is returned again.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet openai==3.57.0 2>/dev/null
"$place/env/bin/pip" install --quiet --no-deps optillm==0.4.0 2>/dev/null
cat > "$place/run.py" <<'PY'
import glob
import json
import os
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from openai import OpenAI

package = types.ModuleType("optillm")  # the approach's module alone, without the rest of optillm and what this needs
package.__path__ = glob.glob(os.path.join(sys.prefix, "lib", "python3*", "site-packages", "optillm"))
sys.modules["optillm"] = package
from optillm.self_consistency import AdvancedSelfConsistency, advanced_self_consistency_approach

waiting = []


class Model(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": waiting.pop(0)}}
        usage = {"prompt_tokens": 1, "completion_tokens": 8, "total_tokens": 9}
        said = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


three, two = "The answer is \\boxed{3}.", "The answer is \\boxed{2}."
CASES = {f"short, 3 is reply {i + 1}": [two] * i + [three] + [two] * (4 - i) for i in range(5)}
CASES["long, 3 is reply 1"] = [
    "Six apples in two bags make three for each bag. \\boxed{3}",
    "Ten minus eight is what remains. \\boxed{2}",
    "We divide: 14 / 7. \\boxed{2}",
    "Let x be the unknown; from 3x = 6 follows \\boxed{2}",
    "Halving four gives the number that was looked for, so \\boxed{2}",
]
found = {}
with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        client = OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none", max_retries=0)
        for name, replies in CASES.items():
            waiting[:] = replies
            assert sum("{2}" in reply for reply in replies) == 4
            reply, _ = advanced_self_consistency_approach("", "How many?", client, "m")
            groups = len(AdvancedSelfConsistency(client, "m").cluster_similar_responses(replies))
            found[name] = groups, reply
            print(f"{name}: groups {groups}, returned: {reply}")
    finally:
        server.shutdown()
for i in range(5):
    assert found[f"short, 3 is reply {i + 1}"] == (1, two if i else three), "this has changed"
assert found["long, 3 is reply 1"] == (5, CASES["long, 3 is reply 1"][0]), "this has changed"
PY
"$place/env/bin/python" "$place/run.py"
# Output seen:
#   short, 3 is reply 1: groups 1, returned: The answer is \boxed{3}.
#   short, 3 is reply 2: groups 1, returned: The answer is \boxed{2}.
#   short, 3 is reply 3: groups 1, returned: The answer is \boxed{2}.
#   short, 3 is reply 4: groups 1, returned: The answer is \boxed{2}.
#   short, 3 is reply 5: groups 1, returned: The answer is \boxed{2}.
#   long, 3 is reply 1: groups 5, returned: Six apples in two bags make three for each bag. \boxed{3}
