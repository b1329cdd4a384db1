"""State that is kept between two requests of a client.

carrier.py           what a provider needs echoed, through clients without a place for it
embedder.py          puts it into answers           plain_turns.py  turns that no call names
stored_responses.py  answers that a Responses client refers to
sealed_tokens.py     tokens that travel through a client     answer_cache.py  whole answers
anthropic_threads.py conversations that Anthropic's server would keep
"""
