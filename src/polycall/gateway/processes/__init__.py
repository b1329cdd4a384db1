"""The gateway's processes: where it listens, its workers, reloading, maintenance.

server.py   limits of HTTP, draining    binding.py  where it may listen
workers.py  the supervisor              reload.py   new configuration
maintenance.py  the store and changed keys      shared_metrics.py  memory that workers share
silence.py  which of them are gone
"""
