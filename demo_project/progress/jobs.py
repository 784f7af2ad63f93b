"""A long job: it publishes what it does to a channel of its own and knows nothing of clients."""

from __future__ import annotations

import logging
import threading
import time
import uuid

from django.db import connections

from django_sse import Event, finish, publish

from ..pace import paced

logger = logging.getLogger(__name__)

STAGES = (
    "Reading the map",
    "Packing the bags",
    "Crossing the river",
    "Climbing",
    "Planting the flag",
)
STEPS_A_STAGE = 8
SECONDS_A_STEP = 0.3


def channel_of(job: uuid.UUID) -> str:
    """The channel that carries what ``job`` does."""
    return f"progress-{job}"


def start_job() -> uuid.UUID:
    """Begin a job in a thread of its own; a task queue's worker would publish the same way."""
    job = uuid.uuid4()
    threading.Thread(target=work, args=(job,), name=f"job-{job}", daemon=True).start()
    return job


def work(job: uuid.UUID) -> None:
    channel, total = channel_of(job), len(STAGES) * STEPS_A_STAGE
    try:
        for step in range(1, total + 1):
            time.sleep(paced(SECONDS_A_STEP))
            stage = STAGES[(step - 1) // STEPS_A_STAGE]
            publish(channel, {"percent": 100 * step // total, "stage": stage}, event="progress")
        finish(channel)
    except Exception:
        logger.exception("The job %s failed", job)
        finish(channel, "error", Event({"error": "The job failed."}, event="error"))
    finally:
        connections.close_all()
