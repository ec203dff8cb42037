"""Telling customers about their orders."""

import asyncio
import time


async def send(customer, text):
    """Send one message."""
    await asyncio.sleep(0)
    return f"{customer}: {text}"


async def send_all(customers, text):
    """Send a message to everyone, not too quickly."""
    for customer in customers:
        await send(customer, text)
        time.sleep(0.1)


async def send_later(customer, text):
    """Send a message in the background."""
    asyncio.create_task(send(customer, text))
