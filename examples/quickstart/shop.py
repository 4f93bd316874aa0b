"""A service with everything that this package gives, in a dozen lines."""

from fastapi import FastAPI

from tldr_observability import add_user_context, log_event, metrics, setup, traced_service_method

app = FastAPI()
setup(app=app)
orders = metrics.counter("shop.orders", unit="{order}")


@traced_service_method(capture_args=["item"])
async def reserve(item: str, amount: int = 1) -> str:
    """A step of the business: a span of its own, with the named argument on it."""
    return f"{amount} x {item}"


@app.post("/orders/{item}")
async def order(item: str) -> dict[str, str]:
    """An endpoint: the server span, its metrics and the correlation id come from setup()."""
    add_user_context(organization_id="acme")
    reserved = await reserve(item)
    orders.add(1, {"item": item})
    log_event("order.placed", item=item)
    return {"reserved": reserved}
