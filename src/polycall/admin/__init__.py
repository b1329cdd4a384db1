"""Administration of a gateway: an API at `/admin/v1`, and a page at `/console` that uses it.

Off where no administrator was made, and reached from this machine alone unless `[admin]` says more.

administration.py  one request: from where, who, may they, what, and how it is sent
routes.py          all routes with their roles; the OpenAPI paths
people.py          administrators, links, sessions, forged requests
keys.py            clients' keys and teams, as `polycall keys` has them too
ledger.py          requests, one request, sums over time
providers.py       providers, models, prices
runs.py            durable runs and programs that wait
openid.py          signing in at a provider of OpenID Connect
contents.py        what was asked and answered, where an owner switched on that it is kept
tools.py           tools of the gateway's MCP servers
fields.py          JSON bodies and queries, read strictly
page/              the page: one HTML, one CSS, one JavaScript file, without a build step
"""

from polycall.admin.administration import Administration
from polycall.admin.keys import KeyAdministration

__all__ = ["Administration", "KeyAdministration"]
