"""Drafting and checking at the same time: what each published way of it brings, given what passes cost.

One executor runs them all. It knows hypotheses (how the text may go on), lanes (workers that make passes) and a policy
that says what idle lanes shall do; PEARL, DSI, PipeInfer and their kin are such policies. With virtual lanes, passes
take the time that they are said to take, so devices that are not here can be asked about; with threads they take the
time they take, and the text must be the target's own all the same.
"""
