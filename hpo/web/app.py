"""The application that a server runs."""

from __future__ import annotations

from fastapi import FastAPI

from hpo.web.api import routes as api
from hpo.web.ops import routes as ops
from hpo.web.problems import answer_problems
from hpo.web.site import Site


def application(site: Site) -> FastAPI:
    """All that a server answers.

    Its interactive documentation is left out: its pages load scripts of other hosts.
    """
    app = FastAPI(title="hpo-service", docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json")
    app.state.site = site
    answer_problems(app)
    app.include_router(api.router)
    app.include_router(ops.router)
    return app
