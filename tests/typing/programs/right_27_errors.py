from polycall import Agent, AuthenticationError, PolycallError, RateLimitError, UpstreamError
from polycall.agents import OutputError, partial_run

agent = Agent("a/m", output=int)
try:
    number = agent.run_sync("x").output
except RateLimitError as error:
    print(error.retry_after_s)
except AuthenticationError:
    raise
except UpstreamError as error:
    print(error.status)
except OutputError as error:
    print(error)
except PolycallError as error:
    made = partial_run(error)
    if made is not None:
        print(made.messages)
