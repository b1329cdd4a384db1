"""Which providers a request may go to, in which order, and which of them cool down."""
