"""The application that a server runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from hpo.web import health, login, metrics
from hpo.web.api import routes as api
from hpo.web.attempts import Attempts
from hpo.web.gate import Gate
from hpo.web.metrics import Metrics
from hpo.web.ops import routes as ops
from hpo.web.ops.desk import Desk
from hpo.web.problems import answer_problems
from hpo.web.shown import ShownDashboard
from hpo.web.site import THREADS, Site


def application(site: Site) -> FastAPI:
    """All that a server answers: optuna-dashboard at `/`, and our routes beside it.

    Its interactive documentation is left out: its pages load scripts of other hosts.
    """
    dashboard = ShownDashboard(site)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        yield
        dashboard.close()
        site.close()

    app = FastAPI(
        title="hpo-service", docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json", lifespan=lifespan
    )
    app.state.site = site
    app.state.dashboard = dashboard
    app.state.attempts = Attempts()
    app.state.metrics = Metrics(site)
    app.state.desk = Desk()
    answer_problems(app)
    for router in (health.router, metrics.router, login.router, api.router, ops.router):
        app.include_router(router)
    app.add_middleware(Gate, site=site, dashboard=dashboard)
    return app
