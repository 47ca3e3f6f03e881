#!/usr/bin/env bash
# Transformers 5.23: a Trainer that is resumed from the checkpoint of its last step trains one step more.
#
# Expected: with max_steps=4, resuming from checkpoint-4 has nothing left to do. Seen: whether to stop is asked only after a
# step, so another is made, and the model that is saved then is not that of the run; except where the last step ends an epoch.
# A job that is killed between its last checkpoint and its end, and started again, ends with other weights.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet transformers==5.23.0 torch==2.13.0 accelerate==1.15.0 2>/dev/null
cat > "$place/run.py" <<'PY'
import warnings

warnings.simplefilter("ignore")
import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments


class Numbers(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, at):
        return {"x": torch.tensor([float(at)])}


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return {"loss": ((self.w - x) ** 2).mean()}


def trainer(steps):
    return Trainer(
        Line(),
        TrainingArguments("out", max_steps=steps, save_steps=1, per_device_train_batch_size=4, use_cpu=True, report_to="none", disable_tqdm=True, logging_steps=1000,
                          lr_scheduler_type="constant"),
        train_dataset=Numbers(),
    )


for steps in (4, 10):
    first = trainer(steps)
    first.train()
    again = trainer(steps)
    again.train(resume_from_checkpoint=f"out/checkpoint-{steps}")
    moved = not torch.equal(first.model.w, again.model.w)
    told = again.state.global_step
    print(f"max_steps {steps} of 10 in an epoch: resumed from checkpoint-{steps} it ends at step {told}, weights moved: {moved}")
    assert (told, moved) == ((5, True) if steps == 4 else (10, False)), "this has changed"
PY
cd "$place"
OMP_NUM_THREADS=1 "$place/env/bin/python" "$place/run.py" 2>/dev/null
# Output seen:
#   max_steps 4 of 10 in an epoch: resumed from checkpoint-4 it ends at step 5, weights moved: True
#   max_steps 10 of 10 in an epoch: resumed from checkpoint-10 it ends at step 10, weights moved: False
