#!/usr/bin/env bash
# its-hub 1.2.0, `SelfConsistency`: replies in which no answer was found vote together, and can win.
#
# Expected: the vote is over answers. A reply that was cut off before its answer (`finish_reason` is "length") has none
# and agrees with nobody; the two replies that came to 7 decide.
# Seen: the library's own projection (`create_regex_projection_function`, with the \boxed pattern of its documentation)
# gives (None,) wherever the pattern is not found, and the count takes this for an answer like any other. Three cut-off
# replies that have nothing in common outvote two that agree, and one of the three is what the caller gets. No value of
# a projection means "no vote"; who needs one returns something different for each such reply.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet "its_hub[lm]==1.2.0" aiohttp==3.14.5 2>/dev/null
cat > "$place/run.py" <<'PY'
import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from its_hub import OpenAICompatibleLanguageModel, SelfConsistency
from its_hub.core.algorithms.self_consistency import create_regex_projection_function

CUT = ["First we count the apples, and", "Let x be the number of pears. Then", "There are two cases. In the one"]
replies = [(text, "length") for text in CUT] + [("So it is \\boxed{7}.", "stop"), ("That makes \\boxed{7}.", "stop")]
lock = threading.Lock()


class Model(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        with lock:
            text, reason = replies.pop()
        choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}}
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


async def ask(port):
    vote = SelfConsistency(create_regex_projection_function(r"\\boxed\{([^}]+)\}"))
    async with OpenAICompatibleLanguageModel(f"http://127.0.0.1:{port}/v1", "none", "m") as model:
        return await vote.ainfer(model, "How many?", budget=5, return_response_only=False)


with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        result = asyncio.run(ask(server.server_port))
    finally:
        server.shutdown()
for answer, votes in sorted(result.response_counts.items(), key=lambda item: -item[1]):
    print(f"{answer}: {votes} votes")
cut = result.the_one["content"] in CUT
print("given to the caller:", "a reply that was cut off" if cut else result.the_one["content"])
assert cut and result.response_counts == {(None,): 3, ("7",): 2}, "this has changed"
PY
"$place/env/bin/python" "$place/run.py"
# Output seen:
#   (None,): 3 votes
#   ('7',): 2 votes
#   given to the caller: a reply that was cut off
