"""A FastStream application with a dependency and a middleware: nothing of chaosharness."""

from typing import Annotated, Any

from faststream import AckPolicy, BaseMiddleware, Depends, FastStream
from faststream.kafka import KafkaBroker


class Named(BaseMiddleware):
    async def publish_scope(self, call_next: Any, command: Any) -> Any:
        command.headers["from"] = "parcels"
        return await call_next(command)


broker = KafkaBroker("kafka:9092", middlewares=[Named], enable_idempotence=True)
app = FastStream(broker)


class Prices:
    cents = 5


async def prices() -> Prices:
    return Prices()


@broker.subscriber("packed", group_id="parcels", ack_policy=AckPolicy.NACK_ON_ERROR)
async def on_packed(parcel: dict[str, Any], prices: Annotated[Prices, Depends(prices)]) -> None:
    sent = {**parcel, "cents": prices.cents}
    await broker.publish(sent, "sent", key=parcel["id"].encode())
