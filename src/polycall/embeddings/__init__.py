"""Embeddings of texts, through any provider that has them.

types.py   what is asked and what comes back     wires.py  OpenAI's, Mistral's and Ollama's bodies
google.py  Google's and Vertex's                 cohere.py Cohere's, and rerankings
calls.py   batches of one request, sent and joined
"""

from polycall.embeddings.calls import embed, embed_by_chain, wire_for
from polycall.embeddings.types import EmbeddingRequest, Embeddings

__all__ = ["EmbeddingRequest", "Embeddings", "embed", "embed_by_chain", "wire_for"]
