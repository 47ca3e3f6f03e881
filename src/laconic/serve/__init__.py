"""The OpenAI-compatible server: laconic's own engine, vLLM or any other server behind one interface.

``app`` makes the web application, ``api`` says what may be asked and what is answered, ``backend`` is the contract of
what runs the model, ``runner`` the thread that owns laconic's own engine.
"""
