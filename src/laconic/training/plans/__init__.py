"""Which rollouts a step of training has: from where they begin, where they part, how many each problem gets."""
