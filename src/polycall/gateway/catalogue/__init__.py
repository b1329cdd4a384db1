"""Which models there are, what each can do, how many tokens a request has, and which routes.

models.py  the models of all providers     token_counts.py    tokens, counted or estimated
openapi.py the OpenAPI document            count_endpoint.py  the routes that count tokens
provider_lists.py  what providers' own lists say
"""
