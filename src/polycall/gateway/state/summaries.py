"""The request for a summary that is to replace a conversation."""

PROMPT = (
    "The conversation above is about to be replaced by what you write now.  Write all that is "
    "needed to continue the work as if nothing had been lost: what the user wants, with every "
    "constraint; what has been done, decided and found out, with exact names, paths, commands, "
    "numbers and error messages; the state of everything that is under way; and the next steps.  "
    "Write plain text.  Do not call tools, and do not answer the user."
)
