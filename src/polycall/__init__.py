"""polycall calls tools through any language model."""
