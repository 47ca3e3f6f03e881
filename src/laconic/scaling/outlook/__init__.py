"""How attempts will end, read off the model's own state: the policy ``zip-rc`` and the head that it goes by."""
