"""Providers: addresses, keys, dialects, quirks and prices, as data.

A dialect is a wire format, a provider is a vendor.  No branch on a provider's name exists
anywhere; what differs is a row here or a `Quirks` value.
"""
