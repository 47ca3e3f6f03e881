#!/usr/bin/env bash
# optillm 0.4.0, plugin `majority_voting`: a reply with a line that begins with the word "A" votes for choice A.
#
# Expected: three different sentences are three answers with one vote each, and 8, said twice, wins.
# Seen: in a reply without "answer is", "answer:" or "###", a letter from A to E, large or small, that is a word of its
# own at the beginning of any line is taken for the whole answer. "A pair costs 9.", "A pair of them: 7." and "A total
# of 6." are three votes for choice A, and the first of them is returned. Worded without "A" they lose to 8.
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

package = types.ModuleType("optillm")  # the plugin's module alone, without the rest of optillm and what this needs
package.__path__ = glob.glob(os.path.join(sys.prefix, "lib", "python3*", "site-packages", "optillm"))
sys.modules["optillm"] = package
from optillm.plugins.majority_voting_plugin import extract_final_answer, run

CASES = {
    "with A": ["A pair costs 9.", "A pair of them: 7.", "A total of 6.", "8", "8"],
    "without": ["One pair costs 9.", "One pair of them: 7.", "In total 6.", "8", "8"],
}
replies = []


class Model(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        choices = [
            {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": replies[i]}}
            for i in range(asked["n"])
        ]
        usage = {"prompt_tokens": 1, "completion_tokens": 40, "total_tokens": 41}
        said = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": choices, "usage": usage}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


found = {}
with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        client = OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none", max_retries=0)
        for name, replies[:] in CASES.items():
            found[name], _ = run("", "How much is it?", client, "m", {"k": 5})
            print(f"{name}: answers read {[extract_final_answer(reply) for reply in replies]}, returned: {found[name]}")
    finally:
        server.shutdown()
assert found == {"with A": "A pair costs 9.", "without": "8"}, "this has changed"
PY
"$place/env/bin/python" "$place/run.py"
# Output seen:
#   with A: answers read ['A', 'A', 'A', '8', '8'], returned: A pair costs 9.
#   without: answers read ['One pair costs 9.', 'One pair of them: 7.', 'In total 6.', '8', '8'], returned: 8
