"""What strangers, keys and providers can do over a socket."""
